"""Grader of notebook 03: a mask laid onto the image by the affines."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from cspine_lib.checks.base import Array, Mistakes, Verdict, agrees, answer, diagnosis


def align_mask(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(values_ijk, affine_ras, shape_zyx, affine_lps)`` → (Z, Y, X) mask (03)."""
    for case in _align_cases():
        want = _aligned(*case)
        got, failure = answer(fn, *case)
        if failure is not None:
            return failure
        if not agrees(got, want):
            return diagnosis(got, want, _ALIGN_MISTAKES, case, note=_told(case))
    return Verdict(True, "every axis order, direction and offset that was tried lands in place.")


def _told(case: tuple[Any, ...]) -> str:
    values, affine, shape = case[:3]
    return f"for a {_codes(affine)} mask of {values.shape} and an image of {tuple(shape)}: "


def _codes(affine_ras: Array) -> str:
    axes = affine_ras[:3, :3]
    world = np.abs(axes).argmax(axis=0)
    return "".join("LPIRAS"[w + 3 * int(axes[w, i] > 0)] for i, w in enumerate(world))


def _align_cases() -> list[tuple[Array, Array, tuple[int, int, int], Array]]:
    """The usual order first, then others at random: unequal sizes and spacings, any offset."""
    rng = np.random.default_rng(3)
    turns = [((2, 1, 0), (-1, -1, 1)), ((2, 1, 0), (1, 1, -1)), ((2, 1, 0), (-1, 1, -1))]
    all_turns = list(
        itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
    )
    turns += [all_turns[i] for i in rng.permutation(len(all_turns))[:14]]
    cases = []
    for i, (order, signs) in enumerate(turns):
        shape = tuple(int(n) for n in rng.permutation([5, 7, 9]))
        affine_lps = np.zeros((4, 4))
        dz, dy, dx = rng.uniform(0.3, 2.5, 3)
        affine_lps[2, 0], affine_lps[1, 1], affine_lps[0, 2], affine_lps[3, 3] = -dz, dy, dx, 1
        affine_lps[:3, 3] = rng.uniform(-200, 200, 3)
        short = int(i >= 10)  # later masks begin one slice further down and have one less
        size = (shape[0] - short, shape[1], shape[2])
        to_image = _placing(order, signs, size, short)
        affine_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps @ to_image
        # Headers are rounded: a voxel lands near a voxel's centre, seldom right on it.
        affine_ras[:3, 3] += rng.uniform(0.01, 0.04, 3) * rng.choice([-1, 1], 3) * min(dz, dy, dx)
        values = rng.integers(0, 20, [size[order.index(a)] for a in range(3)]).astype(np.uint8)
        cases.append((values, affine_ras, shape, affine_lps))
    return cases  # type: ignore[return-value]


def _placing(
    order: tuple[int, ...], signs: tuple[int, ...], size: tuple[int, ...], first: int
) -> Array:
    """(4, 4) mask voxel → image voxel: image axis r is mask axis ``order[r]``, turned round
    where the sign is −1."""
    out = np.zeros((4, 4))
    out[3, 3] = 1
    for row, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        out[row, axis] = sign
        out[row, 3] = 0 if sign > 0 else size[row] - 1
    out[0, 3] += first
    return out


def _scattered(
    values: Array, to_image: Array, shape: tuple[int, ...], rounding: Callable[..., Any] = np.rint
) -> Array:
    """Every voxel put where a (4, 4) map sends it; those that fall outside are dropped."""
    index = np.indices(values.shape).reshape(3, -1)
    landed = rounding(to_image[:3, :3] @ index + to_image[:3, 3:]).astype(int)
    inside = np.all((landed >= 0) & (landed < np.array(shape)[:, None]), axis=0)
    out = np.zeros(shape, dtype=values.dtype)
    out[tuple(landed[:, inside])] = values.ravel()[inside]
    return out


_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def _aligned(values: Array, affine_ras: Array, shape: tuple[int, ...], affine_lps: Array) -> Array:
    return _scattered(values, np.linalg.inv(affine_lps) @ _FLIP @ affine_ras, shape)


