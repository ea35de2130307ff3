"""Grader of notebook 00: the display window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Mistakes, Verdict, answer, diagnosis


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
