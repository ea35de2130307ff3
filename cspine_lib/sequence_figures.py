"""Figures of the chapter on stage 2; what they show is computed elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cspine_lib.labels import LevelBox
from cspine_lib.plots import INK, show_plane
from cspine_lib.volume import Volume

BROKEN, WHOLE, BOX = "#D55E00", "#0072B2", "#E69F00"
PAD_MM = 8.0
LEAST_SHARE = 1e-3
"""Where the colours of shares begin, on a scale of powers of ten."""
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Looked:
    """One level and what the net looked at.

    Attributes:
        z: native slices of each frame, (T, 3).
        weights: of the frames, (T,).
        boxed: native slices with a fracture box.
    """

    title: str
    volume: Volume
    box: LevelBox
    z: npt.NDArray[np.integer]
    weights: Array
    boxed: Sequence[int] = ()


def _subplots(*args: Any, **options: Any) -> tuple[Figure, Any]:
    import matplotlib.pyplot as plt

    return plt.subplots(*args, layout="constrained", **options)


def mark_box(axes: Axes, volume: Volume, box: Any) -> None:
    """A fracture box (a row of ``RsnaDataset.boxes_of``) over a slice that is drawn in mm."""
    _, dy, dx = volume.spacing_zyx_mm
    corner = ((box.x - 0.5) * dx, (box.y - 0.5) * dy)
    size = (box.width * dx, box.height * dy)
    axes.add_patch(Rectangle(corner, *size, fill=False, ec=BROKEN, lw=1.5))


def zoom(axes: Axes, volume: Volume, level: LevelBox, pad_mm: float = PAD_MM) -> None:
    """Show the surroundings of a level in a slice that is drawn in mm."""
    _, dy, dx = volume.spacing_zyx_mm
    axes.set_xlim(level.x0 * dx - pad_mm, level.x1 * dx + pad_mm)
    axes.set_ylim(level.y1 * dy + pad_mm, level.y0 * dy - pad_mm)


def slices_figure(
    volume: Volume, level: LevelBox, boxes: pd.DataFrame, title: str, n: int = 8
) -> Figure:
    """A level from its top to its bottom, fracture boxes drawn in."""
    figure, panels = _subplots(2, n // 2, figsize=(9.4, 5.0))
    z_all = np.linspace(level.z0, level.z1, n).round().astype(int)
    dz = volume.spacing_zyx_mm[0]
    for axes, z in zip(panels.flat, z_all, strict=True):
        show_plane(axes, volume, "axial", int(z), label_mm=True)
        zoom(axes, volume, level)
        for box in boxes[boxes["z"] == z].itertuples():
            mark_box(axes, volume, box)
        colour = BROKEN if (boxes["z"] == z).any() else INK
        axes.set_title(f"{(z - level.z0) * dz:.1f} mm below its top", fontsize=9, color=colour)
        axes.label_outer()
    figure.suptitle(title, fontsize=11)
    return figure


def crops_figure(images: Mapping[str, npt.NDArray[Any]], side_mm: float) -> Figure:
    """Square crops of one place side by side, in mm; a signed one is drawn as a difference."""
    figure, panels = _subplots(1, len(images), figsize=(3.6 * len(images), 3.9), squeeze=False)
    for axes, (title, image) in zip(panels[0], images.items(), strict=True):
        low, high = (-80, 80) if image.min() < 0 else (30, 230)
        axes.imshow(image, vmin=low, vmax=high, cmap="gray", extent=(0, side_mm, side_mm, 0))
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="right → left, mm", ylabel="front → back, mm")
        axes.label_outer()
    return figure


def attention_strip(frames: npt.NDArray[np.uint8], looked: Looked, side_mm: float) -> Figure:
    """The middle image of every frame, and its weight under it.

    Args:
        frames: uint8 (T, 3, px, px), ``side_mm`` wide.
    """
    t_all = len(frames)
    figure, panels = _subplots(
        2, t_all, figsize=(min(1.3 * t_all + 1, 11), 2.9), height_ratios=[3, 1.6],
        sharey="row", squeeze=False,
    )  # fmt: skip
    dz = looked.volume.spacing_zyx_mm[0]
    for t, (top, bottom) in enumerate(panels.T):
        hit = np.isin(looked.z[t], looked.boxed).any()
        top.imshow(frames[t, 1], vmin=30, vmax=230, extent=(0, side_mm, side_mm, 0))
        top.tick_params(labelsize=7)
        at = (looked.z[t] - looked.box.z0) * dz
        colour = BROKEN if hit else INK
        ends = f"{at[0]:.0f}" if f"{at[0]:.0f}" == f"{at[-1]:.0f}" else f"{at[0]:.0f}–{at[-1]:.0f}"
        top.set_title(f"{ends} mm", fontsize=9, color=colour)
        bottom.bar([0], [looked.weights[t]], color=colour)
        bottom.axhline(1 / t_all, color="grey", ls="--", lw=0.8)
        bottom.set(xticks=[], xlim=(-1, 1))
        bottom.set_xlabel(f"frame {t + 1}", fontsize=8)
    panels[0, 0].set_ylabel("front → back, mm", fontsize=8)
    panels[1, 0].set_ylabel("weight", fontsize=8)
    figure.suptitle(looked.title, fontsize=10)
    return figure


def attention_figure(items: Sequence[Looked]) -> Figure:
    """Per level a sagittal cut, and beside it, on the same mm, the weights of its frames."""
    columns = min(3, len(items))
    rows = -(-len(items) // columns)
    figure, panels = _subplots(rows, columns, figsize=(3.7 * columns, 2.2 * rows), squeeze=False)
    # The layout does not count the insets: they need room to the right of each image.
    figure.set_layout_engine("constrained", wspace=0.14)
    for i, axes in enumerate(panels.flat):
        if i < len(items):
            _attention_pair(axes, items[i])
            axes.set_ylabel("head → feet, mm" if i % columns == 0 else "")
        else:
            axes.set_axis_off()
    handles = [
        Rectangle((0, 0), 1, 1, fc=INK, label="weight of a frame"),
        Rectangle((0, 0), 1, 1, fc=BOX, alpha=0.45, label="slices with a fracture box"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _attention_pair(left: Axes, item: Looked) -> None:
    dz, dy, _ = item.volume.spacing_zyx_mm
    box = item.box
    show_plane(left, item.volume, "sagittal", round(box.centre_zyx[2]), label_mm=True)
    top, bottom = (box.z0 - 0.5) * dz, (box.z1 + 0.5) * dz
    left.set_xlim(box.y0 * dy - PAD_MM / 2, box.y1 * dy + PAD_MM / 2)
    left.set_title(item.title, fontsize=10, loc="left")
    # As an inset, the bars keep to the image's height whatever its proportions are.
    right = left.inset_axes((1.09, 0, 0.55, 1))
    for z in sorted(set(item.boxed)):
        right.axhspan((z - 0.5) * dz, (z + 0.5) * dz, color=BOX, alpha=0.45, lw=0)
    middle = item.z.mean(axis=1) * dz  # of the frame's three slices
    right.barh(middle, item.weights, height=0.7 * (bottom - top) / len(item.weights), color=INK)
    right.axvline(1 / len(item.weights), color="grey", ls="--", lw=0.8)
    right.set_xlim(0, max(1.05 * float(item.weights.max()), 2 / len(item.weights)))
    right.set_xlabel("weight")
    right.tick_params(labelsize=8, labelleft=False)
    for axes in (left, right):
        axes.set_ylim(bottom + 4, top - 4)
    for edge in (top, bottom):
        left.axhline(edge, color="white", lw=0.8, ls="--")


def influence_figure(tables: Mapping[str, Array]) -> Figure:
    """Who hears of whom: (T, T) tables of ``sequence_lab.influence``."""
    from matplotlib.colors import LogNorm

    figure, panels = _subplots(1, len(tables), figsize=(4.4 * len(tables), 3.3), squeeze=False)
    for axes, (title, table) in zip(panels[0], tables.items(), strict=True):
        ends = (0.5, len(table) + 0.5)
        image = axes.imshow(
            np.clip(table, LEAST_SHARE, 1),
            cmap="cividis",
            norm=LogNorm(LEAST_SHARE, 1),
            extent=(*ends, *ends[::-1]),
        )
        frames = range(1, len(table) + 1)
        axes.set(xlabel="frame that changes", ylabel="frame taken away", xticks=frames)
        axes.set_yticks(frames)
        axes.set_title(title, fontsize=10)
        figure.colorbar(image, ax=axes, label="share of the change")
    return figure


def agreement_figure(rows: pd.DataFrame) -> Figure:
    """Weight on the frames that show the fracture, level by level, against flat weights."""
    figure, axes = _subplots(figsize=(4.6, 3.7))
    axes.plot([0, 1], [0, 1], color="grey", ls="--", lw=1, label="equal weights")
    axes.plot(rows["flat"], rows["attention"], "o", color=BROKEN, label="a broken level")
    axes.set(
        xlabel="share of its frames with a fracture box",
        ylabel="share of the weight on them",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    axes.legend(loc="lower right")
    return figure


def falls_figure(summaries: Mapping[str, pd.DataFrame]) -> Figure:
    """By rank of the weight: what the logit does when the frame is gone, a panel per measure.

    Args:
        summaries: label of the upright axis → ``rank``, ``value``, ``low``, ``high``.
    """
    figure, panels = _subplots(
        1, len(summaries), figsize=(4.7 * len(summaries), 3.0), squeeze=False
    )
    for axes, (label, table) in zip(panels[0], summaries.items(), strict=True):
        error = np.abs(table[["low", "high"]].to_numpy().T - table["value"].to_numpy())
        axes.bar(table["rank"], table["value"], color=WHOLE, yerr=error, ecolor=INK, capsize=3)
        axes.axhline(0, color=INK, lw=0.8)
        axes.set(
            xlabel="rank of the frame by its weight (1: largest)",
            ylabel=label,
            xticks=table["rank"],
        )
    return figure


def ablation_figure(report: Mapping[str, Any]) -> Figure:
    """Differences to the full model with their intervals, in loss and in AUROC."""
    rows = [row for row in report["variants"] if "loss_minus_full" in row]
    place = np.arange(len(rows))
    figure, panels = _subplots(1, 2, figsize=(9.6, 0.36 * len(rows) + 1.5), sharey=True)
    names = {"loss": "loss minus the full model's", "auroc": "AUROC minus the full model's"}
    for axes, (name, label) in zip(panels, names.items(), strict=True):
        for i, row in enumerate(rows):
            low, high = row[f"{name}_minus_full_ci95"]
            clear = low > 0 or high < 0
            colour = BROKEN if clear else INK
            axes.plot([low, high], [i, i], color=colour, lw=2, solid_capstyle="butt")
            axes.plot(row[f"{name}_minus_full"], i, "o", color=colour, ms=6)
        axes.axvline(0, color="grey", ls="--", lw=1)
        axes.set_xlabel(label)
    for axes, ends in zip(panels, (("← better", "worse →"), ("← worse", "better →")), strict=True):
        for place_of, words in zip(("left", "right"), ends, strict=True):
            axes.set_title(words, loc=place_of, fontsize=9, color=INK)
    panels[0].set_yticks(place, [row["says"] for row in rows])
    panels[0].invert_yaxis()
    handles = [
        panels[1].plot([], [], "o-", color=BROKEN, label="interval without 0")[0],
        panels[1].plot([], [], "o-", color=INK, label="not told apart")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=9)
    return figure
