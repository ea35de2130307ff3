"""Grader of notebook 13: are broken levels above the whole ones of their own neck?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.checks.base import Mistakes, Verdict
from cspine_lib.checks.slices2d import Case, grade

Array = npt.NDArray[Any]


def order_within_neck(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(y, p)``: (N, 7), (N, 7) → share of pairs within necks in the right order (13)."""
    rng = np.random.default_rng(133)
    cases: list[Case] = []
    for n in (40, 12):
        y = (rng.uniform(size=(n, N_LEVELS)) < 0.2).astype(np.int64)
        y[0] = 0
        neck = rng.normal(size=(n, 1)) + 1.5 * y.any(axis=1, keepdims=True)  # some are suspicious
        p = 1 / (1 + np.exp(-(neck + 0.8 * y + rng.normal(size=y.shape))))
        cases.append(("", (y, p)))
    y, p = cases[0][1]
    full = y.copy()
    full[3] = 1
    cases += [
        ("where levels are tied: ", (y, np.round(p, 1))),
        ("where one neck has all seven levels broken: ", (full, p)),
        ("where all necks say the same of all levels: ", (y, np.full_like(p, 0.3))),
        ("where no neck is broken: ", (np.zeros_like(y), p)),
    ]
    return grade(
        fn,
        cases,
        _share,
        _ORDER_MISTAKES,
        "pairs within a neck, ties as half, necks without a pair left out.",
        atol=1e-9,
    )


def _share(y: Array, p: Array) -> Array:
    won, pairs = 0.0, 0
    for labels, said in zip(y.tolist(), p.tolist(), strict=True):
        for i in range(len(labels)):
            for j in range(len(labels)):
                if labels[i] == 1 and labels[j] == 0:
                    pairs += 1
                    won += 1.0 if said[i] > said[j] else 0.5 if said[i] == said[j] else 0.0
    return np.array(won / pairs if pairs else np.nan)


def _pairs(y: Array, p: Array, tie: float = 0.5) -> tuple[Array, Array]:
    """Won and counted pairs of each neck."""
    won, count = np.zeros(len(y)), np.zeros(len(y))
    for k, (labels, said) in enumerate(zip(y == 1, p, strict=True)):
        gap = said[labels][:, None] - said[~labels][None]
        won[k], count[k] = (gap > 0).sum() + tie * (gap == 0).sum(), gap.size
    return won, count


def _over(y: Array, p: Array, tie: float = 0.5) -> Any:
    won, count = _pairs(y, p, tie)
    return won.sum() / count.sum()


def _across(y: Array, p: Array) -> Any:
    """An AUROC over all levels of all necks."""
    gap = p[y == 1][:, None] - p[y == 0][None]
    return ((gap > 0) + 0.5 * (gap == 0)).mean() if gap.size else np.nan


def _by_column(y: Array, p: Array) -> Any:
    values = np.array([_across(y[:, k], p[:, k]) for k in range(y.shape[1])])
    return _mean(values[np.isfinite(values)])


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")


def _of_necks(y: Array, p: Array, empty: float | None = None) -> Any:
    won, count = _pairs(y, p)
    share = won / np.maximum(count, 1)
    if empty is None:
        return _mean(share[count > 0])
    return np.where(count > 0, share, empty).mean()


def _highest(y: Array, p: Array) -> Any:
    broken = y.max(axis=1) == 1
    return _mean(y[broken, p[broken].argmax(axis=1)])


def _all_above(y: Array, p: Array) -> Any:
    some = (y.max(axis=1) == 1) & (y.min(axis=1) == 0)
    low = np.where(y == 1, p, np.inf).min(axis=1)
    high = np.where(y == 0, p, -np.inf).max(axis=1)
    return _mean((low > high)[some])


_ORDER_MISTAKES: Mistakes = [
    (
        lambda y, p: np.nan_to_num(_over(y, p)),
        "without a pair there is no share: np.nan, for 0 would claim that all pairs are wrong.",
    ),
    (
        lambda y, p: np.nan_to_num(_over(y, p), nan=0.5),
        "without a pair there is no share: np.nan, for 0.5 would claim a coin.",
    ),
    (
        lambda y, p: _over(y, p, 0.0),
        "a tie counts for nothing here; it is half a pair, or a method that cannot tell levels "
        "apart looks worse than a coin.",
    ),
    (
        lambda y, p: _over(y, p, 1.0),
        "a tie counts as a win here; it is half a pair, or saying the same of all is perfect.",
    ),
    (
        _across,
        "this is an AUROC over all necks: a suspicious neck's levels are above a calm neck's, and "
        "that says nothing about levels. Compare within one row.",
    ),
    (
        _by_column,
        "you compared the same level of different necks (columns); compare the levels of one "
        "neck (a row).",
    ),
    (lambda y, p: 1 - _over(y, p), "upside down: count pairs in which the broken level is higher."),
    (
        _of_necks,
        "this is the mean of the necks' shares, in which a neck with 6 pairs weighs as much as one "
        "with 12: add up the pairs of all necks first, then divide.",
    ),
    (
        lambda y, p: _of_necks(y, p, 0.0),
        "necks without a pair were counted as all wrong: leave them out.",
    ),
    (
        lambda y, p: _of_necks(y, p, 0.5),
        "necks without a pair were counted as a coin: leave them out.",
    ),
    (
        lambda y, p: _of_necks(y, p, 1.0),
        "necks without a pair were counted as all right: leave them out.",
    ),
    (
        _highest,
        "this asks whether the highest level is broken: a second broken level is not looked at.",
    ),
    (
        _all_above,
        "this asks for all pairs of a neck at once: one wrong pair makes the neck wrong. "
        "Count pairs.",
    ),
    (
        lambda y, p: _pairs(y, p)[0].sum(),
        "this is the number of pairs that were won; divide by the number of pairs.",
    ),
]
