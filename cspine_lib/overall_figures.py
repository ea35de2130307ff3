"""The figures of the chapter on the patient-overall rule; what they show is computed there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from cspine_lib import metrics
from cspine_lib.anatomy import LEVELS
from cspine_lib.plots import INK, LEVEL_COLOUR

BROKEN, WHOLE = "#D55E00", "#0072B2"
Array = npt.NDArray[np.floating]


def necks_figure(y: npt.ArrayLike, levels: npt.ArrayLike, titles: Sequence[str]) -> Figure:
    """Seven probabilities of a few necks, with what two rules make of them.

    Args:
        y: (M, 8) labels; broken levels are hatched.
        levels: (M, 7) probabilities.
        titles: M.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    labels, p = np.asarray(y), np.asarray(levels, dtype=np.float64)
    figure, panels = plt.subplots(
        1, len(p), figsize=(3.1 * len(p) + 2.2, 3), sharey=True, layout="constrained", squeeze=False
    )
    for axes, truth, said, title in zip(panels[0], labels, p, titles, strict=True):
        colours = [LEVEL_COLOUR[level] for level in LEVELS]
        bars = axes.bar(range(len(LEVELS)), said, color=colours, edgecolor=INK, lw=0.6)
        for bar, broken in zip(bars, truth[1:], strict=True):
            bar.set_hatch("////" if broken else "")
        both = metrics.overall_noisy_or(said[None])[0]
        axes.axhline(said.max(), color=INK, ls=":", lw=1.5, label="the maximum")
        axes.axhline(both, color=INK, ls="--", lw=1.5, label="all 7, noisy-or")
        axes.set_title(title, fontsize=10)
        axes.set(ylim=(0, 1.02), xlabel="level")
        axes.set_xticks(range(len(LEVELS)), LEVELS)
    panels[0, 0].set_ylabel("probability of a fracture")
    handles, names = panels[0, -1].get_legend_handles_labels()
    handles.append(Patch(facecolor="white", edgecolor=INK, hatch="////"))
    panels[0, -1].legend(
        handles, [*names, "broken in truth"], loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9
    )
    return figure


def reliability_figure(
    y: npt.ArrayLike, predictions: Mapping[str, npt.ArrayLike], bins: int = 8
) -> Figure:
    """Reliability with Wilson's 95% intervals, and below how often each answer is given.

    Args:
        y: (N,) labels.
        predictions: rule → (N,) probabilities.
        bins: groups of (nearly) equal size.
    """
    import matplotlib.pyplot as plt

    labels = np.asarray(y)
    figure, panels = plt.subplots(
        2,
        len(predictions),
        figsize=(2.6 * len(predictions) + 2.2, 4.2),
        height_ratios=[3, 1],
        sharex=True,
        sharey="row",
        layout="constrained",
        squeeze=False,
    )
    for (top, bottom), (name, said) in zip(panels.T, predictions.items(), strict=True):
        p = np.asarray(said, dtype=np.float64)
        table = metrics.reliability_table(labels, p, bins)
        top.plot([0, 1], [0, 1], color=INK, lw=1, ls=":", label="calibrated")
        error = (table["observed"] - table["low"], table["high"] - table["observed"])
        top.errorbar(
            table["predicted"],
            table["observed"],
            yerr=np.clip(error, 0, None),
            fmt="o",
            ms=4,
            color=WHOLE,
            label=f"{_from_to(table['n'])}\nstudies, 95%",
        )
        top.set_title(name, fontsize=10)
        parts = [p[labels == 0], p[labels == 1]]
        bottom.hist(
            parts,
            bins=np.linspace(0, 1, 11),
            stacked=True,
            color=[WHOLE, BROKEN],
            label=["whole", "broken"],
        )
        bottom.set_xlabel("predicted probability")
    panels[0, 0].set_ylabel("share of broken necks")
    panels[1, 0].set_ylabel("studies")
    for row in panels:
        row[-1].legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _from_to(n: npt.ArrayLike) -> str:
    low, high = int(np.min(n)), int(np.max(n))
    return str(low) if low == high else f"{low} to {high}"
