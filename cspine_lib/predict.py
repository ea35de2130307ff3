"""A trained run and some DICOM files → probabilities, levels, boxes, a picture and a report.

Results of a study are written as soon as it is done, so that a broken run goes on
where it was; nothing that names a patient is written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from cspine_lib.anatomy import STUDY_COLUMN, TARGETS, TEST_CSV, TRAIN_CSV
from cspine_lib.asked_rows import AskedRows
from cspine_lib.dicom import read_series
from cspine_lib.errors import CspineError, printable
from cspine_lib.issue_help import code_of, of_study
from cspine_lib.plots import overview_figure, save_png
from cspine_lib.privacy import burned_in, printable_name
from cspine_lib.report import Report
from cspine_lib.rsna import is_safe_id
from cspine_lib.runs import atomic_path, atomic_write_text
from cspine_lib.study_result import StudyModel, StudyResult, caution, judge
from cspine_lib.study_store import ScanFiles, Slot, json_path, read_study, safe_name, write_study
from cspine_lib.two_stage import TwoStageModel
from cspine_lib.volume import Volume

__all__ = ["StudyModel", "StudyResult", "predict_folder", "predict_volume", "safe_name"]

log = logging.getLogger(__name__)

SUBMISSION = "submission.csv"


@dataclass
class Deadline:
    """When to stop beginning with studies, so that the last one ends in time."""

    seconds: float = np.inf
    started: float = field(default_factory=lambda: time.monotonic())
    longest: float = 0.0
    """Seconds of the slowest study so far."""

    @property
    def over(self) -> bool:
        """Whether another study as slow as the slowest would end too late."""
        return time.monotonic() - self.started + self.longest > self.seconds

    def took(self, seconds: float) -> None:
        """Note the seconds of a study."""
        self.longest = max(self.longest, seconds)


@dataclass(frozen=True, eq=False)
class _Task:
    """One call of ``predict_folder``."""

    model: StudyModel
    out: Path
    alone: bool
    """A single study: what cannot be read is an error, and not a row of training rates."""
    report: bool
    workers: int
    deadline: Deadline


def predict_folder(
    run: str | Path | StudyModel,
    source: str | Path,
    out: str | Path,
    *,
    overviews: int | None = None,
    report: bool = True,
    minutes: float | None = None,
    workers: int = 1,
    progress: bool = True,
) -> list[StudyResult]:
    """Predict one study folder, or the test studies of a data folder.

    Args:
        run: folder of a run of ``cspine train``, or a loaded model.
        source: a folder of DICOM files from anywhere, or a data folder in RSNA's layout.
        out: gets ``predictions.csv``, ``<study>.json``, ``<study>.png`` and ``<study>.html``;
            for a data folder also ``submission.csv`` with the rows of ``test.csv`` in its order.
        overviews: draw the picture and write the report for this many studies only (None: all).
        report: write reports.
        minutes: begin with no study that would end later, judged by the slowest so far; the
            rest gets the training rates, and its turn when the same call is made again.

    Raises:
        CspineError: no run, no such source, a single study that cannot be read, or a folder
            that cannot be written to.
    """
    source, out = Path(source), Path(out)
    model = TwoStageModel.load(run) if isinstance(run, str | Path) else run
    asked = AskedRows.read(source) if _is_dataset(source) else None
    studies = list(_studies(source, asked))
    deadline = Deadline() if minutes is None else Deadline(60 * minutes)
    task = _Task(model, out, asked is None, report, workers, deadline)
    results = []
    bar = tqdm(studies, desc="predict", unit="study", disable=not progress)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for i, (name, folder) in enumerate(bar):
            drawn = overviews is None or i < overviews
            results.append(_one(task, name, folder, drawn))
        _write_tables(out, results, asked)
    except OSError as error:
        raise CspineError(
            f"results cannot be written to {out}: {error.strerror}; make room or choose another "
            "folder, and run the same again: what is finished is kept"
        ) from error
    return results


def predict_volume(model: StudyModel, study: str, volume: Volume) -> StudyResult:
    """Levels and probabilities of one volume.

    Raises:
        CspineError: the model gives what is no probability.
    """
    said = judge(model, volume)
    if not all(0 <= said.probability[t] <= 1 for t in TARGETS):
        raise CspineError("[failed] the model gives no probabilities: train it again")
    return StudyResult(said.probability, said.levels, said.frames, said.remark, study=study)


def _is_dataset(source: Path) -> bool:
    if not source.is_dir():
        raise CspineError(f"no folder {source}: give a folder of DICOM files or a data folder")
    return (source / TRAIN_CSV).exists() or (source / TEST_CSV).exists()


def _studies(source: Path, asked: AskedRows | None) -> Iterator[tuple[str, Path | None]]:
    """Name and folder of every study to predict; None where there is none."""
    if asked is None:
        yield printable_name(source), source
        return
    for uid in asked.ids:
        yield uid, asked.folder(uid)


def _one(task: _Task, name: str, folder: Path | None, drawn: bool) -> StudyResult:
    """A study's result: the stored one, or a new one that is stored."""
    start = time.monotonic()
    late = task.deadline.over
    if late and not json_path(task.out, name).exists():
        return _unjudged(task, name, "late" if folder is not None else "missing")
    endings = [".png"] * drawn + [".html"] * (task.report and drawn)
    slot = Slot.of(task.out, name, task.model, ScanFiles.of(folder), endings)
    done = read_study(slot)
    if done is not None:
        return done
    if late:
        return _unjudged(task, name, "late")
    result, volume = _judged(task, name, folder)
    if volume is None:
        slot = replace(slot, wanted=tuple(e for e in endings if e == ".html"))
    _keep(task, slot, result, volume)
    task.deadline.took(time.monotonic() - start)
    return result


