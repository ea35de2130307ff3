"""Graders of notebook 11: sensitivity at a specificity, and hours after a step became faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis

Array = npt.NDArray[np.float64]
Ids = npt.NDArray[Any]

SEED = 56

# --- sensitivity at a specificity ----------------------------------------------------------------


def sensitivity_at(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(y, score, specificity)``: (N,), (N,), a share → the largest sensitivity (11).

    Of all thresholds t, *broken* meaning score ≥ t, whose specificity is at least the one asked.
    """
    rng = np.random.default_rng(SEED)
    for n, ties, wanted in ((44, False, 0.5), (60, False, 0.9), (45, True, 0.9), (37, True, 0.75)):
        y = (rng.random(n) < 0.45).astype(np.int64)
        y[:2] = 0, 1
        score = 1 / (1 + np.exp(-(rng.normal(size=n) + 1.2 * y)))
        score = np.round(score, 1) if ties else score
        verdict = _one_point(fn, y, score, wanted)
        if verdict is not None:
            return verdict
    apart = np.array([0.1, 0.2, 0.8, 0.9])
    edges = (
        ("every score is equal: ", np.array([0, 1, 0, 1]), np.full(4, 0.3), 0.9),
        ("the classes are apart: ", np.array([0, 0, 1, 1]), apart, 1.0),
        ("they are apart the wrong way: ", np.array([1, 1, 0, 0]), apart, 0.9),
        ("specificity 0 is asked: ", np.array([0, 1, 0]), np.array([0.9, 0.1, 0.5]), 0.0),
    )
    for note, y, score, wanted in edges:
        verdict = _one_point(fn, y, score, wanted, note)
        if verdict is not None:
            return verdict
    return Verdict(True, "it is right, with ties and at the edges.")


def _one_point(
    fn: Callable[..., Any], y: Ids, score: Array, wanted: float, note: str = ""
) -> Verdict | None:
    got, failure = answer(fn, y, score, wanted)
    if failure is not None:
        return failure
    want = np.array(_points(y, score, wanted))
    if agrees(got, want):
        return None
    note = note or f"at specificity {wanted:.0%}: "
    return diagnosis(got, want, _POINT_MISTAKES, (y, score, wanted), note=note)


def _points(y: Array | Ids, score: Array, wanted: float) -> float:
    """By trying every threshold; above the largest score nothing is called broken."""
    best = 0.0
    for t in [*score.tolist(), np.inf]:
        called = score >= t
        if (~called[y == 0]).mean() >= wanted - 1e-12:
            best = max(best, float(called[y == 1].mean()))
    return best


def _by_quantile(y: Ids, score: Array, wanted: float) -> float:
    return float((score[y == 1] >= np.quantile(score[y == 0], wanted)).mean())


def _interpolated(y: Ids, score: Array, wanted: float) -> float:
    """Along straight lines between the points of the ROC curve."""
    points = sorted(
        (float((score[y == 0] >= t).mean()), float((score[y == 1] >= t).mean()))
        for t in [*score.tolist(), np.inf]
    )
    return float(np.interp(1 - wanted, *np.array(points).T))


def _at_half(y: Ids, score: Array, wanted: float) -> float:
    return float((score[y == 1] >= 0.5).mean())


def _smallest(y: Ids, score: Array, wanted: float) -> float:
    """Of the thresholds that are specific enough, the strictest."""
    called = score >= score.max()
    return float(called[y == 1].mean())


def _precision(y: Ids, score: Array, wanted: float) -> float:
    best = 0.0
    for t in [*score.tolist(), np.inf]:
        called = score >= t
        if (~called[y == 0]).mean() >= wanted and called.any():
            best = max(best, float(y[called].mean()))
    return best


def _nearest(y: Ids, score: Array, wanted: float) -> float:
    """At the threshold whose specificity is nearest, below or above."""
    at = np.unique(score)
    gaps = [abs(float((score[y == 0] < t).mean()) - wanted) for t in at]
    return float((score[y == 1] >= at[int(np.argmin(gaps))]).mean())


