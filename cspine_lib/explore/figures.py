"""Figures of labels, boxes and headers, RSNA's counts beside those of the data at hand.

Ours is drawn dark, RSNA's orange, in every figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cspine_lib.anatomy import LEVELS, STUDY_COLUMN
from cspine_lib.explore.together import joint_counts, ratio_by_distance
from cspine_lib.facts import facts
from cspine_lib.plots import INK

RSNA_COLOUR = "#E69F00"
RSNA_NAME = "RSNA 2022"
FULL_SIDE_PX = 512
"""Side of RSNA's images, in which its box sizes were counted."""

SYNTAX_NAME = {
    "1.2.840.10008.1.2": "implicit",
    "1.2.840.10008.1.2.1": "explicit",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless",
}


def _panels(n: int, width: float, height: float) -> tuple[Figure, npt.NDArray[Any]]:
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
    figure, (left, middle, right) = _panels(3, 12, 3.2)
    sets = (levels, rsna)
    any_broken = [np.array([1 - y.any(axis=1).mean(), y.any(axis=1).mean()]) for y in sets]
    n = int(levels.any(axis=1).sum())
    paired_bars(
        left, ["none broken", "broken"], *any_broken, name=name, counts=[len(levels) - n, n]
    )
    left.set_ylabel("share of studies, %")
    left.legend(loc="lower center", fontsize=8, frameon=True)
    by_level = [y.mean(axis=0) for y in sets]
    paired_bars(middle, LEVELS, *by_level, name=name, counts=levels.sum(axis=0).tolist())
    middle.set(xlabel="level", ylabel="share of studies broken, %")
    most = int(max(y.sum(axis=1).max() for y in sets))
    per_study = [np.bincount(y.sum(axis=1), minlength=most + 1) for y in sets]
    shares = [c / c.sum() for c in per_study]
    names = [str(k) for k in range(most + 1)]
    paired_bars(right, names, *shares, name=name, counts=per_study[0].tolist())
    right.set(xlabel="broken levels per study", ylabel="share of studies, %")
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

    figure, panels = _panels(2, 10, 4.4)
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
    figure, (axes,) = _panels(1, 7, 3.4)
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
    axes.text(6.4, 1, "chance", ha="right", va="bottom", fontsize=8, color=INK)
    axes.set(xlabel="distance between the two levels, levels", ylabel="joint breaks ÷ chance")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def ecdf_beside(
    axes: Axes,
    values: npt.ArrayLike,
    percentiles: Mapping[str, float],
    *,
    name: str,
    xlabel: str,
) -> None:
    """Our values as a cumulative curve, RSNA's known percentiles as points.

    Args:
        percentiles: ``"25": 57.6`` says that 25% of RSNA's values are at most 57.6.
    """
    import seaborn as sns

    sns.ecdfplot(x=np.asarray(values, dtype=np.float64), ax=axes, color=INK, stat="percent")
    axes.lines[-1].set_label(name)
    points = sorted((float(p), v) for p, v in percentiles.items())
    axes.plot(
        [v for _, v in points],
        [p for p, _ in points],
        "o--",
        color=RSNA_COLOUR,
        label=f"{RSNA_NAME}, percentiles",
    )
    axes.set(xlabel=xlabel, ylabel="studies up to this, %")


