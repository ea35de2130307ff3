"""The figures of the chapter on results and cost; what they show is computed elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cspine_lib.comparison import Group
from cspine_lib.cost import STEPS
from cspine_lib.metrics import MIN_POSITIVES, Interval, best_constants, loss_ci, reliability_table
from cspine_lib.plots import INK

METHOD, CONSTANT, SLIDE = "#0072B2", "#D55E00", "#E69F00"
STEP_COLOUR = dict(zip(STEPS, ("#56B4E9", "#0072B2", "#009E73", "#F0E442", "#D55E00"), strict=True))
"""One colour per step of a prediction."""


def slide_figure(
    methods: Mapping[str, float], timed: Mapping[str, tuple[float, float]], constant: float
) -> Figure:
    """The deck's two tables: losses beside the best constant, and loss against hours."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3), layout="constrained")
    left.plot(list(methods.values()), range(len(methods)), "o", color=SLIDE, ms=8, label="slide")
    for axes, draw in ((left, left.axvline), (right, right.axhline)):
        draw(constant, color=CONSTANT, ls="--", label=f"best constant, {constant:.3f}")
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yticks(range(len(methods)), list(methods))
    left.set(xlabel="loss on RSNA's data (averaging not stated), nats", ylim=(3.5, -0.5))
    left.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=2)
    for name, (hours, loss) in timed.items():
        right.plot(hours, loss, "o", color=SLIDE, ms=8)
        right.annotate(name, (hours, loss), (0, 9), textcoords="offset points", ha="center")
    right.set(xlabel="hours for 2019 studies, hardware not stated", ylabel="loss, nats")
    right.set(xlim=(0, 6), ylim=(0, 0.65))
    return figure


def _interval_rows(axes: Axes, rows: Mapping[str, tuple[Interval, str]]) -> None:
    for place, (interval, colour) in enumerate(rows.values()):
        axes.plot((interval.low, interval.high), (place, place), color=colour, lw=2.5)
        axes.plot(interval.value, place, "o", color=colour, ms=7)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)


def forest_figure(group: Group) -> Figure:
    """Left every loss with its interval, right every difference: to the constant, and in pairs."""
    assert group.y is not None
    best = loss_ci(group.y, best_constants(group.y))
    losses = {"best constant*": (best, CONSTANT)}
    losses |= {
        r.method: (Interval(r.scores["loss"], *r.scores["ci95"]), METHOD) for r in group.records
    }
    known = [method for method in group.methods if method in group.p]
    differences = {f"{m} − constant*": (group.minus_constant(m), CONSTANT) for m in known}
    differences |= {f"{a} − {b}": (i, METHOD) for (a, b), i in group.pairs().items()}
    height = 1.1 + 0.3 * max(len(losses), len(differences))
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, height), layout="constrained")
    _interval_rows(left, losses)
    _interval_rows(right, differences)
    right.axvline(0, color=INK, lw=1, ls=":")
    left.set_xlabel("loss per exam, nats")
    right.set_xlabel("difference of loss, paired by study, nats (left of 0: the first is better)")
    figure.suptitle(f"{group.title}; 95% intervals", fontsize=10)
    return figure


