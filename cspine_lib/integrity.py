"""What a data set holds and what is wrong with it: the work of ``cspine check``.

An *error* makes data unusable or a label wrong.  A *warning* is an oddity that the
reader copes with, as real files have them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cspine_lib.anatomy import LEVELS, MASK_VALUE, SEGMENTATIONS, TEST_CSV, TRAIN_CSV
from cspine_lib.decode import decode_hu
from cspine_lib.dicom import Geometry, Series, read_geometry, read_series
from cspine_lib.errors import CspineError
from cspine_lib.headers import quiet_pydicom, read_header
from cspine_lib.index import (
    KEPT_COLUMNS,
    StudyFolder,
    codes,
    index_rows,
    issues_of,
    study_folders,
    study_row,
)
from cspine_lib.inventory import what_is_there
from cspine_lib.issues import BadFile, Issue, error, gathered, warning
from cspine_lib.masks import read_mask
from cspine_lib.oddities import mask_axes, mask_oddities, middle_oddities, slices_by_value
from cspine_lib.rsna import data_set_name
from cspine_lib.tables import Tables, read_tables

MAX_FILES_DECODED = 100_000
"""Larger sets are checked by their headers, unless pixels are asked for."""

KNOWN_BAD = {
    "20574": "has no cervical level in the scan",
    "29952": "was left out by the competition's solvers",
    "20756": "was left out by the competition's solvers",
    "8362": "was left out by the competition's solvers",
    "17166": "has one file that cannot be read",
}
"""Studies of RSNA's set, by the last part of their StudyInstanceUID, from solvers' public notes."""


@dataclass(frozen=True)
class CheckReport:
    """What ``check_dataset`` found.

    Args:
        name: name of the data set.
        table: what is there, columns ``what`` and ``value``.
        studies: one row per study folder, see ``index.build_index``; its ``issues`` hold the
            codes of all that was found in the study, ``mask`` the levels in its mask.
        issues: errors first; many of one kind are counted, not listed.
    """

    name: str
    table: pd.DataFrame
    studies: pd.DataFrame
    issues: list[Issue] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there is no error (there may be warnings)."""
        return not any(i.severity == "error" for i in self.issues)

    def text(self) -> str:
        """Table and issues as plain text."""
        width = max(len(what) for what in self.table["what"])
        lines = [self.name, ""]
        pairs = zip(self.table["what"], self.table["value"], strict=True)
        lines += [f"  {what:<{width}}  {value}" for what, value in pairs]
        lines += ["", *map(str, self.issues)] if self.issues else []
        count = Counter(i.severity for i in self.issues)
        lines += ["", f"{count['error']} errors, {count['warning']} warnings"]
        return "\n".join(lines)


def check_dataset(
    path: str | Path,
    workers: int = 1,
    progress: bool = False,
    pixels: bool | None = None,
    cache: Path | None = None,
    only: Collection[str] | None = None,
) -> CheckReport:
    """Look at every table, study, mask and box of a data set.

    Args:
        path: data set in RSNA's layout.
        workers: processes; 1 starts none.
        progress: show a bar.
        pixels: decode every slice too; by default only where that is a matter of minutes.
            Without, one slice per study is decoded, all masks, and else headers only.
        cache: CSV file of ``index.build_index``, whose rows are taken where ``pixels`` is
            false: headers of unchanged studies are not read again.
        only: studies to look at; None: all.  The tables are checked whole.

    Raises:
        CspineError: ``path`` is no data set at all.
    """
    root = Path(path)
    name = data_set_name(root)
    tables = read_tables(root)
    folders = study_folders(root, only)
    if pixels is None:
        pixels = sum(f.files for f in folders) <= MAX_FILES_DECODED
    issues = list(tables.issues)
    if only is None:
        issues += [*_match(tables, folders), *_stray_masks(root, folders)]
    known = [None] * len(folders) if pixels else index_rows(folders, workers, cache, progress)
    rows = []
    jobs = [(root, f, tables.boxes_of(f.uid), k) for f, k in zip(folders, known, strict=True)]
    for row, found in _run(jobs, workers, progress):
        rows.append(row)
        issues += found
    studies = pd.DataFrame(rows)
    if name.startswith("RSNA"):
        issues += _known_bad(folders)
    issues = sorted(gathered(issues, what="times"), key=lambda i: i.severity)
    return CheckReport(name, what_is_there(tables, studies), studies, issues)


def _run(
    jobs: Sequence[tuple[Any, ...]], workers: int, progress: bool
) -> Iterator[tuple[dict[str, Any], list[Issue]]]:
    from tqdm import tqdm

    if workers <= 1 or len(jobs) < 2:
        results: Iterator[Any] = (check_study(*job) for job in jobs)
    else:
        from joblib import Parallel, delayed

        results = Parallel(n_jobs=workers, return_as="generator")(
            delayed(check_study)(*job) for job in jobs
        )
    return iter(tqdm(results, total=len(jobs), desc="checking", unit="study", disable=not progress))


