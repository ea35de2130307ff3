"""Grader of notebook 11: a bootstrap interval by study where studies have several rows.

Right answers differ, for each draws its own resamples.  The oracle is the normal
interval of a ratio of sums (Cochran, *Sampling Techniques*, chapter 6), which for 240 studies lies
close to the bootstrap's; tolerances are those of ``metric_interval``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Verdict, answer, interval_ends, number, wrong

Array = npt.NDArray[np.float64]
Ids = npt.NDArray[Any]
Z = 1.959964
END, WIDTH = 0.45, 0.12
"""Largest error of an end, in standard errors, and of the mean width, as a share."""


def by_study_interval(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(study, difference)``: ids and values of M rows, both (M,) → (low, high) (11).

    The 95% interval of the mean over rows, studies drawn with replacement; studies have
    different numbers of rows, in any order.
    """
    widths = []
    for seed in (41, 42, 43):
        study, difference = _rows_of_studies(seed)
        got, failure = answer(fn, study, difference)
        if failure is not None:
            return failure
        problem = interval_ends(got)
        if problem is None:  # a verdict that says "wrong" is false, so no "or" here
            problem = _place(got.astype(np.float64), study, difference)
        if problem is not None:
            return problem
        widths.append(np.ptp(got) / (2 * Z * _by_study(study, difference)))
    ratio = float(np.mean(widths))
    if abs(ratio - 1) > WIDTH:
        return wrong(_width_words(ratio))
    return _the_same_everywhere(fn)


def _rows_of_studies(seed: int) -> tuple[Ids, Array]:
    """Rows of 240 studies, shuffled: the rows of a study go together, long ones are worse."""
    rng = np.random.default_rng(seed)
    rows = rng.choice([2, 4, 8, 14], size=240)
    names = rng.permutation(10_000)[:240]
    study = np.repeat(names, rows)
    shared = rng.normal(0.004 * rows, 0.05)
    difference = np.repeat(shared, rows) + 0.02 * rng.normal(size=rows.sum())
    order = rng.permutation(len(study))
    return study[order], difference[order]


def _sums(study: Ids, difference: Array) -> tuple[Array, Array]:
    """Sum and number of the rows of each study."""
    _, place = np.unique(study, return_inverse=True)
    total: Array = np.bincount(place, difference).astype(np.float64)
    rows: Array = np.bincount(place).astype(np.float64)
    return total, rows


def _by_study(study: Ids, difference: Array) -> float:
    """Standard error of Σ sums / Σ rows when studies are drawn."""
    total, rows = _sums(study, difference)
    rest = total - difference.mean() * rows
    n = len(total)
    return float(np.sqrt(n / (n - 1) * (rest**2).sum()) / rows.sum())


def _by_row(difference: Array) -> float:
    return float(difference.std(ddof=1) / np.sqrt(len(difference)))


def _place(got: Array, study: Ids, difference: Array) -> Verdict | None:
    """What is wrong with an interval that does not lie where it should."""
    error, mean, centre = _by_study(study, difference), difference.mean(), got.mean()
    total, rows = _sums(study, difference)
    off = abs(centre - mean) > END * error
    ratio = np.ptp(got) / (2 * Z * error)
    if not off and abs(ratio - 1) < 0.35:
        return None
    if ratio < 0.02:
        return wrong(
            "your interval has next to no width: draw with replacement, "
            "or every resample is the same set of studies."
        )
    each = total / rows
    others = (
        (mean, _by_row(difference), _ROWS),
        (each.mean(), each.std(ddof=1) / np.sqrt(len(each)), _MEANS),
        (total.mean(), total.std(ddof=1) / np.sqrt(len(total)), _TOTALS),
        (mean, float(difference.std(ddof=1)), _SPREAD),
        (-mean, error, "the sign is wrong: take the differences as they are."),
        (0.0, error, "your interval lies around 0: resample the studies as they are."),
    )
    for where, wide, words in others:
        if abs(centre - where) < 0.5 * wide and abs(np.ptp(got) / (2 * Z * wide) - 1) < 0.2:
            return wrong(words)
    if off:
        return wrong(
            f"your interval is {number(got[0])} to {number(got[1])}, it should be near "
            f"{number(mean - Z * error)} to {number(mean + Z * error)}."
        )
    return None


_ROWS = (
    "you resample rows; the rows of a study belong together, draw studies and take all their "
    "rows: the studies are what would be different next time."
)
_MEANS = (
    "you average the studies' means, which gives a study of two rows the weight of one of "
    "fourteen; what is asked is the mean over all rows of the studies drawn."
)
_TOTALS = "you average the studies' sums; what is asked is the mean over rows: divide by the rows."
_SPREAD = "this is the spread of single rows; what is asked is how much their mean would vary."


def _width_words(ratio: float) -> str:
    for level, z in (("68%", 1.0), ("80%", 1.2816), ("90%", 1.6449), ("99%", 2.5758)):
        if abs(ratio * Z / z - 1) < 0.08:
            return (
                f"your interval is as wide as a {level} one; 95% leaves out 2.5% at each end, "
                "so take the quantiles 0.025 and 0.975."
            )
    how = "wide" if ratio > 1 else "narrow"
    return f"your interval is too {how}: {number(ratio)} times the width that it should have."


def _the_same_everywhere(fn: Callable[..., Any]) -> Verdict:
    """Where all rows are equal there is no doubt, whichever studies are drawn."""
    study = np.repeat(np.array([30, 10, 20]), [1, 5, 2])
    got, failure = answer(fn, study, np.full(8, 0.25))
    if failure is not None:
        return failure
    if got.shape != (2,) or not np.allclose(got.astype(np.float64), 0.25, atol=1e-9):
        return wrong("where every row is 0.25 the interval must be 0.25 to 0.25.")
    return Verdict(True, "studies are drawn, with all their rows, and it is 95% wide.")
