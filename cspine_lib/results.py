"""Tables of results, made from the run records under ``results/`` and from nothing else.

``python -m cspine_lib.results README.md`` renews the table in the README.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib import metrics
from cspine_lib.anatomy import STUDY_COLUMN, TARGETS
from cspine_lib.config import home
from cspine_lib.errors import CspineError
from cspine_lib.runs import RunRecord, atomic_path, atomic_write_text

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
"""Marks around the table in the README."""

BEST_CONSTANT = "best constant*"
"""Name of the row that every method has to beat; * stands for ``CONSTANT_NOTE``."""

CONSTANT_NOTE = "\\* fitted on the very labels that it is scored on, which flatters it"

ABLATIONS = "ablations-"
"""Beginning of the names of the files of ``cspine ablate``, which are no run records."""

NO_RECORDS = "No run has been recorded under `results/` yet."


PACKAGED = Path(__file__).resolve().parent / "recorded"
"""The committed records in an installed package: a wheel takes ``results/`` along."""


def results_home() -> Path:
    """Folder that run records are written to; in a checkout the committed ones are there."""
    return home() / "results"


def recorded_home() -> Path:
    """Folder that run records are read from: ``results/``, else those that the package brought."""
    own = results_home()
    return PACKAGED if PACKAGED.is_dir() and not own.is_dir() else own


def record_paths(folder: str | Path | None = None) -> list[Path]:
    """Run records of a folder, without ablations: one short training each, and no result."""
    paths = sorted(Path(folder or recorded_home()).glob("[!.]*.json"))
    return [path for path in paths if not path.name.startswith(ABLATIONS)]


def load_records(folder: str | Path | None = None) -> list[RunRecord]:
    """All run records (``*.json``) of a folder, by data set, then loss, best first.

    Raises:
        CspineError: a file is no run record, or has no scores of ``scoring``.
    """
    records = []
    for path in record_paths(folder):
        record = RunRecord.read(path)
        if "loss" not in record.scores:
            raise CspineError(f"{path} has no scores: score the run before it is recorded")
        records.append(record)
    return sorted(records, key=lambda r: (*scored_on(r), r.scores["loss"], r.method))


def scored_on(record: RunRecord) -> tuple[str, str, str, int, tuple[str, ...]]:
    """Records that agree in this were scored on the same studies, and can be compared."""
    ids = tuple(sorted(record.scored))
    return record.data, record.profile, record.fingerprint, record.scores["n_studies"], ids


def how_scored(record: RunRecord) -> str:
    """Which models said it, of which studies."""
    if "final" in record.data:
        return f"{record.n_folds} folds' models, averaged"
    if record.n_folds == 1:
        return "one model, held out"
    folds = record.config.get("folds", [])
    if len(folds) in (0, record.n_folds):
        return f"{record.n_folds} folds, out of fold"
    return f"fold {folds[0]} held out"


def results_table(records: Sequence[RunRecord], *, constants: bool = False) -> pd.DataFrame:
    """One row per record, as text: what was measured, on which data, and its 95% intervals.

    Losses are per exam; the constant is the best one for the studies it is scored on.

    Args:
        constants: put a row of the best constant on top of the records that were scored on
            the same studies.
    """
    rows, seen = [], set()
    for record in records:
        s = record.scores
        if constants and scored_on(record) not in seen:
            seen.add(scored_on(record))
            rows.append(_constant_row(record))
        rows.append(
            {
                "method": record.method,
                "profile": record.profile,
                "data": record.data,
                "scored": how_scored(record),
                "weights": record.weights.split(" (")[0],
                "studies": str(s["n_studies"]),
                "loss": _cell(s, "loss", "ci95"),
                "loss − constant": _cell(s, "loss_minus_constant", "loss_minus_constant_ci95"),
                "level AUROC": _cell(s, "level_auroc", "level_auroc_ci95"),
                "training minutes": f"{record.seconds / 60:.0f} ({record.device})",
            }
        )
    return pd.DataFrame(rows)


def _constant_row(record: RunRecord) -> dict[str, str]:
    """The best constant on the studies of a record; it orders nothing, its AUROC is a coin's."""
    s = record.scores
    return {
        "method": BEST_CONSTANT,
        "profile": record.profile,
        "data": record.data,
        "scored": "",
        "weights": "",
        "studies": str(s["n_studies"]),
        "loss": _cell(s, "constant_loss", "constant_ci95"),
        "loss − constant": "0",
        "level AUROC": "0.500",
        "training minutes": "",
    }


