"""A trained run and some DICOM files → probabilities, levels, boxes and a picture.

Results of a study are written as soon as it is done, so that a broken run goes on
where it was; nothing that names a patient is written.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from cspine_lib import __version__
from cspine_lib.anatomy import (
    STUDY_COLUMN,
    SUBMISSION_COLUMNS,
    TARGETS,
    TEST_COLUMNS,
    TEST_CSV,
    TEST_IMAGES,
    TRAIN_CSV,
)
from cspine_lib.dicom import Issue, read_series
from cspine_lib.errors import CspineError, printable
from cspine_lib.labels import LevelBox, levels_from_json
from cspine_lib.plots import overview_figure, save_png
from cspine_lib.rsna import RsnaDataset, is_safe_id, open_dataset
from cspine_lib.runs import atomic_path, atomic_write_text, read_json
from cspine_lib.two_stage import TwoStageModel
from cspine_lib.volume import Volume

log = logging.getLogger(__name__)

LONGEST_NAME = 100
"""File systems allow 255 bytes, of which endings and temporary names need some."""
LEAST = 1e-6
"""No value of a submission is nearer to 0 or 1: written with six digits it would be one of them."""
NOT_FOR_CLINIC = "Research software, not for clinical use."
PHANTOM_ONLY = (
    "This model was trained on simulated scans alone; its probabilities mean nothing for a patient."
)


class StudyModel(Protocol):
    """A trained method as prediction needs it."""

    @property
    def prior(self) -> Mapping[str, float]:
        """What a study gets of which nothing can be seen."""
        ...

    @property
    def trained_on(self) -> str:
        """Name of the data; a phantom's begins with that word."""
        ...

    @property
    def identity(self) -> str:
        """Changes with the weights."""
        ...

    def judge_volume(self, volume: Volume) -> tuple[Mapping[str, float], Mapping[str, LevelBox]]:
        """Calibrated probabilities of the eight targets, and the levels that were found."""
        ...


@dataclass(frozen=True)
class StudyResult:
    """What is known of one study after prediction."""

    study: str
    probability: Mapping[str, float]
    """``patient_overall`` and C1–C7, calibrated."""
    levels: Mapping[str, LevelBox]
    issues: tuple[Issue, ...] = ()
    error: str = ""
    """Why the study could not be read; its probabilities are then the training rates."""


def predict_folder(
    run: str | Path | StudyModel,
    source: str | Path,
    out: str | Path,
    *,
    overviews: int | None = None,
    workers: int = 1,
    progress: bool = True,
) -> list[StudyResult]:
    """Predict one study folder, or the test studies of a data folder.

    Args:
        run: folder of a run of ``cspine train``, or a loaded model.
        source: a folder of DICOM files from anywhere, or a data folder in RSNA's layout.
        out: gets ``predictions.csv``, ``<study>.json`` and ``<study>.png``; for a data
            folder also ``submission.csv`` with the rows of ``test.csv`` in its order.
        overviews: draw the picture for this many studies only (None: all).

    Raises:
        CspineError: no run, no such source, or a single study that cannot be read.
    """
    source, out = Path(source), Path(out)
    model = TwoStageModel.load(run) if isinstance(run, str | Path) else run
    dataset = open_dataset(source) if _is_dataset(source) else None
    studies = list(_studies(source, dataset))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CspineError(f"cannot write {out}: {error.strerror}; name another folder") from error
    results = []
    bar = tqdm(studies, desc="predict", unit="study", disable=not progress)
    for i, (name, folder) in enumerate(bar):
        drawn = overviews is None or i < overviews
        result = _finished(out, name, model, drawn)
        if result is None:
            result = _predict_one(model, name, folder, out, drawn, workers, alone=dataset is None)
        results.append(result)
    _write_tables(out, results, dataset)
    return results


def predict_volume(model: StudyModel, study: str, volume: Volume) -> StudyResult:
    """Levels and probabilities of one volume."""
    probability, levels = model.judge_volume(volume)
    return StudyResult(study, probability, levels)


def _is_dataset(source: Path) -> bool:
    if not source.is_dir():
        raise CspineError(f"no folder {source}: give a folder of DICOM files or a data folder")
    return (source / TRAIN_CSV).exists() or (source / TEST_CSV).exists()


def _studies(source: Path, dataset: RsnaDataset | None) -> Iterator[tuple[str, Path]]:
    """Name and folder of every study to predict; the folder need not be there."""
    if dataset is None:
        yield printable(source.resolve().name), source
        return
    if dataset.test is None or not dataset.test_ids:
        raise CspineError(f"{source} has no {TEST_CSV}: give the folder of a single study instead")
    odd = dataset.test.loc[~dataset.test["prediction_type"].isin(TARGETS), "row_id"]
    if len(odd):
        raise CspineError(f"{TEST_CSV}: row {odd.iloc[0][:80]} asks for no known target")
    for uid in dataset.test_ids:
        yield uid, dataset.root / TEST_IMAGES / uid


def safe_name(study: str) -> str:
    """A file name for a study, whatever the study is called; stays inside its folder."""
    name = re.sub(r"[^\w.-]", "_", study).lstrip(".") or "study"
    if len(name.encode()) <= LONGEST_NAME:
        return name
    short = name.encode()[: LONGEST_NAME - 9].decode(errors="ignore")
    return f"{short}-{hashlib.sha256(study.encode()).hexdigest()[:8]}"


