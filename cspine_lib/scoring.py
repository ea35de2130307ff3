"""Score predictions as the competition did, with intervals and beside the best constant."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib import metrics
from cspine_lib.anatomy import TARGETS
from cspine_lib.metrics import Interval, Normalisation
from cspine_lib.submission import read_submission, read_truth


@dataclass(frozen=True)
class TargetScore:
    """Scores of one of the eight targets."""

    positives: int
    loss: Interval
    """Weighted log loss of this target's rows alone."""
    auroc: Interval
    """NaN where fewer than ``metrics.MIN_POSITIVES`` studies are on either side."""


@dataclass(frozen=True)
class Score:
    """Competition loss and ranking of one set of predictions, with 95% intervals by study."""

    n_studies: int
    loss: dict[Normalisation, Interval]
    constant: dict[Normalisation, Interval]
    """The best constant of each normalisation, fitted on the very labels it is scored on."""
    difference: dict[Normalisation, Interval]
    """Loss minus the constant's, paired by study; negative is better than the constant."""
    level_auroc: Interval
    """Mean over the levels that have both classes."""
    targets: dict[str, TargetScore]
    ids: tuple[str, ...] = field(default=(), repr=False)

    def table(self) -> pd.DataFrame:
        """One row per target: positives, loss, AUROC and their intervals; NaN is n/a."""
        rows = {
            name: {
                "positives": t.positives,
                "loss": t.loss.value,
                "loss_low": t.loss.low,
                "loss_high": t.loss.high,
                "auroc": t.auroc.value,
                "auroc_low": t.auroc.low,
                "auroc_high": t.auroc.high,
            }
            for name, t in self.targets.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("target")

    def text(self) -> str:
        """Everything as plain text for a terminal."""
        lines = [f"{self.n_studies} studies; 95% intervals by bootstrap over studies", ""]
        lines.append(f"{'loss':17}{'submission':26}{'best constant*':26}{'difference (paired)':26}")
        for name in metrics.NORMALISATIONS:
            cells = (self.loss[name], self.constant[name], self.difference[name])
            label = name.replace("_", " ")
            lines.append(f"{label:17}" + "".join(f"{_cell(c, 4):26}" for c in cells).rstrip())
        lines += ["", f"{'target':17}{'positives':>9}  {'weighted loss':23}AUROC"]
        for target, t in self.targets.items():
            lines.append(f"{target:17}{t.positives:9d}  {_cell(t.loss):23}{_cell(t.auroc)}")
        lines.append(f"{'mean of levels':28}{'':23}{_cell(self.level_auroc)}")
        lines += ["", "* fitted on the very labels that it is scored on, which flatters it"]
        if any(math.isnan(t.auroc.value) for t in self.targets.values()):
            lines.append(f"n/a: fewer than {metrics.MIN_POSITIVES} studies of one class")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; top-level losses are per exam, those under ``global`` are global."""
        out: dict[str, Any] = {"n_studies": self.n_studies, **self._losses("per_exam")}
        out["level_auroc"], out["level_auroc_ci95"] = _pair(self.level_auroc)
        out["global"] = self._losses("global")
        out["targets"] = {}
        for name, t in self.targets.items():
            loss, loss_ci95 = _pair(t.loss)
            auroc, auroc_ci95 = _pair(t.auroc)
            out["targets"][name] = {
                "positives": t.positives,
                "loss": loss,
                "ci95": loss_ci95,
                "auroc": auroc,
                "auroc_ci95": auroc_ci95,
            }
        return out

    def _losses(self, normalisation: Normalisation) -> dict[str, Any]:
        out: dict[str, Any] = {}
        out["loss"], out["ci95"] = _pair(self.loss[normalisation])
        out["constant_loss"], out["constant_ci95"] = _pair(self.constant[normalisation])
        pair = _pair(self.difference[normalisation])
        out["loss_minus_constant"], out["loss_minus_constant_ci95"] = pair
        return out


def _pair(interval: Interval) -> tuple[float | None, list[float] | None]:
    """Value and [low, high] rounded for JSON, which has no NaN."""
    if any(math.isnan(v) for v in interval):
        return None, None
    return round(interval.value, 5), [round(interval.low, 5), round(interval.high, 5)]


def _cell(interval: Interval, digits: int = 3) -> str:
    if any(math.isnan(v) for v in interval):
        return "n/a"
    value, low, high = (f"{v:.{digits}f}" for v in interval)
    return f"{value} [{low}, {high}]"


def score_arrays(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    *,
    ids: tuple[str, ...] = (),
    n: int = 2000,
    seed: int = 0,
) -> Score:
    """Score probabilities (N, 8) against labels (N, 8), columns in ``anatomy.TARGETS`` order.

    Args:
        n: bootstrap resamples.
        seed: of the resampling.

    Raises:
        CspineError: see ``metrics.weighted_log_loss``.
    """
    y, p = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    terms, w = metrics.log_loss_terms(y, p), metrics.weights(y)
    best = {name: metrics.best_constants(y, name) for name in metrics.NORMALISATIONS}
    targets = {}
    for j, target in enumerate(TARGETS):
        loss = metrics.ratio_ci(w[:, j] * terms[:, j], w[:, j], n=n, seed=seed)
        few = min(y[:, j].sum(), (1 - y[:, j]).sum()) < metrics.MIN_POSITIVES
        nothing = Interval(math.nan, math.nan, math.nan)
        auroc = nothing if few else metrics.auroc_ci(y[:, j], p[:, j], n=n, seed=seed)
        targets[target] = TargetScore(int(y[:, j].sum()), loss, auroc)
    return Score(
        n_studies=len(y),
        loss={k: metrics.loss_ci(y, p, k, n=n, seed=seed) for k in best},
        constant={k: metrics.loss_ci(y, q, k, n=n, seed=seed) for k, q in best.items()},
        difference={k: metrics.loss_ci(y, p, k, minus=q, n=n, seed=seed) for k, q in best.items()},
        level_auroc=metrics.macro_auroc_ci(y[:, 1:], p[:, 1:], n=n, seed=seed),
        targets=targets,
        ids=ids,
    )


def score_submission(submission_csv: str | Path, truth_csv: str | Path) -> Score:
    """Score a submission (``row_id, fractured``) against a file of labels.

    Args:
        submission_csv: one row per study and target; the order is free.
        truth_csv: labels as in train.csv (one row per study), or as rows
            ``row_id, fractured``.

    Raises:
        SubmissionError: rows missing, doubled or unknown; values not numeric, NaN
            or outside [0, 1]; labels other than 0 and 1.
        CspineError: a file that cannot be read or has other columns.
    """
    labels = read_truth(truth_csv)
    p = read_submission(submission_csv, labels.index)
    return score_arrays(labels.to_numpy(), p.to_numpy(), ids=tuple(labels.index))