def _judged(task: _Task, name: str, folder: Path | None) -> tuple[StudyResult, Volume | None]:
    """Read and judge a study; one of many that cannot be judged gets the training rates."""
    if folder is None:
        return _unjudged(task, name, "missing" if is_safe_id(name) else "unsafe_name"), None
    try:
        series = read_series(folder, workers=task.workers)
        found = predict_volume(task.model, name, series.volume)
    except CspineError as error:
        if task.alone:
            raise
        return _unjudged(task, name, code_of(error)), None
    except Exception as error:
        if task.alone:
            raise CspineError(f"{folder}: {type(error).__name__}: {error}") from error
        # A row of training rates is better than no submission; the log says which and why.
        return _unjudged(task, name, "failed", type(error).__name__), None
    issues = (*series.issues, *burned_in(folder))
    return replace(found, issues=issues), series.volume


def _unjudged(task: _Task, name: str, code: str, what: str = "") -> StudyResult:
    """Training rates for a study, and a warning that names it."""
    kind = f"{code}: {what}" if what else code
    words = of_study(code)
    log.warning("%s gets the training rates [%s]: %s", printable(name, 128), kind, words)
    return StudyResult(task.model.prior, {}, study=name, error=f"[{kind}] {words}")


def _keep(task: _Task, slot: Slot, result: StudyResult, volume: Volume | None) -> None:
    """Write what belongs to a study, the JSON last."""
    if ".png" in slot.wanted and volume is not None:
        _draw(slot.path(".png"), result, volume, task.model)
    if ".html" in slot.wanted:
        page = Report.of(result, volume, task.model, slot.files.text())
        atomic_write_text(slot.path(".html"), page.html())
    write_study(slot, result, task.model, volume)


def _draw(path: Path, result: StudyResult, volume: Volume, model: StudyModel) -> None:
    notes = [issue.message for issue in result.issues if issue.severity == "warning"][:2]
    notes = [note if len(note) < 160 else note[:157] + "…" for note in notes]
    notes.append(caution(model))
    overall = result.probability[TARGETS[0]]
    title = f"{result.study}   any fracture: {overall:.2f}"
    save_png(overview_figure(volume, result.levels, result.probability, title, notes), path)


def _write_tables(out: Path, results: list[StudyResult], asked: AskedRows | None) -> None:
    rows = [{STUDY_COLUMN: r.study, **{t: r.probability[t] for t in TARGETS}} for r in results]
    write_csv(pd.DataFrame(rows, columns=[STUDY_COLUMN, *TARGETS]), out / "predictions.csv")
    if asked is not None:
        answers = asked.answered({r.study: r.probability for r in results})
        write_csv(answers, out / SUBMISSION)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table with six digits, whole or not at all."""
    with atomic_path(path) as part:
        frame.to_csv(part, index=False, float_format="%.6f")
