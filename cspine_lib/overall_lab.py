"""How much a rule gains from a leak of second order, measured with models small enough to repeat.

A rule for fold k that is fitted on the other folds' out-of-fold predictions never meets a study
of fold k, but the models that made these predictions did.  Here level models are logistic
regressions on simulated features, so that all of them can be trained again without fold k.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from cspine_lib import metrics
from cspine_lib.errors import CspineError
from cspine_lib.overall_rules import Rule, with_overall
from cspine_lib.splits import patient_folds

Array = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]

NOISE = 12
"""Features of a level that say nothing; with them the small models overfit, as large ones do."""


def simulated_features(y: Labels, seed: int, signal: float = 1.6) -> Array:
    """(N, 7, 1 + NOISE): the first of a level is shifted by ``signal`` where it is broken."""
    x = np.random.default_rng(seed).normal(size=(len(y), 7, 1 + NOISE))
    x[:, :, 0] += signal * y[:, 1:]
    return x


def level_models(x: Array, y: Labels, train: npt.NDArray[np.bool_]) -> Array:
    """(N, 7) probabilities of all studies by level models fitted on the ``train`` ones."""
    from sklearn.linear_model import LogisticRegression

    out = np.empty((len(y), 7))
    for j in range(7):
        labels = y[train, 1 + j]
        if labels.min() == labels.max():  # nothing to learn from: a cautious constant
            out[:, j] = (labels.sum() + 0.5) / (len(labels) + 1)
            continue
        out[:, j] = (
            LogisticRegression(solver="newton-cholesky")
            .fit(x[train, j], labels)
            .predict_proba(x[:, j])[:, 1]
        )
    return out


def second_order_leak(
    rule: Rule,
    repeats: int = 10,
    studies: int = 200,
    folds: int = 5,
    seed: int = 0,
    *,
    stratified: bool = True,
) -> dict[str, Array]:
    """Competition loss of a rule, ``repeats`` times, by what its fold's labels could reach.

    The rule of fold k is always applied to fold k's predictions by the models without fold k.
    It is fitted on predictions of the other folds j that come from models

    ``usual``   without fold j: out-of-fold predictions as they lie on disk;
    ``strict``  without folds j and k: nothing of fold k reaches the rule;
    ``control`` without fold j and a third one: as few studies as ``strict``, but fold k was seen.

    ``control`` − ``strict`` is the leak alone, ``usual`` − ``control`` the gain of more studies.

    Args:
        stratified: breaks of each level are spread evenly over the folds, as everywhere in the
            course; else folds are dealt blindly.

    Raises:
        CspineError: fewer than three folds.
    """
    if folds < 3:
        raise CspineError(f"models without two of the folds need three folds or more, got {folds}")
    found: dict[str, list[float]] = {"usual": [], "strict": [], "control": []}
    everyone = metrics.pattern_labels()
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        y = everyone[rng.choice(len(everyone), studies, replace=False)]
        fold = rng.permutation(studies) % folds
        if stratified:
            fold = patient_folds([str(i) for i in range(studies)], y[:, 1:], folds, seed + repeat)
        x = simulated_features(y, int(rng.integers(2**31)))
        one = [level_models(x, y, fold != j) for j in range(folds)]
        two = {
            frozenset(pair): level_models(x, y, ~np.isin(fold, pair))
            for pair in combinations(range(folds), 2)
        }
        for name in found:
            p = _predict(name, rule, y, fold, one, two)
            found[name].append(metrics.weighted_log_loss(y, p))
    return {name: np.array(losses) for name, losses in found.items()}


def _predict(
    name: str,
    rule: Rule,
    y: Labels,
    fold: npt.NDArray[np.int64],
    one: list[Array],
    two: dict[frozenset[int], Array],
) -> Array:
    """(N, 8) under one of the protocols of ``second_order_leak``."""
    out, folds = np.empty(len(y)), len(one)
    levels = np.stack([one[k][i] for i, k in enumerate(fold)])
    for k in range(folds):
        seen = np.empty_like(levels)
        for j in range(folds):
            if j == k:
                continue
            third = next(m % folds for m in range(j + 1, j + folds) if m % folds not in (j, k))
            source = {
                "usual": one[j],
                "strict": two[frozenset((j, k))],
                "control": two[frozenset((j, third))],
            }[name]
            seen[fold == j] = source[fold == j]
        here = fold == k
        out[here] = rule(y[~here], seen[~here])(levels[here])
    return with_overall(out, levels)
