"""Stage 2 with one piece taken away or changed at a time: one fold, two epochs, the tune set.

``cspine ablate --profile P`` is this.  All variants share stage 1 of the fold: localisers,
levels of the training studies and of the held-out ones are made once.  A variant that is
done is not done again; when all are, ``results/ablations-P.json`` is written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import typer

from cspine_lib.ablation_parts import held_out_labels, report_head, scored
from cspine_lib.anatomy import TARGETS
from cspine_lib.config import DEFAULT_SEED, Profile, data_home, runs_home
from cspine_lib.errors import CspineError
from cspine_lib.experiment import fold_task
from cspine_lib.fold_methods import FoldTask
from cspine_lib.jobs import save_json
from cspine_lib.labels import LevelBox, levels_from_json
from cspine_lib.leakage import check_leakage
from cspine_lib.methods import Stage1, train_method
from cspine_lib.recipes import get_recipe
from cspine_lib.results import ABLATIONS, read_predictions, results_home, write_predictions
from cspine_lib.rsna import RsnaDataset, open_dataset
from cspine_lib.runs import atomic_write_text, environment, read_json
from cspine_lib.sources import make_profile_phantom
from cspine_lib.two_stage import TwoStageModel
from cspine_lib.volume import Volume

TUNE_SEED = 1
"""Of the phantom on which everything is searched, and nothing is reported as a result."""
EPOCHS = 2
FULL = "crop_bilstm"
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    method: str
    question: str
    """What it is asked about; rows of one question stand together."""
    says: str
    seed: int = DEFAULT_SEED
    """Of stage 2 alone: stage 1 is the same for all."""

    @property
    def name(self) -> str:
        """Of its folder and row."""
        return self.method if self.seed == DEFAULT_SEED else f"{self.method}-seed{self.seed}"


VARIANTS = (
    Variant(FULL, "reference", "the full model: box crop, 2.5D, BiLSTM, attention"),
    Variant(FULL, "luck", "the full model with another seed", seed=DEFAULT_SEED + 1),
    Variant("crop_attention", "pieces", "no LSTM"),
    Variant("crop_bilstm_mean", "pieces", "no attention: a mean over frames"),
    Variant("crop_mean", "pieces", "neither"),
    Variant("crop_bilstm_centre", "crop", "as large, from the middle of the slice"),
    Variant("crop_bilstm_whole", "crop", "the whole slice"),
    Variant("crop_bilstm_1ch", "channels", "1 slice a frame, not 3"),
    Variant("crop_bilstm_4f", "frames", "4 frames"),
    Variant("crop_bilstm_16f", "frames", "16 frames"),
)


def tune_set(profile: Profile, *, quiet: bool = False) -> RsnaDataset:
    """The set for searching: a phantom as the profile's, of another seed, without test studies.

    Made on first use as ``data/phantom-P-tune``.

    Raises:
        CspineError: the profile has no phantom.
    """
    out = data_home() / f"phantom-{profile.name}-tune"
    return open_dataset(make_profile_phantom(profile, out, test=0, seed=TUNE_SEED, quiet=quiet))


def ablate_profile(
    profile: Profile, data: str | None, out: Path | None, *, progress: bool = True
) -> None:
    """``cspine ablate``: all variants on the tune set, or on ``data``, into ``results/``."""
    dataset = open_dataset(data) if data else tune_set(profile, quiet=not progress)
    mark = dataset.name if data else "tune set"
    report = run_ablations(dataset, profile, results_home(), data=mark, out=out, progress=progress)
    typer.echo(f"{report['note']}: {len(report['variants'])} variants, in {results_home()}")


def run_ablations(
    dataset: RsnaDataset,
    profile: Profile,
    place: Path,
    *,
    data: str = "tune set",
    out: Path | None = None,
    fold: int = 0,
    variants: Sequence[Variant] = VARIANTS,
    epochs: int = EPOCHS,
    progress: bool = True,
) -> dict[str, Any]:
    """Train and judge every variant on one fold; go on where a killed call stopped.

    Args:
        place: folder that gets ``ablations-P.json``.
        data: what the set is called in the file's mark.
        out: folder of the trainings; None: one under ``runs/`` for this data set.
        variants: the full model first: the others are compared with it.

    Returns:
        What the file holds.

    Raises:
        CspineError: the full model is not the first variant, or no such fold.
    """
    if not variants or variants[0].name != FULL:
        raise CspineError(f"the first variant must be {FULL}: the others are compared with it")
    if not 0 <= fold < profile.folds:
        raise CspineError(f"there are folds 0 to {profile.folds - 1}, asked for {fold}")
    # An epoch is one look at every level here: with a share of the whole ones, two epochs
    # would be over before anything was learned.
    quick = replace(profile, classifier_epochs=epochs, classifier_whole_share=1.0)
    out = out or runs_home() / f"ablations-{profile.name}-{dataset.fingerprint()[:8]}"
    task = fold_task(FULL, dataset, quick, fold, out, progress=progress)
    shared = Stage1(out / f"stage1-fold{fold}")
    for variant in variants:
        _run_variant(variant, task, shared, out / f"fold{fold}" / variant.name)
    report = _report(task, out / f"fold{fold}", variants, data)
    atomic_write_text(
        place / f"{ABLATIONS}{profile.name}.json",
        json.dumps(report, indent=1, ensure_ascii=False) + "\n",
    )
    return report


# --- one variant -----------------------------------------------------------------------------


def _run_variant(variant: Variant, task: FoldTask, shared: Stage1, folder: Path) -> None:
    """Train stage 2, predict the held-out studies; the note is written last."""
    if (folder / "note.json").exists():
        return
    record = train_method(
        variant.method,
        task.dataset,
        task.profile,
        folder / "two_stage",
        ids=task.train,
        stage1=shared,
        seed=variant.seed,
        progress=task.progress,
    )
    model = TwoStageModel.load(folder / "two_stage")
    p, seconds = _predict(model, task, shared.folder / "held_out_levels")
    scored = record.with_scores(task.test, {}, part="calibration")
    check_leakage(scored, raise_on_leak=True)
    write_predictions(folder / "predictions.csv", task.test, p)
    note = {
        "weights": record.weights,
        "seconds_training": round(record.part("stage2").seconds, 1),
        "seconds_per_study": round(seconds, 3),
    }
    save_json(folder / "note.json", note)
    typer.echo(f"{variant.name:26s} trained in {note['seconds_training']:.0f} s")


def _predict(model: TwoStageModel, task: FoldTask, levels: Path) -> tuple[Array, float]:
    """Probabilities (N, 8) of the held-out studies, and the median seconds of cutting and judging.

    Where the levels are is stage 1's work, the same for all variants, and not in the time.
    """
    rows, seconds = [], []
    for uid in task.test:
        volume = _volume(task, uid)
        found = _located(model, volume, levels / f"{uid}.json")
        start = time.perf_counter()
        said = model.classify(volume, found)
        seconds.append(time.perf_counter() - start)
        rows.append([said[target] for target in TARGETS])
    return np.array(rows), float(np.median(seconds))


def _located(model: TwoStageModel, volume: Volume, path: Path) -> dict[str, LevelBox]:
    """Levels of a held-out study, from the first variant that asks."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_json(path, {k: box.to_dict() for k, box in model.locate(volume).items()})
    return levels_from_json(read_json(path))


