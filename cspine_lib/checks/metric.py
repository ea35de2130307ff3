"""Grader of notebook 02: the competition's loss.

The oracle is written out anew, in a loop over rows, and does not use ``metrics``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS, TARGETS
from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis, wrong

Array = npt.NDArray[np.float64]
CLIP = 1e-6
TOLERANCE = 1e-4
"""Of a loss or probability: whoever adds 1e-6 inside the logarithm instead of clipping is right."""


def competition_loss(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(y, p)``: (N, 8) labels and probabilities → the per-exam loss, one number (02)."""
    for note, y, p in _loss_cases():
        got, failure = answer(fn, y, p)
        if failure is not None:
            return failure
        want = np.array(_loss_by_hand(y, p))
        if got.size == 1 and agrees(got.reshape(()), want, TOLERANCE):
            continue
        if got.shape == (len(y),) and len(y) > 1:
            return wrong("you return one number for each exam; the loss is their mean.")
        return diagnosis(got, want, _LOSS_MISTAKES, (y, p), note=note, atol=TOLERANCE)
    return Verdict(
        True, "it is the per-exam loss, on random and on sure answers, right and wrong ones."
    )


def random_labels(rng: np.random.Generator, n: int, rate: float = 0.15) -> Array:
    """(n, 8) labels: half of the necks whole, the others with one broken level at least."""
    y = np.zeros((n, len(TARGETS)))
    for i in range(0, n, 2):
        y[i, 1:] = rng.uniform(size=N_LEVELS) < rate
        y[i, rng.integers(1, N_LEVELS + 1)] = 1
    y[:, 0] = y[:, 1:].max(axis=1)
    return y


def _loss_cases() -> list[tuple[str, Array, Array]]:
    rng = np.random.default_rng(21)
    y = random_labels(rng, 12, rate=0.3)
    p = rng.uniform(0.03, 0.9, size=y.shape)
    sure = random_labels(rng, 6)
    flipped = sure.copy()
    flipped[1, 2], flipped[2, 0] = 1 - sure[1, 2], 1 - sure[2, 0]
    one = random_labels(rng, 4)
    return [
        ("", y, p),
        ("for one broken neck: ", one[:1], rng.uniform(0.1, 0.8, size=(1, len(TARGETS)))),
        ("where no neck is broken: ", np.zeros((5, 8)), rng.uniform(0.1, 0.8, size=(5, 8))),
        ("where every level is broken: ", np.ones((2, 8)), rng.uniform(0.1, 0.8, size=(2, 8))),
        ("where all answers are sure (0 or 1) and right: ", sure, sure.copy()),
        ("where all answers are sure (0 or 1) and two are wrong: ", sure, flipped),
    ]


def _loss_by_hand(
    y: Array,
    p: Array,
    *,
    levels: tuple[float, float] = (1, 2),
    overall: tuple[float, float] = (7, 14),
    column: int = 0,
    average: str = "exam",
    clip: float = CLIP,
    unit: float = 1.0,
    parts: tuple[int, int] = (1, 1),
) -> float:
    """The loss, row by row; the options are what a mistake changes.

    Args:
        levels, overall: weights of a whole and a broken row.
        column: of ``patient_overall``.
        average: exam, sum, global, twice, rows or fourteen.
        unit: nats per unit of the logarithm.
        parts: whether broken and whole rows count at all.
    """
    losses, divisors = [], []
    for labels, said in zip(y, p, strict=True):
        top = bottom = 0.0
        for j, (truth, chance) in enumerate(zip(labels, said, strict=True)):
            w = (overall if j == column else levels)[int(truth)]
            q = min(max(float(chance), clip), 1 - clip)
            top -= w * math.log(q if truth else 1 - q) / unit * parts[0 if truth else 1]
            bottom += w
        losses.append(top)
        divisors.append(bottom)
    n = len(y)
    if average == "global":
        return sum(losses) / sum(divisors)
    if average == "twice":
        return sum(losses) / n / sum(divisors)
    if average == "rows":
        return sum(losses) / n / len(TARGETS)
    if average == "fourteen":
        return sum(losses) / n / 14
    exams = sum(top / bottom for top, bottom in zip(losses, divisors, strict=True))
    return exams if average == "sum" else exams / n


