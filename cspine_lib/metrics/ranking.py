"""How well a score orders broken before whole: AUROC, average precision, operating points.

All of them take labels (N,) of 0 and 1 and scores (N,), and are NaN when a class is absent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cspine_lib.errors import CspineError
from cspine_lib.metrics.intervals import Interval, percentile_interval, resample_counts

FloatArray = npt.NDArray[np.floating]

MIN_POSITIVES = 5
"""Under so many positives a table prints n/a for a level's AUROC instead of a number."""


def _checked(y: npt.ArrayLike, score: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    labels, s = np.asarray(y, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != s.shape or len(labels) == 0:
        raise CspineError(f"labels {labels.shape} and scores {s.shape} must be (N,) with N ≥ 1")
    if np.isnan(s).any():
        raise CspineError("scores must not be NaN")
    return labels, s


def auroc(y: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """Area under the ROC curve, (N,), (N,) → chance that a broken one scores above a whole one.

    Ties count one half.  NaN if there is only one class.
    """
    labels, s = _checked(y, score)
    return float(_auroc_by_counts(labels, s, np.ones((1, len(s))))[0])


def _auroc_by_counts(y: FloatArray, score: FloatArray, counts: npt.ArrayLike) -> FloatArray:
    """AUROC of every resample at once; counts (B, N) say how often a study was drawn."""
    order = np.argsort(score, kind="stable")
    sorted_counts = np.asarray(counts)[:, order].astype(np.float64)
    # Start of each group of equal scores: within a group, a pair counts one half.
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    positive = np.add.reduceat(sorted_counts * y[order], starts, axis=1)
    total = np.add.reduceat(sorted_counts, starts, axis=1)
    negative = total - positive
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    wins = (positive * (below + 0.5 * negative)).sum(axis=1)
    return np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def auroc_ci(
    y: npt.ArrayLike,
    score: npt.ArrayLike,
    *,
    minus: npt.ArrayLike | None = None,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """AUROC with its study-bootstrap interval; with ``minus`` (N,), the paired difference.

    Resamples in which a class is missing are left out.
    """
    others = None if minus is None else np.asarray(minus)[:, None]
    return macro_auroc_ci(
        np.asarray(y)[:, None],
        np.asarray(score)[:, None],
        minus=others,
        n=n,
        seed=seed,
        level=level,
    )


def macro_auroc(y_levels: npt.ArrayLike, p_levels: npt.ArrayLike) -> float:
    """Mean AUROC over the columns of (N, L) that have both classes; NaN if none has.

    Pass the seven level columns for the level AUROC, without ``patient_overall``.
    """
    labels, scores = np.asarray(y_levels), np.asarray(p_levels)
    return float(_macro_by_counts(labels, scores, np.ones((1, len(labels))))[0])


def _macro_by_counts(y: FloatArray, score: FloatArray, counts: npt.ArrayLike) -> FloatArray:
    columns = [_auroc_by_counts(*_checked(y[:, j], score[:, j]), counts) for j in range(y.shape[1])]
    values = np.array(columns)
    present = np.isfinite(values).sum(axis=0)
    total = np.nansum(values, axis=0)
    return np.divide(total, present, out=np.full(total.shape, np.nan), where=present > 0)


def macro_auroc_ci(
    y_levels: npt.ArrayLike,
    p_levels: npt.ArrayLike,
    *,
    minus: npt.ArrayLike | None = None,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """``macro_auroc`` with its study-bootstrap interval; paired difference with ``minus``.

    A level without both classes in a resample is left out of that resample's mean.
    """
    y, p = np.asarray(y_levels), np.asarray(p_levels)
    other = None if minus is None else np.asarray(minus)
    value = macro_auroc(y, p) - (0.0 if other is None else macro_auroc(y, other))
    resampled: list[FloatArray] = []
    # In blocks: the sorted copies of all resamples at once would take some 100 MB.
    counts = resample_counts(len(y), n, seed)
    blocks = np.array_split(counts, max(1, n // 250))
    for block in blocks:
        part = _macro_by_counts(y, p, block)
        if other is not None:
            part = np.asarray(part - _macro_by_counts(y, other, block))
        resampled.append(part)
    return percentile_interval(value, np.concatenate(resampled), level)


def average_precision(y: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """Σ (Rᵢ − Rᵢ₋₁)·Pᵢ over the distinct thresholds, highest first; NaN without a positive."""
    labels, s = _checked(y, score)
    if labels.sum() == 0:
        return float("nan")
    order = np.argsort(-s, kind="stable")
    last_of_tie = np.append(np.diff(s[order]) != 0, True)
    hits = np.cumsum(labels[order])[last_of_tie]
    shown = (np.arange(len(s)) + 1)[last_of_tie]
    return float(np.sum(np.diff(hits, prepend=0) / labels.sum() * hits / shown))


def sensitivity_at_specificity(
    y: npt.ArrayLike, score: npt.ArrayLike, specificity: float = 0.9
) -> float:
    """Largest sensitivity of any threshold whose specificity is at least the one asked for."""
    labels, s = _checked(y, score)
    if labels.min() == labels.max():
        return float("nan")
    thresholds = np.append(np.unique(s), np.inf)  # called broken when score ≥ threshold
    whole, broken = np.sort(s[labels == 0]), np.sort(s[labels == 1])
    reached = np.searchsorted(whole, thresholds) / len(whole)
    sensitivity = 1 - np.searchsorted(broken, thresholds) / len(broken)
    return float(sensitivity[reached >= specificity].max())


def specificity_at_sensitivity(
    y: npt.ArrayLike, score: npt.ArrayLike, sensitivity: float = 0.9
) -> float:
    """Largest specificity of any threshold whose sensitivity is at least the one asked for."""
    labels, s = _checked(y, score)
    return sensitivity_at_specificity(1 - labels, -s, sensitivity)
