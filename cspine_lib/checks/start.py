"""Graders of notebook 00: the display window, a voxel's place in mm, volumes of levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis


def window_hu(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(hu, width, level)``: HU → 8 bits through a display window (notebook 00)."""
    hu = np.array([-1024, -401, -400, 0, 499, 500, 999, 1400, 3071], dtype=np.int16)
    for width, level in ((1800.0, 500.0), (400.0, 40.0)):
        want = _window(hu, width, level)
        got, failure = answer(fn, hu, width, level)
        if failure is not None:
            return failure
        if got.dtype != np.uint8:
            return Verdict(
                False, f"the result is {got.dtype}; an 8-bit image is np.uint8, so convert at last."
            )
        # Rounding down or to the nearest grey are both fine.
        if got.shape == want.shape and np.abs(got.astype(int) - want.astype(int)).max() <= 1:
            continue
        return diagnosis(got, want, _WINDOW_MISTAKES, (hu, width, level), atol=1)
    return Verdict(
        True, "below the window is black, above it white, and the width is spread over 256 greys."
    )


def _window(hu: npt.NDArray[Any], width: float, level: float) -> npt.NDArray[np.uint8]:
    grey = (np.asarray(hu, dtype=np.float64) - (level - width / 2)) / width * 255
    return np.clip(np.round(grey), 0, 255).astype(np.uint8)


def _wrapped(hu: npt.NDArray[Any], width: float, level: float) -> npt.NDArray[np.uint8]:
    grey = (np.asarray(hu, dtype=np.float64) - (level - width / 2)) / width * 255
    return grey.astype(np.int64).astype(np.uint8)


_WINDOW_MISTAKES: Mistakes = [
    (
        _wrapped,
        "the greys wrap around: 256 became 0, so air shines and metal is dark. "
        "Clip to 0 … 255 before you convert.",
    ),
    (
        lambda hu, width, level: _window(hu, width, level + width / 2),
        "you took the level for the lower edge; it is the middle of the window, "
        "so the lower edge is level − width / 2.",
    ),
    (
        lambda hu, width, level: _window(hu, 2 * width, level),
        "your window is twice as wide as asked: it reaches half a width to each side.",
    ),
    (
        lambda hu, width, level: _window(hu, width, level) // 255,
        "the result runs from 0 to 1; an 8-bit image needs 0 to 255.",
    ),
    (
        lambda hu, width, level: 255 - _window(hu, width, level).astype(int),
        "black and white are swapped: bone should be bright.",
    ),
]


# --- a voxel's place -------------------------------------------------------------------------


