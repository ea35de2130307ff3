"""The chapter on one's own scan: the model at hand, a folder of DICOM files, folders spoilt on
purpose, and a small set of studies to submit."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path

import pandas as pd
import pydicom

from cspine_lib.anatomy import (
    LEVELS,
    OVERALL,
    SAMPLE_SUBMISSION_CSV,
    STUDY_COLUMN,
    SUBMISSION_COLUMNS,
    TARGETS,
    TEST_COLUMNS,
    TEST_CSV,
    TEST_IMAGES,
    row_id,
)
from cspine_lib.config import Profile
from cspine_lib.dicom import read_series, scan_headers
from cspine_lib.errors import CspineError
from cspine_lib.experiment import cv_folder
from cspine_lib.fold_predictors import FoldEnsemble
from cspine_lib.headers import list_files
from cspine_lib.live import train_fold
from cspine_lib.phantom.tables import TEST_TRUTH_CSV
from cspine_lib.predict import predict_volume
from cspine_lib.report import Report
from cspine_lib.rsna import RsnaDataset
from cspine_lib.study_result import StudyModel, StudyResult
from cspine_lib.submission import read_truth
from cspine_lib.volume import Volume

METHOD = "crop_bilstm"
OWN_SCAN = "CSPINE_OWN_SCAN"
"""Environment variable that names a folder of DICOM files of one's own."""
MOST = 20
"""Studies of the small set to submit."""


def model_at_hand(dataset: RsnaDataset, profile: Profile, *, progress: bool = True) -> FoldEnsemble:
    """The folds of the two-stage method that are trained on this machine; else fold 0, now."""
    out = cv_folder(dataset, profile)
    if not list((out / METHOD).glob("fold*.json")):
        train_fold(METHOD, dataset, profile, progress=progress)
    return FoldEnsemble.load(out, METHOD)


# --- a scan, and how it can be spoilt ------------------------------------------------------------


def own_scan(dataset: RsnaDataset, folder: Path) -> Path:
    """The folder that ``CSPINE_OWN_SCAN`` names, or a study of the data set as a CD would hold it.

    Such files have no ending, and their numbers start at the feet.

    Raises:
        CspineError: the folder that is named is none.
    """
    named = os.environ.get(OWN_SCAN)
    if named:
        if not Path(named).is_dir():
            raise CspineError(f"{OWN_SCAN} names no folder: give one with the files of one series")
        return Path(named)
    uid = studies_with_images(dataset)[0]
    paths = sorted(_paths(dataset.study_folder(uid)), key=_height)
    return _copied(paths, folder / "scan", lambda i: f"IM{i + 1:05d}")


def studies_with_images(dataset: RsnaDataset) -> list[str]:
    """Test studies whose images are there; where there are none, training studies."""
    here = [uid for uid in dataset.test_ids if dataset.has_images(uid)]
    return here or [uid for uid in dataset.train_ids if dataset.has_images(uid)]


def _paths(folder: Path) -> list[Path]:
    return [Path(path) for path in list_files(folder)[0]]


def _height(path: Path) -> float:
    """Height of a slice in mm; slices that do not say come last."""
    headers, _ = scan_headers([path])
    position = headers[0].position_mm if headers else None
    return float("inf") if position is None else position[2]


def _copied(paths: Sequence[Path], folder: Path, name: Callable[[int], str]) -> Path:
    folder.mkdir(parents=True)
    for i, path in enumerate(paths):
        shutil.copyfile(path, folder / name(i))
    return folder


def _renumbered(paths: list[Path], folder: Path) -> Path:
    return _copied(paths[::-1], folder, lambda i: f"{i + 1}.dcm")


def _upside_down(paths: list[Path], folder: Path) -> Path:
    """Heights with the wrong sign, as a faulty export writes them."""
    _copied(paths, folder, lambda i: f"{i + 1}.dcm")
    for path in folder.iterdir():
        try:
            header = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError:
            continue
        x, y, z = header.ImagePositionPatient
        header.ImagePositionPatient = [x, y, f"{-float(z):.4f}"]
        header.save_as(path)
    return folder


def _part(low: float, high: float) -> Callable[[list[Path], Path], Path]:
    """Without the slices between two shares of the stack, feet first."""

    def cut(paths: list[Path], folder: Path) -> Path:
        n = len(paths)
        keep = [p for i, p in enumerate(paths) if not low * n <= i < high * n]
        return _copied(keep, folder, lambda i: f"{i + 1}.dcm")

    return cut


def _twice(paths: list[Path], folder: Path) -> Path:
    return _copied([*paths, *paths[::3]], folder, lambda i: f"{i + 1}.dcm")


def _torn(paths: list[Path], folder: Path) -> Path:
    """Every fourth file lost its second half on the way."""
    _copied(paths, folder, lambda i: f"{i + 1}.dcm")
    for i in range(0, len(paths), 4):
        path = folder / f"{i + 1}.dcm"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return folder


def _strangers(paths: list[Path], folder: Path) -> Path:
    _copied(paths, folder, lambda i: f"{i + 1}.dcm")
    (folder / "letter.pdf").write_bytes(b"%PDF-1.4 not a slice")
    return folder