def _careless(y: Array, p: Array) -> float:
    """Without clipping: 0 · ln 0 is NaN."""
    w = np.where(y > 0, 2, 1) * np.array([7] + 7 * [1])
    bce = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    return float(((w * bce).sum(axis=1) / w.sum(axis=1)).mean())


def _careless_choice(y: Array, p: Array) -> float:
    """Without clipping, and only the logarithm that counts is taken: infinite, never NaN."""
    w = np.where(y > 0, 2, 1) * np.array([7] + 7 * [1])
    bce = -np.log(np.where(y > 0, p, 1 - p))
    return float(((w * bce).sum(axis=1) / w.sum(axis=1)).mean())


_CLIP_WORDS = f"the logarithm of 0 is infinite; clip p to [{CLIP:g}, 1 − {CLIP:g}] first."

_LOSS_MISTAKES: Mistakes = [
    (
        lambda y, p: -_loss_by_hand(y, p),
        "the sign is wrong: logarithms of probabilities are negative, and the slide has lost the "
        "minus that makes a loss of them.",
    ),
    (
        partial(_loss_by_hand, average="rows"),
        "you divide by the number of rows, N · 8; divide each exam by its summed weights.",
    ),
    (
        partial(_loss_by_hand, average="global"),
        "this is the global normalisation, one division for all rows; here each exam is divided "
        "by its own summed weights, and then the exams are averaged.",
    ),
    (
        partial(_loss_by_hand, average="twice"),
        "you divide by the number of exams twice: all summed weights have it in them already.",
    ),
    (
        partial(_loss_by_hand, average="fourteen"),
        "an exam's weights sum to 14 for a whole neck only; a broken one has 21 + k.",
    ),
    (partial(_loss_by_hand, average="sum"), "you add the exams up; the loss is their mean."),
    (
        partial(_loss_by_hand, levels=(1, 1), overall=(1, 1)),
        "all rows weigh the same here; the weights are 1 and 2, and 7 and 14.",
    ),
    (
        partial(_loss_by_hand, levels=(1, 1), overall=(7, 7)),
        "rows that are broken weigh double, 2 and 14; you give them the weight of whole ones.",
    ),
    (
        partial(_loss_by_hand, overall=(1, 2)),
        "patient_overall weighs seven times as much as a level, 7 and 14.",
    ),
    (
        partial(_loss_by_hand, levels=(2, 1), overall=(14, 7)),
        "your weights are swapped: the broken rows weigh double, not the whole ones.",
    ),
    (
        partial(_loss_by_hand, overall=(14, 7)),
        "14 and 7 are swapped: a broken neck weighs 14.",
    ),
    (
        partial(_loss_by_hand, column=N_LEVELS),
        "you gave the large weight to the last column; patient_overall is the first.",
    ),
    (partial(_loss_by_hand, unit=math.log(2)), "the logarithm is the natural one, not log2."),
    (partial(_loss_by_hand, unit=math.log(10)), "the logarithm is the natural one, not log10."),
    (
        partial(_loss_by_hand, parts=(1, 0)),
        "a whole row costs nothing in your loss: the term (1 − y) · ln(1 − p) is missing.",
    ),
    (
        partial(_loss_by_hand, parts=(0, 1)),
        "a broken row costs nothing in your loss: the term y · ln p is missing.",
    ),
    (
        lambda y, p: _loss_by_hand(y, 1 - p),
        "ln p and ln(1 − p) are swapped: a right answer costs you more than a wrong one.",
    ),
    (_careless, "0 · ln 0 is not 0 but NaN; " + _CLIP_WORDS),
    (_careless_choice, _CLIP_WORDS),
    *(
        (partial(_loss_by_hand, clip=clip), f"you clip at {clip:g}; the exercise asks for 1e-06.")
        for clip in (1e-2, 1e-3, 1e-4, 1e-5, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15)
    ),
]
