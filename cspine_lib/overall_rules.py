"""Rules from seven level probabilities to one for the neck, fitted and judged by nested folds.

What is judged are out-of-fold predictions: each study was predicted by models that had not
seen it.  A rule that is chosen or fitted has to keep that up, so for the studies of fold k it
is fitted on the predictions of the other folds (``nested``).  What is left of a leak then is
said there.

Arrays ``levels`` are (N, 7), C1 first; ``y`` and ``p`` are (N, 8), ``patient_overall`` first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cspine_lib import metric_lab, metrics
from cspine_lib.anatomy import N_LEVELS, TARGETS
from cspine_lib.errors import CspineError
from cspine_lib.metrics import Normalisation
from cspine_lib.runs import RunRecord

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.floating]
Fitted = Callable[[Array], Array]
"""Level probabilities (M, 7) → patient_overall (M,)."""
Rule = Callable[[Array, Array], Fitted]
"""Labels (N, 8) and level probabilities (N, 7) of the studies to fit on → the fitted rule."""

N_RANGE = tuple(range(1, N_LEVELS + 1))


# --- out-of-fold predictions -------------------------------------------------------------------


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of N studies, each by models that had not seen it.

    Attributes:
        method: that predicted them.
        data: what they were measured on, in words for a table.
        y, p: (N, 8).
        fold: (N,) in which the study was held out.
        record: of the run; None for a stand-in.
    """

    method: str
    data: str
    ids: list[str]
    y: npt.NDArray[np.int64]
    p: Array
    fold: npt.NDArray[np.int64]
    record: RunRecord | None = None

    @property
    def levels(self) -> Array:
        """(N, 7) probabilities of C1–C7."""
        return self.p[:, 1:]

    @property
    def broken(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the neck is broken."""
        return self.y[:, 0] == 1

    def __str__(self) -> str:
        return f"{self.method}: {len(self.y)} studies in {len(set(self.fold))} folds; {self.data}"


def recorded(
    method: str,
    profile: str,
    labels: Callable[[str], npt.ArrayLike] | None = None,
    folder: str | Path | None = None,
) -> OutOfFold | None:
    """Out-of-fold predictions of a recorded run: of this profile, else of any that there is.

    Only runs over all folds count, named ``…-cv``; not ablations, nor other difficulties.

    Args:
        labels: study → (7,) labels, for predictions of RSNA's data, which are kept without.

    Returns:
        None if no such run is recorded, or its labels are not to be had.
    """
    from cspine_lib.results import load_records, read_predictions, recorded_home

    home = Path(folder or recorded_home())
    runs = [r for r in load_records(home) if r.method == method]
    for record in sorted(runs, key=lambda r: r.profile != profile):
        if not (record.predictions.endswith("-cv.csv") and (home / record.predictions).exists()):
            continue
        table = read_predictions(home / record.predictions)
        y = _labels_of(table, labels)
        if y is None or "fold" not in table or table["fold"].nunique() < max(2, record.n_folds):
            continue
        data = f"{record.data}, out of fold, profile {record.profile}"
        fold = table["fold"].to_numpy()
        return OutOfFold(
            method, data, table.index.tolist(), y, table[list(TARGETS)].to_numpy(), fold, record
        )
    return None


def _labels_of(
    table: pd.DataFrame, labels: Callable[[str], npt.ArrayLike] | None
) -> npt.NDArray[np.int64] | None:
    """(N, 8) from the table itself, else from whoever knows them."""
    columns = [f"true_{target}" for target in TARGETS]
    if set(columns) <= set(table.columns):
        return table[columns].to_numpy().astype(np.int64)
    if labels is None:
        return None
    try:
        rows = np.array([np.asarray(labels(uid)) for uid in table.index])
    except (CspineError, KeyError):
        return None
    return np.column_stack([rows.any(axis=1), rows]).astype(np.int64)


def stand_in(folds: int = 5, studies: int = 400, seed: int = 10) -> OutOfFold:
    """A simulated reader of RSNA's label counts, for when no run is recorded.

    It sees each level by itself (``metric_lab.simulate_reader``).  No method of any deck.
    """
    rng = np.random.default_rng(seed)
    y = metrics.pattern_labels()
    y = y[rng.permutation(len(y))[:studies]]
    levels = metric_lab.simulate_reader(y[:, 1:], auroc=0.9, seed=seed).levels()
    return OutOfFold(
        "simulated reader, no network",
        "RSNA 2022, labels real, predictions simulated",
        [f"study {i}" for i in range(len(y))],
        y,
        with_overall(metrics.overall_noisy_or(levels), levels),
        np.arange(len(y)) % folds,
    )


# --- rules -------------------------------------------------------------------------------------


def with_overall(overall: npt.ArrayLike, levels: npt.ArrayLike) -> Array:
    """(N,) and (N, 7) → (N, 8) in the order of ``anatomy.TARGETS``."""
    return np.column_stack([np.asarray(overall, float), np.asarray(levels, float)])


def top_n(n: int) -> Rule:
    """Noisy-or over the ``n`` highest levels; nothing is fitted.  1 is the maximum."""
    return lambda y, levels: lambda new: metrics.overall_noisy_or(new, n)


def choose_n(y: Array, levels: Array, normalisation: Normalisation = "per_exam") -> int:
    """The N with the smallest competition loss on these studies; the smallest N if several."""
    losses = [metrics.weighted_log_loss(y, q, normalisation) for q in sweep(levels).values()]
    return N_RANGE[int(np.argmin(losses))]


def best_n(normalisation: Normalisation = "per_exam") -> Rule:
    """Noisy-or over the N highest levels, N chosen by the competition loss."""
    return lambda y, levels: top_n(choose_n(y, levels, normalisation))(y, levels)


def platt(n: int = N_LEVELS) -> Rule:
    """Noisy-or over the ``n`` highest, then a Platt scale and bias, which keep the order."""

    def fit(y: Array, levels: Array) -> Fitted:
        z = metrics.logit(metrics.overall_noisy_or(levels, n))
        scale, bias = metrics.fit_platt(z, y[:, 0])
        return lambda new: metrics.apply_platt(metrics.overall_noisy_or(new, n), scale, bias)

    return fit


STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the learned rule's L2 penalty, from strict to next to none."""


def learned(features: Callable[[Array], Array] | None = None, inner: int = 5) -> Rule:
    """Logistic regression on features of the seven probabilities.

    Plain log loss: the result is to be calibrated, weights come with the shift.  Features are
    standardised; ``inner`` folds of the studies to fit on choose the penalty.

    Args:
        features: ``sorted_logits`` (default) or ``sweep_logits``: (N, 7) probabilities → (N, F).

    Raises:
        CspineError: fewer than ``inner`` broken or whole necks to fit on.
    """
    describe = features or sorted_logits

    def fit(y: Array, levels: Array) -> Fitted:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedKFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if np.bincount(y[:, 0].astype(int), minlength=2).min() < inner:
            raise CspineError(
                f"a learned rule needs {inner} broken and {inner} whole necks to fit on: "
                "give it more studies"
            )
        search = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
            {"logisticregression__C": STRENGTHS},
            scoring="neg_log_loss",
            cv=StratifiedKFold(inner, shuffle=True, random_state=0),
        )
        search.fit(describe(levels), y[:, 0])
        return lambda new: search.predict_proba(describe(new))[:, 1]

    return fit


