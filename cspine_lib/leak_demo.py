"""The deck's averaged pseudo-labels beside honest ones: what the leak does, and what it does not.

Deck B labels every study with the mean of its five visibility models.  For outer fold k four
of the five have been trained on masks of studies that are held out in fold k, so the chain
from a held-out study to what predicts it is no longer cut.  Here the deck's labels are made
from the five honest sets, a slice classifier is trained with them once, and the same held-out
studies are scored.  The averaged labels also come from an ensemble, which is a gain that no
leak is needed for, and every training differs a little from the next; a second training on
honest labels with another seed says how much.

``python -m cspine_lib.leak_demo --profile laptop --folds 0`` is this.  Its records lie under
the experiment's folder and in ``results/leak/``, apart from all results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from cspine_lib.anatomy import TARGETS
from cspine_lib.config import DEFAULT_SEED, Profile, device_name, settings_of
from cspine_lib.errors import CspineError
from cspine_lib.experiment import cv_folder, run_method
from cspine_lib.fold_jobs import fold_numbers
from cspine_lib.fold_labels import FoldLabels, average_parts, deck_average, labels_of_folds
from cspine_lib.fold_methods import FoldTask, slices_from
from cspine_lib.leak_summary import ARMS, write_summary
from cspine_lib.leakage import Leak, check_leakage
from cspine_lib.metrics import best_constants, loss_ci, macro_auroc_ci, per_exam_loss
from cspine_lib.reach import profile_in_reach
from cspine_lib.recipes import get_recipe, settings_of_recipe
from cspine_lib.results import read_predictions, write_predictions
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import Part, RunRecord, read_json

FloatArray = npt.NDArray[np.floating]

# --- training with the deck's labels ---------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """One training beside the honest one, on the same held-out studies.

    Attributes:
        p: (N, 8).
        leaks: what ``check_leakage`` finds in its record.
    """

    name: str
    ids: list[str]
    p: FloatArray
    leaks: list[Leak]
    record: Path


def train_arm(
    name: str,
    fold: int,
    found: Sequence[FoldLabels],
    dataset: RsnaDataset,
    out: Path,
) -> Arm:
    """Train a slice classifier on one outer fold with an arm's labels, or find it; resumable.

    Args:
        name: key of ``ARMS``.
        found: of ``labels_of_folds``.
        out: folder of the experiment; the arm lies in ``out/leak``, named by its labels.

    Raises:
        CspineError: no such arm.
    """
    if name not in ARMS:
        raise CspineError(f"unknown arm {name!r}; known: {', '.join(ARMS)}")
    task, labels, parts = found[fold].task, found[fold].labels, [found[fold].part]
    if name == "deck_average":
        labels, parts = deck_average(found), average_parts(found)
    else:
        task = replace(task, seed=task.seed + 1)
    digest = _digest(task, labels)
    folder = out / "leak" / task.recipe.name / name / f"fold{fold}-{digest}"
    task = replace(task, folder=folder)
    csv, note = folder / "predictions.csv", folder / "record.json"
    if not note.exists():
        result = slices_from(task, labels, parts[-1])
        write_predictions(csv, task.test, result.p)
        _leak_record(name, task, dataset, [*parts[:-1], *result.parts], result.weights).write(note)
    table = read_predictions(csv)
    leaks = check_leakage(RunRecord.read(note))
    return Arm(name, table.index.tolist(), table[list(TARGETS)].to_numpy(), leaks, note)


def _digest(task: FoldTask, labels: Mapping[str, FloatArray]) -> str:
    """Of all that decides a training, the labels included."""
    settings = [settings_of_recipe(task.recipe), settings_of(task.profile, task.recipe.kind)]
    content = hashlib.sha256(json.dumps([*settings, task.seed], sort_keys=True).encode())
    for uid in sorted(labels):
        content.update(uid.encode() + np.ascontiguousarray(labels[uid]).tobytes())
    return content.hexdigest()[:10]


def _leak_record(
    name: str, task: FoldTask, dataset: RsnaDataset, parts: list[Part], weights: str
) -> RunRecord:
    """A record that says what it is; it has no scores and is no result."""
    return RunRecord(
        method=f"{task.recipe.name}, {ARMS[name]} (demonstration)",
        profile=task.profile.name,
        seed=task.seed,
        data=dataset.name,
        fingerprint=dataset.fingerprint(),
        weights=weights,
        device=device_name(),
        n_folds=task.profile.folds,
        parts=parts,
        scored=list(task.test),
        seconds=sum(part.seconds for part in parts),
    )


# --- what it did to the score ------------------------------------------------------------------


def run_leak_demo(
    dataset: RsnaDataset,
    profile: Profile,
    folds: Sequence[int] = (0,),
    *,
    method: str = "multi_head",
    arms: Sequence[str] = tuple(ARMS),
    out: Path | None = None,
    seed: int = DEFAULT_SEED,
    progress: bool = True,
) -> dict[str, Any]:
    """Train the arms on these folds and compare them with the honest run, study by study.

    The honest run is that of ``cspine run``, found or made.  All of it resumes.

    Returns:
        What ``write_summary`` writes: the honest loss, and of each arm its loss and the
        paired differences with their 95% intervals over studies, and the leaks found.

    Raises:
        CspineError: no such fold, arm or method; a method that uses no pseudo-labels.
    """
    out = out or cv_folder(dataset, profile)
    if not folds or not set(folds) <= set(range(profile.folds)):
        raise CspineError(f"there are folds 0 to {profile.folds - 1}, asked for {list(folds)}")
    if get_recipe(method).kind != "slices":
        raise CspineError(f"{method} uses no pseudo-labels: choose single_head or multi_head")
    found = labels_of_folds(dataset, profile, out, method=method, seed=seed, progress=progress)
    trained = {name: [train_arm(name, k, found, dataset, out) for k in folds] for name in arms}
    run_method(method, dataset, profile, out, folds=folds, seed=seed, progress=progress)
    tables = [read_predictions(out / method / f"fold{k}.csv") for k in folds]
    ids = [uid for table in tables for uid in table.index]
    honest = np.concatenate([table[list(TARGETS)].to_numpy() for table in tables])
    levels = np.array([dataset.labels(uid) for uid in ids])
    y = np.column_stack([levels.any(axis=1), levels]).astype(np.int64)
    p = {name: np.concatenate([arm.p for arm in runs]) for name, runs in trained.items()}
    note = read_json(out / method / f"fold{folds[0]}.json")
    summary = {
        "method": method,
        "profile": profile.name,
        "data": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "weights": note["weights"],
        "device": device_name(),
        "seed": seed,
        "folds": list(folds),
        "n_studies": len(ids),
        "n_masked": len(set(ids) & set(found[0].task.cache.masked_ids)),
        "constant": _scores(y, np.broadcast_to(best_constants(y), y.shape)),
        "honest": _scores(y, honest),
        "arms": {
            name: {**_scores(y, q, honest), "leaks": _leak_notes(trained[name])}
            for name, q in p.items()
        },
    }
    if dataset.is_phantom:  # losses of single patients say something about their labels
        losses = {"honest": honest, **p}
        summary["study_losses"] = {
            name: np.round(per_exam_loss(y, q), 4).tolist() for name, q in losses.items()
        }
    return summary


def _scores(
    y: npt.NDArray[np.int64], p: FloatArray, honest: FloatArray | None = None
) -> dict[str, list[float | None]]:
    """Value, low, high of loss and level AUROC, and of paired differences to the best constant
    and, if given, the honest run."""
    found = {
        "loss": loss_ci(y, p),
        "loss_minus_constant": loss_ci(y, p, minus=best_constants(y)),
        "level_auroc": macro_auroc_ci(y[:, 1:], p[:, 1:]),
    }
    if honest is not None:
        found["loss_minus_honest"] = loss_ci(y, p, minus=honest)
        found["auroc_minus_honest"] = macro_auroc_ci(y[:, 1:], p[:, 1:], minus=honest[:, 1:])
    return {
        name: [round(v, 4) if np.isfinite(v) else None for v in interval]
        for name, interval in found.items()
    }


def _leak_notes(runs: Sequence[Arm]) -> list[dict[str, Any]]:
    """Leaks without their studies' names."""
    return [
        {"code": leak.code, "part": leak.part, "source": leak.source, "n": len(leak.studies)}
        for arm in runs
        for leak in arm.leaks
    ]