def _turned(
    values: Array,
    affine_ras: Array,
    affine_lps: Array,
    ways: Callable[[int], int],
    inverse: bool = False,
) -> Array:
    """The right axis order, each axis walked in the direction that ``ways`` makes of the true."""
    turn = np.rint((np.linalg.inv(affine_lps) @ _FLIP @ affine_ras)[:3, :3]).astype(int)
    turn = turn.T if inverse else turn
    axes = np.abs(turn).argmax(axis=1)
    steps = (ways(int(turn[r, a])) for r, a in enumerate(axes))
    return values.transpose(axes)[tuple(slice(None, None, s) for s in steps)]


def _mistake(change: Callable[[Array, Array], Array]) -> Callable[..., Any]:
    """What comes of another map than the right one."""

    def compute(values: Array, ras: Array, shape: tuple[int, ...], lps: Array) -> Array:
        return _scattered(values, change(ras, lps), shape)

    return compute


def _flipped_too_far(values: Array, ras: Array, shape: tuple[int, ...], lps: Array) -> Array:
    """An axis that runs backwards ends at 0, not at −1."""
    to_image = np.linalg.inv(lps) @ _FLIP @ ras
    backwards = np.rint(to_image[:3, :3]).sum(axis=1) < 0
    to_image[:3, 3] += backwards
    return _scattered(values, to_image, shape)


_FRAMES = (
    "NIfTI's mm are RAS, DICOM's are LPS: x and y change sign between them. "
    "Put np.diag([-1, -1, 1, 1]) between the two affines."
)
_WRONG_WAY = (
    "the map is the wrong way round (image voxel → mask voxel): first the mask's affine, "
    "then the inverse of the image's."
)
_ALIGN_MISTAKES: Mistakes = [
    (_mistake(lambda ras, lps: np.linalg.inv(lps) @ ras), _FRAMES),
    (
        lambda v, ras, shape, lps: v[:, ::-1, ::-1].transpose(2, 1, 0),
        "this is the solvers' fixed flip, [:, ::-1, ::-1].transpose(2, 1, 0): right for LAS "
        "masks only. Take order and directions from the affines.",
    ),
    (
        lambda v, ras, shape, lps: v[:, ::-1].transpose(2, 1, 0),
        "this is the solvers' fixed flip for studies stored feet first; the affines say "
        "which axes run backwards, in every study.",
    ),
    (
        lambda v, ras, shape, lps: _turned(v, ras, lps, lambda s: 1),
        "you only transpose; where an axis runs the other way in the image, it must be "
        "flipped too.",
    ),
    (
        lambda v, ras, shape, lps: v,
        "this is the mask as it lies in the file: nothing has been moved yet.",
    ),
    (
        lambda v, ras, shape, lps: _turned(v, ras, lps, lambda s: -s),
        "every axis is flipped where it should not be, and not where it should: a −1 in the "
        "map from mask to image means that this axis runs backwards.",
    ),
    (
        lambda v, ras, shape, lps: _turned(v, ras, lps, lambda s: s),
        "the directions are right, the place is not: this mask does not cover the whole image. "
        "Use the last column of the map too, and return an array of the image's shape.",
    ),
    (
        lambda v, ras, shape, lps: _turned(v, ras, lps, lambda s: s)[:, ::-1, ::-1],
        _FRAMES,
    ),
    (_mistake(lambda ras, lps: np.linalg.inv(_FLIP @ ras) @ lps), _WRONG_WAY),
    (lambda v, ras, shape, lps: _turned(v, ras, lps, lambda s: s, inverse=True), _WRONG_WAY),
    (
        lambda v, ras, shape, lps: _scattered(
            v, np.linalg.inv(lps) @ _FLIP @ ras, shape, rounding=np.floor
        ),
        "voxels are cut down to whole numbers, so 2.98 became 2: round to the nearest.",
    ),
    (
        lambda v, ras, shape, lps: _scattered(
            v, np.linalg.inv(lps) @ _FLIP @ ras, shape, rounding=np.trunc
        ),
        "voxels are cut down to whole numbers, so 2.98 became 2: round to the nearest "
        "before you convert (astype(int) cuts off).",
    ),
    (
        _flipped_too_far,
        "off by one where an axis is flipped: of n voxels the last is n − 1.",
    ),
    (
        lambda v, ras, shape, lps: _aligned(v, ras, shape, lps).transpose(2, 1, 0),
        "the result is in the order x, y, z; images here are (z, y, x).",
    ),
    (
        lambda v, ras, shape, lps: _aligned(v, ras, shape, lps) > 0,
        "the levels are gone: the result says bone or not; keep the mask's values.",
    ),
]
