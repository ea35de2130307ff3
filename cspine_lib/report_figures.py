"""Pictures of a report, as bytes: levels on a sagittal view, slices with a level's box."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from cspine_lib.anatomy import LEVELS
from cspine_lib.labels import LevelBox
from cspine_lib.plots import INK, LEVEL_COLOUR, draw_level_boxes, paletted, show_plane
from cspine_lib.volume import Volume, window

AROUND_MM = 40.0
"""Shown around the levels that were found; a whole head would make them small."""
SLICE_PX = 220
COLOURS = 64
BOX_SHARE = 0.62
"""Share of a slice's picture that the longer side of the box takes."""


def sagittal_png(
    volume: Volume, levels: Mapping[str, LevelBox], probability: Mapping[str, float]
) -> bytes:
    """A sagittal view through the middle of the levels, and beside it the strip of levels.

    Args:
        levels: drawn as boxes, and in the strip with the range of their slices.
        probability: printed in the strip.
    """
    figure = Figure(figsize=(7.4, 6.0), dpi=100, layout="constrained", facecolor="white")
    view, strip = figure.subplots(1, 2, width_ratios=[3.2, 1], sharey=True)
    boxes = list(levels.values())
    x = int(np.median([b.centre_zyx[2] for b in boxes])) if boxes else volume.shape_zyx[2] // 2
    show_plane(view, volume, "sagittal", min(max(x, 0), volume.shape_zyx[2] - 1), aspect="equal")
    draw_level_boxes(view, volume, levels)
    _limits(view, volume, boxes)
    _strip(strip, volume, levels, probability)
    view.set_title("front ← sagittal view → back", fontsize=11)
    strip.set_title("levels", fontsize=11)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    return paletted(png.getvalue())


def _limits(axes: Axes, volume: Volume, boxes: list[LevelBox]) -> None:
    dz, dy, _ = volume.spacing_zyx_mm
    z, y, _ = volume.shape_zyx
    if not boxes:
        axes.set_ylim(z * dz, 0)
        return
    top, bottom = min(b.z0 for b in boxes) * dz, (max(b.z1 for b in boxes) + 1) * dz
    front, back = min(b.y0 for b in boxes) * dy, max(b.y1 for b in boxes) * dy
    axes.set_xlim(max(front - AROUND_MM, 0), min(back + AROUND_MM, y * dy))
    axes.set_ylim(min(bottom + AROUND_MM, z * dz), max(top - AROUND_MM, 0))


def _strip(
    axes: Axes,
    volume: Volume,
    levels: Mapping[str, LevelBox],
    probability: Mapping[str, float],
) -> None:
    """A bar per level over its slices; neighbours overlap, so they alternate."""
    dz = volume.spacing_zyx_mm[0]
    for name, box in levels.items():
        left = LEVELS.index(name) % 2
        bottom, height = (box.z0 - 0.5) * dz, (box.z1 - box.z0 + 1) * dz
        axes.bar(left, height, 0.9, bottom, color=LEVEL_COLOUR[name], edgecolor=INK, linewidth=0.6)
        axes.text(
            left,
            bottom + height / 2,
            f"{name}\n{probability[name]:.2f}",
            ha="center",
            va="center",
            fontsize=10,
            color="black",
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "linewidth": 0},
        )
    axes.set_xlim(-0.6, 1.6)
    axes.set_axis_off()


def slice_png(volume: Volume, z: int, box: LevelBox) -> bytes:
    """An axial slice around a level, in true proportions, with the level's box.

    Args:
        z: native slice; taken to the nearest one that there is.
    """
    plane = volume.hu_zyx[min(max(z, 0), volume.shape_zyx[0] - 1)]
    _, dy, dx = volume.spacing_zyx_mm
    side_mm = max((box.x1 - box.x0) * dx, (box.y1 - box.y0) * dy) / BOX_SHARE
    half_x, half_y = side_mm / 2 / dx, side_mm / 2 / dy
    cx, cy = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    left, top = round(cx - half_x), round(cy - half_y)
    edges = (left, top, round(cx + half_x), round(cy + half_y))
    # Beyond the scan PIL puts black, which is air.
    image = Image.fromarray(window(plane, "bone")).crop(edges)
    width, height = image.size
    picture = image.resize((SLICE_PX, SLICE_PX), Image.Resampling.BILINEAR).convert("RGB")
    corners = [
        ((x - left) * SLICE_PX / width, (y - top) * SLICE_PX / height)
        for x, y in ((box.x0, box.y0), (box.x1, box.y1))
    ]
    ImageDraw.Draw(picture).rectangle(corners, outline=LEVEL_COLOUR[box.level], width=2)
    out = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()