def _cell(scores: dict[str, Any], value: str, interval: str) -> str:
    if scores.get(value) is None:
        return "n/a"
    low, high = scores[interval]
    return f"{_number(scores[value])} [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def readme_table(folder: str | Path | None = None) -> str:
    """The results as a Markdown table, or one line that there are none."""
    table = results_table(load_records(folder), constants=True)
    if table.empty:
        return NO_RECORDS
    lines = ["| " + " | ".join(table.columns) + " |", "|" + " --- |" * len(table.columns)]
    lines += ["| " + " | ".join(row) + " |" for row in table.itertuples(index=False)]
    return "\n".join([*lines, "", CONSTANT_NOTE])


def with_table(text: str, table: str) -> str:
    """A README's text with the table between its marks replaced.

    Raises:
        CspineError: the marks are missing.
    """
    if BEGIN not in text or END not in text:
        raise CspineError(f"the text has no {BEGIN} … {END}: put both where the table belongs")
    head, rest = text.split(BEGIN, 1)
    return f"{head}{BEGIN}\n{table}\n{END}{rest.split(END, 1)[1]}"


# --- predictions -----------------------------------------------------------------------------


def write_predictions(
    path: str | Path,
    ids: Sequence[str],
    p: npt.ArrayLike,
    y: npt.ArrayLike | None = None,
    fold: npt.ArrayLike | None = None,
) -> Path:
    """Write predictions as CSV: study, fold, eight probabilities, and labels if given.

    Args:
        ids: N studies.
        p: (N, 8) probabilities.
        y: (N, 8) labels; leave them out for RSNA's data, whose rows may not be passed on.
        fold: (N,) the fold in which a study was held out.
    """
    frame = pd.DataFrame({STUDY_COLUMN: list(ids)})
    if fold is not None:
        frame["fold"] = np.asarray(fold)
    frame[list(TARGETS)] = np.asarray(p, dtype=np.float64)
    if y is not None:
        frame[[f"true_{t}" for t in TARGETS]] = np.asarray(y).astype(int)
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g")
    return Path(path)


def read_predictions(path: str | Path) -> pd.DataFrame:
    """What ``write_predictions`` wrote, indexed by study and sorted.

    Raises:
        CspineError: no such file, or columns are missing.
    """
    try:
        frame = pd.read_csv(path, dtype={STUDY_COLUMN: str})
    except (OSError, ValueError) as error:
        raise CspineError(f"cannot read predictions {path}: {error}") from error
    lacking = [c for c in (STUDY_COLUMN, *TARGETS) if c not in frame.columns]
    if lacking:
        raise CspineError(f"{path} is no file of predictions: it lacks {', '.join(lacking)}")
    return frame.set_index(STUDY_COLUMN).sort_index()


def paired_difference(
    first: pd.DataFrame,
    second: pd.DataFrame,
    normalisation: metrics.Normalisation = "per_exam",
) -> metrics.Interval:
    """Loss of the first minus that of the second on the same studies, with its 95% interval.

    Args:
        first, second: predictions as ``read_predictions`` gives them; the labels
            are the first's.

    Raises:
        CspineError: other studies, labels that differ, or no labels.
    """
    if not first.index.equals(second.index):
        raise CspineError("a paired difference needs predictions of the same studies")
    truth = [f"true_{t}" for t in TARGETS]
    if not set(truth) <= set(first.columns):
        raise CspineError("the predictions were written without labels: nothing can be scored")
    y = first[truth].to_numpy()
    if set(truth) <= set(second.columns) and not np.array_equal(y, second[truth].to_numpy()):
        raise CspineError("the two files have different labels for the same studies")
    p, q = first[list(TARGETS)].to_numpy(), second[list(TARGETS)].to_numpy()
    return metrics.loss_ci(y, p, normalisation, minus=q)


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    atomic_write_text(readme, with_table(readme.read_text(encoding="utf-8"), readme_table()))
