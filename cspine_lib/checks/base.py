"""What every grader shares: the verdict, trying the reader's function, naming a mistake.

A grader never raises into the notebook.  Whatever the reader's function does, raising and
returning nonsense included, becomes a ``Verdict`` in words.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
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


def wrong(message: str) -> Verdict:
    """The verdict on an answer that is not right."""
    return Verdict(False, message)


def call(fn: Callable[..., Any], *args: Any) -> tuple[Any, Verdict | None]:
    """What the reader's function returns for copies of ``args``, or why it returns nothing.

    Its warnings are kept out of the notebook.  A function that changes an array that it was
    given gets no answer, for the next cell would find other data than the reader thinks.
    """
    try:
        given = copy.deepcopy(args)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            got = fn(*given)
    except NotImplementedError:
        return None, wrong("there is nothing to check: write the function's body.")
    except Exception as error:  # whatever the reader's code may raise
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        return None, wrong(f"your function raised {type(error).__name__}: {reason}")
    if got is None:
        return None, wrong("your function returns None; is there a return?")
    for before, after in zip(args, given, strict=True):
        if isinstance(before, np.ndarray) and before.tobytes() != after.tobytes():
            return None, wrong(
                "your function changes the array that it was given: some methods "
                "(p.sort(), a[...] = …, a += …) work in place; work on a copy."
            )
    return got, None


def answer(fn: Callable[..., Any], *args: Any) -> tuple[Array, Verdict | None]:
    """As ``call``, for a function that should return numbers; its answer as an array."""
    nothing: Array = np.empty(0)
    got, failure = call(fn, *args)
    if failure is not None:
        return nothing, failure
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # complex numbers only warn
            numbers = np.asarray(got)
            numbers.astype(np.float64)
    except Exception:  # an object can raise anything when it is asked for its numbers
        what = type(got).__name__
        return nothing, wrong(f"your function returns a {what} that is no array of numbers.")
    return numbers, None


def diagnosis(
    got: Array,
    want: Array,
    mistakes: Mistakes,
    args: tuple[Any, ...],
    *,
    note: str = "",
    atol: float = 1e-9,
) -> Verdict:
    """The usual mistake that explains the answer; else the first number that differs.

    Args:
        mistakes: tried in their order, the first that computes the answer is told.
        note: put before the message, such as for which input it was.
        atol: how near an answer must be to what a mistake computes.
    """
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    with np.errstate(all="ignore"):
        for compute, words in mistakes:
            value = np.asarray(compute(*args), dtype=np.float64)
            if value.shape == got.shape and np.allclose(got, value, atol=atol, equal_nan=True):
                return wrong(note + words)
    if got.shape != want.shape:
        return wrong(f"{note}the result has shape {got.shape}, it should have {want.shape}.")
    return wrong(note + _largest_difference(got, want))


def _largest_difference(got: Array, want: Array) -> str:
    if got.ndim == 0:
        return f"the result is {number(got)}, it should be {number(want)}."
    with np.errstate(all="ignore"):
        off = np.nan_to_num(np.abs(got - want), nan=np.inf)
    where = np.unravel_index(int(np.argmax(off)), got.shape)
    name = where[0] if got.ndim == 1 else tuple(int(i) for i in where)
    return f"entry {name} is {number(got[where])}, it should be {number(want[where])}."


def agrees(got: Array, want: Array, atol: float = 1e-9) -> bool:
    """Whether an answer has the right shape and values."""
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    return got.shape == want.shape and np.allclose(got, want, atol=atol, equal_nan=True)


def number(value: Any) -> str:
    """A number in a message."""
    return f"{float(value):.{SHOWN}g}"


def interval_ends(got: npt.NDArray[Any]) -> Verdict | None:
    """What is wrong with an answer that should be the two ends of an interval, if anything."""
    if got.shape != (2,):
        return wrong(f"return two numbers, low and high; yours have the shape {got.shape}.")
    if not np.isfinite(got.astype(np.float64)).all():
        return wrong("an end of your interval is NaN or infinite.")
    if got[0] > got[1]:
        return wrong("the ends are swapped: return the lower one first.")
    return None
