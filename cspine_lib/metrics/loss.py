"""The competition's weighted log loss, its best constants and its intervals.

Arrays ``y`` and ``p`` are (N, 8) in the column order of ``anatomy.TARGETS``:
``patient_overall`` first, then C1 … C7; ``y`` is 0 or 1, ``p`` a probability.

The loss is RSNA's weighted log loss.  A row (one target of one exam) weighs 1
when a level is whole, 2 when it is broken, 7 and 14 for ``patient_overall``.
The competition's text leaves open how rows are averaged, and public figures
differ for that reason, so both ways are here:

``per_exam``  Σⱼ wᵢⱼ·BCEᵢⱼ / Σⱼ wᵢⱼ for each exam i, then the mean over exams (the default).
``global``    Σᵢⱼ wᵢⱼ·BCEᵢⱼ / Σᵢⱼ wᵢⱼ over all rows at once.

How the competition's own scorer clips probabilities has not been published; here
it is a parameter.  At the default 1e-6 a sure mistake costs −ln 1e-6 = 13.8.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS, TARGETS
from cspine_lib.errors import CspineError
from cspine_lib.facts import pattern_counts
from cspine_lib.metrics.intervals import Interval, ratio_ci

FloatArray = npt.NDArray[np.floating]
Normalisation = Literal["per_exam", "global"]
NORMALISATIONS: tuple[Normalisation, ...] = get_args(Normalisation)

CLIP = 1e-6
NEGATIVE_WEIGHT = np.array([7.0] + [1.0] * N_LEVELS)
POSITIVE_WEIGHT = 2.0 * NEGATIVE_WEIGHT


def checked(y: npt.ArrayLike, p: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """``y`` and ``p`` as float (N, 8); a ``p`` of (8,) is the same for all exams.

    Raises:
        CspineError: wrong shape, a label that is not 0 or 1, a probability that
            is NaN or outside [0, 1].
    """
    labels = np.asarray(y, dtype=np.float64)
    if labels.ndim != 2 or labels.shape[1] != len(TARGETS) or len(labels) == 0:
        raise CspineError(f"labels must be (N, {len(TARGETS)}) with N ≥ 1, got {labels.shape}")
    if not np.isin(labels, (0.0, 1.0)).all():
        raise CspineError("labels must be 0 or 1")
    probability = np.asarray(p, dtype=np.float64)
    if probability.shape not in (labels.shape, labels.shape[1:]):
        raise CspineError(f"probabilities {probability.shape} do not fit labels {labels.shape}")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise CspineError("probabilities must lie in [0, 1] and not be NaN")
    return labels, np.broadcast_to(probability, labels.shape)


def weights(y: npt.ArrayLike) -> FloatArray:
    """Weight of each row: ``y`` (N, 8) → (N, 8) of 1, 2, 7 or 14."""
    return np.where(np.asarray(y) > 0.5, POSITIVE_WEIGHT, NEGATIVE_WEIGHT)


def log_loss_terms(y: npt.ArrayLike, p: npt.ArrayLike, clip: float = CLIP) -> FloatArray:
    """Unweighted binary cross-entropy of every row, (N, 8), in nats."""
    labels, probability = checked(y, p)
    probability = np.clip(probability, clip, 1 - clip)
    return -(labels * np.log(probability) + (1 - labels) * np.log1p(-probability))


def per_exam_loss(y: npt.ArrayLike, p: npt.ArrayLike, clip: float = CLIP) -> FloatArray:
    """Loss of each exam by itself, (N,); its mean is the ``per_exam`` loss."""
    w = weights(y)
    return (w * log_loss_terms(y, p, clip)).sum(axis=1) / w.sum(axis=1)


def row_weights(y: npt.ArrayLike, normalisation: Normalisation) -> FloatArray:
    """(N, 8) weights that sum to 1, under which the loss is a plain weighted sum of rows.

    Raises:
        CspineError: unknown normalisation.
    """
    w = weights(y)
    if normalisation == "per_exam":
        return w / w.sum(axis=1, keepdims=True) / len(w)
    if normalisation == "global":
        return w / w.sum()
    raise CspineError(f"unknown normalisation {normalisation!r}: use {' or '.join(NORMALISATIONS)}")


def weighted_log_loss(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    normalisation: Normalisation = "per_exam",
    clip: float = CLIP,
) -> float:
    """RSNA 2022's weighted log loss.

    Args:
        y: (N, 8) labels, 0 or 1.
        p: (N, 8) probabilities, or (8,) for a constant prediction.
        normalisation: see the module's text.
        clip: probabilities are clipped to [clip, 1 − clip].

    Raises:
        CspineError: see ``checked``; or an unknown normalisation.
    """
    return float(loss_by_target(y, p, normalisation, clip).sum())


def loss_by_target(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    normalisation: Normalisation = "per_exam",
    clip: float = CLIP,
) -> FloatArray:
    """What each target adds to the loss, (8,): the eight numbers sum to the loss."""
    terms = log_loss_terms(y, p, clip)
    return (row_weights(y, normalisation) * terms).sum(axis=0)


def level_losses(y: npt.ArrayLike, p: npt.ArrayLike, clip: float = CLIP) -> FloatArray:
    """Weighted log loss of each target by itself, (8,): its rows' weighted mean.

    Unlike ``loss_by_target`` these stand on one scale: 0.693 is a coin's.
    """
    w = weights(y)
    return (w * log_loss_terms(y, p, clip)).sum(axis=0) / w.sum(axis=0)


def best_constants(y: npt.ArrayLike, normalisation: Normalisation = "per_exam") -> FloatArray:
    """The (8,) constant probabilities with the smallest loss on exactly these labels.

    With rows' weights v (w, or w/W per exam, W the exam's summed weight) the loss
    of a constant q is −Σ v·(y ln q + (1 − y) ln(1 − q)), smallest at the weighted
    fraction q = Σ v·y / Σ v, that is at odds E[v·y] : E[v·(1 − y)].
    """
    labels, _ = checked(y, np.zeros(len(TARGETS)))
    v = row_weights(labels, normalisation)
    return (v * labels).sum(axis=0) / v.sum(axis=0)


def submission_shift(p: npt.ArrayLike, normalisation: Normalisation = "per_exam") -> FloatArray:
    """Calibrated probabilities (N, 8) → what to submit under a normalisation, (N, 8).

    Positive rows weigh double, so the expected loss is not smallest at the
    calibrated q.  Under ``global`` the optimum is 2q/(1 + q).  Under ``per_exam``
    the odds are E[w·y/W] : E[w·(1 − y)/W]; W is 14 for a whole neck and 21 + k
    with k broken levels.  Here k enters by its mean given a fracture, so W of a
    fractured neck is right within a few per cent.  For submissions only: reports
    keep the calibrated values.
    """
    q = np.asarray(p, dtype=np.float64)
    if normalisation == "global":
        return 2 * q / (1 + q)
    if normalisation != "per_exam":
        raise CspineError(f"unknown normalisation {normalisation!r}: use per_exam or global")
    # A neck with a broken level is a broken neck, whatever the two outputs say.
    overall = np.maximum(q[:, :1], q[:, 1:].max(axis=1, keepdims=True))
    count = np.clip(q[:, 1:].sum(axis=1, keepdims=True) / np.maximum(overall, 1e-9), 1, N_LEVELS)
    w_broken, w_whole = 21.0 + count, 14.0
    positive = 2 * q / w_broken
    any_fracture = np.where(np.arange(len(TARGETS)) == 0, q[:, :1], overall)
    negative = (1 - any_fracture) / w_whole + (any_fracture - q) / w_broken
    return positive / (positive + negative)


def pattern_labels() -> npt.NDArray[np.int64]:
    """(2019, 8) labels with RSNA's training set's joint counts, in sorted order of patterns."""
    rows = []
    for pattern, count in sorted(pattern_counts().items()):
        levels = [int(bit) for bit in pattern]
        rows += [[int(any(levels)), *levels]] * count
    return np.array(rows, dtype=np.int64)


def loss_ci(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    normalisation: Normalisation = "per_exam",
    *,
    minus: npt.ArrayLike | None = None,
    clip: float = CLIP,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The loss with its study-bootstrap interval; with ``minus``, the paired difference.

    Args:
        minus: probabilities (N, 8) or (8,) of another method on the same studies;
            the result is then loss(p) − loss(minus), negative when ``p`` is better.
    """
    terms = log_loss_terms(y, p, clip)
    if minus is not None:
        terms = terms - log_loss_terms(y, minus, clip)
    w = weights(y)
    top, bottom = (w * terms).sum(axis=1), w.sum(axis=1)
    if normalisation == "per_exam":
        top, bottom = top / bottom, np.ones(len(top))
    elif normalisation != "global":
        raise CspineError(f"unknown normalisation {normalisation!r}: use per_exam or global")
    return ratio_ci(top, bottom, n=n, seed=seed, level=level)