SPOILT: Mapping[str, Callable[[list[Path], Path], Path]] = {
    "as it came": lambda paths, folder: _copied(paths, folder, lambda i: f"{i + 1}.dcm"),
    "numbered the other way round": _renumbered,
    "a third of the slices twice": _twice,
    "a letter among the slices": _strangers,
    "every fourth file torn": _torn,
    "a few slices missing": _part(0.45, 0.5),
    "a hole of a third": _part(0.35, 0.68),
    "the lower third cut off": _part(0.0, 0.33),
    "heights with the wrong sign": _upside_down,
}
"""What is done to a folder → how."""


def spoilt_scans(scan: Path, folder: Path) -> dict[str, Path]:
    """Copies of a scan, each spoilt in one way; the first is as it came."""
    paths = sorted(_paths(scan), key=_height)
    return {
        what: spoil(paths, folder / f"spoilt-{i}") for i, (what, spoil) in enumerate(SPOILT.items())
    }


def judged(model: StudyModel, folder: Path) -> tuple[StudyResult, Volume]:
    """A folder's result, with the findings of the reader, and its volume."""
    series = read_series(folder)
    found = predict_volume(model, folder.name, series.volume)
    result = StudyResult(
        found.probability,
        found.levels,
        found.frames,
        found.remark,
        study=folder.name,
        issues=series.issues,
    )
    return result, series.volume


def spoilt_table(results: Mapping[str, StudyResult]) -> pd.DataFrame:
    """Findings, levels and the patient-overall probability of each folder, beside the first's."""
    first = next(iter(results.values()))
    rows = []
    for what, result in results.items():
        moved = max(abs(result.probability[t] - first.probability[t]) for t in TARGETS)
        rows.append(
            {
                "what was done": what,
                "the reader's findings": ", ".join(sorted({i.code for i in result.issues})) or "–",
                "levels not found": ", ".join(k for k in LEVELS if k not in result.levels) or "–",
                "any level": f"{result.probability[OVERALL]:.3f}",
                "largest change": f"{moved:.3f}",
            }
        )
    return pd.DataFrame(rows).set_index("what was done")


def named_copy(scan: Path, folder: Path, name: str) -> Path:
    """A copy of a scan that bears a patient's name, in its headers and as its folder."""
    target = folder / name.replace("^", "_")
    _copied(_paths(scan), target, lambda i: f"{i + 1}.dcm")
    for path in target.iterdir():
        try:
            header = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError:
            continue
        header.PatientName, header.InstitutionName = name, f"Clinic of {name}"
        header.save_as(path)
    return target


# --- pages and logs in a notebook ----------------------------------------------------------------


def framed(report: Report, height_px: int = 560) -> str:
    """A page inside another one, cut off from it: for ``IPython.display.HTML``."""
    page = escape(report.html(), quote=True)
    return (
        f'<div><iframe title="report of a study" sandbox srcdoc="{page}" '
        f'style="width:100%;height:{height_px}px;border:1px solid #777"></iframe></div>'
    )


def most_suspicious(result: StudyResult, n: int = 2) -> StudyResult:
    """The same result with the frames of the n most suspicious levels: a smaller page."""
    order = sorted(result.levels, key=lambda k: -result.probability[k])[:n]
    return StudyResult(
        result.probability,
        result.levels,
        {k: frames for k, frames in result.frames.items() if k in order},
        f"Of {' and '.join(sorted(order))} frames are shown, of the other levels the middle slice.",
        study=result.study,
        issues=result.issues,
    )


@contextmanager
def log_lines() -> Iterator[list[str]]:
    """What the library logs in the block, as a list and nowhere else."""
    lines: list[str] = []

    class Into(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("cspine_lib"), Into()
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


# --- a small set to submit -----------------------------------------------------------------------


def small_test_set(dataset: RsnaDataset, folder: Path, most: int = MOST) -> tuple[str, str]:
    """A data folder as Kaggle mounts it: of some test studies one is missing, one is torn.

    Returns:
        The missing study and the torn one.

    Raises:
        CspineError: fewer than three studies have images.
    """
    ids = studies_with_images(dataset)[:most]
    if len(ids) < 3:
        raise CspineError(f"{dataset.root} has images of {len(ids)} studies: three are needed")
    missing, torn = ids[1], ids[2]
    for uid in ids:
        target = folder / TEST_IMAGES / uid
        if uid != missing:
            _copied(_paths(dataset.study_folder(uid)), target, lambda i: f"{i}.dcm")
        if uid == torn:
            for path in target.iterdir():
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    rows = [(row_id(uid, t), uid, t) for uid in ids for t in TARGETS]
    asked = pd.DataFrame(rows, columns=["row_id", STUDY_COLUMN, "prediction_type"])
    asked[list(TEST_COLUMNS)].to_csv(folder / TEST_CSV, index=False)
    sample = pd.DataFrame({SUBMISSION_COLUMNS[0]: asked["row_id"], SUBMISSION_COLUMNS[1]: 0.5})
    sample.to_csv(folder / SAMPLE_SUBMISSION_CSV, index=False)
    return missing, torn


def answers_of(dataset: RsnaDataset, ids: Sequence[str]) -> pd.DataFrame | None:
    """Labels of test studies, which a phantom has and a competition keeps."""
    path = dataset.root / TEST_TRUTH_CSV
    if not path.exists():
        return None
    truth = read_truth(path)
    return truth.loc[list(ids)] if set(ids) <= set(truth.index) else None
