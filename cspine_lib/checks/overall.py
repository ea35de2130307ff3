"""Graders of notebook 10: the choice of N by nested folds, and the per-exam shift of the neck.

The oracles are loops over studies in plain Python, and use nothing of ``metrics``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis, wrong

Array = npt.NDArray[Any]
CHOICES = 7


# --- N by nested folds ---------------------------------------------------------------------------


def nested_n(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(loss, fold)``: (N, 7) losses under N = 1 … 7, (N,) folds → (N,) chosen N (10)."""
    for note, loss, fold in _nested_cases():
        got, failure = answer(fn, loss, fold)
        if failure is not None:
            return failure
        want = _nested_by_hand(loss, fold)
        if agrees(got, want):
            continue
        folds = len(set(fold.tolist()))
        if got.shape == (folds,):
            return wrong("you return one N for each fold; what is asked is one for each study.")
        if got.shape == ():
            return wrong("you return one N for all; each fold gets its own, from the other folds.")
        if got.shape == want.shape and not np.isin(got.astype(float), range(1, 8)).all():
            known = np.asarray(got, dtype=np.float64)
            if agrees(known, want - 1):
                return wrong("you return the column's number, which starts at 0; N starts at 1.")
            if note.startswith("where folds"):
                return wrong(
                    f"{note}some studies get no N: folds need not be called 0, 1, 2 …; "
                    "go through np.unique(fold)."
                )
        return diagnosis(got, want, _NESTED_MISTAKES, (loss, fold), note=note)
    return Verdict(
        True, "each fold's N comes from the other folds alone, whatever they are called."
    )


def _nested_cases() -> list[tuple[str, Array, Array]]:
    rng = np.random.default_rng(101)
    cases = []
    for note, names, sizes in (
        ("", range(5), (4, 9, 14, 6, 11)),
        ("for two folds: ", range(2), (7, 12)),
        ("where folds are called 3, 5 and 9: ", (3, 5, 9), (8, 5, 13)),
        ("where a fold has a single study: ", range(3), (1, 10, 8)),
    ):
        fold = rng.permutation(np.repeat(list(names), sizes))
        loss = rng.gamma(1.0, 0.4, size=(len(fold), CHOICES))
        for k in names:  # each fold has a favourite of its own, so that own and others differ
            loss[fold == k, rng.integers(CHOICES)] *= 0.4
        cases.append((note, loss, fold))
    tied = np.round(rng.gamma(1.0, 0.4, size=(20, CHOICES)), 3)
    tied[:, 2:] = tied.min(axis=1)[:, None]
    return [*cases, ("where N = 3 to 7 do equally well: ", tied, np.arange(20) % 4)]


def _nested_by_hand(loss: Array, fold: Array) -> Array:
    chosen = []
    for own in fold.tolist():
        others = [row for row, k in zip(loss.tolist(), fold.tolist(), strict=True) if k != own]
        sums = [sum(row[j] for row in others) for j in range(CHOICES)]
        chosen.append(1 + sums.index(min(sums)))
    return np.array(chosen, dtype=np.float64)


def _per_fold(loss: Array, fold: Array, pick: Callable[[Array, Array, Any], int]) -> Array:
    """(N,) with ``pick(loss, fold, k)`` for the studies of fold k."""
    return np.array([pick(loss, fold, k) for k in fold.tolist()], dtype=np.float64)


def _lowest(rows: Array) -> int:
    return 1 + int(np.argmin(rows.mean(axis=0)))


def _vote(loss: Array, fold: Array, k: Any) -> int:
    own = [_lowest(loss[fold == j]) for j in np.unique(fold) if j != k]
    return int(np.argmax(np.bincount(own)))


def _mean_of_means(loss: Array, fold: Array, k: Any) -> int:
    return _lowest(np.array([loss[fold == j].mean(axis=0) for j in np.unique(fold) if j != k]))


def _neighbour(loss: Array, fold: Array, k: Any) -> int:
    names = np.unique(fold).tolist()
    return _lowest(loss[fold == names[(names.index(k) + 1) % len(names)]])


_NESTED_MISTAKES: Mistakes = [
    (
        lambda loss, fold: _per_fold(loss, fold, lambda x, f, k: _lowest(x[f == k])),
        "you choose N on the very fold that it is used for (fold == k); "
        "take the studies of all other folds, fold != k.",
    ),
    (
        lambda loss, fold: _per_fold(loss, fold, lambda x, f, k: _lowest(x)),
        "you choose one N on all studies, those included that it is then scored on.",
    ),
    (
        lambda loss, fold: np.argmin(loss, axis=1) + 1,
        "you choose for each study what suits it best, which nobody can know beforehand; "
        "average over the studies of the other folds first.",
    ),
    (
        lambda loss, fold: _per_fold(
            loss, fold, lambda x, f, k: 1 + int(np.argmax(x[f != k].mean(axis=0)))
        ),
        "you take the N with the largest loss; a loss is to be small.",
    ),
    (
        lambda loss, fold: _per_fold(
            loss, fold, lambda x, f, k: 1 + int(np.argmin(np.median(x[f != k], axis=0)))
        ),
        "you take the median over studies; the competition's loss is their mean.",
    ),
    (
        lambda loss, fold: _per_fold(
            loss, fold, lambda x, f, k: CHOICES - int(np.argmin(x[f != k].mean(axis=0)[::-1]))
        ),
        "where several N do equally well, take the smallest of them.",
    ),
    (
        lambda loss, fold: _per_fold(loss, fold, _mean_of_means),
        "you average the folds' means, so that a study of a small fold counts for more; "
        "average over all studies of the other folds at once.",
    ),
    (
        lambda loss, fold: _per_fold(loss, fold, _vote),
        "you let the folds vote; average the loss over all studies of the other folds, "
        "then choose once.",
    ),
    (
        lambda loss, fold: _per_fold(loss, fold, _neighbour),
        "you choose on the next fold only; all other folds may be used.",
    ),
]


