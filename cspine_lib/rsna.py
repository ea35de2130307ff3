"""The layout of RSNA's data set, read: labels, boxes, studies, masks on the image grid.

A phantom has the same layout and is told apart by its ``phantom.json``.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import (
    BOX_COLUMNS,
    BOXES_CSV,
    LEVELS,
    PHANTOM_JSON,
    SEGMENTATIONS,
    STUDY_COLUMN,
    TARGETS,
    TEST_COLUMNS,
    TEST_CSV,
    TEST_IMAGES,
    TRAIN_COLUMNS,
    TRAIN_CSV,
    TRAIN_IMAGES,
)
from cspine_lib.csvfiles import read_cells
from cspine_lib.dicom import Series, read_series
from cspine_lib.errors import CspineError
from cspine_lib.masks import read_mask
from cspine_lib.phantom.plan import DEFAULT_DIFFICULTY
from cspine_lib.runs import read_json

LARGEST_NUMBER = 1e9
"""Beyond any label, pixel or file number; a whole number that a float still holds exactly."""
_SAFE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


def is_safe_id(uid: str) -> bool:
    """Whether a study's name can be used as a folder name (no way out of the data folder)."""
    return bool(_SAFE_ID.fullmatch(uid)) and ".." not in uid


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV with at least the given columns, every cell as text, blanks trimmed.

    Raises:
        CspineError: missing, unreadable, no CSV, or without one of the columns.
    """
    table = read_cells(path)
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise CspineError(f"{path} lacks the column {missing[0]}; it needs {','.join(columns)}")
    table = table[list(columns)]
    return table.apply(lambda column: column.str.strip())


def numeric(table: pd.DataFrame, columns: tuple[str, ...], path: Path) -> pd.DataFrame:
    """The table with the given columns as finite numbers.

    Raises:
        CspineError: a cell that is no number, or an absurd one, with its line.
    """
    out = table.copy()
    for column in columns:
        values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
        bad = np.flatnonzero(~(np.abs(values) <= LARGEST_NUMBER))  # true for NaN as well
        if len(bad):
            cell = table[column].iloc[bad[0]][:40]
            what = "far beyond any in use" if np.isfinite(values[bad[0]]) else "not a number"
            raise CspineError(f"{path} line {bad[0] + 2}: {column} is {cell!r}, {what}")
        out[column] = values
    return out


def data_set_name(root: Path) -> str:
    """What the folder is called in tables and records.

    A phantom says version and seed, and its difficulty unless that is the frozen one.

    Raises:
        CspineError: no data set, or a damaged ``phantom.json``.
    """
    if not (root / TRAIN_CSV).is_file():
        raise CspineError(
            f"{root} is no data set: there is no {TRAIN_CSV} in it; "
            "data/README.md says how to put one in place"
        )
    path = root / PHANTOM_JSON
    if not path.exists():
        return "RSNA 2022"
    try:
        request = read_json(path)["request"]
        name = f"phantom v{str(request['version'])[:32]}, seed {int(request['seed'])}"
        difficulty = float(request.get("difficulty", DEFAULT_DIFFICULTY))
        return name if difficulty == DEFAULT_DIFFICULTY else f"{name}, difficulty {difficulty:g}"
    except (CspineError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise CspineError(f"{path} is damaged; make the phantom again") from None


class RsnaDataset:
    """A data set in RSNA's layout.  Made by ``open_dataset``.

    Args:
        root: folder that holds ``train.csv``.

    Attributes:
        train: ``StudyInstanceUID`` and the eight targets, 0 or 1.
        boxes: ``StudyInstanceUID, x, y, width, height, slice_number``; px as in the files.
        test: ``row_id, StudyInstanceUID, prediction_type``, or None without a ``test.csv``.

    Raises:
        CspineError: no such folder, or a table that cannot be used.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.name = data_set_name(self.root)
        self.is_phantom = (self.root / PHANTOM_JSON).exists()
        self.train = self._read_train()
        self.boxes = self._read_boxes()
        test = self.root / TEST_CSV
        self.test = read_table(test, TEST_COLUMNS) if test.exists() else None

    def __repr__(self) -> str:
        parts = f"{len(self.train_ids)} train, {len(self.test_ids)} test"
        return f"RsnaDataset({self.name}: {parts}, {len(self.masked_ids)} with masks)"

    def _read_train(self) -> pd.DataFrame:
        path = self.root / TRAIN_CSV
        table = numeric(read_table(path, TRAIN_COLUMNS), TARGETS, path)
        values = table[list(TARGETS)].to_numpy()
        wrong = np.argwhere((values != 0) & (values != 1))
        if len(wrong):
            line, column = wrong[0]
            raise CspineError(f"{path} line {line + 2}: {TARGETS[column]} must be 0 or 1")
        twice = np.flatnonzero(table[STUDY_COLUMN].duplicated())
        if len(twice):
            raise CspineError(f"{path} line {twice[0] + 2}: the study is in the table twice")
        unsafe = [i for i, uid in enumerate(table[STUDY_COLUMN]) if not is_safe_id(uid)]
        if unsafe:
            raise CspineError(f"{path} line {unsafe[0] + 2}: that is no StudyInstanceUID")
        return table.astype({target: int for target in TARGETS})

    def _read_boxes(self) -> pd.DataFrame:
        path = self.root / BOXES_CSV
        if not path.exists():
            table = pd.DataFrame({c: pd.Series(dtype=str) for c in BOX_COLUMNS})
        else:
            table = read_table(path, BOX_COLUMNS)
        table = numeric(table, BOX_COLUMNS[1:], path)
        halves = np.flatnonzero(table["slice_number"] % 1)
        if len(halves):
            raise CspineError(f"{path} line {halves[0] + 2}: slice_number must be whole")
        return table.astype({"slice_number": "int64"})

    @cached_property
    def train_ids(self) -> list[str]:
        """Studies of ``train.csv``, in its order."""
        return self.train[STUDY_COLUMN].tolist()

    @cached_property
    def test_ids(self) -> list[str]:
        """Studies of ``test.csv``, in its order.

        RSNA's public ``test.csv`` names studies whose images are not there; ``has_images`` tells.
        """
        return [] if self.test is None else self.test[STUDY_COLUMN].drop_duplicates().tolist()

    @cached_property
    def masked_ids(self) -> list[str]:
        """Training studies with a segmentation, in the order of ``train.csv``."""
        return [uid for uid in self.train_ids if self.mask_path(uid) is not None]

    def mask_path(self, uid: str) -> Path | None:
        """NIfTI file of a study's segmentation, or None."""
        for ending in (".nii", ".nii.gz"):
            path = self.root / SEGMENTATIONS / f"{uid}{ending}"
            if is_safe_id(uid) and path.is_file():
                return path
        return None

    def has_images(self, uid: str) -> bool:
        """Whether the study's folder is there."""
        return self._find_folder(uid) is not None

    def _find_folder(self, uid: str) -> Path | None:
        for images in (TRAIN_IMAGES, TEST_IMAGES):
            folder = self.root / images / uid
            if is_safe_id(uid) and folder.is_dir():
                return folder
        return None

    def study_folder(self, uid: str) -> Path:
        """Folder of a study's DICOM files.

        Raises:
            CspineError: it is not there.
        """
        folder = self._find_folder(uid)
        if folder is None:
            raise CspineError(f"no images of study {uid[:80]} under {self.root}")
        return folder

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {uid: i for i, uid in enumerate(self.train_ids)}

    def labels(self, uid: str) -> npt.NDArray[np.int_]:
        """(7,) 0 or 1 for C1–C7 of a training study.

        Raises:
            CspineError: not in ``train.csv``.
        """
        if uid not in self._row_of:
            raise CspineError(f"study {uid[:80]} is not in {TRAIN_CSV}")
        return self.train[list(LEVELS)].to_numpy()[self._row_of[uid]]

    def read_study(self, uid: str, workers: int = 1) -> Series:
        """The study's CT, see ``dicom.read_series``."""
        return read_series(self.study_folder(uid), workers=workers)

    def read_mask(self, uid: str, series: Series) -> npt.NDArray[np.uint8]:
        """(Z, Y, X) mask values on the grid of ``series``, see ``masks.read_mask``.

        Raises:
            CspineError: no mask, or it does not fit the images.
        """
        path = self.mask_path(uid)
        if path is None:
            raise CspineError(f"study {uid[:80]} has no segmentation")
        return read_mask(path, series.volume.shape_zyx, series.volume.affine_mm)

    def boxes_of(self, uid: str, series: Series) -> pd.DataFrame:
        """Fracture boxes of a study: z, x, y, width, height in voxels of ``series``.

        Boxes whose slice is not in the series are left out (``check_dataset`` names them).
        """
        mine = self.boxes[self.boxes[STUDY_COLUMN] == uid]
        shape_yx = series.volume.shape_zyx[1:]
        rows = []
        for x, y, width, height, number in mine[list(BOX_COLUMNS[1:])].to_numpy().tolist():
            z = series.slice_of_number.get(int(number))
            if z is not None:
                rows.append((z, *series.in_plane.box(x, y, width, height, shape_yx)))
        table = pd.DataFrame(rows, columns=["z", "x", "y", "width", "height"])
        return table.astype({"z": int}).sort_values("z", ignore_index=True)

    def fingerprint(self) -> str:
        """Short SHA-256 of the tables and of all file names and sizes, not of the pixels."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name in (TRAIN_CSV, BOXES_CSV, TEST_CSV, PHANTOM_JSON):
            path = self.root / name
            digest.update(name.encode() + (path.read_bytes() if path.is_file() else b"-"))
        for images in (TRAIN_IMAGES, TEST_IMAGES, SEGMENTATIONS):
            for folder, subfolders, files in os.walk(self.root / images):
                subfolders.sort()
                digest.update(os.fsencode(os.path.relpath(folder, self.root)))
                for file in sorted(files):
                    # Of the link itself: it may lead nowhere.
                    size = os.lstat(os.path.join(folder, file)).st_size
                    digest.update(os.fsencode(f"{file}:{size}\n"))
        return digest.hexdigest()[:16]


def open_dataset(path: str | Path) -> RsnaDataset:
    """Open a data set in RSNA's layout.

    Raises:
        CspineError: ``path`` is no such data set, or one of its tables is damaged.
    """
    return RsnaDataset(path)
