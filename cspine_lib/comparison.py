"""Methods that were scored on the same studies, side by side: tables, pairs, operating points.

Everything comes from the run records and the predictions beside them.  Records belong to one
``Group`` when profile, data set and scored studies are the same; only within a group can
methods be compared, and every difference is paired, study by study.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib import metrics
from cspine_lib.anatomy import TARGETS
from cspine_lib.errors import CspineError
from cspine_lib.metrics import Interval
from cspine_lib.results import (
    how_scored,
    load_records,
    read_predictions,
    recorded_home,
    results_table,
    scored_on,
)
from cspine_lib.runs import RunRecord
from cspine_lib.scoring import score_arrays

Labels = Mapping[str, npt.ArrayLike]
"""Study → (8,) labels in the order of ``anatomy.TARGETS``."""


@dataclass(frozen=True, eq=False)
class Group:
    """Methods scored on the same studies under one profile.

    Attributes:
        records: by loss, best first; of a method that was recorded twice, the newer one.
        ids: the scored studies, sorted.
        y: (N, 8) labels, or None where they are not known (RSNA's are not recorded).
        p: method → (N, 8) out-of-fold probabilities, for methods whose predictions are there.
    """

    records: tuple[RunRecord, ...]
    ids: tuple[str, ...]
    y: npt.NDArray[np.int64] | None
    p: dict[str, npt.NDArray[np.float64]]

    @property
    def methods(self) -> list[str]:
        """Names, best first."""
        return [record.method for record in self.records]

    @property
    def title(self) -> str:
        """Data, profile, and how the studies were held out, in words."""
        first = self.records[0]
        how = f"{first.data}, profile {first.profile}: {len(self.ids)} studies"
        return f"{how}, {how_scored(first)}"

    def table(self) -> pd.DataFrame:
        """The best constant, then every method: loss, difference to it, level AUROC, with 95%."""
        return results_table(self.records, constants=True)

    def pairs(self) -> dict[tuple[str, str], Interval]:
        """Every pair once, (better, worse) → loss of the first minus the second, paired."""
        known = [method for method in self.methods if method in self.p]
        return {(a, b): self.difference(a, b) for a, b in combinations(known, 2)}

    def pair_table(self) -> pd.DataFrame:
        """The pairs as text, and whether zero lies outside the interval."""
        rows = {
            f"{a} − {b}": {
                "difference of loss [95%]": str(interval).replace("-", "−"),
                "zero is outside": "yes" if interval.excludes_zero else "no",
            }
            for (a, b), interval in self.pairs().items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def difference(self, method: str, other: str) -> Interval:
        """Loss per exam of one method minus that of another, and its 95% interval.

        Raises:
            CspineError: labels or predictions are missing.
        """
        return metrics.loss_ci(self._labels(), self._p(method), minus=self._p(other))

    def minus_constant(self, method: str) -> Interval:
        """Loss per exam minus that of the best constant, fitted on the labels it is scored on."""
        y = self._labels()
        return metrics.loss_ci(y, self._p(method), minus=metrics.best_constants(y))

    def operating_points(self, wanted: float = 0.9) -> pd.DataFrame:
        """Of ``patient_overall``: sensitivity at a specificity, and the reverse, with 95%."""
        y = self._labels()[:, 0]
        columns: dict[str, Callable[..., float]] = {
            f"sensitivity at {wanted:.0%} specificity": metrics.sensitivity_at_specificity,
            f"specificity at {wanted:.0%} sensitivity": metrics.specificity_at_sensitivity,
        }
        rows = {
            method: {
                name: str(metrics.bootstrap_ci(lambda a, b, f=f: f(a, b, wanted), y, p[:, 0]))
                for name, f in columns.items()
            }
            for method, p in self.p.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def calibration(self) -> pd.DataFrame:
        """Brier score with 95%, and the expected calibration error of neck and levels."""
        y = self._labels()
        rows = {}
        for method, p in self.p.items():
            parts = {"neck": (y[:, :1], p[:, :1]), "levels": (y[:, 1:], p[:, 1:])}
            row = {}
            for what, (label, said) in parts.items():
                squared = ((said - label) ** 2).mean(axis=1)
                row[f"Brier, {what}"] = str(metrics.ratio_ci(squared, np.ones(len(squared))))
                error = metrics.expected_calibration_error(label, said)
                row[f"calibration error, {what}"] = f"{error:.3f}"
            rows[method] = row
        return pd.DataFrame.from_dict(rows, orient="index")

    def auroc_by_level(self) -> pd.DataFrame:
        """AUROC of neck and levels, a row per method; NaN under ``metrics.MIN_POSITIVES``."""
        rows = {}
        for record in self.records:
            targets = record.scores["targets"]
            values = {t: targets[t]["auroc"] for t in TARGETS}
            rows[record.method] = {t: math.nan if v is None else v for t, v in values.items()}
        return pd.DataFrame.from_dict(rows, orient="index").astype(float)

    def positives(self) -> dict[str, int]:
        """Broken studies of each target."""
        targets = self.records[0].scores["targets"]
        return {t: int(targets[t]["positives"]) for t in TARGETS}

    def _labels(self) -> npt.NDArray[np.int64]:
        if self.y is None:
            raise CspineError(
                f"{self.title}: no labels beside the predictions, so nothing can be compared "
                "study by study; give the data set's labels to load_groups"
            )
        return self.y

    def _p(self, method: str) -> npt.NDArray[np.float64]:
        if method not in self.p:
            raise CspineError(
                f"no predictions of {method} beside its record: run 'cspine run --methods "
                f"{method} --record' again"
            )
        return self.p[method]


def load_groups(folder: str | Path | None = None, labels: Labels | None = None) -> list[Group]:
    """All records of a folder, sorted into groups; the largest group first.

    Args:
        folder: with ``*.json`` records and ``*.csv`` predictions; None: ``results/``.
        labels: of studies whose predictions were written without them.

    Raises:
        CspineError: a file is no record, has no scores, or labels of one study differ.
    """
    folder = Path(folder or recorded_home())
    grouped: dict[tuple[Any, ...], dict[str, RunRecord]] = {}
    for record in sorted(load_records(folder), key=lambda r: r.created):
        grouped.setdefault(scored_on(record), {})[record.method] = record
    groups = [_group(folder, list(found.values()), labels) for found in grouped.values()]
    return sorted(groups, key=lambda g: (-len(g.records), -len(g.ids), g.title))


def main_group(groups: Sequence[Group], fingerprint: str = "") -> Group | None:
    """The group to draw figures of: two methods or more, whose studies can be paired.

    Of several, that of the data set with this fingerprint, then out-of-fold predictions, then
    the phantom's usual difficulty, then the one with most methods and studies.
    """
    usable = [g for g in groups if len(g.p) > 1 and g.y is not None]

    def rank(group: Group) -> tuple[bool, bool, bool, int, int]:
        first = group.records[0]
        usual = "difficulty" not in first.data
        here = first.fingerprint == fingerprint
        return here, first.n_folds > 1, usual, len(group.records), len(group.ids)

    return max(usable, key=rank, default=None)


def group_of(
    p: Mapping[str, npt.ArrayLike],
    y: npt.ArrayLike,
    ids: Sequence[str],
    *,
    profile: str,
    data: str,
    weights: str = "",
    device: str = "cpu",
) -> Group:
    """A group of predictions at hand: method → (N, 8), labels (N, 8), studies (N,)."""
    order = np.argsort(np.asarray(ids))
    labels = np.asarray(y, dtype=np.int64)[order]
    names = tuple(str(ids[i]) for i in order)
    found = {method: np.asarray(said, dtype=np.float64)[order] for method, said in p.items()}
    records = [
        RunRecord(
            method,
            profile,
            0,
            data,
            "",
            weights,
            device,
            scored=list(names),
            scores=score_arrays(labels, said, ids=names).to_dict(),
        )
        for method, said in found.items()
    ]
    records.sort(key=lambda r: r.scores["loss"])
    return Group(tuple(records), names, labels, {r.method: found[r.method] for r in records})


def _group(folder: Path, records: list[RunRecord], labels: Labels | None) -> Group:
    ids = tuple(sorted(records[0].scored))
    y: npt.NDArray[np.int64] | None = None
    if labels is not None and set(ids) <= set(labels):
        y = np.array([labels[uid] for uid in ids], dtype=np.int64)
    p = {}
    records = sorted(records, key=lambda r: (r.scores["loss"], r.method))
    for record in records:
        if not record.predictions or not (folder / record.predictions).exists():
            continue
        table = read_predictions(folder / record.predictions)
        if tuple(table.index) != ids:
            raise CspineError(f"{folder / record.predictions} has other studies than its record")
        p[record.method] = table[list(TARGETS)].to_numpy()
        truth = [f"true_{t}" for t in TARGETS]
        if set(truth) <= set(table.columns):
            own = table[truth].to_numpy(dtype=np.int64)
            if y is not None and not np.array_equal(own, y):
                raise CspineError(f"{folder / record.predictions} has other labels for its studies")
            y = own
    return Group(tuple(records), ids, y, p)
