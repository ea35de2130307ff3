"""Do levels break together?  Joint counts against what independence would give."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.metrics import Interval, percentile_interval, resample_counts

FloatArray = npt.NDArray[np.float64]
PAIRS = tuple(combinations(range(N_LEVELS), 2))
"""The 21 pairs of levels."""


def joint_counts(levels: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """How many studies have both levels of a pair broken, and how many would by chance.

    Args:
        levels: (N, 7) 0 or 1.

    Returns:
        Observed and expected counts, both (7, 7).  Expected under independence is
        n_i · n_j / N.  The diagonal is NaN: a level and itself are no pair.
    """
    y = np.asarray(levels, dtype=np.float64)
    observed = y.T @ y
    single = y.sum(axis=0)
    expected = np.outer(single, single) / len(y)
    for table in (observed, expected):
        np.fill_diagonal(table, np.nan)
    return observed, expected


def ratio_by_distance(levels: npt.ArrayLike, n: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Observed over expected joint breaks of all pairs that lie 1, 2, … 6 levels apart.

    Both counts are summed over the pairs of a distance before they are divided, for a
    single pair is often expected less than once.

    Args:
        levels: (N, 7) 0 or 1.
        n: bootstrap resamples, studies drawn with replacement.

    Returns:
        Index ``apart`` 1 to 6; columns ``pairs, observed, expected, ratio``, the last an
        ``Interval`` of 95%.  A set in which nothing is expected has the ratio NaN.
    """
    y = np.asarray(levels, dtype=np.float64)
    first, second = np.array(PAIRS).T
    # The whole sample is one more resample, in which each study is drawn once.
    drawn = np.vstack([np.ones(len(y)), resample_counts(len(y), n, seed)])
    single = drawn @ y  # (n + 1, 7)
    joint = drawn @ (y[:, first] * y[:, second])  # (n + 1, 21)
    expected = single[:, first] * single[:, second] / len(y)
    rows = []
    for apart in range(1, N_LEVELS):
        of = second - first == apart
        over, under = joint[:, of].sum(axis=1), expected[:, of].sum(axis=1)
        ratio = np.divide(over, under, out=np.full(len(over), np.nan), where=under > 0)
        interval = percentile_interval(float(ratio[0]), ratio[1:])
        rows.append((apart, int(of.sum()), int(over[0]), float(under[0]), interval))
    columns = ["apart", "pairs", "observed", "expected", "ratio"]
    return pd.DataFrame(rows, columns=columns).set_index("apart")


def neighbour_ratio(levels: npt.ArrayLike) -> Interval:
    """How many times likelier than by chance two neighbouring levels break together."""
    interval: Interval = ratio_by_distance(levels)["ratio"].iloc[0]
    return interval
