"""The figures of the chapter on the competition's metric; what they show is computed there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cspine_lib.anatomy import LEVELS
from cspine_lib.metrics import Interval, weights
from cspine_lib.plots import INK, LEVEL_COLOUR

BROKEN, WHOLE = "#D55E00", "#0072B2"
SLIDE = "#E69F00"
PER_EXAM, GLOBAL = "#0072B2", "#D55E00"


def _panels(columns: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, columns, figsize=(width, height), layout="constrained", squeeze=False, **options
    )
    return figure, list(panels[0])


def penalty_figure() -> Figure:
    """What one row costs, by the probability that was given to "broken"."""
    figure, panels = _panels(2, 9, 3.2, sharey=True)
    p = np.linspace(0.002, 0.998, 400)
    for axes, row, title in ((panels[0], 1, "one level"), (panels[1], 0, "patient_overall")):
        broken, whole = (int(weights(np.full((1, 8), y))[0, row]) for y in (1, 0))
        axes.plot(p, -broken * np.log(p), color=BROKEN, label=f"it is broken, weight {broken}")
        axes.plot(p, -whole * np.log1p(-p), "--", color=WHOLE, label=f"it is whole, weight {whole}")
        axes.set(title=title, xlabel="probability given to “broken”", ylim=(0, 45))
        axes.legend()
    panels[0].set_ylabel("weight × log loss, nats")
    return figure


def ladder_figure(
    groups: Mapping[str, Mapping[str, float]], bars: Mapping[str, tuple[float, str]]
) -> Figure:
    """Published scores as dots, group by group, beside constants as upright lines.

    Args:
        groups: group → name → score; the first group is the slides'.
        bars: name of a constant → (its score, line style).
    """
    figure, (axes,) = _panels(1, 9, 3.6)
    names: list[str] = []
    for (group, scores), colour in zip(groups.items(), (SLIDE, INK), strict=True):
        place = np.arange(len(scores)) + len(names)
        axes.plot(list(scores.values()), place, "o", color=colour, ms=8, label=group)
        names += list(scores)
    for (name, (score, style)), colour in zip(bars.items(), (PER_EXAM, GLOBAL, INK), strict=True):
        axes.axvline(score, color=colour, ls=style, lw=1.5, label=name)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="loss as published (averaging not stated), nats", xlim=(0.2, 0.72))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return figure


def share_figure(shares: Mapping[str, npt.ArrayLike]) -> Figure:
    """What part of the loss (or of the weight) each target carries: rows of (8,) that sum to 1."""
    figure, (axes,) = _panels(1, 9, 0.5 * len(shares) + 1.3)
    values = np.array([np.asarray(v, dtype=np.float64) for v in shares.values()])
    left = np.zeros(len(values))
    for column, name in enumerate(("overall", *LEVELS)):
        colour = LEVEL_COLOUR.get(name, INK)
        axes.barh(
            range(len(values)),
            values[:, column],
            left=left,
            color=colour,
            edgecolor="white",
            label=name,
        )
        left += values[:, column]
    for row, value in enumerate(values[:, 0]):
        axes.text(value / 2, row, f"{value:.0%}", color="white", ha="center", va="center")
    axes.set_yticks(range(len(values)), list(shares))
    axes.invert_yaxis()
    axes.set(xlabel="share of the sum", xlim=(0, 1))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return figure


def shift_figure(
    q: float,
    costs: Mapping[str, Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]]],
    curves: Mapping[str, Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]]],
) -> Figure:
    """Left the expected cost of what is submitted for one q, right the best answer for each q.

    Args:
        costs: name → expected cost, in its own unit, of the (M,) answers; drawn above its least.
        curves: name → what to submit for the (M,) calibrated probabilities.
    """
    figure, (left, right) = _panels(2, 10, 3.6)
    p, styles = np.linspace(0.05, 0.9, 400), ("-", "--", ":")
    for (name, cost), style, colour in zip(costs.items(), styles, (GLOBAL, PER_EXAM), strict=False):
        above = cost(p) / cost(p).min() - 1
        left.plot(p, 100 * above, style, color=colour, label=name)
        left.plot(p[above.argmin()], 0, "o", color=colour)
    left.axvline(q, color=INK, lw=1, ls=":", label=f"calibrated, {q:.2f}")
    left.set(xlabel="what you submit", ylabel="expected cost above the least, %", ylim=(-1, 30))
    left.legend(fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    x = np.linspace(0, 1, 200)
    right.plot(x, x, color=INK, lw=1, ls=":", label="calibrated")
    looks = ((GLOBAL, "-"), (PER_EXAM, "--"), ("#009E73", "-."), ("#CC79A7", "-"))
    for (name, curve), (colour, style) in zip(curves.items(), looks, strict=False):
        right.plot(x, curve(x), style, color=colour, label=name)
    right.set(xlabel="calibrated probability", ylabel="best answer", aspect="equal")
    right.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


RULE_LOOKS = (("#D55E00", "-"), ("#E69F00", "--"), ("#009E73", "-."), ("#0072B2", ":"))


def dial_figure(
    rho: npt.ArrayLike, excess: Mapping[str, npt.ArrayLike], matched: float, until: float = 0.06
) -> Figure:
    """What each overall rule costs above the truth, from independent levels to one fate for all."""
    figure, (axes,) = _panels(1, 8, 3.4)
    for (name, values), (colour, style) in zip(excess.items(), RULE_LOOKS, strict=False):
        axes.plot(rho, values, style, color=colour, lw=2, label=name)
    axes.axvline(matched, color=INK, lw=1)
    axes.text(
        matched + 0.01, until * 0.93, "as many broken necks\nas RSNA has", va="top", color=INK
    )
    axes.set(
        xlabel="rho: 0 independent levels, 1 one fate for all",
        ylabel="log loss above the least\npossible, nats",
        ylim=(-0.001, until),
    )
    axes.legend(title="patient_overall is", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def calibration_figure(tables: Mapping[str, tuple[npt.ArrayLike, ...]]) -> Figure:
    """Reliability with Wilson's intervals: name → (predicted, observed, low, high), each (M,)."""
    figure, panels = _panels(len(tables), 2.6 * len(tables) + 2.2, 3, sharey=True)
    for axes, (name, columns) in zip(panels, tables.items(), strict=True):
        predicted, observed, low, high = (np.asarray(c, dtype=np.float64) for c in columns)
        axes.plot([0, 1], [0, 1], color=INK, lw=1, ls=":", label="calibrated")
        axes.errorbar(
            predicted,
            observed,
            yerr=(observed - low, high - observed),
            fmt="o",
            ms=4,
            color=WHOLE,
            label="a tenth of\nthe studies, 95%",
        )
        axes.set(title=name, xlabel="predicted probability", aspect="equal")
    panels[0].set_ylabel("share of broken necks")
    panels[-1].legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def sweep_figure(sweeps: Mapping[str, Sequence[float]]) -> Figure:
    """Loss against N, the number of levels that enter the rule; one panel per set of data."""
    figure, panels = _panels(len(sweeps), 4.2 * len(sweeps), 3.2)
    for axes, (name, scores) in zip(panels, sweeps.items(), strict=True):
        axes.plot(range(1, len(scores) + 1), scores, "o-", color=SLIDE if "deck" in name else INK)
        axes.set_title(name, fontsize=10)
        axes.set(xlabel="N highest levels", ylabel="competition loss", xticks=range(1, 8))
    return figure