_POINT_MISTAKES: Mistakes = [
    (
        lambda y, s, w: _points(1 - y, -s, w),
        "this is the specificity at that sensitivity: you have swapped the two.",
    ),
    (
        lambda y, s, w: _points(1 - y, s, w),
        "you count the whole necks as the broken ones: sensitivity is a share of y == 1.",
    ),
    (
        lambda y, s, w: _points(y, -s, w),
        "your threshold works the wrong way round: broken means score ≥ t.",
    ),
    (_at_half, "you use the threshold 0.5; look for the one that is specific enough."),
    (
        _by_quantile,
        "a quantile of the whole necks' scores need not be specific enough (with few necks or "
        "equal scores it is not): try the thresholds and keep those that are.",
    ),
    (
        _interpolated,
        "you interpolate between points of the ROC curve; no threshold is there, take the best "
        "one that exists.",
    ),
    (
        _precision,
        "this is the share of right answers among those called broken (precision); sensitivity is "
        "the share of broken ones that are called so.",
    ),
    (_smallest, "of the thresholds that are specific enough you took the strictest, not the best."),
    (
        _nearest,
        "you take the threshold that comes nearest; it must be at least as specific as is asked.",
    ),
    (
        lambda y, s, w: 1 - _points(y, s, w),
        "this is the share of broken necks that are missed: one minus it.",
    ),
]


# --- hours, and Amdahl's law ---------------------------------------------------------------------


def hours_after(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(seconds, factor, n)``: (S,) per step, (S,) times faster → (hours, speed-up) (11).

    Hours for n studies once step i is ``factor[i]`` times as fast, and how many times as fast the
    whole has become.
    """
    rng = np.random.default_rng(61)
    cases = [
        (rng.uniform(0.1, 5, size), rng.choice([1.0, 2.0, 4.0, 10.0], size), int(n))
        for size, n in ((5, 2019), (5, 100), (3, 640))
    ]
    cases.append((np.array([1.5, 0.5]), np.array([1.0, np.inf]), 2019))
    cases.append((np.array([3.0, 0.0, 1.0]), np.ones(3), 10))
    cases.append((np.array([2.0, 1.0]), np.array([0.5, 1.0]), 3600))
    notes = {3: "for a step that takes no time any more (factor inf): "}
    notes |= {4: "where nothing is made faster: ", 5: "where a step becomes slower (0.5): "}
    for i, case in enumerate(cases):
        got, failure = answer(fn, *case)
        if failure is not None:
            return failure
        want = _hours(*case)
        if not agrees(got, want, atol=1e-7):
            return diagnosis(got, want, _HOUR_MISTAKES, case, note=notes.get(i, ""))
    return Verdict(True, "what is not made faster sets the limit, as Amdahl's law says.")


def _hours(seconds: Array, factor: Array, n: int) -> Array:
    """Step by step, without array arithmetic."""
    before = after = 0.0
    for one, times in zip(seconds.tolist(), factor.tolist(), strict=True):
        before += one
        after += one / times
    return np.array([n * after / 3600, before / after])


def _pair(seconds: Array, after: float, n: int, per: float = 3600.0) -> Array:
    return np.array([n * after / per, seconds.sum() / after])


_HOUR_MISTAKES: Mistakes = [
    (lambda s, f, n: _hours(s, f, n)[::-1], "the order is hours first, then the speed-up."),
    (lambda s, f, n: _hours(s, f, n)[0], "return two numbers: hours and the speed-up."),
    (lambda s, f, n: _pair(s, float((s / f).sum()), n, 1.0), "these are seconds, not hours."),
    (lambda s, f, n: _pair(s, float((s / f).sum()), n, 60.0), "these are minutes, not hours."),
    (lambda s, f, n: _pair(s, float((s / f).sum()), 1), "this is one study: multiply by n."),
    (
        lambda s, f, n: _pair(s, float(s.sum() / f.mean()), n),
        "you divide the total by the mean factor; each step is divided by its own, and the slow "
        "ones remain.",
    ),
    (
        lambda s, f, n: _pair(s, float(s.sum() / f.prod()), n),
        "factors of different steps do not multiply; each divides its own seconds only.",
    ),
    (
        lambda s, f, n: _pair(s, float((s * f).sum()), n),
        "you multiply by the factor; twice as fast is half the time.",
    ),
    (
        lambda s, f, n: _pair(s, float((s / f).max()), n),
        "you keep the longest step only; the steps follow one another, their times add up.",
    ),
    (
        lambda s, f, n: np.array([_hours(s, f, n)[0], (s / f).sum() / s.sum()]),
        "your speed-up is upside down: before over after.",
    ),
    (
        lambda s, f, n: np.array([_hours(s, f, n)[0], f.mean()]),
        "the speed-up of the whole is not the mean factor: it is the time before over the time "
        "after.",
    ),
    (
        lambda s, f, n: np.array([_hours(s, f, n)[0], (f * s).sum() / s.sum()]),
        "factors weighted by the time before are no speed-up: it is the time before over the time "
        "after.",
    ),
    (
        lambda s, f, n: np.array([n * s.sum() / 3600, _hours(s, f, n)[1]]),
        "these are the hours before the change.",
    ),
]
