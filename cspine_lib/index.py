"""One row per study, from the headers alone: slices, spacing, encodings, order of files.

Made for RSNA's 2019 studies in 711,601 files: studies are read in parallel, and what
was read once is kept in a file, so that a second call only looks for changes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cspine_lib.anatomy import STUDY_COLUMN, TEST_IMAGES, TRAIN_IMAGES
from cspine_lib.dicom import Geometry, Series, read_geometry
from cspine_lib.errors import CspineError
from cspine_lib.headers import file_number
from cspine_lib.issues import Issue
from cspine_lib.oddities import header_oddities
from cspine_lib.runs import atomic_write_bytes

INDEX_VERSION = "2"
"""Kept rows of another version are read anew."""
STUDIES_PER_SAVE = 100

KEPT_COLUMNS = ("key", "notes", "middle_file")
"""What the file of kept rows needs and nobody else: left out of the index that is returned."""
TEXT_COLUMNS = (
    *("transfer_syntaxes", "bits", "kernel", "manufacturer", "issues", "error"),
    *KEPT_COLUMNS,
)


@dataclass(frozen=True)
class StudyFolder:
    """Where a study lies and what tells whether it changed."""

    uid: str
    part: str
    path: str
    files: int
    bytes: int
    numbers: frozenset[int]
    """Numbers in the files' names, of unreadable files too."""
    key: str


def study_folders(root: Path, only: Collection[str] | None = None) -> list[StudyFolder]:
    """Study folders under ``train_images`` and ``test_images``, in order of their names.

    Args:
        only: names of studies; all others are passed over without a look at their files.
    """
    out = []
    for part, images in (("train", TRAIN_IMAGES), ("test", TEST_IMAGES)):
        place = root / images
        names = _folders_in(place)
        names = [n for n in names if not n.startswith(".") and (only is None or n in only)]
        out += [_look(part, name, place / name) for name in names]
    return out


def _folders_in(place: Path) -> list[str]:
    """Names of the folders in a folder; links that lead nowhere or in a circle are none.

    Raises:
        CspineError: it may not be read.
    """
    if not place.is_dir():
        return []
    try:
        # Not DirEntry.is_dir, which raises at a circle of links.
        return [name for name in sorted(os.listdir(place)) if os.path.isdir(place / name)]
    except OSError as error:
        raise CspineError(f"{place} cannot be read: {error.strerror}") from None


def _look(part: str, uid: str, folder: Path) -> StudyFolder:
    digest, count, size, numbers = hashlib.sha256(INDEX_VERSION.encode()), 0, 0, set()
    for place, _, files in os.walk(folder):
        for name in sorted(files):
            stat = os.lstat(os.path.join(place, name))
            digest.update(f"{name}:{stat.st_size}:{stat.st_mtime_ns}\n".encode(errors="replace"))
            count, size = count + 1, size + stat.st_size
            numbers.add(file_number(name))
    known = frozenset(n for n in numbers if n is not None)
    return StudyFolder(uid, part, str(folder), count, size, known, digest.hexdigest()[:16])


def study_row(folder: StudyFolder, found: Geometry | Series | None, error: str) -> dict[str, Any]:
    """What the index says of a study; ``found`` is None where it could not be read."""
    row: dict[str, Any] = {
        STUDY_COLUMN: folder.uid,
        "part": folder.part,
        "files": folder.files,
        "bytes": folder.bytes,
        "key": folder.key,
        "error": error,
    }
    if found is None:
        return row
    if isinstance(found, Series):
        shape, affine = found.volume.shape_zyx, found.volume.affine_mm
    else:
        shape, affine = found.shape_zyx, found.affine_mm
    spacing = (affine[:3, :3] ** 2).sum(axis=0) ** 0.5
    numbers = sorted(folder.numbers)
    row |= dict(zip(("slices", "rows", "columns"), shape, strict=True))
    row |= dict(zip(("dz_mm", "dy_mm", "dx_mm"), spacing.tolist(), strict=True))
    row |= {
        "first_number": numbers[0] if numbers else -1,
        "numbers_skipped": numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0,
        "feet_first": found.reversed,
        "windows": 1 + found.header.get("WindowCenter", "").count("\\"),
        "thickness_mm": float(found.header.get("SliceThickness") or "nan"),
        "transfer_syntaxes": found.header["TransferSyntaxUID"],
        "bits": found.header["BitsStored"],
        "kernel": found.header["ConvolutionKernel"],
        "manufacturer": found.header["Manufacturer"],
        "middle_file": _middle_file(found.files),
    }
    issues = [*found.issues, *header_oddities(row)]
    row["issues"] = codes(issues)
    row["notes"] = json.dumps([(i.severity, i.code, i.message, i.file) for i in issues])
    return row