def boxed_figure(
    dataset_levels: npt.NDArray[np.integer],
    boxed: npt.NDArray[np.bool_],
    boxes: pd.DataFrame,
    name: str,
) -> Figure:
    """Broken levels of the boxed studies, boxes per slice, and boxed slices per study.

    Args:
        dataset_levels: (N, 7) labels of the training studies.
        boxed: (N,) whether a study has boxes.
        boxes: of the whole set.
    """
    figure, (left, middle, right) = _panels(3, 12, 3.2)
    chosen = dataset_levels[boxed].sum(axis=1)
    others = dataset_levels[~boxed & dataset_levels.any(axis=1)].sum(axis=1)
    most = int(max([1, *chosen, *others]))
    for values, shift, colour, label in (
        (chosen, -0.2, INK, "with boxes"),
        (others, 0.2, "#56B4E9", "broken, without boxes"),
    ):
        counts = np.bincount(values, minlength=most + 1)
        share = 100 * counts / max(counts.sum(), 1)
        left.bar(np.arange(most + 1) + shift, share, 0.4, color=colour, label=label)
    left.set(xlabel="broken levels per study", ylabel="share of studies, %")
    left.legend(fontsize=8)
    per_slice = boxes.groupby([STUDY_COLUMN, "slice_number"]).size().value_counts().sort_index()
    middle.bar(per_slice.index.astype(str), per_slice.to_numpy(), 0.5, color=INK)
    middle.set(xlabel="boxes per boxed slice", ylabel="boxed slices")
    per_study = boxes.groupby(STUDY_COLUMN)["slice_number"].nunique()
    rsna = facts("boxes")["slices_per_boxed_study_percentiles"]
    ecdf_beside(right, per_study, rsna, name=name, xlabel="boxed slices per boxed study")
    right.legend(fontsize=8)
    return figure


def box_size_figure(sizes: pd.DataFrame, name: str) -> Figure:
    """Width and height of boxes as a share of the image, RSNA's beside; and in mm, ours only.

    Args:
        sizes: as ``tables.boxed_studies`` gives it.
    """
    figure, panels = _panels(3, 12, 3.2)
    for axes, side in zip(panels, ("width", "height"), strict=False):
        known = facts("boxes")[f"{side}_px_percentiles"]
        rsna = {p: 100 * v / FULL_SIDE_PX for p, v in known.items()}
        what = f"box {side}, % of the image's {side}"
        ecdf_beside(axes, 100 * sizes[f"{side}_share"], rsna, name=name, xlabel=what)
        axes.set_ylabel("boxes up to this, %")
    panels[0].legend(fontsize=8)
    panels[2].scatter(sizes["width_mm"], sizes["height_mm"], s=8, color=INK, alpha=0.5, lw=0)
    panels[2].set(xlabel="box width, mm", ylabel="box height, mm")
    panels[2].set_title(f"{name} (RSNA's mm are not known)", fontsize=10)
    return figure


def headers_figure(index: pd.DataFrame, name: str) -> Figure:
    """Slices per study, spacing, encodings and storage, from the headers of a whole set.

    Args:
        index: as ``index.build_index`` gives it.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    good = index[index["error"] == ""]
    figure, panels = plt.subplots(2, 2, figsize=(10, 6.2), layout="constrained")
    (slices, spacing), (syntax, storage) = panels
    per_study = facts("slices")
    rsna = {"0": per_study["min"], "100": per_study["max"], "50": per_study["median"]}
    rsna |= {str(p): per_study[f"p{p}"] for p in (5, 25, 75, 95)}
    ecdf_beside(slices, good["slices"], rsna, name=name, xlabel="slices per study")
    slices.legend(fontsize=8)
    sns.scatterplot(
        x=good["dx_mm"], y=good["dz_mm"], ax=spacing, color=INK, s=14, alpha=0.6, linewidth=0
    )
    spacing.set(xlabel="pixel size, mm", ylabel="slice distance, mm")
    _bars(syntax, good["transfer_syntaxes"].map(_syntax_names), "transfer syntax")
    _bars(storage, good["bits"], "bits and sign of a stored value")
    return figure


def _syntax_names(text: str) -> str:
    return " + ".join(SYNTAX_NAME.get(uid, uid) for uid in text.split(", "))


def _bars(axes: Axes, values: pd.Series, xlabel: str) -> None:
    counts = values.value_counts()
    axes.bar(counts.index.astype(str), counts.to_numpy(), 0.6, color=INK)
    for i, n in enumerate(counts):
        axes.text(i, n, f"{n}", ha="center", va="bottom", fontsize=8, color=INK)
    axes.set(xlabel=xlabel, ylabel="studies")
    axes.margins(y=0.12)
