"""One level → a sequence of 2.5D crops, cut from the native volume and resized once.

The deck's recipe ("Proposed method", stage 2): 24 evenly spaced slices of a level,
each three of them stacked to one 2.5D image, eight such images to a sequence.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from cspine_lib.anatomy import AIR_HU
from cspine_lib.errors import CspineError
from cspine_lib.labels import LevelBox, evenly_spaced
from cspine_lib.recipes import Crop
from cspine_lib.volume import Volume, window

STACK = 3
"""Slices in one 2.5D image."""

SIDE_FACTOR = 1.15
"""Side of a crop over the longer side of its box: room for an error of stage 1."""

SIDE_MM = (56.0, 80.0)
"""Shortest and longest side of a crop.  C3–C7 are some 50–65 mm across and, with the spinous
process, about as deep (Panjabi et al., Spine 1991;16(8):861–869).  The atlas is wider, some
65–90 mm (Doherty & Heggeness, Spine 1994;19(22):2497–2500): of the widest the tips of the
transverse processes are left out, where fractures are rare, to keep the pixels small."""


def crop_side_mm(box: LevelBox, spacing_zyx_mm: tuple[float, float, float]) -> float:
    """Side in mm of the square crop around a level, without margin."""
    _, dy, dx = spacing_zyx_mm
    longest = max((box.x1 - box.x0) * dx, (box.y1 - box.y0) * dy)
    return float(np.clip(SIDE_FACTOR * longest, *SIDE_MM))


def padded_px(px: int, margin: float) -> int:
    """Pixels on a side of a crop that has ``margin`` around the ``px`` the network sees.

    Even steps, so that the network's view is exactly in the middle.
    """
    if px < 1 or margin < 1.0:
        raise CspineError(f"a crop needs px ≥ 1 and margin ≥ 1, got {px} and {margin}")
    return px + 2 * math.ceil(px * (margin - 1.0) / 2 - 1e-9)


def crop_slices(box: LevelBox, n_slices: int, slices: int) -> npt.NDArray[np.intp]:
    """The evenly spaced slices (``slices``,) of a level, inside a volume of ``n_slices``."""
    z0, z1 = max(box.z0, 0), min(box.z1, n_slices - 1)
    if z1 < z0:
        raise CspineError(
            f"{box.level}: slices {box.z0}–{box.z1} are outside the {n_slices} of the volume"
        )
    return z0 + evenly_spaced(z1 - z0 + 1, slices)


def cut_crops(
    volume: Volume,
    level_box: LevelBox,
    *,
    slices: int = 24,
    frames: int = 8,
    px: int = 64,
    margin: float = 1.0,
    crop: Crop = "box",
    neighbours: bool = True,
) -> npt.NDArray[np.uint8]:
    """Sequence of 2.5D crops of one level.

    Args:
        volume: the study at native resolution.
        level_box: the level's slice range and box, in the volume's voxels.
        slices: evenly spaced slices of the level's range; always 3 × ``frames``.
        frames: 2.5D images in the sequence.
        px: side of what the network sees; it covers :func:`crop_side_mm`.
        margin: 1.15 adds 15% of surroundings at the same mm per pixel, so that a
            shifted or turned view still has data; the result has ``padded_px`` pixels.
        crop: ``box``: around the level; ``centre``: as large, around the middle of the slice;
            ``whole``: the whole slice, the longer side of which fills ``px``.  The slices
            are the level's in all three.
        neighbours: the channels are three slices of the level; else the middle one of the
            three, three times.

    Returns:
        uint8 (frames, 3, S, S) through the bone window, S = ``padded_px(px, margin)``.
        Outside the scan is air.  Each slice is resized once, from native pixels;
        where that shrinks it, a triangle filter averages (no aliasing).

    Raises:
        CspineError: ``slices`` is not 3 × ``frames``, or the level is outside the volume.
    """
    if slices != STACK * frames or frames < 1:
        raise CspineError(f"slices must be {STACK} × frames, got {slices} and {frames}")
    size = padded_px(px, margin)
    edges = crop_field(volume, level_box, px, size, crop)
    chosen = crop_slices(level_box, volume.shape_zyx[0], slices)
    if not neighbours:
        chosen = np.repeat(chosen.reshape(frames, STACK)[:, STACK // 2], STACK)
    planes = {int(z): cut_plane(volume.hu_zyx[z], *edges, size) for z in set(chosen.tolist())}
    return np.stack([planes[int(z)] for z in chosen]).reshape(frames, STACK, size, size)


Edges = tuple[float, float]
"""First and last edge, half-open, in native pixels; may lie outside the image."""


def crop_field(
    volume: Volume, box: LevelBox, px: int, size: int, crop: Crop = "box"
) -> tuple[Edges, Edges]:
    """Edges along x and y of a level's crop.

    Args:
        px: side of what the network sees; it covers :func:`crop_side_mm`.
        size: side of the crop with its margin, at the same mm per pixel.
    """
    (centre_x, centre_y), side_mm = _field(volume, box, crop)
    half_mm = side_mm / 2 * size / px
    _, dy, dx = volume.spacing_zyx_mm
    return (
        (centre_x - half_mm / dx, centre_x + half_mm / dx),
        (centre_y - half_mm / dy, centre_y + half_mm / dy),
    )


def _field(volume: Volume, box: LevelBox, crop: Crop) -> tuple[tuple[float, float], float]:
    """Centre (x, y) in px, and side in mm, of the square that the network sees."""
    _, rows, columns = volume.shape_zyx
    _, dy, dx = volume.spacing_zyx_mm
    if crop == "box":
        centre = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        return centre, crop_side_mm(box, volume.spacing_zyx_mm)
    if crop == "centre":
        return (columns / 2, rows / 2), crop_side_mm(box, volume.spacing_zyx_mm)
    if crop == "whole":
        return (columns / 2, rows / 2), max(columns * dx, rows * dy)
    raise CspineError(f"a crop is box, centre or whole, got {crop!r}")


def cut_plane(
    hu_yx: npt.NDArray[np.int16], edges_x: Edges, edges_y: Edges, size: int
) -> npt.NDArray[np.uint8]:
    """One windowed crop (size, size) between fractional half-open edges, air outside."""
    # One pixel more on each side: the filter reads beyond the last whole pixel.
    x0, y0 = math.floor(edges_x[0]) - 1, math.floor(edges_y[0]) - 1
    x1, y1 = math.ceil(edges_x[1]) + 1, math.ceil(edges_y[1]) + 1
    tile = np.full((y1 - y0, x1 - x0), AIR_HU, dtype=np.int16)
    rows, columns = hu_yx.shape
    top, bottom = max(y0, 0), min(y1, rows)
    left, right = max(x0, 0), min(x1, columns)
    if bottom > top and right > left:
        tile[top - y0 : bottom - y0, left - x0 : right - x0] = hu_yx[top:bottom, left:right]
    region = (edges_x[0] - x0, edges_y[0] - y0, edges_x[1] - x0, edges_y[1] - y0)
    image = Image.fromarray(window(tile, "bone"))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=region))
