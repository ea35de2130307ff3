"""Read submissions and files of labels; whatever is wrong with a row is named.

All cells are read as text, so that nothing is guessed: each named error says how
many rows it found and shows the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cspine_lib.anatomy import STUDY_COLUMN, SUBMISSION_COLUMNS, TARGETS, row_id
from cspine_lib.csvfiles import read_cells
from cspine_lib.errors import CspineError


class SubmissionError(CspineError):
    """Something is wrong with rows of a file; ``code``, ``count`` and ``example`` say what."""

    code = "submission"
    phrase = "rows are wrong"
    advice = "mend them"

    def __init__(self, path: str | Path, rows: list[str]) -> None:
        self.count, self.example = len(rows), rows[0]
        super().__init__(
            f"{path}: {self.count} {self.phrase}, the first is {self.example}: {self.advice}"
        )


class RowsMissing(SubmissionError):
    """Rows of the truth that the submission lacks."""

    code = "rows_missing"
    phrase = "row(s) missing"
    advice = "each study of the truth needs its eight rows"


class RowsDoubled(SubmissionError):
    """Row identifiers that occur more than once."""

    code = "rows_doubled"
    phrase = "row_id(s) occur more than once"
    advice = "keep one row of each"


class RowsUnknown(SubmissionError):
    """Rows whose identifier the truth does not know."""

    code = "rows_unknown"
    phrase = "row(s) that the truth does not know"
    advice = "leave them out, or check that both files are of one data set"


class NotNumeric(SubmissionError):
    """Values that are not numbers at all."""

    code = "not_numeric"
    phrase = "value(s) that are not numbers"
    advice = "write plain decimals such as 0.25"


class NotANumber(SubmissionError):
    """Empty or NaN values."""

    code = "nan"
    phrase = "value(s) empty or NaN"
    advice = "give every row a probability"


class OutOfRange(SubmissionError):
    """Values that are no probability."""

    code = "out_of_range"
    phrase = "value(s) outside [0, 1]"
    advice = "probabilities, not logits or per cent, are wanted"


class BadLabel(SubmissionError):
    """Truth values other than 0 and 1."""

    code = "bad_label"
    phrase = "label(s) other than 0 and 1"
    advice = "is this the file of the labels?"


def read_submission(path: str | Path, studies: Iterable[str]) -> pd.DataFrame:
    """Probabilities of exactly these studies from a file ``row_id, fractured``.

    Args:
        path: one row per study and target; the order is free.
        studies: StudyInstanceUIDs, each once.

    Returns:
        Index StudyInstanceUID in the order given, columns ``anatomy.TARGETS``.

    Raises:
        SubmissionError: rows missing, doubled or unknown; values not numeric, NaN
            or outside [0, 1].
        CspineError: a file that cannot be read or has other columns.
    """
    rows = _read_rows(path)
    ids = list(studies)
    wanted = {row_id(uid, target): None for uid in ids for target in TARGETS}
    _refuse(RowsUnknown, path, [r for r in rows if r not in wanted])
    _refuse(RowsMissing, path, [r for r in wanted if r not in rows])
    values = _numbers(path, rows)
    outside = [f"{r} = {rows[r]}" for r, v in values.items() if not 0 <= v <= 1]
    _refuse(OutOfRange, path, outside)
    cells = [[values[row_id(uid, target)] for target in TARGETS] for uid in ids]
    index = pd.Index(ids, name=STUDY_COLUMN)
    return pd.DataFrame(cells, index=index, columns=list(TARGETS))


def read_truth(truth_csv: str | Path) -> pd.DataFrame:
    """Labels of a train.csv or of rows ``row_id, fractured``.

    Returns:
        Index StudyInstanceUID, columns ``anatomy.TARGETS``, floats 0 and 1.

    Raises:
        SubmissionError: rows missing, doubled or unknown, labels other than 0 and 1.
        CspineError: a file that cannot be read or has other columns.
    """
    frame = read_cells(truth_csv)
    if set(SUBMISSION_COLUMNS) <= set(frame.columns):
        rows = _read_rows(truth_csv)
    elif {STUDY_COLUMN, *TARGETS} <= set(frame.columns):
        ids = frame[STUDY_COLUMN].tolist()
        _refuse(RowsDoubled, truth_csv, _doubled(ids))
        cells = frame[list(TARGETS)].to_numpy().tolist()
        rows = {
            row_id(i, t): v
            for i, r in zip(ids, cells, strict=True)
            for t, v in zip(TARGETS, r, strict=True)
        }
    else:
        raise CspineError(
            f"{truth_csv} has neither the columns of train.csv ({STUDY_COLUMN}, "
            f"{', '.join(TARGETS)}) nor {', '.join(SUBMISSION_COLUMNS)}"
        )
    values = _numbers(truth_csv, rows)
    _refuse(BadLabel, truth_csv, [f"{r} = {rows[r]}" for r, v in values.items() if v not in (0, 1)])
    return _by_study(truth_csv, values)


def _by_study(path: str | Path, values: dict[str, float]) -> pd.DataFrame:
    """Rows per study and target → one row per study, in order of first appearance."""
    studies: dict[str, dict[str, float]] = {}
    odd = []
    for name, value in values.items():
        target = next((t for t in TARGETS if name.endswith(f"_{t}")), None)
        if target is None:
            odd.append(name)
        else:
            studies.setdefault(name[: -len(target) - 1], {})[target] = value
    _refuse(RowsUnknown, path, odd)
    lacking = [row_id(s, t) for s, found in studies.items() for t in TARGETS if t not in found]
    _refuse(RowsMissing, path, lacking)
    if not studies:
        raise CspineError(f"{path} has a header but no rows: nothing can be scored")
    frame = pd.DataFrame.from_dict(studies, orient="index", columns=list(TARGETS))
    return frame.rename_axis(STUDY_COLUMN)


def _read_rows(path: str | Path) -> dict[str, str]:
    """``row_id`` → text of ``fractured``."""
    frame = read_cells(path)
    lacking = [c for c in SUBMISSION_COLUMNS if c not in frame.columns]
    if lacking:
        raise CspineError(
            f"{path} lacks the column(s) {', '.join(lacking)}: a submission has "
            f"{', '.join(SUBMISSION_COLUMNS)}, it has {', '.join(map(str, frame.columns))}"
        )
    names = frame["row_id"].tolist()
    _refuse(RowsDoubled, path, _doubled(names))
    return dict(zip(names, frame["fractured"].tolist(), strict=True))


def _doubled(names: list[str]) -> list[str]:
    """Names that occur again, each once, in order."""
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for name in names:
        if name in seen:
            twice[name] = None
        seen.add(name)
    return list(twice)


def _numbers(path: str | Path, rows: dict[str, str]) -> dict[str, float]:
    """Texts as floats; the first kind of fault found is raised, non-numbers before NaN."""
    values, text, empty = {}, [], []
    for name, cell in rows.items():
        try:
            values[name] = float(cell) if str(cell).strip() else math.nan
        except ValueError:
            text.append(f"{name} = {cell!r}")
            continue
        if math.isnan(values[name]):
            empty.append(name)
    _refuse(NotNumeric, path, text)
    _refuse(NotANumber, path, empty)
    return values


def _refuse(kind: type[SubmissionError], path: str | Path, rows: list[str]) -> None:
    if rows:
        raise kind(path, rows)
