"""The deck's future work, one change at a time: Transformer, backbones, pixels, frames.

Every variant is the first place's method with one thing changed, trained on fold 0 of the
``tune`` set for a few epochs and set beside the unchanged one, study by study.  All share the
fold's U-Net; variants that cut the same images share those too.

``python -m cspine_lib.beyond_lab --profile laptop`` is this.  A variant that is done is not
done again; after each one ``results/beyond/P.json`` is written, with predictions beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from cspine_lib.ablation_parts import held_out_labels, report_head, scored
from cspine_lib.ablations import tune_set
from cspine_lib.anatomy import N_LEVELS, TARGETS
from cspine_lib.beyond_variants import (
    EPOCHS,
    REFERENCE,
    VARIANTS,
    Variant,
    chosen_variants,
    quick_profile,
)
from cspine_lib.config import Profile, runs_home, settings_of
from cspine_lib.cost import Clock, flops
from cspine_lib.errors import CspineError
from cspine_lib.experiment import fold_task, record_of_folds, run_fold
from cspine_lib.fold_methods import FoldTask
from cspine_lib.fold_predictors import fold_predictor
from cspine_lib.fold_winners import segmented_crops, segmented_from
from cspine_lib.jobs import save_json
from cspine_lib.reach import profile_in_reach
from cspine_lib.recipes import get_recipe, settings_of_recipe
from cspine_lib.results import read_predictions, results_home, write_predictions
from cspine_lib.rsna import RsnaDataset, open_dataset
from cspine_lib.runs import atomic_write_text, environment, read_json
from cspine_lib.vertebra_fit import view_of
from cspine_lib.weights import has_imagenet
from cspine_lib.winner_predictors import SegmentedPredictor

FOLD = 0
TIMED = 6
"""Held-out studies that are timed, after one that warms up."""
FOLDER = "beyond"
"""Under ``results/``."""


def run_beyond(
    dataset: RsnaDataset,
    profile: Profile,
    place: Path,
    *,
    data: str = "tune set",
    out: Path | None = None,
    variants: Sequence[Variant] = VARIANTS,
    epochs: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train and judge variants on one fold; go on where a killed call stopped.

    Args:
        place: folder that gets ``P.json`` and a CSV per variant.
        data: what the set is called in the file's mark.
        out: folder of the trainings; None: one under ``runs/`` for this data set.
        variants: the reference first.
        epochs: None: ``EPOCHS``, or the profile's where it has fewer.

    Returns:
        What the file holds: all variants that are done, and those that cannot be.

    Raises:
        CspineError: ``place`` or ``out`` holds something of other settings or data; too few
            masked studies.
    """
    if not variants or variants[0].name != REFERENCE:
        raise CspineError(f"the first variant must be {REFERENCE}: the others are compared with it")
    quick = quick_profile(profile, epochs)
    request = _request(dataset, quick)
    path = place / f"{profile.name}.json"
    if path.exists() and read_json(path).get("request") != request:
        raise CspineError(
            f"{path} records other settings or data: move it away, or run with its settings"
        )
    out = out or runs_home() / f"beyond-{profile.name}-{dataset.fingerprint()[:8]}"
    base = fold_task(REFERENCE, dataset, quick, FOLD, out, progress=progress)
    report: dict[str, Any] = {}
    for variant in variants:
        new = _run_variant(variant, base, out)
        if not new and variant is not variants[-1]:
            continue
        report = _report(base, out, place, variants, data) | {"request": request}
        text = json.dumps(report, indent=1, ensure_ascii=False)
        atomic_write_text(path, text + "\n")
    return report


