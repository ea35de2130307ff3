"""Figures of boxes and of headers: RSNA's percentiles beside the data at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cspine_lib.anatomy import STUDY_COLUMN
from cspine_lib.explore.figures import INK, RSNA_COLOUR, paired_bars, panels_of
from cspine_lib.facts import facts, feet_first_share

FULL_SIDE_PX = 512
"""Side of RSNA's images, in which its box sizes were counted."""

SYNTAX_NAME = {
    "1.2.840.10008.1.2": "implicit",
    "1.2.840.10008.1.2.1": "explicit",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless",
}


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
        label="RSNA 2022, percentiles",
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
    figure, (left, middle, right) = panels_of(3, 12, 3.2)
    chosen = dataset_levels[boxed].sum(axis=1)
    others = dataset_levels[~boxed & dataset_levels.any(axis=1)].sum(axis=1)
    most = int(max([1, *chosen, *others]))
    for values, shift, colour, label in (
        (chosen, -0.2, INK, "with boxes"),
        (others, 0.2, "#56B4E9", "broken, without boxes"),
    ):
        share = 100 * np.bincount(values, minlength=most + 1) / max(len(values), 1)
        left.bar(np.arange(most + 1) + shift, share, 0.4, color=colour, label=label)
    left.set(xlabel="broken levels per study", ylabel="share of studies, %")
    left.legend(fontsize=8)
    per_slice = boxes.groupby([STUDY_COLUMN, "slice_number"]).size().clip(upper=3)
    counts = [int((per_slice == k).sum()) for k in (1, 2, 3)]
    rsna_counts = [float(k == facts("boxes")["most_per_boxed_slice"]) for k in (1, 2, 3)]
    ours = np.array(counts) / max(sum(counts), 1)
    paired_bars(middle, ["1", "2", "3 or more"], ours, rsna_counts, name=name, counts=counts)
    middle.set(xlabel="boxes per boxed slice", ylabel="share of boxed slices, %")
    middle.legend(fontsize=8)
    per_study = boxes.groupby(STUDY_COLUMN)["slice_number"].nunique()
    known = facts("boxes")["slices_per_boxed_study_percentiles"]
    ecdf_beside(right, per_study, known, name=name, xlabel="boxed slices per boxed study")
    right.legend(fontsize=8)
    return figure


def box_size_figure(sizes: pd.DataFrame, name: str) -> Figure:
    """Width and height of boxes as a share of the image, RSNA's beside; and in mm, ours only.

    Args:
        sizes: as ``tables.boxed_studies`` gives it.
    """
    figure, panels = panels_of(3, 12, 3.2)
    for axes, side in zip(panels, ("width", "height"), strict=False):
        known = facts("boxes")[f"{side}_px_percentiles"]
        rsna = {p: 100 * v / FULL_SIDE_PX for p, v in known.items()}
        what = f"box {side}, % of the image's {side}"
        ecdf_beside(axes, 100 * sizes[f"{side}_share"], rsna, name=name, xlabel=what)
        axes.set_ylabel("boxes up to this, %")
    panels[0].legend(fontsize=8)
    panels[2].scatter(sizes["width_mm"], sizes["height_mm"], s=8, color=INK, alpha=0.5, lw=0)
    panels[2].set(xlabel="box width, mm", ylabel="box height, mm")
    return figure


def headers_figure(index: pd.DataFrame, name: str) -> Figure:
    """Slices, spacing, order of files, encodings, storage, overlap: from headers alone.

    Args:
        index: as ``index.build_index`` gives it.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    good = index[index["error"] == ""]
    figure, panels = plt.subplots(2, 3, figsize=(12, 6), layout="constrained")
    (slices, spacing, order), (syntax, storage, overlap) = panels
    per_study = facts("slices")
    rsna = {"0": per_study["min"], "100": per_study["max"], "50": per_study["median"]}
    rsna |= {str(p): per_study[f"p{p}"] for p in (5, 25, 75, 95)}
    ecdf_beside(slices, good["slices"], rsna, name=name, xlabel="slices per study")
    slices.legend(fontsize=8)
    ours: dict[str, Any] = {"color": INK, "alpha": 0.6, "linewidth": 0, "s": 14}
    sns.scatterplot(x=good["dx_mm"], y=good["dz_mm"], ax=spacing, **ours)
    spacing.set(xlabel="pixel size, mm", ylabel="slice distance, mm")
    feet = good["feet_first"].eq(True)
    shares = [[1 - f, f] for f in (float(feet.mean()), feet_first_share())]
    counts = [int((~feet).sum()), int(feet.sum())]
    paired_bars(order, ["head → feet", "feet → head"], *shares, name=name, counts=counts)
    order.set(xlabel="how file numbers run", ylabel="share of studies, %")
    order.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    _bars(syntax, good["transfer_syntaxes"].map(_syntax_names), "transfer syntax")
    _bars(storage, good["bits"], "bits and sign of a stored value")
    ratio = (good["thickness_mm"] / good["dz_mm"]).dropna()
    edges = _bins_around(1.0, ratio)
    sns.histplot(x=ratio, ax=overlap, color=INK, bins=edges, alpha=1)
    overlap.axvline(1, color=RSNA_COLOUR, ls="--", label="slices touch")
    overlap.set(xlabel="SliceThickness ÷ slice distance", ylabel="studies")
    overlap.legend(fontsize=8)
    return figure


def _bins_around(middle: float, values: pd.Series) -> list[float]:
    """Edges of bins of which one has ``middle`` in its middle: values just there stay together."""
    if values.empty:
        return [middle - 0.05, middle + 0.05]
    width = max(0.05, float(values.max() - values.min()) / 30)
    first = int(np.floor((values.min() - middle) / width))
    last = int(np.ceil((values.max() - middle) / width))
    return [middle + width * (k - 0.5) for k in range(first, last + 2)]


def _syntax_names(text: str) -> str:
    return " + ".join(SYNTAX_NAME.get(uid, uid) for uid in text.split(", "))


def _bars(axes: Axes, values: pd.Series, xlabel: str) -> None:
    counts = values.value_counts()
    axes.bar(counts.index.astype(str), counts.to_numpy(), 0.6, color=INK)
    for i, n in enumerate(counts):
        axes.text(i, n, f"{n}", ha="center", va="bottom", fontsize=8, color=INK)
    axes.set(xlabel=xlabel, ylabel="studies")
    axes.margins(y=0.12)
