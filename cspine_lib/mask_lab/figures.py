"""Figures of notebook 03."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cspine_lib import plots
from cspine_lib.anatomy import LEVELS, MASK_VALUE, N_LEVELS
from cspine_lib.labels import evenly_spaced, slice_range, spine_boxes, true_levels
from cspine_lib.mask_lab.scores import BOX_WAYS, slice_boxes
from cspine_lib.volume import Volume

Mask = npt.NDArray[np.integer]
Visible = npt.NDArray[np.bool_]
MARGIN_MM = 12.0
WARNING = "#D55E00"


def cut(
    axes: Axes, volume: Volume, mask_zyx: Mask, plane: str, index: int, *, zoom: bool = False
) -> None:
    """One plane of a volume in mm with the mask over it.

    Args:
        plane: a key of ``plots.PLANES``.
        zoom: show the surroundings of C1–C7 only (of all slices, so that views compare).
    """
    axis = plots.PLANES[plane]
    plots.show_plane(axes, volume, plane, index, label_mm=True)
    down, right = (s for i, s in enumerate(volume.spacing_zyx_mm) if i != axis)
    plots.show_mask(axes, np.take(mask_zyx, index, axis=axis), (down, right))
    bone = np.any((mask_zyx >= 1) & (mask_zyx <= N_LEVELS), axis=(axis,))
    if zoom and bone.any():
        rows, columns = (np.flatnonzero(np.any(bone, axis=(a,)))[[0, -1]] for a in (1, 0))
        left, end = columns * right + np.array([-MARGIN_MM, MARGIN_MM])
        top, bottom = rows * down + np.array([-MARGIN_MM, MARGIN_MM])
        axes.set(xlim=(left, end), ylim=(bottom, top))


def middle_x(mask_zyx: Mask) -> int:
    """The column (sagittal plane) that cuts most of C1–C7."""
    return int(((mask_zyx >= 1) & (mask_zyx <= N_LEVELS)).sum(axis=(0, 1)).argmax())


def area_figure(
    areas_px: npt.NDArray[np.integer],
    spacing_zyx_mm: tuple[float, float, float],
    thin: Visible,
    thick: Visible,
    names: tuple[str, str],
) -> Figure:
    """Area of each level along the neck, and its range by two rules.

    Args:
        areas_px: (Z, 7).
        thin, thick: (Z, 7), which levels a slice shows by either rule.
        names: of the two rules.
    """
    dz, dy, dx = spacing_zyx_mm
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 4.6), sharex=True, layout="constrained")
    for i, level in enumerate(LEVELS):
        colour = plots.LEVEL_COLOUR[level]
        along = np.arange(len(areas_px)) * dz
        top.plot(along, areas_px[:, i] * dy * dx / 100, color=colour, lw=2, label=level)
        for seen, width in ((thin, 3), (thick, 9)):
            if seen[:, i].any():
                ends = np.array(slice_range(seen[:, i])) * dz
                bottom.plot(ends, [i, i], color=colour, lw=width, solid_capstyle="butt")
    top.set_ylabel("bone in the slice, cm²")
    top.set_ylim(0, top.get_ylim()[1] * 1.25)
    top.legend(ncols=N_LEVELS, loc="upper center", fontsize=8)
    label = f"range of each level\nthin: {names[0]}, thick: {names[1]}"
    bottom.set(xlabel=plots.AXIS_MM[0], ylabel=label)
    bottom.set_yticks(range(N_LEVELS), LEVELS)
    bottom.invert_yaxis()
    return figure


def frames_figure(
    areas_px: npt.NDArray[np.integer], dz_mm: float, rules: Mapping[str, Visible], frames: int
) -> Figure:
    """Where the evenly spaced frames of each level fall, and where another level has more bone.

    Args:
        areas_px: (Z, 20), voxels of each mask value.
        rules: name → (Z, 7), which levels a slice shows.
    """
    figure, panels = plt.subplots(
        1, len(rules), figsize=(9, 2.8), sharey=True, layout="constrained", squeeze=False
    )
    for axes, (name, seen) in zip(panels[0], rules.items(), strict=True):
        for i in np.flatnonzero(seen.any(axis=0)).tolist():
            z0, z1 = slice_range(seen[:, i])
            zs = z0 + evenly_spaced(z1 - z0 + 1, frames)
            own = areas_px[zs, 1:].argmax(axis=1) == i
            for chosen, mark, size, colour in (
                (own, "|", 120, plots.INK),
                (~own, "x", 24, WARNING),
            ):
                at = np.full(chosen.sum(), i)
                axes.scatter(zs[chosen] * dz_mm, at, marker=mark, s=size, color=colour)
        axes.set(xlabel=plots.AXIS_MM[0], title=f"{frames} frames per level, {name}")
    first = panels[0, 0]
    first.set(ylabel="level")
    first.set_yticks(range(N_LEVELS), LEVELS)
    first.invert_yaxis()
    marks: list[Any] = [
        plt.Line2D([], [], ls="", marker=m, color=c) for m, c in (("|", plots.INK), ("x", WARNING))
    ]
    first.legend(marks, ["has most bone", "another has more"], fontsize=8, loc="upper right")
    return figure


def boxes_figure(volume: Volume, mask_zyx: Mask, level: str) -> Figure:
    """Three slices of a level with the three kinds of boxes."""
    whole = true_levels(mask_zyx)[level]
    _, dy, dx = volume.spacing_zyx_mm
    spine, own = spine_boxes(mask_zyx), slice_boxes(mask_zyx, MASK_VALUE[level])
    styles = (("-", 1.2), (":", 2.0), ("--", 1.6))
    figure, panels = plt.subplots(1, 3, figsize=(7.6, 2.9), layout="constrained")
    chosen = np.linspace(whole.z0, whole.z1, 5).astype(int)[1:4].tolist()
    for axes, z in zip(panels, chosen, strict=True):
        cut(axes, volume, mask_zyx, "axial", z, zoom=True)
        boxes = (spine[z], own[z], np.array(whole.box_px))
        for box, (style, width) in zip(boxes, styles, strict=True):
            x0, y0, x1, y1 = (box * [dx, dy, dx, dy]).tolist()
            axes.add_patch(
                plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="w", ls=style, lw=width)
            )
        axes.set_title(f"{level}, slice {z}", fontsize=10)
    handles = [
        plt.Line2D([], [], color="k", ls=style, label=way)
        for (style, _), way in zip(styles, BOX_WAYS, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
