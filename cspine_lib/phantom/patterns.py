"""Which levels are broken in which study: RSNA's joint label pattern counts, shared out.

From ``EXACT_FROM`` studies up a set gets every pattern in RSNA's share, rounded by
largest remainder (Hamilton's method: whole parts first, then one more for the
largest fractions).  In smaller sets that would leave levels without a single
fracture, so they are stratified: the share of positive studies stays RSNA's, and
patterns are exchanged, as few and as like as can be, until every level is broken
``MIN_PER_LEVEL`` times.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS, TARGETS
from cspine_lib.facts import pattern_counts

EXACT_FROM = 200
MIN_PER_LEVEL = 2

BoolArray = npt.NDArray[np.bool_]


def largest_remainder(counts: npt.ArrayLike, total: int) -> npt.NDArray[np.int64]:
    """Whole numbers in the proportions of ``counts`` that add up to ``total``.

    Ties of the fraction go to the larger count, then to the earlier entry.
    """
    weight = np.asarray(counts, dtype=np.int64)
    # In integers, so that equal fractions are equal on every machine.
    whole, fraction = np.divmod(weight * total, weight.sum())
    order = np.lexsort((np.arange(len(weight)), -weight, -fraction))
    whole[order[: total - whole.sum()]] += 1
    return whole


def _table() -> tuple[BoolArray, npt.NDArray[np.int64]]:
    """RSNA's patterns (P, 7) and their counts (P,), unbroken first."""
    table = sorted(pattern_counts().items())
    bits = np.array([[bit == "1" for bit in pattern] for pattern, _ in table])
    return bits, np.array([count for _, count in table])


def _stratified(total: int) -> npt.NDArray[np.int64]:
    """Pattern counts (P,) of a small set: every level at least twice where that can be."""
    bits, counts = _table()
    share = counts[1:].sum() / counts.sum()
    positives = min(total, max(1, round(total * share))) if total else 0
    chosen = np.zeros(len(bits), dtype=np.int64)
    chosen[0] = total - positives
    chosen[1:] = largest_remainder(counts[1:], positives)
    target = positives * (counts[1:] @ bits[1:]) / counts[1:].sum()

    def cost(pattern_count: npt.NDArray[np.int64]) -> tuple[float, float, float]:
        per_level = pattern_count @ bits
        missing = np.maximum(MIN_PER_LEVEL - per_level, 0).sum()
        # Rare patterns last: of two equally good exchanges take RSNA's commoner one.
        rare = -(pattern_count[1:] * np.log(counts[1:])).sum()
        return float(missing), float(np.abs(per_level - target).sum()), float(rare)

    best = cost(chosen)
    while best[0] > 0:
        found, found_cost = None, best
        for out in np.flatnonzero(chosen[1:]) + 1:
            for into in range(1, len(bits)):
                trial = chosen.copy()
                trial[out] -= 1
                trial[into] += 1
                trial_cost = cost(trial)
                if trial_cost < found_cost:
                    found, found_cost = trial, trial_cost
        if found is None:  # too few positive studies for that
            break
        chosen, best = found, found_cost
    return chosen


def draw_patterns(total: int, rng: np.random.Generator) -> BoolArray:
    """Broken levels of ``total`` studies in random order.

    Returns:
        Boolean (total, 7), C1 to C7.  Which patterns occur depends on ``total``
        alone; ``rng`` decides their order.
    """
    bits, counts = _table()
    chosen = largest_remainder(counts, total) if total >= EXACT_FROM else _stratified(total)
    return rng.permutation(np.repeat(bits, chosen, axis=0), axis=0)


def rates(broken: npt.ArrayLike) -> dict[str, float]:
    """Share of positive studies per competition target, for flags (N, 7)."""
    flags = np.asarray(broken, dtype=bool).reshape(-1, N_LEVELS)
    targets = np.column_stack([flags.any(axis=1), flags])
    share = targets.mean(axis=0) if len(targets) else np.zeros(len(TARGETS))
    return {target: round(float(s), 4) for target, s in zip(TARGETS, share, strict=True)}


def rsna_rates() -> dict[str, float]:
    """The same of RSNA's 2019 training studies."""
    bits, counts = _table()
    return rates(np.repeat(bits, counts, axis=0))
