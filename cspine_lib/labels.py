"""Masks → levels per slice, boxes, evenly spaced frames: what stage 1 learns from.

The deck's recipe ("Proposed method", data preparation): a slice shows a level if at
least one of its pixels carries the level's mask value, the box is the extent of the
cervical vertebrae in the slice, and 24 evenly spaced slices stand for a level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import LEVELS, MASK_VALUE, N_LEVELS
from cspine_lib.errors import CspineError

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class LevelBox:
    """Where one level is: slices ``z0`` to ``z1`` (inclusive) and a box in the axial plane.

    ``x0, y0, x1, y1`` are half-open edges in pixels of the native image: a box around
    the single pixel (3, 5) is 3, 5, 4, 6.  ``score`` is 1 for truth, else the mean
    probability of the level over its slices.
    """

    level: str
    z0: int
    z1: int
    x0: float
    y0: float
    x1: float
    y1: float
    score: float = 1.0

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise CspineError(f"unknown level {self.level!r}; known: {', '.join(LEVELS)}")
        if self.z1 < self.z0:
            raise CspineError(f"{self.level}: its last slice {self.z1} is before {self.z0}")
        if not (self.x1 > self.x0 and self.y1 > self.y0):
            raise CspineError(f"{self.level}: its box is empty ({self.box_px})")

    @property
    def box_px(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1."""
        return self.x0, self.y0, self.x1, self.y1

    @property
    def centre_zyx(self) -> tuple[float, float, float]:
        """Centre as a fractional voxel index (voxel centres are whole numbers)."""
        y, x = (self.y0 + self.y1 - 1) / 2, (self.x0 + self.x1 - 1) / 2
        return (self.z0 + self.z1) / 2, y, x

    def moved(self, dx_px: float, dy_px: float) -> LevelBox:
        """The same box further right and down in the image."""
        return replace(
            self,
            x0=self.x0 + dx_px,
            x1=self.x1 + dx_px,
            y0=self.y0 + dy_px,
            y1=self.y1 + dy_px,
        )

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON; ``LevelBox(**d)`` reads it back."""
        return asdict(self)


def levels_from_json(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, LevelBox]:
    """What ``{level: box.to_dict()}`` became in a JSON file → level boxes."""
    return {level: LevelBox(**row) for level, row in rows.items()}


def level_areas(mask_zyx: npt.ArrayLike) -> IntArray:
    """(Z, 7) voxels of C1–C7 in each slice; other mask values are ignored."""
    mask = _three_axes(mask_zyx)
    out = np.zeros((len(mask), N_LEVELS), dtype=np.intp)
    for z, plane in enumerate(mask):
        out[z] = np.bincount(plane.ravel(), minlength=N_LEVELS + 1)[1 : N_LEVELS + 1]
    return out


def visible_levels(
    mask_zyx: npt.ArrayLike, min_voxels: int = 1, *, min_share: float = 0.0
) -> BoolArray:
    """Which of C1–C7 each slice shows.

    Args:
        mask_zyx: (Z, Y, X) whole numbers, 1–7 for C1–C7; other values are ignored.
        min_voxels: a slice shows a level from this many of its voxels on (deck: 1).
        min_share: and from this share of the level's area in the slice with most of it
            (notebook 03; the deck has no such rule: 0).

    Returns:
        (Z, 7) bool.

    Raises:
        CspineError: no mask of three axes, or a share outside 0 to 1.
    """
    if not 0 <= min_share <= 1:
        raise CspineError(f"a share runs from 0 to 1, got {min_share}")
    areas = level_areas(mask_zyx)
    least = np.maximum(min_voxels, min_share * areas.max(axis=0, initial=0))
    return areas >= least


def slice_range(visible_z: npt.ArrayLike) -> tuple[int, int]:
    """First and last slice (inclusive) that show a level.

    Args:
        visible_z: (Z,) bool, one column of :func:`visible_levels`.

    Raises:
        CspineError: no slice shows it.
    """
    where = np.flatnonzero(np.asarray(visible_z))
    if not where.size:
        raise CspineError("no slice shows this level: ask visible_levels first")
    return int(where[0]), int(where[-1])


def evenly_spaced(n: int, k: int) -> IntArray:
    """``k`` evenly spaced whole indices into ``n`` items, first and last included.

    The deck's example: 47 slices, 24 wanted → 0, 2, 4, …, 46.  Where ``n < k`` indices
    repeat.  Halves round up, so that neither platform nor parity matters.

    Raises:
        CspineError: ``n`` or ``k`` below 1.
    """
    if n < 1 or k < 1:
        raise CspineError(f"cannot choose {k} of {n} slices")
    if k == 1:
        return np.array([(n - 1) // 2], dtype=np.intp)
    # Whole-number arithmetic: floor((i * (n - 1)) / (k - 1) + 1/2).
    i = np.arange(k, dtype=np.intp)
    return (2 * i * (n - 1) + (k - 1)) // (2 * (k - 1))


def spine_boxes(mask_zyx: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Box around all C1–C7 voxels of each slice.

    Returns:
        (Z, 4) half-open edges x0, y0, x1, y1 in px; NaN where a slice shows none.
    """
    mask = _three_axes(mask_zyx)
    out = np.full((len(mask), 4), np.nan)
    for z, plane in enumerate(mask):
        edges = _extent((plane >= 1) & (plane <= N_LEVELS))
        if edges is not None:
            out[z] = edges
    return out


def true_levels(mask_zyx: npt.ArrayLike, *, min_share: float = 0.0) -> dict[str, LevelBox]:
    """Slice range and box of every level in the mask, C1 first; absent levels are left out.

    The box is that of the level's own voxels over all slices of its range.

    Args:
        mask_zyx: (Z, Y, X) whole numbers, 1–7 for C1–C7; other values are ignored.
        min_share: see :func:`visible_levels`.
    """
    mask = _three_axes(mask_zyx)
    visible = visible_levels(mask, min_share=min_share)
    out = {}
    for i, level in enumerate(LEVELS):
        if not visible[:, i].any():
            continue
        z0, z1 = slice_range(visible[:, i])
        voxels = mask[z0 : z1 + 1] == MASK_VALUE[level]
        edges = _extent(voxels.any(axis=0))
        assert edges is not None
        out[level] = LevelBox(level, z0, z1, *edges)
    return out


def _extent(inside_yx: BoolArray) -> tuple[float, float, float, float] | None:
    """Half-open x0, y0, x1, y1 of the true pixels, None if there are none."""
    columns, rows = np.flatnonzero(inside_yx.any(axis=0)), np.flatnonzero(inside_yx.any(axis=1))
    if not columns.size:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _three_axes(mask_zyx: npt.ArrayLike) -> npt.NDArray[Any]:
    mask = np.asarray(mask_zyx)
    if mask.ndim != 3:
        raise CspineError(f"a mask has three axes (z, y, x), got {mask.shape}")
    if not np.issubdtype(mask.dtype, np.integer):
        raise CspineError(f"a mask holds whole numbers, got {mask.dtype}")
    return mask