def interval_figure(groups: Mapping[str, Mapping[str, Interval]], labels: Sequence[str]) -> Figure:
    """Intervals side by side, one panel per group, each with an axis label of its own."""
    figure, panels = _panels(len(groups), 9.5, 3.2)
    for axes, (title, rows), label in zip(panels, groups.items(), labels, strict=True):
        for place, interval in enumerate(rows.values()):
            axes.plot((interval.low, interval.high), (place, place), color=INK, lw=2)
            axes.plot(interval.value, place, "o", color=WHOLE)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(label)
        if any(i.low <= 0 <= i.high for i in rows.values()):
            axes.axvline(0, color=INK, lw=1, ls=":")
    return figure


def descent_figure(paths: Mapping[str, npt.ArrayLike], best: float) -> Figure:
    """Where an optimiser takes a probability, step by step, and where it should have gone."""
    figure, (axes,) = _panels(1, 8, 3)
    for (name, path), (colour, style) in zip(paths.items(), RULE_LOOKS, strict=False):
        axes.plot(np.asarray(path), style, color=colour, lw=2, label=name)
    axes.axhline(best, color=INK, lw=1, ls=":", label=f"best constant, {best:.2f}")
    axes.set(xlabel="step of gradient descent", ylabel="probability", ylim=(-0.03, 1.03))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
