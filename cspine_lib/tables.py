"""The tables of RSNA's layout, read with every fault named instead of raised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cspine_lib.anatomy import (
    BOX_COLUMNS,
    BOXES_CSV,
    LEVELS,
    OVERALL,
    STUDY_COLUMN,
    TARGETS,
    TEST_COLUMNS,
    TEST_CSV,
    TRAIN_COLUMNS,
    TRAIN_CSV,
    row_id,
)
from cspine_lib.errors import CspineError
from cspine_lib.issues import Issue, error, warning
from cspine_lib.rsna import is_safe_id, read_table


@dataclass(frozen=True)
class Tables:
    """What the tables say where they can be understood, and what is wrong with the rest."""

    train: pd.DataFrame
    boxes: pd.DataFrame
    train_ids: list[str]
    test_ids: list[str]
    issues: list[Issue]

    def boxes_of(self, uid: str) -> pd.DataFrame:
        """x, y, width, height, slice_number of a study's boxes."""
        return self.boxes.loc[self.boxes[STUDY_COLUMN] == uid, list(BOX_COLUMNS[1:])]


def read_tables(root: Path) -> Tables:
    """Read ``train.csv``, ``train_bounding_boxes.csv`` and ``test.csv``; never raises."""
    issues: list[Issue] = []
    train = _train(root, issues)
    boxes = _boxes(root, set(train[STUDY_COLUMN]), issues)
    positive = set(train.loc[train[list(LEVELS)].max(axis=1) > 0, STUDY_COLUMN])
    for uid in boxes[STUDY_COLUMN].drop_duplicates():
        if uid in set(train[STUDY_COLUMN]) and uid not in positive:
            issues.append(warning("box_without_fracture", "boxed, but no level is broken", uid))
    return Tables(train, boxes, train[STUDY_COLUMN].tolist(), _test_ids(root, issues), issues)


def _load(root: Path, name: str, columns: tuple[str, ...], issues: list[Issue]) -> pd.DataFrame:
    try:
        return read_table(root / name, columns)
    except CspineError as problem:
        issues.append(error("bad_table", str(problem), name))
        return pd.DataFrame({c: pd.Series(dtype=str) for c in columns})


def _train(root: Path, issues: list[Issue]) -> pd.DataFrame:
    """Rows of ``train.csv`` with usable labels."""
    table = _load(root, TRAIN_CSV, TRAIN_COLUMNS, issues)
    for uid in table.loc[table[STUDY_COLUMN].duplicated(), STUDY_COLUMN]:
        issues.append(error("doubled_row", f"the study is in {TRAIN_CSV} twice", uid[:80]))
    table = table.drop_duplicates(STUDY_COLUMN)
    for target in TARGETS:
        table[target] = pd.to_numeric(table[target], errors="coerce")
    values = table[list(TARGETS)].to_numpy(dtype=np.float64)
    usable = np.isin(values, (0, 1)).all(axis=1)
    named = np.array([is_safe_id(uid) for uid in table[STUDY_COLUMN]], dtype=bool)
    for uid in table.loc[~named, STUDY_COLUMN]:
        issues.append(error("bad_name", f"no StudyInstanceUID, in {TRAIN_CSV}", repr(uid[:80])))
    for uid in table.loc[~usable & named, STUDY_COLUMN]:
        issues.append(error("bad_label", f"a label in {TRAIN_CSV} is not 0 or 1", uid))
    table = table[usable & named].reset_index(drop=True)
    wrong = table[OVERALL] != table[list(LEVELS)].max(axis=1)
    for uid in table.loc[wrong, STUDY_COLUMN]:
        message = f"{OVERALL} is not the largest of its levels"
        issues.append(error("overall_mismatch", message, uid))
    return table


def _boxes(root: Path, known: set[str], issues: list[Issue]) -> pd.DataFrame:
    """Rows of ``train_bounding_boxes.csv`` with usable numbers."""
    if not (root / BOXES_CSV).exists():
        issues.append(warning("no_table", "there are no boxes", BOXES_CSV))
        return pd.DataFrame({c: pd.Series(dtype=float) for c in BOX_COLUMNS})
    table = _load(root, BOXES_CSV, BOX_COLUMNS, issues)
    for column in BOX_COLUMNS[1:]:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    finite = np.isfinite(table[list(BOX_COLUMNS[1:])].to_numpy(dtype=np.float64)).all(axis=1)
    for line in np.flatnonzero(~finite):
        issues.append(error("bad_box", f"line {line + 2} has a value that is no number", BOXES_CSV))
    for uid in table.loc[~table[STUDY_COLUMN].isin(known), STUDY_COLUMN].drop_duplicates():
        issues.append(error("box_of_unknown_study", f"boxed, but not in {TRAIN_CSV}", uid[:80]))
    doubled = table.duplicated([STUDY_COLUMN, "slice_number"])
    for uid in table.loc[doubled, STUDY_COLUMN].drop_duplicates():
        issues.append(warning("doubled_box", "a slice has more than one box", uid[:80]))
    return table[finite].reset_index(drop=True)


def _test_ids(root: Path, issues: list[Issue]) -> list[str]:
    if not (root / TEST_CSV).exists():
        issues.append(warning("no_table", "there are no test studies", TEST_CSV))
        return []
    table = _load(root, TEST_CSV, TEST_COLUMNS, issues)
    for name in table.loc[table["row_id"].duplicated(), "row_id"]:
        issues.append(error("doubled_row", f"the row is in {TEST_CSV} twice", name[:80]))
    expected = [
        row_id(uid, target)
        for uid, target in zip(table[STUDY_COLUMN], table["prediction_type"], strict=True)
    ]
    for name in table.loc[table["row_id"] != pd.Series(expected, dtype=str), "row_id"]:
        issues.append(error("bad_row_id", "row_id is not <study>_<prediction_type>", name[:80]))
    return [uid for uid in table[STUDY_COLUMN].drop_duplicates() if is_safe_id(uid)]
