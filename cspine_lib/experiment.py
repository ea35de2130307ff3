"""Methods on the same outer folds: out-of-fold predictions and run records.

``cspine run --methods all --profile P`` is this.  Each (method, fold) leaves whole files
under ``cv_folder`` and is skipped when they are there.  Of a method that has all
folds, record and predictions lie there too; ``--record`` puts them into ``results/``, from
which all tables are drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import TARGETS
from cspine_lib.config import DEFAULT_SEED, Profile, device_name, experiment_folder
from cspine_lib.errors import CspineError
from cspine_lib.fold_methods import KINDS, FoldResult, FoldTask
from cspine_lib.fold_task import settings_digest, training_settings
from cspine_lib.leakage import check_leakage
from cspine_lib.ranks import is_main
from cspine_lib.recipes import Recipe, get_recipe
from cspine_lib.results import read_predictions, write_predictions
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import Part, RunRecord, atomic_write_text, read_json
from cspine_lib.scoring import score_arrays
from cspine_lib.splits import patient_folds
from cspine_lib.two_stage import open_cache

DECK_B = ("cnn3d", "single_head", "multi_head", "crop_bilstm")
"""The four methods of the deck's results table, in its order."""

DECK_A = ("single_classifier", "forest_classifier", "dlc")
"""Deck A's classifier alone, enhanced by forests, and detection-localised."""
WINNERS = ("salehinejad", "second_place", "first_place_study", "first_place")
"""The systems of the challenge and of the literature."""
SYSTEMS = (*DECK_B, *DECK_A, *WINNERS, "beyond")
"""Every system of the table of all systems, our own best last."""
GROUPS = {"all": DECK_B, "deck-a": DECK_A, "winners": WINNERS, "systems": SYSTEMS}
"""Names that stand for several methods."""

TAG = "cv"
"""End of the names of the records of all folds of a profile's own data."""


def chosen_methods(names: str) -> list[str]:
    """Names of methods or of ``GROUPS`` with commas between → recipe names, each once.

    Raises:
        CspineError: an unknown name.
    """
    wanted = [n.strip() for n in names.split(",")]
    each = [name for n in wanted for name in GROUPS.get(n, (n,))]
    return list(dict.fromkeys(get_recipe(name).name for name in each))


def outer_folds(
    dataset: RsnaDataset, ids: Sequence[str], n: int, seed: int = DEFAULT_SEED
) -> npt.NDArray[np.int64]:
    """Fold 0 … n−1 of every study, the same for every method.

    Levels are spread evenly, and masks: a fold without masks would leave a localiser
    nothing to be judged on.
    """
    masked = set(dataset.masked_ids)
    rows = [[*dataset.labels(uid), int(uid in masked)] for uid in ids]
    return patient_folds(ids, rows, n, seed)


def cv_folder(dataset: RsnaDataset, profile: Profile) -> Path:
    """Folder of the five-fold runs of a data set under a profile."""
    return experiment_folder(profile, dataset.fingerprint())


def fold_task(
    name: str,
    dataset: RsnaDataset,
    profile: Profile,
    k: int,
    out: Path,
    *,
    seed: int = DEFAULT_SEED,
    progress: bool = True,
) -> FoldTask:
    """Everything that training a method on outer fold ``k`` needs; nothing is trained yet."""
    cache = open_cache(dataset, profile, progress=progress)
    fold_of = outer_folds(dataset, cache.ids, profile.folds, seed)
    return FoldTask(
        get_recipe(name),
        profile,
        dataset,
        cache,
        k,
        [uid for uid, fold in zip(cache.ids, fold_of, strict=True) if fold != k],
        [uid for uid, fold in zip(cache.ids, fold_of, strict=True) if fold == k],
        out / name / f"fold{k}",
        out / "shared" / f"fold{k}",
        seed,
        progress,
    )


def run_method(
    name: str,
    dataset: RsnaDataset,
    profile: Profile,
    out: Path,
    *,
    folds: Sequence[int] | None = None,
    tag: str = TAG,
    seed: int = DEFAULT_SEED,
    progress: bool = True,
) -> RunRecord | None:
    """Train a method on every outer fold and predict what was held out.

    Args:
        out: folder of the experiment, shared by all methods.
        folds: which folds; None: all.
        tag: end of the record's name.  Under another tag than ``TAG`` a record may be of
            some folds only, and says of which.

    Returns:
        The record over all folds, or None while some are missing.
    """
    meant = list(range(profile.folds) if folds is None else folds)
    for k in meant:
        run_fold(fold_task(name, dataset, profile, k, out, seed=seed, progress=progress), out)
    return record_if_whole(name, dataset, profile, out, meant, tag, seed)


