"""Bootstrap intervals by study, paired when several arrays go in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cspine_lib.errors import CspineError

FloatArray = npt.NDArray[np.floating]


class Interval(NamedTuple):
    """A statistic and its percentile-bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:z.3f} [{self.low:z.3f}, {self.high:z.3f}]"  # z: no minus before a zero

    @property
    def excludes_zero(self) -> bool:
        """True when the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def resample_counts(n_studies: int, n: int = 2000, seed: int = 0) -> npt.NDArray[np.float32]:
    """How often each study is drawn in each bootstrap resample, (n, n_studies)."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, n_studies, size=(n, n_studies)) + n_studies * np.arange(n)[:, None]
    counts = np.bincount(draws.ravel(), minlength=n * n_studies)
    return counts.reshape(n, n_studies).astype(np.float32)


def percentile_interval(value: float, resampled: FloatArray, level: float = 0.95) -> Interval:
    """Percentile interval; resamples without a value (NaN) are left out, all NaN gives NaN."""
    finite = resampled[np.isfinite(resampled)]
    if len(finite) == 0:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def bootstrap_ci(
    fn: Callable[..., float],
    *arrays: npt.ArrayLike,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile-bootstrap interval of ``fn(*arrays)``, studies drawn with replacement.

    All arrays are indexed with the same draw along their first axis, so a
    difference between two methods on the same studies is a paired one.  For the
    loss and AUROC the faster ``loss_ci`` and ``ranking.auroc_ci`` give the same.

    Raises:
        CspineError: arrays of different length, or none.
    """
    stacked = [np.asarray(a) for a in arrays]
    if not stacked or len({len(a) for a in stacked}) != 1 or len(stacked[0]) == 0:
        raise CspineError("bootstrap_ci needs arrays of one and the same length ≥ 1")
    n_studies = len(stacked[0])
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, n_studies, size=(n, n_studies))
    resampled = np.array([fn(*(a[draw] for a in stacked)) for draw in draws], dtype=np.float64)
    return percentile_interval(float(fn(*stacked)), resampled, level)


def ratio_ci(
    top: npt.ArrayLike,
    bottom: npt.ArrayLike,
    *,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of Σ top / Σ bottom over studies, both (N,); NaN where Σ bottom is 0."""
    tops, bottoms = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    counts = resample_counts(len(tops), n, seed).astype(np.float64)
    # The whole sample is one more resample, in which each study is drawn once.
    counts = np.vstack([np.ones(len(tops)), counts])
    over, under = counts @ tops, counts @ bottoms
    values = np.divide(over, under, out=np.full(len(under), np.nan), where=under != 0)
    return percentile_interval(float(values[0]), values[1:], level)
