"""Graders of notebook 04: mm per voxel, a turn in mm, the weights behind a flattened cube."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cspine_lib.checks.base import Array, Mistakes, Verdict, agrees, answer, diagnosis

POOLINGS = 3


def cube_voxel_mm(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(shape_zyx, spacing_zyx_mm, side)`` → (3,) mm per voxel of a cube (04)."""
    for shape, spacing, side in _voxel_cases():
        got, failure = answer(fn, shape, spacing, side)
        if failure is not None:
            return failure
        # The distance between the outer faces of the study, shared out evenly.
        faces = [np.linspace(0.0, n * s, side + 1) for n, s in zip(shape, spacing, strict=True)]
        want = np.array([edge[1] - edge[0] for edge in faces])
        if not agrees(got, want):
            note = f"for {shape} voxels of {_times(spacing)} mm as a cube of {side}: "
            return diagnosis(got, want, _VOXEL_MISTAKES, (shape, spacing, side), note=note)
    return Verdict(True, "the extent in mm stays, the number of voxels changes: extent / side.")


def _times(values: Any) -> str:
    return " × ".join(f"{v:g}" for v in values)


def _voxel_cases() -> list[tuple[Any, Any, int]]:
    """A usual scan, one that is no square, one that grows, one of a single slice, random ones."""
    rng = np.random.default_rng(4)
    cases: list[tuple[Any, Any, int]] = [
        ((314, 512, 512), (0.8, 0.4, 0.4), 224),
        ((90, 512, 640), (3.0, 0.45, 0.36), 64),
        ((40, 100, 100), (2.5, 1.0, 1.0), 128),
        ((1, 50, 60), (5.0, 0.5, 0.7), 32),
        ((64, 64, 64), (1.5, 0.6, 0.7), 64),
    ]
    for _ in range(6):
        shape = tuple(int(n) for n in rng.integers(20, 900, 3))
        spacing = tuple(float(s) for s in rng.uniform(0.2, 3.5, 3).round(3))
        cases.append((shape, spacing, int(rng.integers(8, 300))))
    return cases


def _a(values: Any) -> Array:
    return np.asarray(values, dtype=np.float64)


