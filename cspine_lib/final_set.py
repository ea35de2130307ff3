"""The ``final`` set: a phantom of its own seed that nothing is ever trained or tuned on.

Out of fold a study has one honest model, for the other folds' models have all been trained
on it.  The ensemble of the folds' models therefore needs studies that none of them knows.
``cspine final --methods all`` makes these, lets every fold's model judge them, and scores the
mean of the probabilities.  The set is opened once per phantom version, when all choices are
made: whoever looks at it and then changes something has made it one more search.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import TARGETS
from cspine_lib.cache import VolumeCache
from cspine_lib.config import DEFAULT_SEED, Profile, data_home, device_name
from cspine_lib.cost import Clock
from cspine_lib.errors import CspineError
from cspine_lib.experiment import fold_task, run_method
from cspine_lib.fold_predictors import fold_predictor
from cspine_lib.fold_task import FoldTask
from cspine_lib.leakage import check_leakage
from cspine_lib.metrics import weighted_log_loss
from cspine_lib.recipes import get_recipe
from cspine_lib.results import read_predictions, write_predictions
from cspine_lib.rsna import RsnaDataset, open_dataset
from cspine_lib.runs import Part, RunRecord, atomic_write_text, read_json
from cspine_lib.scoring import score_arrays
from cspine_lib.sources import make_profile_phantom
from cspine_lib.two_stage import open_cache

FloatArray = npt.NDArray[np.floating]
Note = dict[str, Any]
"""What a finished fold has written down: settings, parts, seconds."""

FINAL_SEED = 31
"""Of the phantom ``final``; the folds' is ``DEFAULT_SEED``, that of the searches 1."""


def final_dataset(profile: Profile, *, quiet: bool = False) -> RsnaDataset:
    """The profile's ``final`` phantom, made on first use: as many studies as its test part has.

    They lie where training studies lie, so that their labels are read in the same way, and
    none has a mask: there is nothing in it to train a localiser on.

    Raises:
        CspineError: a profile without a phantom; RSNA's own test labels were never published.
    """
    if profile.phantom is None:
        raise CspineError(
            f"profile {profile.name!r} has no phantom, and so no final set: take one that has, "
            "or submit to Kaggle"
        )
    folder = data_home() / f"phantom-{profile.name}-final"
    n = profile.phantom.test
    return open_dataset(
        make_profile_phantom(
            profile, folder, train=n, test=0, masked=0, seed=FINAL_SEED, quiet=quiet
        )
    )


def score_on_final(
    name: str,
    dataset: RsnaDataset,
    profile: Profile,
    out: Path,
    *,
    record_in: Path | None = None,
    seed: int = DEFAULT_SEED,
    progress: bool = True,
) -> RunRecord:
    """Score the ensemble of a method's fold models on the ``final`` set; resumes fold by fold.

    Args:
        dataset: that the folds were made of.
        out: folder of the finished ``cspine run``; results go into its ``final/``.
        record_in: also put record and predictions here.

    Raises:
        CspineError: a fold is missing or of other settings, or there is no such set.
    """
    notes = _finished_folds(name, profile, out)
    run_method(
        name, dataset, profile, out, seed=seed, progress=False
    )  # are they of these settings?
    final = final_dataset(profile, quiet=not progress)
    cache = open_cache(final, profile, progress=progress)
    rows, seconds = [], []
    for k, note in enumerate(notes):
        task = fold_task(name, dataset, profile, k, out, seed=seed, progress=progress)
        p, taken = _fold_predictions(task, note, final, cache, out / "final" / name)
        rows.append(p)
        seconds.append(taken)
    record = _record(name, notes, final, cache.ids, np.stack(rows), profile, seed)
    record.scores |= {"seconds_per_study": sum(seconds), "seconds_per_model": seconds}
    p, y = np.mean(rows, axis=0), _labels(final, cache.ids)
    for place in (out / "final", *([] if record_in is None else [record_in])):
        write_predictions(place / record.predictions, cache.ids, p, y)
        record.write((place / record.predictions).with_suffix(".json"))
    return record


