"""Grader of notebook 03: the largest piece of each level."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Array, Mistakes, Verdict, agrees, answer, diagnosis, wrong


def largest_piece(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(mask_zyx)`` → the mask with the largest piece of each level only (03)."""
    for mask in _piece_cases():
        want = _largest(mask)
        got, failure = answer(fn, mask)
        if failure is not None:
            return failure
        if not agrees(got, want):
            return _judge_piece(got, want, mask)
    return Verdict(True, "of each level the largest piece is left, values and shape as they were.")


def _judge_piece(got: Array, want: Array, mask: Array) -> Verdict:
    known = diagnosis(got, want, _PIECE_MISTAKES, (mask,))
    if got.shape != want.shape or "entry" not in known.message:
        return known
    lost = int(((want > 0) & (got == 0)).sum())
    extra = int(((want == 0) & (got != 0)).sum())
    return wrong(
        f"{extra} voxels are left that belong to no largest piece, {lost} are gone that do; "
        f"the first place that differs: {known.message}"
    )


def _piece_cases() -> list[Array]:
    """Blocks that keep clear of one another by two voxels: any neighbourhood finds the same."""
    mask = np.zeros((12, 14, 16), dtype=np.uint8)
    mask[1:4, 2:7, 3:9], mask[1, 12, 14] = 1, 1  # a level and a stray voxel
    mask[4:7, 2:7, 3:9] = 2  # touches C1 above it
    mask[9:11, 9:12, 1:4], mask[9:11, 9:12, 6:9] = 2, 3  # a stray of C2; C3 is a small level
    mask[9:12, 1:6, 10:16], mask[2, 2, 13] = 8, 8  # T1 and a stray of it
    cases = [mask, np.zeros((3, 4, 5), dtype=np.uint8), np.full((2, 3, 4), 4, dtype=np.uint8)]
    bridge = np.zeros((9, 9, 9), dtype=np.uint8)
    # Two parts of one level that meet in one slice only, and a flat stray with a large slice.
    bridge[1:6, 1, 1:3], bridge[1:6, 1, 6:8], bridge[5, 1, 1:8] = 5, 5, 5
    bridge[8, 4:8, 2:7] = 5
    cases.append(bridge)
    rng = np.random.default_rng(30)
    for _ in range(4):
        noise = np.zeros((15, 15, 15), dtype=np.uint8)
        sizes = rng.permutation(27) + 1
        for i, corner in enumerate(itertools.product((0, 5, 10), repeat=3)):
            block = np.zeros(27, dtype=np.uint8)
            block[: sizes[i]] = rng.choice([0, 1, 2, 3, 6, 7, 9])
            z, y, x = corner
            noise[z : z + 3, y : y + 3, x : x + 3] = block.reshape(3, 3, 3)
        cases.append(noise)
    return cases


def _parts(inside: npt.NDArray[np.bool_]) -> list[list[tuple[int, ...]]]:
    """Voxels of each piece by flooding from voxel to voxel, 26 neighbours."""
    left = {tuple(map(int, v)) for v in np.argwhere(inside)}
    steps = list(itertools.product((-1, 0, 1), repeat=inside.ndim))
    out = []
    while left:
        start = min(left)
        left.discard(start)
        queue, piece = deque([start]), [start]
        while queue:
            at = queue.popleft()
            for step in steps:
                near = tuple(a + s for a, s in zip(at, step, strict=True))
                if near in left:
                    left.discard(near)
                    queue.append(near)
                    piece.append(near)
        out.append(piece)
    return out


def _largest(mask: Array, size: Callable[[list], int] = len, per_level: bool = True) -> Array:
    out = np.zeros_like(mask)
    values = [v for v in np.unique(mask).tolist() if v] if per_level else [None]
    for value in values:
        parts = _parts(mask > 0 if value is None else mask == value)
        if parts:
            where = tuple(np.array(max(parts, key=size)).T)
            out[where] = mask[where]
    return out


def _drops(mask: Array, gone: npt.NDArray[np.bool_]) -> Array:
    return np.where(gone, 0, mask)


def _no_strays_of_any(mask: Array) -> Array:
    """Only the level with the largest piece."""
    sizes = {v: max(map(len, _parts(mask == v))) for v in np.unique(mask).tolist() if v}
    best = max(sizes, key=lambda v: sizes[v]) if sizes else 0
    return np.where(mask == best, _largest(mask), 0)


_PIECE_MISTAKES: Mistakes = [
    (lambda m: m, "this is the mask as it was: nothing has been removed."),
    (
        lambda m: _largest(m, per_level=False),
        "you looked for pieces of all bone together, where levels that touch are one piece; "
        "take mask == value, level by level.",
    ),
    (
        lambda m: _largest(m) > 0,
        "the levels are gone: the result says bone or not; keep the mask's values.",
    ),
    (
        lambda m: np.stack([_largest(plane) for plane in m]),
        "you cleaned slice by slice; in one slice a vertebra is often in several pieces. "
        "Label the three axes at once.",
    ),
    (
        lambda m: _largest(m, size=lambda piece: -len(piece)),
        "you kept the smallest piece of each level.",
    ),
    (
        lambda m: _drops(_largest(m), m > 7),
        "thoracic levels (8 and on) are gone; clean them like the others, or leave them.",
    ),
    (
        lambda m: np.where(m > 7, m, _largest(m)),
        "thoracic levels (8 and on) still have their strays; take every value but 0.",
    ),
    (
        _no_strays_of_any,
        "only one level is left: keep the largest piece of each.",
    ),
    (
        lambda m: _drops(m, _largest(m) > 0),
        "you kept the strays and removed the levels: turn the condition round.",
    ),
    (
        lambda m: np.zeros_like(m),
        "everything is gone. The largest count is that of the background, number 0: leave it out.",
    ),
    (
        lambda m: np.where(_largest(m) > 0, 1, 0),
        "the values are piece numbers or 1; put the mask's own values back.",
    ),
]
