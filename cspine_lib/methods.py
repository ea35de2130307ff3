"""Train a method by its name: stage 1, levels of all studies, crops, stage 2, calibration.

Every step leaves whole files in the run's folder and is skipped when they are there, so
that a killed training goes on where it was and ends as an unbroken one.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cspine_lib.cache import VolumeCache
from cspine_lib.config import DEFAULT_SEED, Profile, device_name, settings_of
from cspine_lib.cropstore import CropStore, build_crops
from cspine_lib.engine import FitResult
from cspine_lib.errors import CspineError
from cspine_lib.labels import LevelBox
from cspine_lib.models import CropSequenceNet
from cspine_lib.ranks import is_main, main_first
from cspine_lib.recipes import Recipe, SequenceRecipe, get_recipe, settings_of_recipe
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import Part, RunRecord, atomic_write_text, read_json
from cspine_lib.splits import inner_split
from cspine_lib.stage1 import (
    LocaliserPart,
    cross_fitted_levels,
)
from cspine_lib.stage2 import calibration, study_logits, train_classifier, training_rates
from cspine_lib.two_stage import MODEL, RECORD, model_facts, open_cache

VALIDATION_SHARE = 0.15
"""Of the training studies, for early stopping and calibration of stage 2."""


@dataclass(frozen=True)
class Stage1:
    """A stage 1 that several trainings share: where it is trained or found, and its seed."""

    folder: Path
    seed: int = DEFAULT_SEED


@dataclass(frozen=True)
class _Task:
    """What one training is about."""

    recipe: Recipe
    profile: Profile
    dataset: RsnaDataset
    cache: VolumeCache
    ids: list[str]
    out: Path
    stage1: Stage1
    seed: int
    progress: bool

    @property
    def labels(self) -> dict[str, npt.NDArray[np.int64]]:
        return {uid: self.dataset.labels(uid) for uid in self.ids}


def train_method(
    name: str,
    dataset: RsnaDataset,
    profile: Profile,
    out: str | Path,
    *,
    ids: Sequence[str] | None = None,
    stage1: Stage1 | None = None,
    seed: int = DEFAULT_SEED,
    progress: bool = True,
) -> RunRecord:
    """Train a method on a data set's training studies.

    Args:
        name: of a recipe, see ``recipes.RECIPES``.
        out: run folder; a half-finished training there goes on, a finished one is returned.
        ids: training studies; None: all that can be read.  Studies left out are not
            looked at by any part, so they can be scored.
        stage1: of other trainings on the same ``ids``, whose localisers, levels and crops
            are used, and made where they are missing; None: its own, in ``out``.
        seed: of everything random.

    Raises:
        CspineError: unknown method, too few masks, or a folder that holds another training.
    """
    recipe, out = get_recipe(name), Path(out)
    if recipe.kind != "two_stage":
        raise CspineError(
            f"{name} is no two-stage method: 'cspine run --methods {name}' trains it on folds"
        )
    done = _finished(recipe, dataset, profile, out, seed, ids)
    if done is not None:
        return done
    cache = open_cache(dataset, profile, progress=progress)
    wanted = set(cache.ids if ids is None else ids)
    chosen = [uid for uid in cache.ids if uid in wanted]
    shared = stage1 or Stage1(out, seed)
    task = _Task(recipe, profile, dataset, cache, chosen, out, shared, seed, progress)
    start = time.perf_counter()
    parts, levels = _stage1(task)
    store = _crops(task, levels)
    return _stage2(task, parts, store, start)


def _finished(
    recipe: Recipe,
    dataset: RsnaDataset,
    profile: Profile,
    out: Path,
    seed: int,
    ids: Sequence[str] | None,
) -> RunRecord | None:
    """The record of the same training, if it has ended; an error if it is another one."""
    request = {
        "recipe": settings_of_recipe(recipe),
        "profile": settings_of(profile, recipe.kind),
        "seed": seed,
        "data": dataset.fingerprint(),
        "ids": None if ids is None else sorted(ids),
    }
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    path = out / "request.json"
    with main_first(path):
        if not path.exists():
            atomic_write_text(path, json.dumps({"sha256": digest, **request}, indent=1) + "\n")
    if read_json(path).get("sha256") != digest:
        raise CspineError(
            f"{out} holds a training with other settings or data: "
            "choose another folder with --out, or delete it"
        )
    return RunRecord.read(out / RECORD) if (out / RECORD).exists() else None


def _stage1(task: _Task) -> tuple[list[LocaliserPart], dict[str, dict[str, LevelBox]]]:
    """Localisers, and the levels of every study from the one that has not seen it."""
    parts, _, levels = cross_fitted_levels(
        task.cache,
        task.ids,
        task.recipe.localiser,
        task.profile,
        task.stage1.folder,
        seed=task.stage1.seed,
        progress=task.progress,
    )
    return parts, levels


def _crops(task: _Task, levels: dict[str, dict[str, LevelBox]]) -> CropStore:
    sequence = task.recipe.sequence
    return build_crops(
        task.cache,
        levels,
        task.stage1.folder / crops_folder(sequence),
        frames=sequence.frames_of(task.profile),
        px=task.profile.crop_px,
        crop=sequence.crop,
        neighbours=sequence.neighbours,
        dataset=task.dataset,
        workers=task.profile.workers,
        progress=task.progress,
    )


def crops_folder(sequence: SequenceRecipe) -> str:
    """Name of the folder of a recipe's crops: recipes that see the same share it."""
    usual = SequenceRecipe()
    parts: list[str] = [] if sequence.crop == usual.crop else [sequence.crop]
    parts += [] if sequence.neighbours else ["1ch"]
    parts += [f"{sequence.frames}f"] if sequence.frames else []
    return "-".join(["crops", *parts])


