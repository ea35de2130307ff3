"""Graders of the notebooks' exercises: they say what is wrong, not only that it is.

A grader takes the reader's function, tries it, and returns a ``Verdict``.  It knows the
mistakes that are usually made and names the one it recognises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.metrics import overall_max, overall_noisy_or

Array = npt.NDArray[np.float64]
Mistakes = list[tuple[Callable[..., Any], str]]
"""What a usual mistake computes, and what to tell whoever made it."""

SHOWN = 3
"""Digits of a number in a message."""


@dataclass(frozen=True)
class Verdict:
    """Whether an exercise is solved, and why not."""

    ok: bool
    message: str

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return f"{'Right' if self.ok else 'Not yet'}: {self.message}"


def window_hu(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(hu, width, level)``: HU → 8 bits through a display window (notebook 00)."""
    hu = np.array([-1024, -401, -400, 0, 499, 500, 999, 1400, 3071], dtype=np.int16)
    for width, level in ((1800.0, 500.0), (400.0, 40.0)):
        want = _window(hu, width, level)
        got, failure = _answer(fn, hu, width, level)
        if failure is not None:
            return failure
        if got.dtype != np.uint8:
            return Verdict(
                False, f"the result is {got.dtype}; an 8-bit image is np.uint8, so convert at last."
            )
        # Rounding down or to the nearest grey are both fine.
        if got.shape == want.shape and np.abs(got.astype(int) - want.astype(int)).max() <= 1:
            continue
        return _diagnosis(got, want, _WINDOW_MISTAKES, (hu, width, level), atol=1)
    return Verdict(
        True, "below the window is black, above it white, and the width is spread over 256 greys."
    )


def top_n_overall(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(p, n)``: (N, 7) level probabilities → (N,), noisy-or of the n highest (09)."""
    p = np.random.default_rng(9).uniform(0.02, 0.7, size=(6, N_LEVELS))
    for n in (N_LEVELS, 1, 2, 5):
        before = p.copy()
        got, failure = _answer(fn, p, n)
        if failure is not None:
            return failure
        if not np.array_equal(p, before):
            return Verdict(
                False,
                "your function changes the array that it was given (p.sort() works in place); "
                "np.sort(p, axis=1) makes a sorted copy.",
            )
        want = overall_noisy_or(p, n)
        if got.shape == want.shape and np.allclose(got, want, atol=1e-9):
            continue
        return _diagnosis(got, want, _TOP_N_MISTAKES, (p, n), note=f"for n = {n}: ")
    return Verdict(True, "it agrees with metrics.overall_noisy_or for n = 1, 2, 5 and 7.")


def _answer(fn: Callable[..., Any], *args: Any) -> tuple[npt.NDArray[Any], Verdict | None]:
    """What the reader's function gives, or why it gives nothing."""
    nothing: npt.NDArray[Any] = np.empty(0)
    try:
        got = fn(*args)
    except NotImplementedError:
        return nothing, Verdict(False, "there is nothing to check: write the function's body.")
    except Exception as error:  # whatever the reader's code may raise
        return nothing, Verdict(False, f"your function raised {type(error).__name__}: {error}")
    if got is None:
        return nothing, Verdict(False, "your function returns None; is there a return?")
    return np.asarray(got), None


def _diagnosis(
    got: npt.NDArray[Any],
    want: npt.NDArray[Any],
    mistakes: Mistakes,
    args: tuple[Any, ...],
    *,
    note: str = "",
    atol: float = 1e-9,
) -> Verdict:
    """The usual mistake that explains the answer; else the first number that differs."""
    if got.shape != want.shape:
        return Verdict(
            False, f"{note}the result has shape {got.shape}, it should have {want.shape}."
        )
    for compute, words in mistakes:
        value = np.asarray(compute(*args), dtype=np.float64)
        if value.shape == got.shape and np.allclose(got, value, atol=atol):
            return Verdict(False, note + words)
    i = int(np.argmax(np.abs(got.astype(float) - want.astype(float))))
    return Verdict(
        False,
        f"{note}entry {i} is {_number(got[i])}, it should be {_number(want[i])}.",
    )


def _number(value: Any) -> str:
    return f"{float(value):.{SHOWN}g}"


# --- what the usual mistakes compute ---------------------------------------------------------


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


def _largest(p: Array, n: int) -> Array:
    return np.sort(p, axis=1)[:, -n:]


_TOP_N_MISTAKES: Mistakes = [
    (
        lambda p, n: np.prod(1 - _largest(p, n), axis=1),
        "this is the probability that nothing is broken; what is asked is its complement, 1 − Π.",
    ),
    (
        lambda p, n: np.prod(_largest(p, n), axis=1),
        "this is the probability that all of them are broken at once; "
        "multiply the chances that each is whole, 1 − p.",
    ),
    (
        lambda p, n: overall_noisy_or(p),
        "you use all seven levels whatever n is; keep the n highest only.",
    ),
    (
        lambda p, n: overall_max(p),
        "this is the largest probability, which is right for n = 1 only: "
        "two levels at 0.5 make a broken neck likelier than one.",
    ),
    (
        lambda p, n: 1 - np.prod(1 - p[:, :n], axis=1),
        "you took the first n levels, C1 downwards, not the n most likely ones: sort each row.",
    ),
    (
        lambda p, n: 1 - np.prod(1 - np.sort(p, axis=1)[:, :n], axis=1),
        "np.sort is ascending, so the first n are the least likely levels; take the last n.",
    ),
    (
        lambda p, n: 1 - np.prod(1 - np.sort(p, axis=0)[:, -n:], axis=1),
        "you sorted along the studies, which mixes patients; sort along axis 1, the levels.",
    ),
    (
        lambda p, n: np.minimum(_largest(p, n).sum(axis=1), 1),
        "probabilities of events that can happen together do not add up; use 1 − Π(1 − p).",
    ),
    (
        lambda p, n: _largest(p, n).sum(axis=1),
        "probabilities of events that can happen together do not add up; use 1 − Π(1 − p).",
    ),
]
