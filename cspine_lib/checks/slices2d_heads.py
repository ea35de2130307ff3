"""Graders of notebook 07: the masked loss, seven levels to one neck, AUROC that may be n/a."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.checks.base import Mistakes, Verdict
from cspine_lib.checks.slices2d import Case, grade

Array = npt.NDArray[np.float64]


# --- the loss of two heads ---------------------------------------------------------------------


def two_part_loss(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(z_visible, z_fracture, visible, label)``: four (B, 7) → one number (07)."""
    rng = np.random.default_rng(71)

    def batch(size: int, spread: float = 2.0) -> tuple[Array, ...]:
        shape = (size, N_LEVELS)
        label = (rng.uniform(size=shape) < 0.3).astype(float)
        return (
            rng.normal(0, spread, shape),
            rng.normal(0, spread, shape),
            rng.uniform(size=shape) ** 2,
            label,
        )

    *logits, visible, label = batch(6)
    cases: list[Case] = [
        ("", batch(8)),
        ("for a batch of one slice: ", batch(1)),
        ("where no slice shows anything: ", (*logits, np.zeros_like(visible), label)),
        ("for logits of ±800: ", (*(800 * np.sign(z) for z in logits), visible, label)),
    ]
    return grade(
        fn,
        cases,
        _two_parts,
        _LOSS_MISTAKES,
        "one loss a head; what a slice does not show, it is not asked about; nothing overflows.",
    )


def _bce(z: float, y: float) -> float:
    """−y ln σ(z) − (1 − y) ln(1 − σ(z)), without an exponential that can overflow."""
    return max(z, 0.0) - z * y + math.log1p(math.exp(-abs(z)))


def _two_parts(z_visible: Array, z_fracture: Array, visible: Array, label: Array) -> float:
    n = visible.size
    first = sum(map(_bce, z_visible.ravel(), visible.ravel())) / n
    terms = map(_bce, z_fracture.ravel(), label.ravel())
    total = sum(visible.ravel().tolist())
    asked = sum(w * term for w, term in zip(visible.ravel(), terms, strict=True))
    return float(first + asked / max(total, 1.0))


def _terms(z: Array, y: Array) -> Array:
    return np.logaddexp(0, z) - z * y


def _naive(z: Array, y: Array) -> Array:
    p = 1 / (1 + np.exp(-z))
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def _masked(t: Array, w: Array) -> float:
    return float((t * w).sum() / max(w.sum(), 1.0))


_LOSS_MISTAKES: Mistakes = [
    (
        lambda zv, zf, v, y: _terms(zv, v).mean() + _terms(zf, y).mean(),
        "every slice is asked about all seven levels, with the study's label: a slice of C2 is "
        "told off for not seeing a broken C6. Weigh the fracture terms by visible.",
    ),
    (
        lambda zv, zf, v, y: _terms(zv, v).mean() + (_terms(zf, y) * v).mean(),
        "the weighted terms were divided by their number; divide by the sum of the weights, "
        "or the fracture head learns the slower the fewer levels a slice shows.",
    ),
    (
        lambda zv, zf, v, y: _terms(zv, v).mean() + _terms(zf, y * v).mean(),
        "this is the single head's loss: the label times visibility as a target makes a zero of "
        "what is not seen. Here what is not seen is left out.",
    ),
    (
        lambda zv, zf, v, y: _terms(zv, v).mean() + _masked(_terms(zf, y * v), v),
        "visibility is in the target and in the weight; it belongs into the weight alone.",
    ),
    (
        lambda zv, zf, v, y: _terms(zv, v).mean() + _masked(_terms(zf, y), (v >= 0.5) * 1.0),
        "visibility was cut at 0.5: use it as the weight that it is.",
    ),
    (
        lambda zv, zf, v, y: _masked(_terms(zv, v), v) + _masked(_terms(zf, y), v),
        "the visibility part is weighed too: nothing would ever tell it that a level is not there.",
    ),
    (
        lambda zv, zf, v, y: _terms(zv, v).mean() + (_terms(zf, y) * v).sum() / v.sum(),
        "0 / 0 is not a number: divide by max(visible.sum(), 1).",
    ),
    (
        lambda zv, zf, v, y: _terms(zv, v).mean() + ((_terms(zf, y) * v).sum(1) / v.sum(1)).mean(),
        "each slice has one vote, however little it shows; sum over the whole batch, then divide.",
    ),
    (
        lambda zv, zf, v, y: _naive(zv, v).mean() + _masked(_naive(zf, y), v),
        "ln 0 is not finite: σ(z) is 0 or 1 to the last digit for large logits. "
        "Use np.logaddexp(0, z) − z·y, the same without an overflow.",
    ),
    (
        lambda zv, zf, v, y: _masked(_terms(zf, y), v),
        "the visibility head has no loss: add its mean BCE.",
    ),
    (lambda zv, zf, v, y: _terms(zv, v).mean(), "the fracture head has no loss: add its part."),
    (
        lambda zv, zf, v, y: (_terms(zv, v).mean() + _masked(_terms(zf, y), v)) / 2,
        "the sum of the two losses is asked, not their mean.",
    ),
    (
        lambda zv, zf, v, y: -(_terms(zv, v).mean() + _masked(_terms(zf, y), v)),
        "the sign is wrong: a loss is −ln of a probability, and never negative.",
    ),
    (
        lambda zv, zf, v, y: _terms(zv, v).sum() + _masked(_terms(zf, y), v),
        "the visibility part is a sum; it should be a mean over batch and levels.",
    ),
]


