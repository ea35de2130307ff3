"""Naming a mistake by all of a reader's answers, where one answer would fit several mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cspine_lib.checks.base import Array, Mistakes, Verdict, agrees, answer, diagnosis, wrong

Cases = Sequence[tuple[str, tuple[Any, ...]]]
"""What to say before a message about a case, and the arguments."""


def graded(
    fn: Callable[..., Any],
    cases: Cases,
    oracle: Callable[..., Any],
    mistakes: Mistakes,
    praise: str,
    atol: float = 1e-9,
) -> Verdict:
    """Try all cases; a mistake is named that computes every answer, else one that fits the first.

    Args:
        praise: message of the verdict on a function that is right throughout.
    """
    answers: list[Array] = []
    for note, case in cases:
        got, failure = answer(fn, *case)
        want = np.asarray(oracle(*case), dtype=np.float64)
        if failure is not None:
            return failure
        if got.shape != want.shape:
            shapes = f"the result has shape {got.shape}, it should have {want.shape}."
            whole = _throughout([*answers, got], cases, mistakes, atol)
            return wrong(note + (whole or shapes))
        answers.append(got)
    for got, (note, case) in zip(answers, cases, strict=True):
        want = np.asarray(oracle(*case), dtype=np.float64)
        if not agrees(got, want, atol=atol):
            whole = _throughout(answers, cases, mistakes, atol)
            if whole:
                return wrong(note + whole)
            return diagnosis(got, want, mistakes, case, note=note, atol=atol)
    return Verdict(True, praise)


def _throughout(answers: Sequence[Array], cases: Cases, mistakes: Mistakes, atol: float) -> str:
    """Words on the mistake that gives all these answers; none if there is no such mistake."""
    for compute, words in mistakes:
        pairs = zip(answers, cases, strict=False)
        with np.errstate(all="ignore"):
            if all(agrees(got, compute(*case), atol=atol) for got, (_, case) in pairs):
                return words
    return ""
