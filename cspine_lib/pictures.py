"""The whole pipeline in one picture, drawn from a study."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cspine_lib.anatomy import LEVELS, OVERALL
from cspine_lib.crops import STACK, cut_crops
from cspine_lib.labels import LevelBox
from cspine_lib.plots import INK, LEVEL_COLOUR, draw_level_boxes, show_plane
from cspine_lib.volume import Volume

SHEET_PX, SHEET_FRAMES = 48, 4
"""Side of a crop, and crops per level, on the sheet of crops."""


def pipeline_figure(
    volume: Volume, levels: Mapping[str, LevelBox], probability: Mapping[str, float]
) -> Figure:
    """The pipeline from left to right on one study.

    Args:
        levels: slice range and box of each level.
        probability: of C1–C7 and ``patient_overall``, for the bars at the right end.
    """
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(13, 3.9), layout="constrained")
    axes = figure.subplots(1, 5, width_ratios=[1, 1, 1.15, 0.85, 1])
    x_mid = int(np.median([box.centre_zyx[2] for box in levels.values()]))
    for ax in axes[:2]:
        show_plane(ax, volume, "sagittal", x_mid)
    draw_level_boxes(axes[1], volume, levels)
    axes[2].imshow(_crop_sheet(volume, levels), cmap="gray")
    axes[2].set_yticks([(i + 0.5) * SHEET_PX for i in range(len(levels))], list(levels), fontsize=8)
    axes[2].set_xticks([])
    axes[2].spines[:].set_visible(False)
    axes[2].tick_params(length=0)
    _network_sketch(axes[3])
    probability_bars(axes[4], probability)
    titles = (
        "1  DICOM files → one volume",
        "2  stage 1: levels and boxes",
        "3  crops, a sequence per level",
        "4  stage 2: one network",
        "5  eight probabilities",
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=10)
    return figure


def _crop_sheet(volume: Volume, levels: Mapping[str, LevelBox]) -> npt.NDArray[np.uint8]:
    """A row of crops per level, (levels × 48, 4 × 48)."""
    rows = []
    for box in levels.values():
        crops = cut_crops(
            volume, box, slices=STACK * SHEET_FRAMES, frames=SHEET_FRAMES, px=SHEET_PX
        )
        rows.append(np.concatenate(list(crops[:, STACK // 2]), axis=1))
    return np.concatenate(rows, axis=0)


def _network_sketch(ax: Axes) -> None:
    """Boxes from top to bottom, one per part of the sequence net."""
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    parts = (
        "CNN on each frame",
        "bidirectional LSTM\nover the frames",
        "attention over\nthe frames",
    )
    for i, name in enumerate((*parts, "broken?")):
        y = 0.88 - 0.25 * i
        ax.text(
            0.5, y, name, ha="center", va="center", fontsize=9, color=INK,
            bbox={"boxstyle": "round,pad=0.45", "facecolor": "#F2F2F2", "edgecolor": INK},
        )  # fmt: skip
        if i:
            arrow = {"arrowstyle": "->", "color": INK}
            ax.annotate("", (0.5, y + 0.085), (0.5, y + 0.165), arrowprops=arrow)


def probability_bars(ax: Axes, probability: Mapping[str, float]) -> None:
    """A horizontal bar per target, C1 on top, in the levels' colours."""
    names = (*LEVELS, OVERALL)
    colours = [LEVEL_COLOUR.get(name, INK) for name in names]
    bars = ax.barh(range(len(names)), [probability[name] for name in names], color=colours)
    ax.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
    ax.set_yticks(range(len(names)), [*LEVELS, "overall"])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12)
    ax.set_xticks([0, 0.5, 1])