def _finished_folds(name: str, profile: Profile, out: Path) -> list[Note]:
    """What every fold has noted."""
    paths = [out / name / f"fold{k}.json" for k in range(profile.folds)]
    missing = [path.stem for path in paths if not path.exists()]
    if missing:
        raise CspineError(
            f"{name} lacks {', '.join(missing)} in {out}: "
            f"train all folds first, with 'cspine run --methods {name} --profile {profile.name}'"
        )
    return [read_json(path) for path in paths]


def _labels(final: RsnaDataset, ids: Sequence[str]) -> npt.NDArray[np.int64]:
    levels = np.stack([final.labels(uid) for uid in ids])
    return np.column_stack([levels.any(axis=1), levels]).astype(np.int64)


# --- one fold's model --------------------------------------------------------------------------


def _fold_predictions(
    task: FoldTask, note: Note, final: RsnaDataset, cache: VolumeCache, folder: Path
) -> tuple[FloatArray, float]:
    """(N, 8) of one fold's model for the final studies, and its seconds per study.

    Nothing is computed again that this very model has said before.
    """
    said = folder / f"fold{task.fold}.csv"
    request = hashlib.sha256(
        json.dumps([note, final.fingerprint()], sort_keys=True).encode()
    ).hexdigest()
    about = said.with_suffix(".json")
    if not about.exists() or read_json(about)["request"] != request:
        p, seconds = judge_studies(task, cache, cache.ids)
        write_predictions(said, cache.ids, p)
        content = {"request": request, "seconds_per_study": seconds}
        atomic_write_text(about, json.dumps(content) + "\n")
    table = read_predictions(said).loc[cache.ids, list(TARGETS)]
    return table.to_numpy(), float(read_json(about)["seconds_per_study"])


def judge_studies(
    task: FoldTask, cache: VolumeCache, ids: Sequence[str]
) -> tuple[FloatArray, float]:
    """What a trained fold's model says of studies of any cache.

    Returns:
        probabilities (N, 8), calibrated on the fold's own validation studies, and the mean
        seconds from a decoded volume to them.
    """
    from tqdm import tqdm

    predict = fold_predictor(task.recipe, task.profile, task.folder.parent.parent, task.fold)
    bar = tqdm(
        ids,
        desc=f"{task.recipe.name}, model of fold {task.fold}",
        unit="study",
        disable=not task.progress,
    )
    start = time.perf_counter()
    said = np.stack([predict(cache.volume(uid), Clock()) for uid in bar])
    return said, (time.perf_counter() - start) / len(ids)


# --- the record --------------------------------------------------------------------------------


def _record(
    name: str,
    notes: Sequence[Note],
    final: RsnaDataset,
    ids: list[str],
    p: FloatArray,
    profile: Profile,
    seed: int,
) -> RunRecord:
    """Scores of the mean of (models, N, 8), with the proof that no part knows a final study."""
    y = _labels(final, ids)
    folds = {part["name"]: replace(Part(**part), test=[]) for n in notes for part in n["parts"]}
    used = {name for part in folds.values() for name in part.uses}
    ends = [part for part in folds if part not in used]
    ensemble = Part("ensemble", [], test=ids, uses=ends, kind="rule")
    alone = [weighted_log_loss(y, rows) for rows in p]
    record = RunRecord(
        method=name,
        profile=profile.name,
        seed=seed,
        data=f"{final.name}, final",
        fingerprint=final.fingerprint(),
        weights=notes[0]["weights"],
        device=device_name(),
        n_processes=max(note.get("n_processes", 1) for note in notes),
        n_folds=len(notes),
        config={"recipe": asdict(get_recipe(name)), "profile": asdict(profile)},
        parts=[*folds.values(), ensemble],
        scored=ids,
        scores=score_arrays(y, p.mean(axis=0), ids=tuple(ids)).to_dict()
        | {"loss_of_single_models": [round(loss, 5) for loss in alone]},
        seconds=sum(note["seconds"] for note in notes),
        predictions=f"{name}-{profile.name}-final.csv",
    )
    check_leakage(record, raise_on_leak=True)
    return record