def _stage2(task: _Task, parts: list[LocaliserPart], store: CropStore, start: float) -> RunRecord:
    """Sequence net, then calibration and record."""
    labels = task.labels
    rows = [[int(row.any()), *row] for row in labels.values()]
    train, val = inner_split(task.ids, rows, VALIDATION_SHARE, task.seed)
    model, fit = train_classifier(
        store,
        labels,
        train,
        val,
        task.recipe.sequence,
        task.profile,
        task.out / "classifier",
        seed=task.seed,
        progress=task.progress,
    )
    with main_first(task.out / RECORD):
        if not is_main():  # the first has judged and written
            return RunRecord.read(task.out / RECORD)
        return _written(task, parts, store, model, fit, train, val, start)


def _written(
    task: _Task,
    parts: list[LocaliserPart],
    store: CropStore,
    model: CropSequenceNet,
    fit: FitResult,
    train: list[str],
    val: list[str],
    start: float,
) -> RunRecord:
    """Calibration, what ``TwoStageModel.load`` needs, and the record, all in the run's folder."""
    labels = task.labels
    fitted = calibration(study_logits(model, store, val), val, labels)
    folders = [part.folder for part in parts]
    facts = model_facts(
        task.profile,
        [Path(os.path.relpath(folder, task.out)) for folder in folders],
        {f.name: _sha256(f / "model.safetensors") for f in [*folders, task.out / "classifier"]},
        fitted,
        training_rates(labels, train),
    )
    atomic_write_text(task.out / MODEL, json.dumps(facts, indent=1) + "\n")
    names = [f"stage1/{part.index}" for part in parts]
    record = RunRecord(
        method=task.recipe.name,
        profile=task.profile.name,
        seed=task.seed,
        data=task.dataset.name,
        fingerprint=task.dataset.fingerprint(),
        weights=model.encoder.weights_used,
        device=device_name(),
        n_processes=fit.n_processes,
        config={"recipe": asdict(task.recipe), "profile": asdict(task.profile)},
        parts=[
            *(
                Part(n, p.train, p.val, weights=p.weights_used, seconds=p.seconds)
                for n, p in zip(names, parts, strict=True)
            ),
            Part(
                "stage2",
                train,
                val,
                uses=names,
                weights=model.encoder.weights_used,
                seconds=fit.seconds,
            ),
            Part("calibration", val, uses=["stage2"], kind="calibration"),
        ],
        scores={
            "stage2_validation": fit.history[fit.best_epoch - 1],
            "masked_studies": len(task.cache.masked_ids),
        },
        seconds=time.perf_counter() - start,
    )
    record.write(task.out / RECORD)
    return record


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