_VOXEL_MISTAKES: Mistakes = [
    (lambda n, s, m: _a(s), "this is the spacing of the scan: a cube has other voxels."),
    (
        lambda n, s, m: m / (_a(n) * _a(s)),
        "those are voxels per mm; turn the fraction over.",
    ),
    (
        lambda n, s, m: _a(s) * m / _a(n),
        "the fraction is upside down: fewer voxels for the same extent are larger, "
        "so spacing × shape / side.",
    ),
    (
        lambda n, s, m: _a(n) * _a(s),
        "this is the extent in mm; share it among the voxels of a side.",
    ),
    (
        lambda n, s, m: _a(n) / m,
        "this is native voxels per voxel of the cube; times the spacing it would be mm.",
    ),
    (lambda n, s, m: _a(s) / m, "the shape is missing: a side covers n × spacing mm."),
    (
        lambda n, s, m: (_a(n) - 1) * _a(s) / (m - 1),
        "you took the distance between the outermost voxel centres. A voxel has a size: "
        "n voxels cover n × spacing, from face to face.",
    ),
    (
        lambda n, s, m: _a(n) * _a(s) / (m - 1),
        "a side of m voxels has m of them, not m − 1.",
    ),
    (
        lambda n, s, m: (_a(n) // m) * _a(s),
        "// drops the remainder: 512 // 224 is 2, not 2.29. Use /.",
    ),
    (
        lambda n, s, m: (_a(n) * _a(s) / m)[::-1],
        "the order is x, y, z; the arguments are z, y, x, and so is the answer.",
    ),
    (
        lambda n, s, m: (_a(n) * _a(s) / m)[[0, 1, 1]],
        "you took rows for columns: a slice need not be a square, each axis has its own.",
    ),
    (
        lambda n, s, m: np.full(3, (_a(n) * _a(s)).max() / m),
        "a cube of voxels is no cube in mm: each axis is stretched by itself.",
    ),
    (
        lambda n, s, m: np.prod(_a(n) * _a(s) / m),
        "this is the volume of a voxel; three lengths are asked for.",
    ),
]


# --- a turn in mm ----------------------------------------------------------------------------


def turn_in_mm(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(rotation, size_xyz_mm)`` → (3, 3) matrix for ``affine_grid``, S⁻¹ R S (04)."""
    for rotation, size in _turn_cases():
        got, failure = answer(fn, rotation, size)
        if failure is not None:
            return failure
        # Column by column: a step along an axis of the cube, in mm, turned, in cube units.
        want = np.empty((3, 3))
        for axis in range(3):
            step = [float(size[axis]) / 2 if k == axis else 0.0 for k in range(3)]
            turned = [sum(rotation[row, k] * step[k] for k in range(3)) for row in range(3)]
            want[:, axis] = [t / (float(size[row]) / 2) for row, t in enumerate(turned)]
        if not agrees(got, want):
            note = f"for a cube of {_times(size)} mm: "
            return diagnosis(got, want, _TURN_MISTAKES, (rotation, size), note=note)
    return Verdict(True, "to mm, turn, and back: lengths and angles survive in the patient.")


def _turn_cases() -> list[tuple[Array, Array]]:
    """One turn in the axial and one in the sagittal plane, then any."""
    rng = np.random.default_rng(40)
    cos, sin = np.cos(0.3), np.sin(0.3)
    axial = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    sagittal = np.array([[1.0, 0, 0], [0, cos, -sin], [0, sin, cos]])
    cases = [(sagittal, np.array([80.0, 100.0, 150.0])), (axial, np.array([150.0, 120.0, 260.0]))]
    for _ in range(5):
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        cases.append((q * np.sign(np.linalg.det(q)), rng.uniform(60, 300, 3).round(1)))
    return [*cases, (np.eye(3), np.array([90.0, 70.0, 50.0]))]


def _inverse(size: Array) -> Array:
    return np.diag(1 / _a(size))


_TURN_MISTAKES: Mistakes = [
    (
        lambda r, s: r,
        "this turns the array: right for a cube in mm only. Go to mm first, and back after.",
    ),
    (
        lambda r, s: np.diag(s) @ r @ _inverse(s),
        "the order is reversed: a point comes in cube units, so S comes first, and that is "
        "on the right: S⁻¹ R S.",
    ),
    (lambda r, s: r @ np.diag(s), "the way back is missing: divide by the size after the turn."),
    (lambda r, s: _inverse(s) @ r, "the way to mm is missing: multiply by the size before."),
    (lambda r, s: np.diag(s) @ r, "S belongs on the right, and S⁻¹ on the left: S⁻¹ R S."),
    (lambda r, s: r @ _inverse(s), "S belongs on the right, and S⁻¹ on the left: S⁻¹ R S."),
    (
        lambda r, s: _inverse(s) @ r.T @ np.diag(s),
        "you transposed the rotation, so that it turns the other way.",
    ),
    (
        lambda r, s: np.diag(s) @ r @ np.diag(s),
        "S stands on both sides; on the left it must be its inverse.",
    ),
    (
        lambda r, s: _inverse(s[::-1]) @ r @ np.diag(s[::-1]),
        "the size was turned to z, y, x; affine_grid and this rotation have x first.",
    ),
    (
        lambda r, s: r * s / s.max(),
        "a share of the largest side is no way back: divide each row by its own size.",
    ),
    (lambda r, s: r * s * (1 / s), "size and its inverse meet and cancel: use rows and columns."),
]


# --- the flattened head ----------------------------------------------------------------------


def head_weights(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(shape_zyx, channels, hidden)``: weights of the first full layer (04).

    Three blocks, each halving every axis, then flattened into ``hidden`` outputs, with biases.
    """
    for shape, channels, hidden in _head_cases():
        got, failure = answer(fn, shape, channels, hidden)
        if failure is not None:
            return failure
        cells = 1
        for n in shape:
            for _ in range(POOLINGS):
                n = len(range(0, n - 1, 2))  # pairs of neighbours; a last single one is dropped
            cells *= n
        want = np.array(float(cells) * channels * hidden + hidden)
        if got.shape != () or float(got) != want:  # a count is exact
            note = f"for {shape}, {channels} channels, {hidden} hidden: "
            return diagnosis(got, want, _HEAD_MISTAKES, (shape, channels, hidden), note=note)
    return Verdict(True, "an eighth of each side, times channels, times outputs, and the biases.")


def _head_cases() -> list[tuple[tuple[int, int, int], int, int]]:
    """The deck's cube, a laptop's, one that is no cube, sides that leave a remainder."""
    rng = np.random.default_rng(44)
    # The small ones first: among millions of weights a few biases would not be seen.
    cases = [((30, 45, 17), 8, 5), ((15, 8, 31), 3, 1), ((96, 80, 80), 32, 16)]
    cases += [((64, 64, 64), 64, 128), ((224, 224, 224), 64, 128)]
    for _ in range(5):
        z, y, x = (int(n) for n in rng.integers(8, 130, 3))
        cases.append(((z, y, x), int(rng.integers(1, 70)), int(rng.integers(1, 200))))
    return cases


def _dense(sides: Any, channels: int, hidden: int, bias: int = 1) -> Any:
    return float(np.prod(_a(sides))) * channels * hidden + bias * hidden


_HEAD_MISTAKES: Mistakes = [
    (
        lambda n, c, h: _dense(_a(n) // 8, c, h, 0),
        "the biases are missing: one for each output.",
    ),
    (
        lambda n, c, h: _dense(_a(n) // 8, c, h, 0) + 1,
        "there is a bias for each output, not one for all.",
    ),
    (
        lambda n, c, h: _dense(_a(n) // 8, c, 1, 0),
        "this is the length of the flattened features; each of them is joined to each output.",
    ),
    (
        lambda n, c, h: _dense(n, c, h),
        "the poolings are missing: each block halves every axis, and there are three.",
    ),
    (
        lambda n, c, h: _dense(_a(n) // 2, c, h),
        "you pooled once; there are three blocks, each with a pooling.",
    ),
    (
        lambda n, c, h: _dense(_a(n) // 3, c, h),
        "three poolings halve three times, 2 × 2 × 2 = 8; you divided by 3.",
    ),
    (
        lambda n, c, h: _dense(_a(n) // 6, c, h),
        "three poolings halve three times, 2 × 2 × 2 = 8; you divided by 2 + 2 + 2.",
    ),
    (
        lambda n, c, h: float(np.prod(_a(n)) // 8) * c * h + h,
        "every axis shrinks by 8, so the volume shrinks by 8 × 8 × 8 = 512, not by 8.",
    ),
    (
        lambda n, c, h: _dense(_a(n) / 8, c, h),
        "a pooling cannot make half a cell: what is left over at the end is dropped (//).",
    ),
    (
        lambda n, c, h: float(np.prod(_a(n)) // 512) * c * h + h,
        "each axis drops its own remainder: divide the sides, then multiply.",
    ),
    (
        lambda n, c, h: _dense(np.ceil(_a(n) / 8), c, h),
        "MaxPool3d(2) rounds down: a single last voxel is dropped.",
    ),
    (
        lambda n, c, h: _dense(np.round(_a(n) / 8), c, h),
        "MaxPool3d(2) rounds down: a single last voxel is dropped.",
    ),
    (
        lambda n, c, h: _dense(_a(n) // 8, 1, h),
        "the channels are missing: each cell of the map holds that many numbers.",
    ),
    (
        lambda n, c, h: _dense([n[0] // 8] * 3, c, h),
        "you took the first side for all: a study need not be a cube.",
    ),
]