def voxel_to_mm(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(affine_mm, zyx)``: (4, 4) and a voxel's indices → (3,) LPS mm (notebook 00)."""
    rng = np.random.default_rng(0)
    upright = np.array([[0, 0, 0.4, -90.0], [0, 0.5, 0, -60.0], [-2.0, 0, 0, 150.0], [0, 0, 0, 1]])
    oblique = np.vstack([rng.normal(0, 1, (3, 4)) * [1, 1, 1, 100], [0, 0, 0, 1]])
    for affine in (upright, oblique):
        for zyx in ((3, 5, 7), (0, 0, 0), tuple(int(i) for i in rng.integers(0, 90, 3))):
            got, failure = answer(fn, affine, zyx)
            if failure is not None:
                return failure
            want = [
                sum(affine[row, k] * zyx[k] for k in range(3)) + affine[row, 3] for row in range(3)
            ]
            if not agrees(got, np.array(want), atol=1e-6):
                note = f"for the voxel {zyx}: "
                return diagnosis(got, np.array(want), _PLACE_MISTAKES, (affine, zyx), note=note)
    return Verdict(True, "a rotation, a scale and a shift, in one product.")


def _product(affine: Any, zyx: Any, one: float = 1.0) -> Any:
    return np.asarray(affine) @ [*zyx, one]


_PLACE_MISTAKES: Mistakes = [
    (
        lambda a, v: _product(a, v),
        "there are four numbers; the last is the 1 that carries the shift, leave it out.",
    ),
    (
        lambda a, v: _product(a, v, 0.0)[:3],
        "the shift is missing: the voxel's indices need a 1 after them, not a 0 or nothing.",
    ),
    (
        lambda a, v: _product(a, v[::-1])[:3],
        "you gave x, y, z; this affine takes z, y, x, the order of the array's axes.",
    ),
    (
        lambda a, v: _product(a, v)[:3][::-1],
        "the result is in the order z, y, x; mm in the patient come as x, y, z.",
    ),
    (
        lambda a, v: ([*v, 1.0] @ np.asarray(a))[:3],
        "you multiplied from the left, v @ A; it is A @ v, the voxel is a column.",
    ),
    (
        lambda a, v: np.linalg.solve(a, [*v, 1.0])[:3],
        "you went the other way, from mm to voxels: no inverse is needed here.",
    ),
    (
        lambda a, v: _product(a, v)[:3] * [-1, -1, 1],
        "x and y have the wrong sign: those are RAS mm (NIfTI), this course's are LPS (DICOM).",
    ),
    (
        lambda a, v: np.abs(np.asarray(a)[:3, :3]).max(axis=0)[::-1] * v[::-1] + a[:3, 3],
        "you took the spacing and lost the directions: z may fall as the index grows.",
    ),
]


# --- volumes of levels -----------------------------------------------------------------------


def level_volumes_ml(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(mask_zyx, spacing_zyx_mm)``: → (7,) millilitres of C1–C7 (notebook 00)."""
    rng = np.random.default_rng(1)
    masks = [rng.integers(0, 20, (9, 14, 11)), rng.integers(0, 6, (5, 8, 6)), np.zeros((3, 4, 5))]
    pitches = ((2.5, 0.4, 0.5), (1.0, 1.0, 1.0), (1.0, 0.3, 0.3))
    for mask, spacing in zip(masks, pitches, strict=True):
        values = mask.astype(np.uint8)
        got, failure = answer(fn, values, spacing)
        if failure is not None:
            return failure
        counts = [sum(int(v) == k for v in values.flat) for k in range(1, N_LEVELS + 1)]
        want = np.array(counts) * (spacing[0] * spacing[1] * spacing[2]) / 1000
        if not agrees(got, want):
            note = f"for voxels of {' × '.join(map(str, spacing))} mm: "
            return diagnosis(got, want, _VOLUME_MISTAKES, (values, spacing), note=note)
    return Verdict(True, "voxels times the volume of one; 1000 mm³ are a millilitre.")


def _counts(mask: Any, first: int = 1, last: int = N_LEVELS) -> Any:
    return np.bincount(np.asarray(mask).ravel(), minlength=20)[first : last + 1].astype(float)


_VOLUME_MISTAKES: Mistakes = [
    (
        lambda m, s: _counts(m),
        "you count voxels; each is a box of spacing mm on its sides, and 1000 mm³ are 1 ml.",
    ),
    (
        lambda m, s: _counts(m) * np.prod(s),
        "those are mm³; a millilitre has 1000 of them.",
    ),
    (
        lambda m, s: _counts(m) / 1000,
        "the volume of a voxel is missing: the product of the three spacings.",
    ),
    (
        lambda m, s: _counts(m) * np.prod(s) / 100,
        "a millilitre is a cubic centimetre: 10 × 10 × 10 mm, so divide by 1000.",
    ),
    (
        lambda m, s: _counts(m) * np.sum(s) / 1000,
        "a voxel's volume is the product of the spacings, not their sum.",
    ),
    (
        lambda m, s: _counts(m) * s[1] * s[2] / 1000,
        "that is an area: the distance between slices is missing.",
    ),
    (
        lambda m, s: _counts(m) * s[0] ** 3 / 1000,
        "the three spacings differ: slices are further apart than pixels.",
    ),
    (
        lambda m, s: _counts(m, 0, 7) * np.prod(s) / 1000,
        "there are eight numbers: value 0 is the background, leave it out.",
    ),
    (
        lambda m, s: _counts(m, 0, 6) * np.prod(s) / 1000,
        "you are off by one: value 0 is the background, C1 is 1.",
    ),
    (
        lambda m, s: _counts(m, 1, 19) * np.prod(s) / 1000,
        "there are more than seven: from 8 on the values are thoracic levels.",
    ),
    (
        lambda m, s: (
            np.array([(m == k).sum() * k for k in range(1, N_LEVELS + 1)]) * np.prod(s) / 1000
        ),
        "you summed the mask's values, so C7 counts seven times: count the voxels instead.",
    ),
]