LOGIT_CLIP = 1e-3
"""Probabilities as features: beyond this one level would outshout the others."""


def sorted_logits(levels: npt.ArrayLike) -> Array:
    """(N, 7) probabilities → (N, 7) logits, each row from high to low.

    Sorted, for a rule should not care which of the levels is suspicious.
    """
    return np.sort(metrics.logit(levels, clip=LOGIT_CLIP), axis=1)[:, ::-1]


def sweep_logits(levels: npt.ArrayLike) -> Array:
    """(N, 7) probabilities → (N, 7) logits of noisy-or over the 1 … 7 highest.

    A weighted sum of these has each row of the deck's table as a special case.
    """
    rules = [metrics.overall_noisy_or(levels, n) for n in N_RANGE]
    return metrics.logit(np.column_stack(rules), clip=LOGIT_CLIP)


def nested(rule: Rule, y: npt.ArrayLike, levels: npt.ArrayLike, fold: npt.ArrayLike) -> Array:
    """patient_overall (N,) by a rule that is fitted, for each fold, on the other folds.

    No label or prediction of a study enters the rule that is applied to it.  A leak of second
    order is left: the other folds' predictions come from models that were trained on this
    fold's labels.  To close it, those models have to be trained without either fold, one for
    each pair of folds (Varma & Simon, BMC Bioinformatics 2006, on nested cross-validation).

    Raises:
        CspineError: lengths that differ, or fewer than two folds.
    """
    labels, p, folds = np.asarray(y), np.asarray(levels, dtype=np.float64), np.asarray(fold)
    if not len(labels) == len(p) == len(folds):
        raise CspineError(
            f"labels, levels and folds must be of one length, got {len(labels)}, {len(p)} and "
            f"{len(folds)}"
        )
    if len(set(folds.tolist())) < 2:
        raise CspineError("nested folds need two folds or more: fit on one, predict the other")
    out = np.empty(len(p))
    for k in np.unique(folds):
        here = folds == k
        out[here] = rule(labels[~here], p[~here])(p[here])
    return out


def sweep(levels: npt.ArrayLike) -> dict[int, Array]:
    """N → predictions (N studies, 8) with noisy-or over the N highest levels."""
    return {n: with_overall(metrics.overall_noisy_or(levels, n), levels) for n in N_RANGE}