def _middle_file(files: Sequence[str]) -> str:
    """Name of the file in the middle of the stack; interpolated slices have none."""
    middle = len(files) // 2
    return next((name for name in (*files[middle:], *files[:middle]) if name), "")


def codes(issues: Sequence[Issue]) -> str:
    """The codes of issues, each once, in their order."""
    return ", ".join(dict.fromkeys(i.code for i in issues))


def issues_of(row: Mapping[str, Any]) -> list[Issue]:
    """The issues of a row with its kept columns; ``file`` names a file of the study or none."""
    return [Issue(*note) for note in json.loads(row.get("notes") or "[]")]


def header_row(folder: StudyFolder) -> dict[str, Any]:
    """The study's row, from its headers."""
    try:
        return study_row(folder, read_geometry(folder.path), "")
    except CspineError as error:
        return study_row(folder, None, str(error))


def _kept_rows(cache: Path | None) -> dict[str, dict[str, Any]]:
    """Rows of an earlier call by their key; a damaged file counts as none."""
    if cache is None or not cache.is_file():
        return {}
    try:
        types: dict[Any, Any] = {c: str for c in (STUDY_COLUMN, *TEXT_COLUMNS)}
        table = pd.read_csv(cache, dtype=types, float_precision="round_trip")
        table[list(TEXT_COLUMNS)] = table[list(TEXT_COLUMNS)].fillna("")
        rows = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
        for row in rows:
            issues_of(row)
        return {f"{row[STUDY_COLUMN]}:{row['key']}": row for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    for column in TEXT_COLUMNS:
        if column in table:
            table[column] = table[column].fillna("")
    return table


def build_index(
    root: str | Path,
    workers: int = 1,
    cache: Path | None = None,
    progress: bool = False,
    only: Collection[str] | None = None,
) -> pd.DataFrame:
    """Index of all studies of a data set, from headers only.

    Args:
        root: data set in RSNA's layout.
        workers: processes; 1 starts none.
        cache: CSV file that keeps rows between calls (also of a call that was killed).
        progress: show a bar.
        only: studies to look at; None: all.

    Returns:
        One row per study folder, train before test: ``StudyInstanceUID, part, files, bytes,
        slices, rows, columns, dz_mm, dy_mm, dx_mm, first_number, numbers_skipped,
        feet_first, windows, thickness_mm, transfer_syntaxes, bits, kernel, manufacturer,
        issues, error``.  ``issues`` are codes, of the reader and of ``oddities``; ``error``
        says why a study cannot be read; its numbers are NaN then.

    Raises:
        CspineError: no study folder under ``root``.
    """
    folders = study_folders(Path(root), only)
    if not folders:
        raise CspineError(f"no studies under {root}; there is no {TRAIN_IMAGES} folder with any")
    rows = index_rows(folders, workers, cache, progress)
    return _table(rows).drop(columns=list(KEPT_COLUMNS), errors="ignore")


def index_rows(
    folders: Sequence[StudyFolder], workers: int, cache: Path | None, progress: bool
) -> list[dict[str, Any]]:
    """One row per folder, kept columns included; only new and changed studies are read."""
    kept = _kept_rows(cache)
    rows = {f.path: kept[f"{f.uid}:{f.key}"] for f in folders if f"{f.uid}:{f.key}" in kept}
    todo = [f for f in folders if f.path not in rows]
    for done, (folder, row) in enumerate(_read_rows(todo, workers, progress), start=1):
        rows[folder.path] = row
        if cache is not None and (done % STUDIES_PER_SAVE == 0 or done == len(todo)):
            text = io.StringIO()
            _table(list(rows.values())).to_csv(text, index=False)
            # Names of folders need not be text: such a study is read anew each time.
            atomic_write_bytes(cache, text.getvalue().encode("utf-8", errors="backslashreplace"))
    return [rows[f.path] | {"part": f.part} for f in folders]


def _read_rows(
    folders: Sequence[StudyFolder], workers: int, progress: bool
) -> Iterator[tuple[StudyFolder, dict[str, Any]]]:
    from tqdm import tqdm

    if workers <= 1 or len(folders) < 2:
        rows: Iterator[dict[str, Any]] = map(header_row, folders)
    else:
        from joblib import Parallel, delayed

        rows = Parallel(n_jobs=workers, return_as="generator", batch_size=4)(
            delayed(header_row)(folder) for folder in folders
        )
    bar = tqdm(rows, total=len(folders), desc="reading headers", unit="study", disable=not progress)
    return zip(folders, bar, strict=True)