def _main(
    profile: Annotated[str | None, typer.Option(help="ci, laptop, gpu or rsna.")] = None,
    data: Annotated[str | None, typer.Option(help="Data folder.")] = None,
    folds: Annotated[str, typer.Option(help="Numbers with commas between.")] = "0",
    method: Annotated[str, typer.Option(help="single_head or multi_head.")] = "multi_head",
    arms: Annotated[str, typer.Option(help="Names with commas between.")] = ",".join(ARMS),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Train with the deck's averaged pseudo-labels and compare with the honest run; resumes."""
    from cspine_lib.sources import dataset_for

    try:
        chosen = profile_in_reach(profile)
        numbers = fold_numbers(folds, chosen.folds)
        names = [name.strip() for name in arms.split(",")]
        summary = run_leak_demo(
            dataset_for(chosen, data, quiet=quiet),
            chosen,
            numbers,
            method=method,
            arms=names,
            progress=not quiet,
        )
        typer.echo(f"written: {write_summary(summary)}")
    except CspineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    for name, arm in summary["arms"].items():
        value, low, high = arm["loss_minus_honest"]
        leaks = f"{len(arm['leaks'])} leaks found"
        typer.echo(f"  {name:14s} minus honest {value:+.4f} [{low:+.4f}, {high:+.4f}]; {leaks}")


if __name__ == "__main__":
    typer.run(_main)
