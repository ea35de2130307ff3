"""Grader of notebook 09: a level's slices as a sequence of 2.5D frames.

The oracle counts in fractions and uses nothing of the library's own code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis

Array = npt.NDArray[Any]
CHANNELS = 3


def stack_frames(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(slices, frames)``: a level's slices (n, H, W) → 2.5D frames (T, 3, H, W) (09)."""
    rng = np.random.default_rng(91)
    for n, frames in ((24, 8), (47, 8), (10, 8), (5, 3), (31, 4), (7, 2), (2, 1), (1, 2)):
        slices = rng.integers(-1000, 2000, size=(n, 5, 4)).astype(np.int16)
        got, failure = answer(fn, slices, frames)
        if failure is not None:
            return failure
        want = slices[_spaced_by_hand(n, CHANNELS * frames)].reshape(frames, CHANNELS, 5, 4)
        if not agrees(got, want):
            note = f"for {n} slices and {frames} frames: "
            return diagnosis(got, want, _STACK_MISTAKES, (slices, frames), note=note)
    return Verdict(True, "thick and thin levels alike: three neighbours a frame, head to feet.")


def _spaced_by_hand(n: int, k: int) -> list[int]:
    half = Fraction(1, 2)
    return [math.floor(Fraction(i * (n - 1), k - 1) + half) for i in range(k)]


def _evenly(n: int, k: int) -> Array:
    return np.floor(np.arange(k) * (n - 1) / (k - 1) + 0.5).astype(int)


def _framed(slices: Array, index: Any, frames: int) -> Array:
    return slices[np.asarray(index, dtype=int)].reshape(frames, CHANNELS, *slices.shape[1:])


def _with_neighbours(slices: Array, frames: int) -> Array:
    """One evenly spaced slice a frame, with the slices directly above and below it."""
    n = len(slices)
    middle = _evenly(n, frames) if frames > 1 else np.array([n // 2])
    return slices[np.clip(middle[:, None] + np.array([-1, 0, 1]), 0, n - 1)]


_STACK_MISTAKES: Mistakes = [
    (
        lambda s, t: _framed(s, _evenly(len(s), 3 * t).reshape(3, t).T, t),
        "the three slices of a frame lie a third of the level apart: reshape to (frames, 3), "
        "not to (3, frames) and turned.",
    ),
    (
        lambda s, t: _framed(s, _evenly(len(s), 3 * t), t).transpose(0, 2, 3, 1),
        "the channels come last; here they come right after the frames, (frames, 3, H, W).",
    ),
    (
        lambda s, t: _framed(s, _evenly(len(s), 3 * t), t).swapaxes(0, 1),
        "channels and frames are exchanged: the result is (frames, 3, H, W).",
    ),
    (
        lambda s, t: s[_evenly(len(s), 3 * t)],
        "these are the right slices, but still one by one: reshape them into frames of three.",
    ),
    (
        lambda s, t: _framed(s, np.linspace(0, len(s) - 1, 3 * t).astype(int), t),
        "astype(int) cuts off what stands behind the point: 5.9 becomes 5.  Round first.",
    ),
    (
        lambda s, t: _framed(s, np.round(np.linspace(0, len(s) - 1, 3 * t)), t),
        "np.round takes halves to the even number, 0.5 to 0 and 1.5 to 2; here halves go up: "
        "np.floor(x + 0.5).",
    ),
    (
        lambda s, t: _framed(s, np.arange(3 * t) * len(s) // (3 * t), t),
        "the last slice is never taken: of n slices the last is number n − 1, and the spacing "
        "is (n − 1) / (k − 1).",
    ),
    (
        lambda s, t: _framed(s, np.arange(3 * t) % len(s), t),
        "these are the first slices of the level, not slices spread evenly over it.",
    ),
    (
        lambda s, t: _framed(s, np.minimum(np.arange(3 * t), len(s) - 1), t),
        "these are the first slices of the level, not slices spread evenly over it.",
    ),
    (
        _with_neighbours,
        "this takes one slice a frame with its direct neighbours; the deck takes 3 × frames "
        "evenly spaced slices, three by three, so that a thick level has no gaps.",
    ),
    (
        lambda s, t: np.repeat(_framed(s, _evenly(len(s), 3 * t), t)[:, 1:2], 3, axis=1),
        "all three channels hold the same slice: nothing is seen of the third dimension.",
    ),
    (
        lambda s, t: _framed(s, _evenly(len(s), 3 * t), t)[::-1],
        "the frames run from the feet to the head.",
    ),
    (
        lambda s, t: _framed(s, _evenly(len(s), 3 * t)[::-1], t),
        "the slices run from the feet to the head.",
    ),
]