def split_figure(rows: Mapping[str, Mapping[str, float]]) -> Figure:
    """Seconds of each step, one bar per way of predicting a study."""
    figure, axes = plt.subplots(figsize=(9.5, 1.3 + 0.36 * len(rows)), layout="constrained")
    left = np.zeros(len(rows))
    for step in STEPS:
        width = np.array([row.get(step, 0.0) for row in rows.values()])
        axes.barh(range(len(rows)), width, left=left, color=STEP_COLOUR[step], label=step)
        left += width
    for place, total in enumerate(left):
        axes.text(total, place, f"  {total:.2f} s", va="center", color=INK)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set(
        xlabel="seconds per study, from files to eight probabilities", xlim=(0, 1.15 * max(left))
    )
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def score_time_figure(
    ours: Mapping[str, tuple[float, Interval]],
    constant: float,
    slide: Mapping[str, tuple[float, float]],
    studies: int,
    title: str = "",
) -> Figure:
    """Loss against seconds per study: left ours, right the slide, each on its own data.

    Args:
        ours: method → (seconds, loss).
        constant: loss of the best constant on the same studies as ``ours``.
        slide: name → (hours for ``studies``, loss).
        title: on which data ours were measured.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 3.6), layout="constrained")
    marks, colours = "osD^vP", ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", INK)
    for (name, (seconds, loss)), mark, colour in zip(ours.items(), marks, colours, strict=False):
        spread = [[loss.value - loss.low], [loss.high - loss.value]]
        left.errorbar(
            seconds, loss.value, yerr=spread, fmt=mark, ms=8, color=colour, label=name, capsize=3
        )
    left.axhline(constant, color=INK, ls="--", lw=1.2, label="best constant")
    left.set(xlabel="seconds per study, measured", ylabel="loss per exam, nats")
    left.set_xlim(0, 1.15 * max([seconds for seconds, _ in ours.values()], default=1.0))
    left.set_title(title, fontsize=10)
    left.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    for (name, (hours, score)), mark in zip(slide.items(), marks, strict=False):
        right.plot(3600 * hours / studies, score, mark, color=SLIDE, ms=8, label=name)
    right.set(
        xlabel="seconds per study, the slide's machine",
        ylabel="loss, nats",
        xlim=(0, 10),
        ylim=(0, 0.6),
    )
    right.set_title("slide: RSNA's data, other hardware", fontsize=10)
    right.legend(loc="lower left")
    return figure


def reliability_figure(group: Group, bins: int = 5) -> Figure:
    """Does 0.3 mean three in ten?  One panel per method: the neck, and all levels together."""
    assert group.y is not None
    width = 2.9 * len(group.p) + 1.6
    figure, panels = plt.subplots(
        1, len(group.p), figsize=(width, 3.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (method, p) in zip(panels[0], group.p.items(), strict=True):
        axes.plot([0, 1], [0, 1], color=INK, lw=1, ls=":", label="calibrated")
        parts = (("neck", slice(0, 1), CONSTANT, "o"), ("levels", slice(1, None), METHOD, "s"))
        for name, columns, colour, mark in parts:
            t = reliability_table(group.y[:, columns], p[:, columns], bins)
            spread = np.clip([t["observed"] - t["low"], t["high"] - t["observed"]], 0, None)
            axes.errorbar(
                t["predicted"], t["observed"], yerr=spread, fmt=mark, ms=5, color=colour, label=name
            )
        axes.set(title=method, xlabel="predicted probability", aspect="equal")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    panels[0, 0].set_ylabel("share of broken ones")
    panels[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def auroc_figure(group: Group) -> Figure:
    """AUROC of neck and levels, a row per method; n/a where too few studies are broken."""
    table, positives = group.auroc_by_level(), group.positives()
    figure, axes = plt.subplots(figsize=(9.5, 1.4 + 0.4 * len(table)), layout="constrained")
    image = axes.imshow(table.to_numpy(), vmin=0.5, vmax=1, cmap="cividis", aspect="auto")
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        text = "n/a" if np.isnan(value) else f"{value:.2f}"
        dark = not np.isnan(value) and value < 0.75
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    names = [f"{'neck' if t == 'patient_overall' else t}\n{positives[t]}" for t in table.columns]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(table)), list(table.index))
    axes.set_xlabel(f"target, and how many of {len(group.ids)} studies are positive")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label="AUROC", pad=0.02)
    if table.isna().any(axis=None):
        axes.set_title(f"n/a: fewer than {MIN_POSITIVES} studies on one side", fontsize=10)
    return figure


def amdahl_figure(seconds: Mapping[str, float], factors: Sequence[float]) -> Figure:
    """How much faster the whole becomes when one step alone is made faster."""
    figure, axes = plt.subplots(figsize=(7.5, 3), layout="constrained")
    total = sum(seconds.values())
    x = np.asarray(factors, dtype=float)
    for step, part in seconds.items():
        axes.plot(x, total / (total - part + part / x), color=STEP_COLOUR[step], lw=2.2, label=step)
    axes.set(xscale="log", xlabel="one step is so many times faster", ylabel="the whole is faster")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.set_xticks([1, 2, 5, 10, 100], ["1×", "2×", "5×", "10×", "100×"])
    axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
