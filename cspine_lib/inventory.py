"""What a data set holds, in words: the table of ``cspine check``."""

from __future__ import annotations

import pandas as pd

from cspine_lib.anatomy import LEVELS, STUDY_COLUMN
from cspine_lib.tables import Tables


def what_is_there(tables: Tables, studies: pd.DataFrame) -> pd.DataFrame:
    """The report's table, in words."""
    rows: list[tuple[str, str]] = []
    for part, ids in (("train", tables.train_ids), ("test", tables.test_ids)):
        have = int((studies["part"] == part).sum()) if len(studies) else 0
        rows.append((f"{part} studies", f"{len(ids)} in the table, {have} folders"))
    rows += _label_rows(tables)
    if not len(studies):
        return pd.DataFrame(rows, columns=["what", "value"])
    rows.append(("DICOM files", f"{studies['files'].sum()}, {_size(studies['bytes'].sum())}"))
    masked = studies["mask"].notna().sum()
    rows.append(("segmentations", f"{masked} studies"))
    good = studies[studies["error"] == ""]
    if "slices" in good:
        rows += _study_rows(good)
    return pd.DataFrame(rows, columns=["what", "value"])


def _label_rows(tables: Tables) -> list[tuple[str, str]]:
    rows = []
    if len(tables.train):
        broken = tables.train[list(LEVELS)].sum()
        any_broken = (tables.train[list(LEVELS)].max(axis=1) > 0).mean()
        rows.append(("studies with a fracture", f"{any_broken:.1%}"))
        per_level = ", ".join(f"{level} {broken[level]:.0f}" for level in LEVELS)
        rows.append(("studies broken at", per_level))
    boxed = tables.boxes[STUDY_COLUMN].nunique()
    rows.append(("boxes", f"{len(tables.boxes)} in {boxed} studies"))
    return rows


def _study_rows(good: pd.DataFrame) -> list[tuple[str, str]]:
    rows = []
    for column, what, form in (
        ("slices", "slices per study", ".0f"),
        ("dz_mm", "slice distance, mm", ".2f"),
        ("dx_mm", "pixel size, mm", ".2f"),
    ):
        low, middle, high = good[column].min(), good[column].median(), good[column].max()
        rows.append((what, f"{low:{form}} to {high:{form}}, median {middle:{form}}"))
    matrix = good["rows"].astype(int).astype(str) + " × " + good["columns"].astype(int).astype(str)
    rows.append(("matrix", _counts(matrix)))
    rows.append(("transfer syntax", _counts(good["transfer_syntaxes"])))
    rows.append(("stored bits", _counts(good["bits"])))
    rows.append(("numbered feet to head", f"{int(good['feet_first'].sum())} studies"))
    late = int((good["first_number"] != 1).sum())
    rows.append(("numbering not from 1", f"{late} studies"))
    skipped = int((good["numbers_skipped"] > 0).sum())
    rows.append(("numbers skipped", f"{skipped} studies"))
    rows.append(("several display windows", f"{int((good['windows'] > 1).sum())} studies"))
    overlapping = good["issues"].str.split(", ").map(lambda codes: "overlapping_slices" in codes)
    rows.append(("overlapping slices", f"{int(overlapping.sum())} studies"))
    return rows


def _counts(values: pd.Series[str], most: int = 6) -> str:
    counts = values.value_counts()
    parts = [f"{value} ({n})" for value, n in counts.head(most).items()]
    more = [f"{len(counts) - most} more"] if len(counts) > most else []
    return ", ".join(parts + more)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