def check_study(
    root: Path, folder: StudyFolder, boxes: pd.DataFrame, known: dict[str, Any] | None
) -> tuple[dict[str, Any], list[Issue]]:
    """Row and issues of one study: its files, its mask, its boxes.

    Args:
        known: its row of ``index.index_rows``; None: read it, and decode every slice.
    """
    series, row = None, known
    if row is None:
        try:
            series = read_series(folder.path)
            row = study_row(folder, series, "")
        except CspineError as problem:
            row = study_row(folder, None, str(problem))
    row = {**row, "mask": None}
    if row["error"]:
        issues = [error("unreadable_study", row["error"], folder.uid)]
    else:
        issues = [
            Issue(i.severity, i.code, f"{i.file}: {i.message}" if i.file else i.message, folder.uid)
            for i in [*issues_of(row), *_check_middle(folder, row, series)]
        ]
        mask = _mask_path(root, folder.uid)
        if mask or len(boxes):
            found = series or read_geometry(folder.path)
            row["mask"], of_mask = _check_mask(mask, folder.uid, found)
            issues += of_mask + _check_boxes(folder, boxes, found)
    row["issues"] = codes(issues)
    return {k: v for k, v in row.items() if k not in KEPT_COLUMNS}, issues


def _check_middle(folder: StudyFolder, row: dict[str, Any], series: Series | None) -> list[Issue]:
    """What the pixels of the study's middle slice say: the only ones that a check must decode."""
    spacing_yx_mm = (row["dy_mm"], row["dx_mm"])
    if series is not None:
        middle = series.volume.hu_zyx[series.volume.shape_zyx[0] // 2]
        return middle_oddities(middle, spacing_yx_mm)
    path = Path(folder.path) / row["middle_file"]
    try:
        with quiet_pydicom():
            return middle_oddities(decode_hu(read_header(path)), spacing_yx_mm)
    except (BadFile, OSError):
        return []  # it has been named by the headers, or will be where it is read


def _mask_path(root: Path, uid: str) -> Path | None:
    paths = [root / SEGMENTATIONS / f"{uid}{end}" for end in (".nii", ".nii.gz")]
    return next((p for p in paths if p.is_file()), None)


def _grid(found: Geometry | Series) -> tuple[tuple[int, int, int], Any]:
    if isinstance(found, Series):
        return found.volume.shape_zyx, found.volume.affine_mm
    return found.shape_zyx, found.affine_mm


def _check_mask(
    path: Path | None, uid: str, found: Geometry | Series
) -> tuple[str | None, list[Issue]]:
    """Levels in the mask (None: no mask), and what is wrong or odd about it."""
    if path is None:
        return None, []
    try:
        has_value = slices_by_value(read_mask(path, *_grid(found)))
    except CspineError as problem:
        return "", [error("bad_mask", str(problem), uid)]
    levels = [level for level in LEVELS if has_value[:, MASK_VALUE[level]].any()]
    issues = mask_oddities(has_value, mask_axes(path))
    return " ".join(levels), [warning(i.code, i.message, uid) for i in issues]


def _check_boxes(folder: StudyFolder, boxes: pd.DataFrame, found: Geometry | Series) -> list[Issue]:
    issues = []
    (_, height, width), _ = _grid(found)
    if found.in_plane.transpose:
        height, width = width, height
    for x, y, w, h, number in boxes.to_numpy().tolist():
        where = f"box in slice {number:.0f}"
        if not w > 0 or not h > 0 or x < 0 or y < 0 or x + w > width or y + h > height:
            message = (
                f"{where} ({x:g}, {y:g}, {w:g} × {h:g}) leaves the image of {width} × {height}"
            )
            issues.append(error("box_outside", message, folder.uid))
        if number in found.slice_of_number:
            continue
        if number in folder.numbers:
            message = f"{where} lies on a file that could not be used"
            issues.append(warning("box_on_bad_slice", message, folder.uid))
        else:
            issues.append(error("box_without_slice", f"{where}: no such file", folder.uid))
    return issues


def _match(tables: Tables, folders: Sequence[StudyFolder]) -> list[Issue]:
    """Rows without folder and folders without row."""
    there = {part: {f.uid for f in folders if f.part == part} for part in ("train", "test")}
    issues = [
        error("study_without_folder", f"in {TRAIN_CSV}, but its images are not there", uid)
        for uid in tables.train_ids
        if uid not in there["train"]
    ]
    issues += [
        warning("test_study_without_folder", f"in {TEST_CSV}, but its images are not there", uid)
        for uid in tables.test_ids
        if uid not in there["test"] and uid not in there["train"]
    ]
    for part, known, name in (
        ("train", tables.train_ids, TRAIN_CSV),
        ("test", tables.test_ids, TEST_CSV),
    ):
        strays = sorted(there[part] - set(known))
        issues += [
            warning("folder_without_row", f"its images are there, but no row in {name}", uid)
            for uid in strays
        ]
    return issues


def _stray_masks(root: Path, folders: Sequence[StudyFolder]) -> list[Issue]:
    place = root / SEGMENTATIONS
    known = {f.uid for f in folders}
    names = sorted(p.name for p in place.iterdir()) if place.is_dir() else []
    return [
        warning("mask_without_study", "a mask without images", name)
        for name in names
        if name.endswith((".nii", ".nii.gz")) and name.split(".nii")[0] not in known
    ]


def _known_bad(folders: Sequence[StudyFolder]) -> list[Issue]:
    """Studies of RSNA's set that its solvers found unusable."""
    return [
        warning("known_bad", KNOWN_BAD[number], f.uid)
        for f in folders
        if (number := f.uid.rsplit(".", 1)[-1]) in KNOWN_BAD
    ]