def _volume(task: FoldTask, uid: str) -> Volume:
    if task.cache.mode == "volume":
        return task.cache.volume(uid)
    return task.dataset.read_study(uid).volume


# --- the table -------------------------------------------------------------------------------


def _report(task: FoldTask, folder: Path, variants: Sequence[Variant], data: str) -> dict[str, Any]:
    """All variants on the same held-out studies, each with its difference to the full model."""
    y = held_out_labels(task)
    predicted = {v.name: _predicted(folder / v.name, task.test) for v in variants}
    notes = {v.name: read_json(folder / v.name / "note.json") for v in variants}
    return {
        **report_head(task, y, data),
        "weights": notes[FULL]["weights"],
        "variants": [_row(v, task.profile, y, predicted, notes[v.name]) for v in variants],
        "environment": environment(),
    }


def _row(
    variant: Variant,
    profile: Profile,
    y: Array,
    predicted: Mapping[str, Array],
    note: Mapping[str, Any],
) -> dict[str, Any]:
    sequence = get_recipe(variant.method).sequence
    full = None if variant.name == FULL else predicted[FULL]
    return {
        "name": variant.name,
        "method": variant.method,
        "question": variant.question,
        "says": variant.says,
        "seed": variant.seed,
        "lstm": sequence.lstm,
        "attention": sequence.attention,
        "crop": sequence.crop,
        "channels": 3 if sequence.neighbours else 1,
        "frames": sequence.frames_of(profile),
        **scored(y, predicted[variant.name], full),
        "seconds_training": note["seconds_training"],
        "seconds_per_study": note["seconds_per_study"],
    }


def _predicted(folder: Path, ids: Sequence[str]) -> Array:
    table = read_predictions(folder / "predictions.csv")
    return table.loc[list(ids), list(TARGETS)].to_numpy()
