"""Rules learned from what networks say of studies that they have not seen.

A level is judged with its neighbours and the rest of the neck in view, then the neck from its
levels.  Both are logistic regressions with as few numbers as serve, and both are fitted to
the competition's own loss: every row weighs what it weighs within its exam, so that the
probabilities need no shift afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib import metrics
from cspine_lib.anatomy import N_LEVELS
from cspine_lib.errors import CspineError
from cspine_lib.splits import patient_folds

Array = npt.NDArray[np.floating]
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0)
"""Inverse strengths of the L2 penalty that are tried."""
FOLDS = 5
"""Of studies, to choose the penalty."""


@dataclass(frozen=True)
class Linear:
    """A logistic regression on standardised features.

    Args:
        mean, scale, weight: one for each feature.
        strength: inverse strength of the penalty that was chosen.
    """

    mean: list[float]
    scale: list[float]
    weight: list[float]
    bias: float
    strength: float

    def __call__(self, features: npt.ArrayLike) -> Array:
        """(…, F) → probabilities (…)."""
        x = (np.asarray(features, float) - self.mean) / self.scale
        return 1 / (1 + np.exp(-(x @ np.array(self.weight) + self.bias)))


@dataclass(frozen=True)
class Rules:
    """Logits of seven levels → eight probabilities.

    Args:
        rates: (7,) training rate of each level: what a level that was not found counts as.
    """

    levels: Linear
    neck: Linear
    rates: list[float]

    def __call__(self, z: npt.ArrayLike) -> Array:
        """(N, 7) logits, NaN for levels not found → (N, 8), ``patient_overall`` first."""
        levels = self.levels(level_features(z, self.rates))
        return np.column_stack([self.neck(neck_features(levels)), levels])

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON; :meth:`from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Rules:
        """What :meth:`to_dict` gave."""
        return cls(Linear(**content["levels"]), Linear(**content["neck"]), content["rates"])


def level_features(z: npt.ArrayLike, rates: npt.ArrayLike) -> Array:
    """What a level is judged by, (N, 7, 4).

    Its own logit, the higher of its neighbours', the highest of all others', and the logit of
    its rate.  A level that was not found has the logit of its rate.

    Raises:
        CspineError: no logits of seven levels.
    """
    own = np.asarray(z, float)
    if own.ndim != 2 or own.shape[1] != N_LEVELS:
        raise CspineError(f"logits must be (N, {N_LEVELS}), got {own.shape}")
    prior = metrics.logit(np.asarray(rates, float))
    own = np.where(np.isfinite(own), own, prior)
    edge = np.full((len(own), 1), -np.inf)
    beside = np.maximum(np.hstack([edge, own[:, :-1]]), np.hstack([own[:, 1:], edge]))
    others = np.stack([np.delete(own, k, axis=1).max(axis=1) for k in range(N_LEVELS)], axis=1)
    return np.stack([own, beside, others, np.broadcast_to(prior, own.shape)], axis=2)


def neck_features(levels: npt.ArrayLike) -> Array:
    """What the neck is judged by, (N, 3): noisy-or of all levels, the highest, the second."""
    p = np.asarray(levels, float)
    ordered = np.sort(p, axis=1)
    columns = [metrics.overall_noisy_or(p), ordered[:, -1], ordered[:, -2]]
    return metrics.logit(np.column_stack(columns), clip=1e-3)


def fit_rules(z: npt.ArrayLike, y: npt.ArrayLike, seed: int = 0) -> Rules:
    """Both rules, from logits of studies that the networks had not seen.

    The neck's rule learns from levels that were judged by rules fitted without their study.

    Args:
        z: (N, 7), NaN for levels not found.
        y: (N, 7) labels.

    Raises:
        CspineError: fewer than ``FOLDS`` studies with, or without, a broken level.
    """
    z, y = np.asarray(z, float), np.asarray(y).astype(int)
    broken = y.any(axis=1)
    if min(int(broken.sum()), int((~broken).sum())) < FOLDS:
        raise CspineError(
            f"rules need {FOLDS} broken and {FOLDS} whole necks to learn from: give more studies"
        )
    y8 = np.column_stack([broken.astype(int), y])
    weight = metrics.weights(y8)
    weight = weight / weight.sum(axis=1, keepdims=True)
    rates = np.clip(y.mean(axis=0), 0.01, 0.99)
    ids = [str(i) for i in range(len(y))]
    fold = patient_folds(ids, y8.tolist(), FOLDS, seed)
    x = level_features(z, rates)
    levels, unseen = _fitted(x, y, weight[:, 1:], fold)
    neck, _ = _fitted(neck_features(unseen)[:, None], y8[:, :1], weight[:, :1], fold)
    return Rules(levels, neck, rates.round(6).tolist())


def _fitted(x: Array, y: npt.NDArray[Any], weight: Array, fold: Any) -> tuple[Linear, Array]:
    """The rule on all studies with the penalty that serves unseen ones best.

    Args:
        x: (N, K, F).
        y, weight: (N, K).

    Returns:
        The rule, and (N, K) probabilities from rules fitted without the study's fold.
    """
    best: tuple[float, float, Array] | None = None
    for strength in STRENGTHS:
        p = np.empty(y.shape)
        for k in np.unique(fold):
            here = fold == k
            p[here] = _one(x[~here], y[~here], weight[~here], strength)(x[here])
        q = np.clip(p, 1e-6, 1 - 1e-6)
        loss = float(-(weight * (y * np.log(q) + (1 - y) * np.log(1 - q))).sum())
        if best is None or loss < best[0]:
            best = (loss, strength, p)
    assert best is not None
    return _one(x, y, weight, best[1]), best[2]


def _one(x: Array, y: npt.NDArray[Any], weight: Array, strength: float) -> Linear:
    from sklearn.linear_model import LogisticRegression

    flat = x.reshape(-1, x.shape[-1])
    mean, scale = flat.mean(axis=0), flat.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    model = LogisticRegression(C=strength, max_iter=1000)
    # A row counts what it weighs in the loss; on average 1, so that strengths keep their sense.
    rows = weight.ravel() / weight.mean()
    model.fit((flat - mean) / scale, y.ravel(), sample_weight=rows)
    return Linear(
        mean.tolist(), scale.tolist(), model.coef_[0].tolist(), float(model.intercept_[0]), strength
    )