# --- the shift, per exam -------------------------------------------------------------------------


def overall_shift(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(q, k)``: calibrated patient_overall and broken levels if so → submission (10)."""
    for note, q, k in _shift_cases():
        got, failure = answer(fn, q, k)
        if failure is not None:
            return failure
        want = _shift_by_hand(q, k)
        if agrees(got, want, 1e-7):
            continue
        known = got.shape == want.shape
        if known and np.isnan(got.astype(np.float64)).any():
            return wrong(
                f"{note}you divide by zero somewhere: at q = 1 the odds are infinite. "
                "Write p = A / (A + B), which needs no odds."
            )
        return diagnosis(got, want, _SHIFT_MISTAKES, (q, k), note=note, atol=1e-7)
    return Verdict(True, "it is E[w·y/W] : E[w·(1 − y)/W] for every q and k, 0 and 1 included.")


def _shift_cases() -> list[tuple[str, Array, Array]]:
    rng = np.random.default_rng(103)
    return [
        ("", rng.uniform(0.05, 0.95, 12), rng.uniform(1, 4, 12)),
        ("where one level is broken if any (k = 1): ", rng.uniform(0.1, 0.9, 6), np.ones(6)),
        ("where all seven would be broken: ", rng.uniform(0.1, 0.9, 6), np.full(6, 7.0)),
        ("for q = 0 and q = 1: ", np.array([0.0, 1.0, 0.5, 1.0]), np.array([1.0, 1.5, 2.0, 7.0])),
        ("for one study: ", np.array([0.3]), np.array([1.4])),
    ]


def _shift_by_hand(q: Array, k: Array) -> Array:
    out = []
    for chance, count in zip(q.tolist(), k.tolist(), strict=True):
        broken = chance * 14 / (14 + 2 * count + (7 - count))
        whole = (1 - chance) * 7 / (7 + 7)
        out.append(broken / (broken + whole))
    return np.array(out)


def _odds_times(factor: Array | float, q: Array) -> Array:
    return factor * q / (factor * q + 1 - q)


_SHIFT_MISTAKES: Mistakes = [
    (lambda q, k: q, "nothing was shifted: this is q itself."),
    (
        lambda q, k: _odds_times(2, q),
        "this is the shift of the global normalisation, odds doubled; "
        "per exam the weights are divided by W first.",
    ),
    (
        lambda q, k: _odds_times(28 / (21 + k), q) / (1 - _odds_times(28 / (21 + k), q)),
        "these are the odds; what is asked is the probability, odds / (1 + odds).",
    ),
    (
        lambda q, k: q * 28 / (21 + k),
        "you multiply the probability; it is the odds q / (1 − q) that are multiplied.",
    ),
    (
        lambda q, k: np.minimum(q * 28 / (21 + k), 1),
        "you multiply the probability; it is the odds q / (1 − q) that are multiplied.",
    ),
    (
        lambda q, k: _odds_times((21 + k) / 28, q),
        "your shift goes the wrong way: broken and whole are swapped.",
    ),
    (
        lambda q, k: _odds_times(14 / (21 + k), q),
        "a whole neck's row weighs 7 / 14 of its exam, not 1.",
    ),
    (
        lambda q, k: _odds_times(2 / (21 + k), q),
        "a whole neck's row weighs 7 / 14 of its exam: its W is 14, not 1.",
    ),
    (
        lambda q, k: _odds_times(28 / (14 + k), q),
        "a broken neck's weights sum to 14 + 2k + (7 − k) = 21 + k; you left the levels out.",
    ),
    (
        lambda q, k: _odds_times(28 / (21 + 2 * k), q),
        "a broken level weighs 2 in place of 1, so W grows by k: 21 + k.",
    ),
    (
        lambda q, k: _odds_times(28 / 21 * np.ones_like(k), q),
        "the k broken levels are missing in W = 21 + k.",
    ),
    (
        lambda q, k: _odds_times(28 / 22 * np.ones_like(k), q),
        "you take k = 1 for everybody; use the k that is given.",
    ),
    (
        lambda q, k: _odds_times(42 / (21 + k), q),
        "a whole neck's weights sum to 7 + 7 = 14; 21 is for a broken one.",
    ),
    (
        lambda q, k: 1 / (1 + np.exp(-(np.log(q / (1 - q)) + 28 / (21 + k)))),
        "in logits the shift is added as a logarithm, ln(28 / (21 + k)).",
    ),
]
