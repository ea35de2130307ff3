"""The picture that stands for the viewer where nothing can be moved: nbval, GitHub, print."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cspine_lib.anatomy import LEVELS, OVERALL
from cspine_lib.plots import (
    LEVEL_COLOUR,
    PLANES,
    draw_level_boxes,
    label_plane,
    probability_bars,
    show_mask,
    show_plane,
)
from cspine_lib.viewer.study import ViewedStudy

BOX_COLOUR = "#D55E00"
STRIP = 6
"""Axial slices below the three planes."""


def plane_panel(
    axes: Axes,
    study: ViewedStudy,
    plane: str,
    at_zyx: tuple[int, int, int],
    *,
    window: str = "bone",
    mask: bool = True,
    boxes: bool = True,
    cross: bool = True,
) -> None:
    """One of the three linked planes through a voxel, with its overlays."""
    axis = PLANES[plane]
    index = at_zyx[axis]
    spacing = study.volume.spacing_zyx_mm
    show_plane(axes, study.volume, plane, index, window)
    down, right = (i for i in range(3) if i != axis)
    if mask and study.mask_zyx is not None:
        cut = np.take(study.mask_zyx, index, axis=axis)
        show_mask(axes, cut, (spacing[down], spacing[right]), alpha=0.35)
    if boxes and plane == "axial":
        _draw_boxes(axes, study, index)
    if boxes and plane == "sagittal":
        draw_level_boxes(axes, study.volume, study.levels)
    if cross:
        for line, i in ((axes.axhline, down), (axes.axvline, right)):
            line(at_zyx[i] * spacing[i], color="white", linewidth=0.7, alpha=0.6)


def _draw_boxes(axes: Axes, study: ViewedStudy, z: int) -> None:
    _, dy, dx = study.volume.spacing_zyx_mm
    for x, y, width, height in study.boxes_at(z):
        corner = (x * dx, y * dy)
        axes.add_patch(
            Rectangle(corner, width * dx, height * dy, fill=False, ec=BOX_COLOUR, lw=1.6)
        )


def still_figure(study: ViewedStudy, window: str = "bone") -> Figure:
    """Three planes through the point of interest, a strip of slices, and what is known."""
    at = study.start_zyx
    figure = Figure(figsize=(10, 6.4), dpi=68, layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 1, height_ratios=[2.1, 1])
    with_bars = bool(study.probability)
    top = grid[0].subgridspec(1, 3 + with_bars, width_ratios=[1, 1, 1] + [0.7] * with_bars)
    for i, plane in enumerate(PLANES):
        axes = figure.add_subplot(top[i])
        plane_panel(axes, study, plane, at, window=window)
        label_plane(axes, plane)
        axes.set_title(f"{plane}, index {at[PLANES[plane]]}", fontsize=10)
    if with_bars:
        probability_bars(figure.add_subplot(top[3]), study.probability)
    _strip(figure, grid[1].subgridspec(1, STRIP), study, window)
    _legend(figure, study)
    figure.suptitle(study.title, fontsize=11)
    return figure


def _strip(figure: Figure, cells: Any, study: ViewedStudy, window: str) -> None:
    """Axial slices spread over the cervical levels, or over the whole scan."""
    known = [centre[0] for centre in study.centres_zyx.values()]
    low, high = (min(known), max(known)) if len(known) > 1 else (0, study.volume.shape_zyx[0] - 1)
    for i, z in enumerate(np.linspace(low, high, STRIP).round().astype(int)):
        axes = figure.add_subplot(cells[i])
        plane_panel(axes, study, "axial", (int(z), 0, 0), window=window, cross=False)
        axes.set_title(f"axial {z}", fontsize=9)


def _legend(figure: Figure, study: ViewedStudy) -> None:
    from matplotlib.lines import Line2D

    handles = []
    if study.mask_zyx is not None:
        handles = [
            Line2D([], [], color=LEVEL_COLOUR[level], lw=5, label=level)
            for level in LEVELS
            if level in study.centres_zyx
        ]
    if study.has_boxes:
        handles.append(Line2D([], [], color=BOX_COLOUR, lw=1.6, label="fracture box"))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=8, fontsize=9)


def still_png(study: ViewedStudy, window: str = "bone") -> bytes:
    """The still as a PNG file of 256 colours, a third of the size of a full one."""
    from PIL import Image

    full, small = io.BytesIO(), io.BytesIO()
    still_figure(study, window).savefig(full, format="png")
    picture = (
        Image.open(full)
        .convert("RGB")
        .quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


def in_words(study: ViewedStudy) -> str:
    """The still for those who read text only."""
    parts = [repr(study.volume)]
    if study.mask_zyx is not None:
        parts.append(f"mask of {', '.join(study.centres_zyx) or 'no cervical level'}")
    if study.boxes is not None and len(study.boxes):
        parts.append(f"{len(study.boxes)} fracture boxes")
    parts += [
        f"{name.replace(OVERALL, 'overall')} {study.probability[name]:.2f}"
        for name in (*LEVELS, OVERALL)
        if name in study.probability
    ]
    return "; ".join(parts)


__all__ = ["BOX_COLOUR", "in_words", "plane_panel", "still_figure", "still_png"]
