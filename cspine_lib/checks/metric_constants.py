"""Graders of notebook 02: the best constants, and the shift of a calibrated probability.

The oracles are written out anew here and do not use ``metrics``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS, TARGETS
from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis
from cspine_lib.checks.metric import TOLERANCE, random_labels

Array = npt.NDArray[np.float64]


def per_exam_constants(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(y)``: (N, 8) labels → the (8,) constants of the smallest per-exam loss (02)."""
    rng = np.random.default_rng(22)
    whole, broken = np.zeros((4, len(TARGETS))), np.ones((3, len(TARGETS)))
    cases = [("", random_labels(rng, 60)), ("", random_labels(rng, 25, rate=0.5))]
    cases += [("for one broken neck: ", random_labels(rng, 9, rate=0.6)[:1])]
    cases += [("where no neck is broken: ", whole), ("where every level is broken: ", broken)]
    for note, y in cases:
        got, failure = answer(fn, y)
        if failure is not None:
            return failure
        want = _constants_by_hand(y)
        if agrees(got, want, TOLERANCE):
            continue
        return diagnosis(got, want, _CONSTANT_MISTAKES, (y,), note=note, atol=TOLERANCE)
    return Verdict(True, "no other eight numbers have a smaller per-exam loss on these labels.")


def global_shift(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(q)``: calibrated probabilities → what to submit under ``global`` (02)."""
    rng = np.random.default_rng(23)
    cases = [
        ("", rng.uniform(0.05, 0.95, size=7)),
        ("for an array of 3 × 8: ", rng.uniform(0.05, 0.95, size=(3, 8))),
        ("for q = 0: ", np.zeros(1)),
        ("for q = 1: ", np.ones(1)),
    ]
    for note, q in cases:
        got, failure = answer(fn, q)
        if failure is not None:
            return failure
        want = _odds_doubled(q)
        if agrees(got, want, TOLERANCE):
            continue
        return diagnosis(got, want, _SHIFT_MISTAKES, (q,), note=note, atol=TOLERANCE)
    return Verdict(True, "the odds are doubled, and 0 and 1 stay where they are.")


def _exam_weights(y: Array, column: int = 0) -> list[list[float]]:
    """Each row's weight, exam by exam; ``patient_overall`` stands in ``column``."""
    return [[(7 if j == column else 1) * (2 if v else 1) for j, v in enumerate(row)] for row in y]


def _constants_by_hand(y: Array, divide: str = "sum", column: int = 0) -> Array:
    """Odds Σ w·y/W : Σ w·(1 − y)/W, target by target; a mistake takes another W."""
    top, bottom = np.zeros(len(TARGETS)), np.zeros(len(TARGETS))
    for row, w in zip(y, _exam_weights(y, column), strict=True):
        total = {"sum": sum(w), "squared": sum(w) ** 2, "broken": 21.0 if row[0] else 14.0}
        for j in range(len(TARGETS)):
            top[j] += w[j] * row[j] / total[divide]
            bottom[j] += w[j] / total[divide]
    return top / bottom


def _odds_doubled(q: Array) -> Array:
    return 2 * q / (1 + q)


_CONSTANT_MISTAKES: Mistakes = [
    (
        lambda y: y.mean(axis=0),
        "these are the plain means, as if all rows weighed the same; broken rows weigh double, "
        "and each exam is divided by its summed weight W.",
    ),
    (
        lambda y: _odds_doubled(y.mean(axis=0)),
        "these are the best constants of the global normalisation; per exam, each weight is "
        "divided by its exam's summed weight W before anything is added up.",
    ),
    (
        lambda y: (y / _exam_sums(y)).sum(axis=0) / (1 / _exam_sums(y)).sum(),
        "the weights of your broken rows are not doubled; w is 2 or 14 where y is 1.",
    ),
    (
        lambda y: _constants_by_hand(y, divide="broken"),
        "W is not 21 for each broken neck: every broken level adds one, 21 + k.",
    ),
    (lambda y: _constants_by_hand(y, divide="squared"), "you divide by W twice."),
    (
        partial(_constants_by_hand, column=N_LEVELS),
        "you gave the large weight to the last column; patient_overall is the first.",
    ),
    (
        lambda y: _constants_by_hand(y) / (1 - _constants_by_hand(y)),
        "these are odds; a probability is odds / (1 + odds).",
    ),
    (
        lambda y: 1 - _constants_by_hand(y),
        "this is the probability of a whole level; Σ w·y/W belongs above the line.",
    ),
    (
        lambda y: (y * np.array(_exam_weights(y)) / _exam_sums(y)).mean(axis=0),
        "this is E[w·y/W], the top of the fraction, alone (an exam's eight w/W sum to 1); "
        "divide each target by its own E[w/W].",
    ),
    (
        lambda y: _odds_doubled(_constants_by_hand(y)),
        "the weights double the broken rows already; the shift doubles them once more.",
    ),
]

_SHIFT_MISTAKES: Mistakes = [
    (
        lambda q: q / (2 - q),
        "you halve the odds, so the shift goes the wrong way: broken rows weigh double, "
        "which makes it cheaper to say more.",
    ),
    (lambda q: q, "nothing is shifted; the calibrated q is not the best answer here."),
    (
        lambda q: np.minimum(2 * q, 1),
        "you double the probability; double the odds q : (1 − q) instead, "
        "or every q above one half becomes a sure answer.",
    ),
    (lambda q: 2 * q, "you double the probability, which passes 1; double the odds."),
    (
        lambda q: 2 * q / (1 + 2 * q),
        "you took q for the odds; the odds are q / (1 − q).",
    ),
    (
        lambda q: q / (1 + q),
        "you took q for the odds and did not double them; the odds are q / (1 − q).",
    ),
    (lambda q: 2 * q / (1 - q), "these are the odds; a probability is odds / (1 + odds)."),
    (
        lambda q: 14 * q / (1 + 13 * q),
        "you weigh broken rows 14 to 1; patient_overall has 14 to 7, a level 2 to 1.",
    ),
    (lambda q: 1 - _odds_doubled(q), "this is the probability of a whole row, 1 − p."),
    (
        lambda q: 1 / (1 + (1 - q) / (2 * q)),
        "there is a division by zero: multiply it out, so that nothing is divided by q or 1 − q.",
    ),
    (
        lambda q: 2 * q / (1 - q) / (1 + 2 * q / (1 - q)),
        "there is a division by zero: multiply it out, so that nothing is divided by q or 1 − q.",
    ),
    (
        lambda q: np.clip(_odds_doubled(q), 1e-3, 1 - 1e-3),
        "you clip; the shift itself leaves 0 and 1 where they are.",
    ),
]


def _exam_sums(y: Array) -> Array:
    """(N, 1) summed weights W."""
    return np.array(_exam_weights(y)).sum(axis=1, keepdims=True)
