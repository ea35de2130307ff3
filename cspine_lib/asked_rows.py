"""``test.csv`` read, and the submission that answers it: its rows, in its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cspine_lib.anatomy import (
    SAMPLE_SUBMISSION_CSV,
    STUDY_COLUMN,
    SUBMISSION_COLUMNS,
    TARGETS,
    TEST_COLUMNS,
    TEST_CSV,
    TEST_IMAGES,
)
from cspine_lib.errors import CspineError
from cspine_lib.rsna import is_safe_id, read_table

LEAST = 1e-6
"""No value is nearer to 0 or 1: with the six digits that are written it would be one of them."""
ROW, KIND = TEST_COLUMNS[0], TEST_COLUMNS[2]


@dataclass(frozen=True, eq=False)
class AskedRows:
    """The rows of a ``test.csv``.

    Attributes:
        root: data folder.
        table: ``row_id, StudyInstanceUID, prediction_type`` as text.
    """

    root: Path
    table: pd.DataFrame

    @classmethod
    def read(cls, root: str | Path) -> AskedRows:
        """The rows that a data folder asks for.

        Raises:
            CspineError: no ``test.csv``, an empty one, or a row that asks for no known target.
        """
        path = Path(root) / TEST_CSV
        if not path.is_file():
            raise CspineError(
                f"{root} has no {TEST_CSV}: give the folder of a single study instead"
            )
        table = read_table(path, TEST_COLUMNS)
        if table.empty:
            raise CspineError(f"{path} has a header but no rows: nothing is asked for")
        odd = np.flatnonzero(~table[KIND].isin(TARGETS))
        if len(odd):
            kind = table[KIND].iloc[odd[0]][:40]
            raise CspineError(
                f"{path} line {odd[0] + 2}: prediction_type is {kind!r}; "
                f"known are {', '.join(TARGETS)}"
            )
        return cls(Path(root), table)

    @property
    def ids(self) -> list[str]:
        """Studies, each once, in the order of the rows."""
        return list(dict.fromkeys(self.table[STUDY_COLUMN].tolist()))

    def folder(self, uid: str) -> Path | None:
        """Folder of a study's images, or None: public sets name studies that they do not hold."""
        folder = self.root / TEST_IMAGES / uid
        return folder if is_safe_id(uid) and folder.is_dir() else None

    def answered(self, said: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
        """The submission.

        Args:
            said: study → probability of each target.

        Returns:
            ``row_id, fractured``, rows as asked, values strictly between 0 and 1.

        Raises:
            CspineError: a study is missing, or has a value that is no number.
        """
        pairs = zip(self.table[STUDY_COLUMN], self.table[KIND], strict=True)
        values = np.array([said.get(uid, {}).get(kind, np.nan) for uid, kind in pairs])
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise CspineError(f"no probability for {self.table[ROW].iloc[bad[0]][:120]}")
        clipped = np.clip(values, LEAST, 1 - LEAST)
        return pd.DataFrame(dict(zip(SUBMISSION_COLUMNS, (self.table[ROW], clipped), strict=True)))

    def differs_from_sample(self) -> str:
        """How the rows differ from the sample submission's; empty if they do not, or none is there.

        Raises:
            CspineError: a sample that cannot be read.
        """
        path = self.root / SAMPLE_SUBMISSION_CSV
        if not path.is_file():
            return ""
        sample = read_table(path, SUBMISSION_COLUMNS)[SUBMISSION_COLUMNS[0]].tolist()
        rows = self.table[ROW].tolist()
        lacking, more = set(sample) - set(rows), set(rows) - set(sample)
        if not lacking and not more:
            return ""
        return (
            f"{TEST_CSV} and {SAMPLE_SUBMISSION_CSV} differ: {len(lacking)} rows are in the "
            f"sample only, {len(more)} in {TEST_CSV} only"
        )
