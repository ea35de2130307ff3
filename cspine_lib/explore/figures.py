"""Figures of labels: RSNA's counts beside those of the data at hand.

Ours is drawn dark, RSNA's orange, in every figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cspine_lib.anatomy import LEVELS
from cspine_lib.explore.together import joint_counts, ratio_by_distance
from cspine_lib.plots import INK

RSNA_COLOUR = "#E69F00"
RSNA_NAME = "RSNA 2022, counts"


def panels_of(n: int, width: float, height: float) -> tuple[Figure, npt.NDArray[Any]]:
    """A figure with ``n`` panels side by side, its size in inches."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, n, figsize=(width, height), layout="constrained")
    return figure, np.atleast_1d(panels)


def paired_bars(
    axes: Axes,
    names: Sequence[str],
    ours: npt.ArrayLike,
    theirs: npt.ArrayLike | None,
    *,
    name: str,
    counts: Sequence[int] | None = None,
) -> None:
    """Shares in percent, ours beside RSNA's (left out where ``theirs`` is None).

    Args:
        counts: written above our bars.
    """
    place, share = np.arange(len(names)), np.asarray(ours, dtype=np.float64) * 100
    width = 0.4 if theirs is not None else 0.6
    at = place - 0.2 if theirs is not None else place
    axes.bar(at, share, width, color=INK, label=name)
    if theirs is not None:
        rsna = np.asarray(theirs, dtype=np.float64) * 100
        axes.bar(place + 0.2, rsna, width, color=RSNA_COLOUR, label=RSNA_NAME)
    for x, y, n in zip(at, share, counts or [], strict=bool(counts)):
        axes.text(x, y, f"{n}", ha="center", va="bottom", fontsize=8, color=INK)
    axes.set_xticks(place, list(names))
    axes.margins(y=0.12)


def labels_figure(
    levels: npt.NDArray[np.integer], rsna: npt.NDArray[np.integer], name: str
) -> Figure:
    """The slides' three label figures: balance, by vertebra, broken levels per study.

    Args:
        levels, rsna: (N, 7) labels, ours and RSNA's.
    """
    figure, (left, middle, right) = panels_of(3, 12, 3.2)
    sets = (levels, rsna)
    any_broken = [np.array([1 - y.any(axis=1).mean(), y.any(axis=1).mean()]) for y in sets]
    n = int(levels.any(axis=1).sum())
    paired_bars(
        left, ["none broken", "broken"], *any_broken, name=name, counts=[len(levels) - n, n]
    )
    left.set_ylabel("share of studies, %")
    by_level = [y.mean(axis=0) for y in sets]
    paired_bars(middle, LEVELS, *by_level, name=name, counts=levels.sum(axis=0).tolist())
    middle.set(xlabel="level", ylabel="share of studies broken, %")
    most = int(max(y.sum(axis=1).max() for y in sets))
    per_study = [np.bincount(y.sum(axis=1), minlength=most + 1) for y in sets]
    shares = [c / c.sum() for c in per_study]
    names = [str(k) for k in range(most + 1)]
    paired_bars(right, names, *shares, name=name, counts=per_study[0].tolist())
    right.set(xlabel="broken levels per study", ylabel="share of studies, %")
    right.legend(fontsize=8)
    for axes, title in zip(
        (left, middle, right), ("overall", "by vertebra", "how many at once"), strict=True
    ):
        axes.set_title(title, fontsize=10)
    return figure


def pairs_figure(
    levels: npt.NDArray[np.integer], rsna: npt.NDArray[np.integer], name: str
) -> Figure:
    """Studies with both levels of a pair broken, and how many chance would give, as heat maps."""
    import seaborn as sns

    figure, panels = panels_of(2, 10, 4.4)
    for axes, y, title in zip(panels, (levels, rsna), (name, RSNA_NAME), strict=True):
        observed, expected = joint_counts(y)
        ratio = np.divide(observed, expected, out=np.full((7, 7), np.nan), where=expected > 0)
        text = np.array(
            [
                [f"{o:.0f}\n({e:.1f})" if np.isfinite(o) else "" for o, e in zip(a, b, strict=True)]
                for a, b in zip(observed, expected, strict=True)
            ]
        )
        upper = np.triu(np.ones((7, 7), dtype=bool))
        sns.heatmap(
            pd.DataFrame(ratio, index=list(LEVELS), columns=list(LEVELS)),
            mask=upper,
            annot=text,
            fmt="",
            vmin=0,
            vmax=4,
            cmap="cividis",
            square=True,
            ax=axes,
            annot_kws={"fontsize": 8},
            cbar_kws={"label": "observed ÷ expected", "extend": "max", "shrink": 0.8},
        )
        axes.set(title=f"{title}: both broken (by chance)", xlabel="level", ylabel="level")
        axes.tick_params(axis="y", rotation=0)
    return figure


def together_figure(
    levels: npt.NDArray[np.integer], rsna: npt.NDArray[np.integer], name: str
) -> Figure:
    """Joint breaks over chance against the distance of the levels, with 95% intervals."""
    figure, (axes,) = panels_of(1, 7, 3.4)
    for y, shift, colour, label in (
        (levels, -0.08, INK, name),
        (rsna, 0.08, RSNA_COLOUR, RSNA_NAME),
    ):
        table = ratio_by_distance(y)
        value, low, high = np.array(table["ratio"].tolist()).T
        axes.errorbar(
            table.index + shift,
            value,
            yerr=[value - low, high - value],
            fmt="o",
            color=colour,
            capsize=3,
            label=f"{label}, {len(y)} studies",
        )
    axes.axhline(1, color=INK, lw=0.8, ls="--")
    axes.text(1.5, 1, "chance", ha="center", va="bottom", fontsize=8, color=INK)
    axes.set(xlabel="distance between the two levels, levels", ylabel="joint breaks ÷ chance")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure
