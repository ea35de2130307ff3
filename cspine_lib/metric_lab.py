"""A made-up reader of known skill on RSNA's label patterns: what the metric does, without a model.

The labels are RSNA's (their joint counts, see ``metrics.pattern_labels``); the predictions are
simulated and belong to no method.  For each level the reader sees a number that is normal with
spread 1, and shifted by d where the level is broken: the binormal model of an ROC curve (Green &
Swets 1966), with AUROC Φ(d/√2).  Bayes' rule turns these numbers into probabilities that are
calibrated by construction, which no trained network promises.

Arrays named ``levels`` are (N, 7), C1 first; arrays over targets are (N, 8), ``patient_overall``
first, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.errors import CspineError
from cspine_lib.facts import pattern_counts
from cspine_lib.metrics import Normalisation, overall_max, row_weights

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

NODES = 201
"""Points of the integral over the shared factor; the error is below 1e-7 for rho up to 0.99."""


def pattern_table() -> tuple[IntArray, FloatArray]:
    """The 69 label patterns that RSNA's training set has: (69, 8) labels and their (69,) shares."""
    counts = pattern_counts()
    levels = np.array([[int(bit) for bit in pattern] for pattern in sorted(counts)])
    share = np.array([counts[pattern] for pattern in sorted(counts)], dtype=np.float64)
    return np.column_stack([levels.max(axis=1), levels]), share / share.sum()


def separation(auroc: float) -> float:
    """Distance d of the two normal curves, in their spreads, that gives an AUROC in (0.5, 1).

    Raises:
        CspineError: the AUROC is not between 0.5 and 1.
    """
    from scipy.special import ndtri

    if not 0.5 < auroc < 1:
        raise CspineError(f"an AUROC must lie between 0.5 and 1, got {auroc}")
    return float(np.sqrt(2) * ndtri(auroc))


@dataclass(frozen=True)
class SimulatedReader:
    """What a made-up reader saw in N studies, and what a Bayesian makes of it.

    Attributes:
        auroc: of each level by itself.
        noise: (N, 7), standard normal; evidence is this plus d where a level is broken.
        evidence: (N, 7).
    """

    auroc: float
    noise: FloatArray
    evidence: FloatArray

    @property
    def log_ratios(self) -> FloatArray:
        """(N, 7) logarithms of P(evidence | broken) / P(evidence | whole)."""
        d = separation(self.auroc)
        return d * self.evidence - d * d / 2

    def levels(self) -> FloatArray:
        """(N, 7) P(level broken | this level's own evidence): calibrated, blind to neighbours."""
        from scipy.special import expit

        labels, share = pattern_table()
        rate = share @ labels[:, 1:]
        return expit(np.log(rate / (1 - rate)) + self.log_ratios)

    def patterns(self) -> FloatArray:
        """(N, 69) P(pattern | the evidence of all levels), with RSNA's shares as the prior."""
        labels, share = pattern_table()
        log_p = np.log(share) + self.log_ratios @ labels[:, 1:].T
        p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def targets(self) -> FloatArray:
        """(N, 8) P(target | the evidence of all levels): calibrated and coherent."""
        # Sums of products can pass 1 by a rounding error.
        return np.clip(self.patterns() @ pattern_table()[0], 0, 1)

    def best_submission(self, normalisation: Normalisation) -> FloatArray:
        """(N, 8) with the smallest expected loss: odds E[v·y] : E[v·(1 − y)] over the patterns.

        Exact, whereas ``metrics.submission_shift`` has to guess how many levels are broken.
        """
        labels, _ = pattern_table()
        v = row_weights(labels, normalisation)
        chance = self.patterns()
        return np.clip(chance @ (v * labels) / (chance @ v), 0, 1)


