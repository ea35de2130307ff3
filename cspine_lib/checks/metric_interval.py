"""Grader of notebook 02: the bootstrap interval of a paired difference.

Right answers differ here, for each draws its own resamples.  With B resamples the end of a 95%
interval has a standard error of √(0.025 · 0.975 / B) / φ(1.96) = 2.7 / √B standard errors of the
mean: 0.09 for B = 1000.  An end may be off by 0.4, the width (averaged over the sets tried) by a
tenth: more than 4 of its standard errors at B = 1000 and over 2 at B = 300, while a 90% interval
is too narrow by 16%.  The oracle is the normal interval of the mean difference, which for these
sets of 300 studies lies within 0.1 standard errors of the bootstrap's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Verdict, answer, interval_ends, number, wrong

Array = npt.NDArray[np.float64]
Z = 1.959964
END, WIDTH = 0.4, 0.1
"""Largest error of an end, in standard errors, and of the mean width, as a share."""


def study_interval(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(a, b)``: two (N, 8) arrays of w·BCE/W → (low, high) of a − b, paired (02).

    The statistic is the mean over studies of the row's summed difference.
    """
    widths = []
    for seed in (31, 32, 33):
        a, b = _two_methods(seed)
        got, failure = answer(fn, a, b)
        if failure is not None:
            return failure
        problem = interval_ends(got)
        if problem is None:
            problem = _place(got.astype(np.float64), a, b)
        if problem is not None:
            return problem
        widths.append((got[1] - got[0]) / (2 * Z * _error((a - b).sum(axis=1))))
    if abs(np.mean(widths) - 1) > WIDTH:
        return wrong(_width_words(float(np.mean(widths))))
    return _identical(fn)


def _place(got: Array, a: Array, b: Array) -> Verdict | None:
    """What is wrong with an interval that does not lie where it should."""
    difference = (a - b).sum(axis=1)
    error, centre = _error(difference), got.mean()
    off = abs(centre - difference.mean()) > END * error
    if not off and abs(np.ptp(got) / (2 * Z * error) - 1) < 0.4:
        return None
    for wide, words in (
        (_unpaired(a, b), _UNPAIRED),
        (_by_row(a - b), "you resample rows; the eight rows of a study belong together, draw them "
         "together: the studies are what would be different next time."),
        (difference.std(ddof=1), "this is the spread of single studies; what is asked is how much "
         "their mean would vary, which √N times as many studies narrow."),
    ):  # fmt: skip
        if _same(got, difference.mean(), wide):
            return wrong(words)
    if np.ptp(got) < 0.02 * error:
        return wrong(
            "your interval has next to no width: draw with replacement, "
            "or every resample is the same set of studies."
        )
    others = (
        (-difference.mean(), "the sign is wrong: the difference is a − b, you took b − a."),
        (a.sum(axis=1).mean(), "this is the interval of a alone; what is asked is a − b."),
        (b.sum(axis=1).mean(), "this is the interval of b alone; what is asked is a − b."),
        (0.0, _AROUND_ZERO),
        ((a - b).mean(), _AVERAGED),
        (difference.sum(), "you add the studies up; the loss is their mean."),
    )
    other, words = min(others, key=lambda known: abs(centre - known[0]))
    if off and abs(centre - other) < 0.05 * abs(other - difference.mean()):
        return wrong(words)
    low, high = difference.mean() - Z * error, difference.mean() + Z * error
    if off:
        return wrong(
            f"your interval is {number(got[0])} to {number(got[1])}, "
            f"it should be near {number(low)} to {number(high)}."
        )
    return None


_AROUND_ZERO = (
    "your interval lies around 0: resample the studies as they are, and do not swap a and b "
    "(that would be a permutation test) or subtract the mean."
)
_AVERAGED = (
    "you average over the eight rows; a study's loss is their sum, for W is divided out already."
)
_UNPAIRED = (
    "you draw the studies of a and of b apart, which makes the interval too wide; "
    "take the difference study by study, or use one draw for both: hard studies are hard for both."
)


def _identical(fn: Callable[..., Any]) -> Verdict:
    a, _ = _two_methods(34)
    got, failure = answer(fn, a, a.copy())
    if failure is not None:
        return failure
    if got.shape != (2,) or not np.allclose(got.astype(np.float64), 0, atol=1e-9):
        return wrong("a method compared with itself has a difference of 0, without any doubt.")
    return Verdict(True, "it is paired, drawn by study, and 95% wide.")


def _two_methods(seed: int) -> tuple[Array, Array]:
    """(300, 8) and (300, 8): a study that is hard is hard in all its rows and for both methods."""
    rng = np.random.default_rng(seed)
    hard = rng.gamma(2.0, 0.03, size=(300, 1))
    a = hard * rng.uniform(0.9, 1.1, size=(300, 8))
    gain = 0.0025 + 0.006 * rng.normal(size=(300, 1)) + 0.001 * rng.normal(size=(300, 8))
    return a, a - gain


def _error(x: Array) -> float:
    """Standard error of a mean."""
    return float(x.std(ddof=1) / np.sqrt(len(x)))


def _unpaired(a: Array, b: Array) -> float:
    return float(np.hypot(_error(a.sum(axis=1)), _error(b.sum(axis=1))))


def _by_row(difference: Array) -> float:
    """Standard error of eight times the mean, were all rows independent."""
    return difference.shape[1] * _error(difference.ravel())


def _same(got: Array, centre: float, error: float) -> bool:
    """Whether an interval is the 95% one around a centre, as near as resampling gets."""
    return bool(abs(np.ptp(got) / (2 * Z * error) - 1) < WIDTH and abs(got.mean() - centre) < error)


def _width_words(ratio: float) -> str:
    for level, z in (("68%", 1.0), ("80%", 1.2816), ("90%", 1.6449), ("99%", 2.5758)):
        if abs(ratio * Z / z - 1) < 0.07:
            return (
                f"your interval is as wide as a {level} one; 95% leaves out 2.5% at each end, "
                "so take the quantiles 0.025 and 0.975."
            )
    how = "wide" if ratio > 1 else "narrow"
    return f"your interval is too {how}: {number(ratio)} times the width that it should have."