def record_if_whole(
    name: str,
    dataset: RsnaDataset,
    profile: Profile,
    out: Path,
    meant: Sequence[int],
    tag: str,
    seed: int,
) -> RunRecord | None:
    """The record of a method, or None while a fold that it needs is missing."""
    wanted = range(profile.folds) if tag == TAG else meant
    if not all((out / name / f"fold{k}.json").exists() for k in wanted):
        return None
    return record_of_folds(get_recipe(name), dataset, profile, out, wanted, tag, seed)


def run_fold(
    task: FoldTask, out: Path, train: Callable[[FoldTask], FoldResult] | None = None
) -> bool:
    """Train and predict: False if the very same is there already, an error if something else is.

    Of several processes that train together, the first predicts and writes; False in the others.

    Args:
        train: what trains and predicts; None: what the recipe's kind stands for.
    """
    request = _request(task.recipe, task.profile, task.dataset, task.seed)
    note = out / task.recipe.name / f"fold{task.fold}.json"
    if note.exists():
        if read_json(note)["request"] != request:
            raise CspineError(
                f"{out / task.recipe.name} holds a run with other settings or data: "
                "choose another folder with --out, or delete it"
            )
        return False
    result = (train or KINDS[task.recipe.kind])(task)
    if not is_main():
        return False
    write_predictions(note.with_suffix(".csv"), task.test, result.p)
    content = {
        "request": request,
        "settings": settings_digest(task.recipe, task.profile),
        "weights": result.weights,
        "seconds": result.seconds,
        "n_processes": result.n_processes,
        "data": task.dataset.name,
        "profile": {"name": task.profile.name, "backbone": task.profile.backbone},
        "rates": _rates(task),
        "parts": [asdict(part) for part in result.parts],
    }
    atomic_write_text(note, json.dumps(content, indent=1) + "\n")
    return True


def _rates(task: FoldTask) -> dict[str, float]:
    """Share of each target among the training studies: what an unreadable study is given."""
    rates = np.clip(np.mean(list(task.labels8.values()), axis=0), 0.01, 0.99).round(6)
    return dict(zip(TARGETS, rates.tolist(), strict=True))


def _request(recipe: Recipe, profile: Profile, dataset: RsnaDataset, seed: int) -> str:
    content = [*training_settings(recipe, profile), dataset.fingerprint(), seed]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def record_of_folds(
    recipe: Recipe,
    dataset: RsnaDataset,
    profile: Profile,
    out: Path,
    folds: Sequence[int],
    tag: str,
    seed: int,
) -> RunRecord:
    """Finished folds of a method as one record with its scores, checked for leaks.

    Raises:
        CspineError: a fold is missing, or a scored study has reached training.
    """
    notes = [read_json(out / recipe.name / f"fold{k}.json") for k in folds]
    ids, p = out_of_fold(out, recipe.name, folds)
    rows = [dataset.labels(uid) for uid in ids]
    y = np.stack([[int(row.any()), *row] for row in rows])
    parts: dict[str, Part] = {}
    for note in notes:
        for content in note["parts"]:
            parts[content["name"]] = Part(**content)
    record = RunRecord(
        method=recipe.name,
        profile=profile.name,
        seed=seed,
        data=dataset.name,
        fingerprint=dataset.fingerprint(),
        weights=notes[0]["weights"],
        device=device_name(),
        n_processes=max(note.get("n_processes", 1) for note in notes),
        n_folds=profile.folds,
        config={"recipe": asdict(recipe), "profile": asdict(profile), "folds": list(folds)},
        parts=list(parts.values()),
        scored=ids,
        scores=score_arrays(y, p, ids=tuple(ids)).to_dict(),
        seconds=sum(note["seconds"] for note in notes),
        predictions=f"{recipe.name}-{profile.name}-{tag}.csv",
    )
    check_leakage(record, raise_on_leak=True)
    return record


def out_of_fold(
    out: Path, name: str, folds: int | Sequence[int]
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Studies, sorted, and what was said of each (N, 8) by the model that had not seen it."""
    import pandas as pd

    which = range(folds) if isinstance(folds, int) else folds
    table = pd.concat([read_predictions(out / name / f"fold{k}.csv") for k in which])
    table = table.sort_index()
    return table.index.tolist(), table[list(TARGETS)].to_numpy()