def _request(dataset: RsnaDataset, profile: Profile) -> str:
    """What decides all rows, in short."""
    settings = settings_of_recipe(get_recipe(REFERENCE)), settings_of(profile, "segmented")
    content = json.dumps([*settings, dataset.fingerprint()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:20]


# --- one variant -----------------------------------------------------------------------------


def _task(variant: Variant, base: FoldTask, out: Path) -> FoldTask:
    """The fold's studies and its U-Net, another recipe."""
    recipe = variant.recipe
    return replace(
        base,
        recipe=recipe,
        profile=variant.profile(base.profile),
        folder=out / recipe.name / f"fold{FOLD}",
        seed=variant.seed,
    )


def _run_variant(variant: Variant, base: FoldTask, out: Path) -> bool:
    """Train, predict what was held out, take the time; nothing where weights are missing.

    Returns:
        Whether there is something new.
    """
    if variant.backbone and not has_imagenet(variant.backbone):
        typer.echo(f"{variant.name:14s} not run: no weights")
        return False
    task = _task(variant, base, out)
    # The U-Net has the seed of the reference whatever the seed of what comes after it.
    before = replace(task, seed=base.seed)
    run_fold(task, out, lambda task: segmented_from(task, *segmented_crops(before)))
    cost = out / task.recipe.name / "cost.json"
    if cost.exists():
        return False
    save_json(cost, _cost(task, out))
    seconds = read_json(cost)["seconds_per_study"]
    typer.echo(f"{variant.name:14s} done, {seconds:.2f} s a study")
    return True


def _cost(task: FoldTask, out: Path) -> dict[str, Any]:
    """Median seconds of the steps that lie between a volume and eight probabilities; arithmetic."""
    predict = fold_predictor(task.recipe, task.profile, out, FOLD)
    assert isinstance(predict, SegmentedPredictor)
    clocks = []
    for uid in [task.test[0], *task.test[:TIMED]]:
        clock, volume = Clock(), task.volume(uid)
        predict.judge(volume, clock)
        clocks.append(clock.seconds)
    steps = ("localise", "crop", "classify")
    seconds = {step: float(np.median([c[step] for c in clocks[1:]])) for step in steps}
    found: dict[str, Any] = {f"seconds_{step}": round(s, 4) for step, s in seconds.items()}
    return found | {
        "seconds_per_study": round(sum(seconds.values()), 4),
        "multiply_adds": _multiply_adds(predict),
    }


def _multiply_adds(predict: SegmentedPredictor) -> int:
    """Of the sequence net for seven levels, each seen plain and mirrored; recurrent layers not
    counted on every device (``cost.flops``)."""
    part = predict.recipe.vertebra
    assert part is not None
    view, net = view_of(part, predict.profile), predict.nets[0]
    device = next(net.parameters()).device
    frames = torch.zeros(N_LEVELS, view.images, view.depth, view.px, view.px, device=device)
    level = torch.arange(N_LEVELS, device=device)
    inputs = (frames[None], level[None]) if part.scope == "study" else (frames, level)
    # Two views, and an operation is half a multiply-add.
    return flops(net, *inputs)


# --- the record ------------------------------------------------------------------------------


def _report(
    base: FoldTask, out: Path, place: Path, asked: Sequence[Variant], data: str
) -> dict[str, Any]:
    """All finished variants on the same held-out studies, each with its paired differences."""
    y = held_out_labels(base)
    done = [v for v in VARIANTS if (out / v.recipe.name / "cost.json").exists()]
    p = {v.name: _predicted(out, v, base.test) for v in done}
    rows = []
    for variant in done:
        task = _task(variant, base, out)
        name = f"{base.profile.name}-{variant.name}.csv"
        known = y if base.dataset.is_phantom else None
        write_predictions(place / name, base.test, p[variant.name], known)
        full = None if variant.name == REFERENCE else p[REFERENCE]
        rows.append(_row(variant, task, out) | scored(y, p[variant.name], full))
        rows[-1] |= {"predictions": name}
    missing = [v for v in VARIANTS if v not in done]
    lacking = {v.name: "no weights" for v in asked if v.backbone}
    return {
        **report_head(base, y, data),
        "kind": FOLDER,
        "reference": REFERENCE,
        "weights": rows[0]["weights"] if rows else "",
        "variants": rows,
        "not_run": [
            {"name": v.name, "question": v.question, "says": v.says}
            | {"why": lacking.get(v.name, "not trained yet")}
            for v in missing
        ],
        "environment": environment(),
    }


def _predicted(out: Path, variant: Variant, ids: Sequence[str]) -> Any:
    table = read_predictions(out / variant.recipe.name / f"fold{FOLD}.csv")
    return table.loc[list(ids), list(TARGETS)].to_numpy()


def _row(variant: Variant, task: FoldTask, out: Path) -> dict[str, Any]:
    """What a variant is and costs; its record is checked for leaks on the way."""
    recipe, profile = task.recipe, task.profile
    part = recipe.vertebra
    assert part is not None
    record = record_of_folds(recipe, task.dataset, profile, out, [FOLD], FOLDER, task.seed)
    own = record.part(f"{recipe.name}/fold{FOLD}")
    return {
        "name": variant.name,
        "method": recipe.name,
        "question": variant.question,
        "says": variant.says,
        "seed": variant.seed,
        "backbone": profile.backbone,
        "weights": record.weights,
        "vertebra": asdict(part),
        "frames": part.frames_of(profile),
        "px": part.px_of(profile),
        "images": N_LEVELS * part.frames_of(profile),
        "seconds_training": round(own.seconds, 1),
        **read_json(out / recipe.name / "cost.json"),
    }


def _main(
    profile: Annotated[str | None, typer.Option(help="ci, laptop, gpu or rsna.")] = None,
    data: Annotated[str | None, typer.Option(help="Data folder [default: the tune set].")] = None,
    variants: Annotated[str, typer.Option(help="'all', or names with commas.")] = "all",
    epochs: Annotated[int | None, typer.Option(help=f"Of a variant [default: {EPOCHS}].")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the trainings.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Train the deck's future work, one change at a time, on the tune set; resumes."""
    try:
        chosen, names = profile_in_reach(profile), chosen_variants(variants)
        dataset = open_dataset(data) if data else tune_set(chosen, quiet=quiet)
        mark, place = dataset.name if data else "tune set", results_home() / FOLDER
        settings: dict[str, Any] = {"variants": names, "epochs": epochs, "progress": not quiet}
        report = run_beyond(dataset, chosen, place, data=mark, out=out, **settings)
    except CspineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{report['note']}: {len(report['variants'])} variants, in {place}")


if __name__ == "__main__":
    typer.run(_main)