def _predict_one(
    model: StudyModel,
    name: str,
    folder: Path,
    out: Path,
    drawn: bool,
    workers: int,
    alone: bool,
) -> StudyResult:
    """Predict, write JSON and picture; an unreadable study of many gets the training rates."""
    try:
        if not alone and not is_safe_id(name):
            raise CspineError("[unsafe_name] its name is no StudyInstanceUID")
        series = read_series(folder, workers=workers)
        found = predict_volume(model, name, series.volume)
    except Exception as error:
        kind = type(error).__name__
        told = error if isinstance(error, CspineError) else CspineError(f"{kind}: {error}")
        if alone:
            raise told from error
        # A row of training rates is better than no submission; the log says which and why.
        log.warning("%s gets the training rates: %s", printable(name, 128), told)
        result = StudyResult(name, model.prior, {}, error=str(told))
        _write_json(out, result, model, None)
        return result
    result = StudyResult(name, found.probability, found.levels, series.issues)
    if drawn:
        _draw(out, result, series.volume, model)
    _write_json(out, result, model, series.volume)
    return result


def _caution(model: StudyModel) -> str:
    """What every page and file of results says."""
    simulated = model.trained_on.startswith("phantom")
    return f"{NOT_FOR_CLINIC} {PHANTOM_ONLY}" if simulated else NOT_FOR_CLINIC


def _draw(out: Path, result: StudyResult, volume: Volume, model: StudyModel) -> None:
    notes = [issue.message for issue in result.issues if issue.severity == "warning"][:2]
    notes = [note if len(note) < 160 else note[:157] + "…" for note in notes]
    notes.append(_caution(model))
    overall = result.probability[TARGETS[0]]
    title = f"{result.study}   any fracture: {overall:.2f}"
    figure = overview_figure(volume, result.levels, result.probability, title, notes)
    save_png(figure, out / f"{safe_name(result.study)}.png")


def _write_json(out: Path, result: StudyResult, model: StudyModel, volume: Volume | None) -> None:
    content: dict[str, Any] = {
        "study": result.study,
        "run": model.identity,
        "version": __version__,
        "trained_on": model.trained_on,
        "note": _caution(model),
        "error": result.error,
        "probability": {t: round(result.probability[t], 6) for t in TARGETS},
        "levels": {},
        "issues": [
            {"severity": i.severity, "code": i.code, "message": i.message} for i in result.issues
        ],
    }
    if volume is not None:
        content["volume"] = {
            "shape_zyx": volume.shape_zyx,
            "spacing_zyx_mm": volume.spacing_zyx_mm,
            "orientation": volume.orientation,
        }
        content["levels"] = {k: _level_entry(box, volume) for k, box in result.levels.items()}
    atomic_write_text(out / f"{safe_name(result.study)}.json", json.dumps(content, indent=1) + "\n")


def _level_entry(box: LevelBox, volume: Volume) -> dict[str, Any]:
    """A level in slices and pixels, and the same corners in patient mm (LPS)."""
    low = volume.to_mm((box.z0 - 0.5, box.y0 - 0.5, box.x0 - 0.5))
    high = volume.to_mm((box.z1 + 0.5, box.y1 - 0.5, box.x1 - 0.5))
    return {
        "box_px": box.to_dict(),
        "corners_mm_lps": [[round(float(v), 2) for v in corner] for corner in (low, high)],
        "centre_mm_lps": [round(float(v), 2) for v in volume.to_mm(box.centre_zyx)],
    }


def _finished(out: Path, name: str, model: StudyModel, drawn: bool) -> StudyResult | None:
    """The stored result of the same run, if the study is done."""
    path = out / f"{safe_name(name)}.json"
    if not path.exists():
        return None
    if drawn and not path.with_suffix(".png").exists():
        return None
    try:
        content = read_json(path)
        if content["run"] != model.identity or content["study"] != name or content["error"]:
            return None
        probability = {t: float(content["probability"][t]) for t in TARGETS}
        levels = levels_from_json({k: v["box_px"] for k, v in content["levels"].items()})
        issues = tuple(Issue(**issue) for issue in content["issues"])
    except (CspineError, KeyError, TypeError, ValueError, AttributeError):
        return None  # cut off, or no file of ours: the study is done again
    if not all(0 <= p <= 1 for p in probability.values()):
        return None
    return StudyResult(name, probability, levels, issues)


def _write_tables(out: Path, results: list[StudyResult], dataset: RsnaDataset | None) -> None:
    rows = [{STUDY_COLUMN: r.study, **{t: r.probability[t] for t in TARGETS}} for r in results]
    _write_csv(pd.DataFrame(rows, columns=[STUDY_COLUMN, *TARGETS]), out / "predictions.csv")
    if dataset is None or dataset.test is None:
        return
    value = {(r.study, t): r.probability[t] for r in results for t in TARGETS}
    names, studies, targets = (dataset.test[column].tolist() for column in TEST_COLUMNS)
    asked = [value[pair] for pair in zip(studies, targets, strict=True)]
    frame = pd.DataFrame({"row_id": names, "fractured": np.clip(asked, LEAST, 1 - LEAST)})
    _write_csv(frame[list(SUBMISSION_COLUMNS)], out / "submission.csv")


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as part:
        frame.to_csv(part, index=False, float_format="%.6f")
