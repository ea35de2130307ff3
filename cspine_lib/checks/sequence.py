"""Grader of notebook 09: from seven probabilities to one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis
from cspine_lib.metrics import overall_max, overall_noisy_or

Array = npt.NDArray[np.float64]


def top_n_overall(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(p, n)``: (N, 7) level probabilities → (N,), noisy-or of the n highest (09)."""
    p = np.random.default_rng(9).uniform(0.02, 0.7, size=(6, N_LEVELS))
    for n in (N_LEVELS, 1, 2, 5):
        got, failure = answer(fn, p, n)
        if failure is not None:
            return failure
        want = overall_noisy_or(p, n)
        if agrees(got, want):
            continue
        return diagnosis(got, want, _TOP_N_MISTAKES, (p, n), note=f"for n = {n}: ")
    return Verdict(True, "it agrees with metrics.overall_noisy_or for n = 1, 2, 5 and 7.")


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