def simulate_reader(
    levels: npt.ArrayLike, auroc: float = 0.9, seed: int = 0, *, like: SimulatedReader | None = None
) -> SimulatedReader:
    """A reader of the studies with these (N, 7) labels.

    Args:
        like: another reader of the same studies, who shares most of this one's luck: two
            networks that look at one image err alike.  The noises' correlation is 0.95.
    """
    y = np.asarray(levels, dtype=np.float64)
    if y.ndim != 2 or y.shape[1] != N_LEVELS:
        raise CspineError(f"labels must be (N, {N_LEVELS}), C1 to C7, got {y.shape}")
    noise = np.random.default_rng(seed).normal(size=y.shape)
    if like is not None:
        noise = 0.95 * like.noise + np.sqrt(1 - 0.95**2) * noise
    return SimulatedReader(auroc, noise, noise + separation(auroc) * y)


# --- levels that break together, and by how much -------------------------------------------------


def any_broken(p_levels: npt.ArrayLike, rho: float) -> FloatArray:
    """P(any level broken) when levels with these probabilities share one fate to a degree.

    A Gaussian copula: level j is broken where √rho·u + √(1 − rho)·eⱼ falls below Φ⁻¹(pⱼ), with u
    the patient's and eⱼ the level's own standard normal.  Each level alone keeps its pⱼ whatever
    rho is.  At rho 0 the levels are independent and this is 1 − Π(1 − p); at 1 it is the maximum.

    Args:
        p_levels: (N, 7) probabilities.
        rho: 0 … 1.

    Returns:
        (N,) probabilities, by integration over u.

    Raises:
        CspineError: rho is not between 0 and 1.
    """
    from scipy.special import ndtr, ndtri

    _check_rho(rho)
    p = np.asarray(p_levels, dtype=np.float64)
    if rho == 1:
        return overall_max(p)
    u = np.linspace(-8, 8, NODES)
    weight = np.exp(-(u**2) / 2)
    threshold = ndtri(np.clip(p, 1e-15, 1 - 1e-15))
    whole = np.ones((len(p), NODES))
    for column in threshold.T:
        whole *= ndtr((np.sqrt(rho) * u - column[:, None]) / np.sqrt(1 - rho))
    return 1 - whole @ (weight / weight.sum())


def draw_levels(p_levels: npt.ArrayLike, rho: float, seed: int = 0) -> IntArray:
    """(N, 7) labels drawn for the probabilities (N, 7), with the dependence of ``any_broken``."""
    from scipy.special import ndtri

    _check_rho(rho)
    p = np.asarray(p_levels, dtype=np.float64)
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=(len(p), 1)), rng.normal(size=p.shape)
    return (np.sqrt(rho) * shared + np.sqrt(1 - rho) * own < ndtri(p)).astype(np.int64)


def matched_rho(p_levels: npt.ArrayLike, share: float) -> float:
    """The rho at which the mean of ``any_broken`` is a given share of broken necks.

    Raises:
        CspineError: no rho gives it: it is not between the mean of the maximum and of noisy-or.
    """
    from scipy.optimize import brentq

    low, high = any_broken(p_levels, 1.0).mean(), any_broken(p_levels, 0.0).mean()
    if not low < share < high:
        raise CspineError(f"a share of {share:.3f} is not between {low:.3f} and {high:.3f}")
    return float(brentq(lambda rho: any_broken(p_levels, rho).mean() - share, 0, 1, xtol=1e-4))


def _check_rho(rho: float) -> None:
    if not 0 <= rho <= 1:
        raise CspineError(f"rho must lie between 0 and 1, got {rho}")


def expected_log_loss(truth: npt.ArrayLike, said: npt.ArrayLike) -> float:
    """Mean log loss in nats, (N,) and (N,), of saying ``said`` where the chance is ``truth``."""
    q = np.asarray(truth, dtype=np.float64)
    p = np.clip(np.asarray(said, dtype=np.float64), 1e-6, 1 - 1e-6)
    return float(-(q * np.log(p) + (1 - q) * np.log1p(-p)).mean())