# --- seven levels, one neck --------------------------------------------------------------------


def any_bounds(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(p)``: (N, 7) → (N, 3), least, independent and largest chance of any (07)."""
    rng = np.random.default_rng(72)
    cases: list[Case] = [
        ("", (rng.uniform(0.01, 0.12, size=(5, N_LEVELS)),)),
        ("where levels are likely broken: ", (rng.uniform(0.1, 0.9, size=(4, N_LEVELS)),)),
        ("for seven studies: ", (rng.uniform(0.02, 0.3, size=(7, N_LEVELS)),)),
        ("for a sure fracture of C2: ", (np.eye(N_LEVELS)[[1]],)),
        ("for a sure whole neck: ", (np.zeros((2, N_LEVELS)),)),
    ]
    return grade(
        fn,
        cases,
        _any,
        _ANY_MISTAKES,
        "the maximum is the least that it can be, the sum the most, noisy-or lies between.",
        atol=1e-9,
    )


def _any(p: Array) -> Array:
    rows = []
    for levels in p.tolist():
        whole = 1.0
        for q in levels:
            whole *= 1 - q
        rows.append([max(levels), 1 - whole, min(1.0, sum(levels))])
    return np.array(rows)


def _columns(*parts: Array) -> Array:
    return np.stack(parts, axis=1)


_ANY_MISTAKES: Mistakes = [
    (
        lambda p: _columns(p.max(1), 1 - np.prod(1 - p, axis=1), p.sum(1)),
        "the sum goes over 1: a probability does not, so take np.minimum(1, sum).",
    ),
    (
        lambda p: _columns(p.min(1), 1 - np.prod(1 - p, axis=1), np.minimum(1, p.sum(1))),
        "the lower bound is the smallest probability: a neck is broken if its likeliest level is, "
        "so it is the largest.",
    ),
    (
        lambda p: _columns(p.mean(1), 1 - np.prod(1 - p, axis=1), np.minimum(1, p.sum(1))),
        "the lower bound is a mean: whenever C2 is broken the neck is, so never below the largest.",
    ),
    (
        lambda p: _columns(p.max(1), np.prod(p, axis=1), np.minimum(1, p.sum(1))),
        "the middle column is the chance that all are broken at once; 1 − Π(1 − p) is any.",
    ),
    (
        lambda p: _columns(p.max(1), np.prod(1 - p, axis=1), np.minimum(1, p.sum(1))),
        "the middle column is the chance that nothing is broken; take its complement.",
    ),
    (lambda p: _any(p)[:, ::-1], "the order is turned round: least, independent, largest."),
    (
        lambda p: _any(p)[:, [1, 0, 2]],
        "the first two columns are swapped: the least is the maximum of the levels.",
    ),
    (lambda p: _any(p).T, "the result is (3, N); one row a study is asked, (N, 3)."),
    (
        lambda p: _columns(p.max(1), 1 - np.prod(1 - p, axis=1), np.ones(len(p))),
        "1 is no bound to speak of: seven events together have at most the sum of their chances.",
    ),
    (
        lambda p: np.stack([p.max(0), 1 - np.prod(1 - p, axis=0), np.minimum(1, p.sum(0))], 1),
        "this runs over the studies, and mixes patients; run over the levels: axis=1.",
    ),
]


# --- AUROC by level ----------------------------------------------------------------------------

ENOUGH = 5
"""Studies of each class below which an AUROC is not shown."""


def level_aurocs(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(y, p)``: (N, 7), (N, 7) → (7,), NaN under five of either class (07)."""
    rng = np.random.default_rng(73)

    def drawn(n: int, positives: list[int], digits: int) -> tuple[Any, ...]:
        y = np.zeros((n, N_LEVELS), dtype=int)
        for k, count in enumerate(positives):
            y[rng.choice(n, count, replace=False), k] = 1
        return y, np.round(np.clip(0.3 + 0.2 * y + rng.normal(0, 0.2, y.shape), 0, 1), digits)

    cases: list[Case] = [
        ("", drawn(40, [8, 12, 9, 15, 20, 6, 11], 6)),
        ("where studies share a probability: ", drawn(30, [8, 12, 9, 15, 20, 6, 11], 1)),
        ("where C3 is broken in 4 studies and C4 in 5: ", drawn(40, [8, 12, 4, 5, 20, 6, 11], 6)),
        ("where C1 is never broken: ", drawn(25, [0, 12, 9, 8, 10, 6, 11], 6)),
        ("where C6 is whole in 3 studies only: ", drawn(25, [8, 12, 9, 8, 10, 22, 11], 6)),
    ]
    return grade(
        fn,
        cases,
        _aurocs,
        _AUROC_MISTAKES,
        "pairs in the right order, ties by half, and no number where there are too few to count.",
        atol=1e-9,
    )


def _pairs(y: Array, p: Array, tie: float = 0.5) -> float:
    wins = [
        1.0 if a > b else tie if a == b else 0.0
        for a in p[y == 1].tolist()
        for b in p[y == 0].tolist()
    ]
    return sum(wins) / len(wins) if wins else math.nan


def _aurocs(y: Array, p: Array, least: int = ENOUGH, tie: float = 0.5, both: bool = True) -> Array:
    out = []
    for k in range(y.shape[1]):
        broken, whole = int((y[:, k] == 1).sum()), int((y[:, k] == 0).sum())
        few = broken < least or (both and whole < least)
        out.append(math.nan if few else _pairs(y[:, k], p[:, k], tie))
    return np.array(out)


_AUROC_MISTAKES: Mistakes = [
    (
        lambda y, p: _aurocs(y, p, both=False),
        "you counted the broken ones only; a level that is whole in three studies is no better.",
    ),
    (
        lambda y, p: _aurocs(y, p, least=0),
        "a level with too few broken or whole studies has a number; say np.nan there, for a single "
        "study would move it by 0.2 or more.",
    ),
    (lambda y, p: _aurocs(y, p, least=ENOUGH + 1), "five are enough: n/a is for fewer."),
    (
        lambda y, p: _aurocs(y, p, tie=0.0),
        "a tie counts for nothing; two equal answers are a coin, one half.",
    ),
    (
        lambda y, p: _aurocs(y, p, tie=1.0),
        "a tie counts as a win; two equal answers are a coin, one half.",
    ),
    (lambda y, p: 1 - _aurocs(y, p), "upside down: broken above whole is what counts."),
    (
        lambda y, p: np.nan_to_num(_aurocs(y, p), nan=0.0),
        "0 where there is no answer would claim that the order is all wrong: use np.nan.",
    ),
    (
        lambda y, p: np.nan_to_num(_aurocs(y, p), nan=0.5),
        "0.5 where there is no answer would claim a coin: use np.nan.",
    ),
]
