"""Does 0.3 mean three in ten?  Reliability, Brier score, and fits that mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cspine_lib.errors import CspineError

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.floating]


def _flat(y: npt.ArrayLike, p: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Labels and probabilities of any one shape as two vectors."""
    labels = np.asarray(y, dtype=np.float64).ravel()
    probability = np.asarray(p, dtype=np.float64).ravel()
    if labels.shape != probability.shape or len(labels) == 0:
        raise CspineError("labels and predictions must have one shape and not be empty")
    if not np.isfinite(probability).all():
        raise CspineError("predictions must be finite")
    return labels, probability


def logit(p: npt.ArrayLike, clip: float = 1e-6) -> FloatArray:
    """ln(p / (1 − p)) with p clipped to [clip, 1 − clip]; any shape."""
    q = np.clip(np.asarray(p, dtype=np.float64), clip, 1 - clip)
    return np.log(q) - np.log1p(-q)


def brier(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Mean squared distance of probability and label, over arrays of any one shape."""
    labels, probability = _flat(y, p)
    return float(np.mean((probability - labels) ** 2))


def reliability_table(y: npt.ArrayLike, p: npt.ArrayLike, bins: int = 10) -> pd.DataFrame:
    """Predictions sorted into ``bins`` groups of (nearly) equal size.

    Equal predictions always share a group, so there can be fewer groups.

    Returns:
        One row per group, low to high: ``n``, ``predicted`` (mean), ``observed``
        (rate), and ``low``, ``high``, Wilson's 95% interval of the rate.
    """
    import pandas as pd

    labels, probability = _flat(y, p)
    if bins < 1:
        raise CspineError(f"bins must be at least 1, got {bins}")
    edges = np.unique(np.quantile(probability, np.arange(1, bins) / bins, method="higher"))
    group = np.searchsorted(edges, probability, side="right")
    used = np.unique(group)
    n = np.array([np.sum(group == g) for g in used], dtype=np.float64)
    predicted = np.array([probability[group == g].mean() for g in used])
    observed = np.array([labels[group == g].mean() for g in used])
    z = 1.959964
    centre = (observed + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(observed * (1 - observed) / n + z**2 / (4 * n**2))
    return pd.DataFrame(
        {
            "n": n.astype(int),
            "predicted": predicted,
            "observed": observed,
            "low": np.clip(centre - half, 0, 1),
            "high": np.clip(centre + half, 0, 1),
        }
    )


def expected_calibration_error(y: npt.ArrayLike, p: npt.ArrayLike, bins: int = 10) -> float:
    """Mean distance of predicted from observed over ``reliability_table``, weighted by size."""
    table = reliability_table(y, p, bins)
    gap = (table["predicted"] - table["observed"]).abs()
    return float((gap * table["n"]).sum() / table["n"].sum())


def fit_platt(
    z: npt.ArrayLike, y: npt.ArrayLike, *, strength: float = 1.0, with_bias: bool = True
) -> tuple[float, float]:
    """Scale and bias that make σ(scale·z + bias) fit the labels (Platt 1999).

    A mild pull towards "change nothing" (½·strength·(ln²scale + bias²), against a
    log loss that is summed over rows) keeps the fit finite when the classes are
    separable or one is absent.  The scale is positive: order never changes.

    Args:
        z: logits of any shape; see ``logit``.
        y: labels of the same shape.
        strength: of the pull; 1 weighs about as much as one or two rows.

    Returns:
        ``(scale, bias)`` for ``apply_platt``.
    """
    from scipy.optimize import minimize

    labels, logits = _flat(y, z)

    def objective(theta: FloatArray) -> tuple[float, FloatArray]:
        log_scale, bias = theta
        u = np.exp(log_scale) * logits + bias * with_bias
        loss = np.sum(np.logaddexp(0, u) - labels * u) + 0.5 * strength * (theta @ theta)
        residual = 1 / (1 + np.exp(-np.clip(u, -500, 500))) - labels
        slope = np.array([residual @ (np.exp(log_scale) * logits), residual.sum() * with_bias])
        return float(loss), slope + strength * theta

    # A scale outside e^±4 never means calibration, only a line search gone astray.
    bounds = [(-4.0, 4.0), (-20.0, 20.0)]
    fit = minimize(objective, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(np.exp(fit.x[0])), float(fit.x[1] * with_bias)


def fit_temperature(z: npt.ArrayLike, y: npt.ArrayLike, *, strength: float = 1.0) -> float:
    """Temperature T that makes σ(z / T) fit the labels (Guo et al., ICML 2017)."""
    scale, _ = fit_platt(z, y, strength=strength, with_bias=False)
    return 1 / scale


def apply_platt(p: npt.ArrayLike, scale: float, bias: float) -> FloatArray:
    """σ(scale·logit(p) + bias) for probabilities of any shape."""
    return 1 / (1 + np.exp(-(scale * logit(p) + bias)))
