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
    CONSTANT_NOTE,
    load_records,
    read_predictions,
    results_home,
    results_table,
    scored_on,
)
from cspine_lib.runs import RunRecord

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
        how = f"{first.n_folds} folds, out of fold" if first.n_folds > 1 else "held out"
        return f"{first.data}, profile {first.profile}: {len(self.ids)} studies, {how}"

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
                "difference of loss [95%]": str(interval),
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
    folder = Path(folder or results_home())
    grouped: dict[tuple[Any, ...], dict[str, RunRecord]] = {}
    for record in sorted(load_records(folder), key=lambda r: r.created):
        grouped.setdefault(scored_on(record), {})[record.method] = record
    groups = [_group(folder, list(found.values()), labels) for found in grouped.values()]
    return sorted(groups, key=lambda g: (-len(g.records), -len(g.ids), g.title))


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


def as_objects(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """For programs: one object per method and profile, plain JSON types.

    ``minus`` has the paired difference to every other method of the group;
    ``seconds_per_study`` is None where prediction was not timed (training is not meant).
    """
    return [_object(group, record) for group in groups for record in group.records]


def _object(group: Group, record: RunRecord) -> dict[str, Any]:
    s = record.scores
    known = [m for m in group.methods if m in group.p and group.y is not None]
    return {
        "method": record.method,
        "profile": record.profile,
        "data": record.data,
        "fingerprint": record.fingerprint,
        "n_studies": s["n_studies"],
        "n_folds": record.n_folds,
        "loss": s["loss"],
        "ci95": s["ci95"],
        "constant_loss": s["constant_loss"],
        "loss_minus_constant": s["loss_minus_constant"],
        "loss_minus_constant_ci95": s["loss_minus_constant_ci95"],
        "level_auroc": s["level_auroc"],
        "level_auroc_ci95": s["level_auroc_ci95"],
        "seconds_per_study": s.get("seconds_per_study"),
        "training_seconds": record.seconds,
        "device": record.device,
        "weights": record.weights,
        "minus": {
            other: _plain(group.difference(record.method, other))
            for other in known
            if record.method in known and other != record.method
        },
    }


def _plain(interval: Interval) -> dict[str, Any]:
    value, low, high = (round(float(v), 5) for v in interval)
    return {"difference": value, "ci95": [low, high]}


def as_text(groups: Sequence[Group]) -> str:
    """The tables for a terminal."""
    return "\n\n\n".join(_text(group) for group in groups)


def _text(group: Group) -> str:
    lines = [group.title]
    if group.records[0].data.startswith("phantom"):
        lines.append("measured on simulated scans: not an RSNA score")
    lines += ["", group.table().to_string(index=False), CONSTANT_NOTE.lstrip("\\")]
    if len(group.p) > 1 and group.y is not None:
        lines += ["", "difference of loss, paired by study, 95% interval"]
        for (a, b), interval in group.pairs().items():
            clear = "" if interval.excludes_zero else "   not clear"
            lines.append(f"  {a} − {b}: {interval}{clear}")
    return "\n".join(lines)


def order_table(groups: Sequence[Group]) -> pd.DataFrame:
    """Place and loss of each method, a column per group: does the order hold on other data?"""
    columns = {}
    for group in groups:
        column = {}
        for place, record in enumerate(group.records, start=1):
            loss = Interval(record.scores["loss"], *record.scores["ci95"])
            column[record.method] = f"{place}.  {loss}"
        first = group.records[0]
        columns[f"{first.data} ({first.profile}, {len(group.ids)} studies)"] = column
    return pd.DataFrame(columns).fillna("not run")
