"""The case-level sequence net on one outer fold (chapter 13)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cspine_lib.checkpoint import load_weights
from cspine_lib.config import Profile, device_name
from cspine_lib.fold_task import (
    FloatArray,
    FoldResult,
    FoldTask,
    Validation,
    calibrated,
    calibration_part,
)
from cspine_lib.jobs import save_json
from cspine_lib.neck_windows import (
    NeckSequenceNet,
    WindowStacks,
    build_neck_net,
    neck_logit,
    train_neck_net,
)
from cspine_lib.ranks import is_main
from cspine_lib.runs import Part, read_json

SHARES = "shares.json"


def neck_sequence(task: FoldTask) -> FoldResult:
    """Train with case labels, calibrate, and share the neck's probability among its levels."""
    stacks = WindowStacks(task.cache, task.dataset, task.shared.parent / "windows", task.profile)
    every = [*task.train, *task.test]
    stacks.build(every, workers=task.profile.workers, progress=task.progress)
    train, val = task.inner()
    broken = {uid: int(row[0]) for uid, row in task.labels8.items()}
    trained, fitted = train_neck_net(
        stacks,
        broken,
        train,
        val,
        task.profile,
        task.folder / "neck",
        seed=task.seed,
        progress=task.progress,
        label=f"{task.recipe.name}, fold {task.fold}",
    )
    if not is_main():
        return FoldResult.of_the_first()
    model = trained.to(device_name()).eval()
    z, z_val = (
        np.array([[neck_logit(model, stacks[uid])] for uid in ids]) for ids in (task.test, val)
    )
    judged = Validation(z_val, np.array([[broken[uid]] for uid in val]))
    judged.write(task.folder)
    share = level_shares(np.stack(list(task.labels.values())))
    save_json(task.folder / SHARES, {"share": share.tolist()})
    name = f"{task.recipe.name}/fold{task.fold}"
    weights = trained.encoder.weights_kind
    own = Part(name, train, val, fold=task.fold, weights=weights, seconds=fitted.seconds)
    return FoldResult(
        neck_probabilities(z, judged, share),
        [own, calibration_part(task, val, [name])],
        weights,
        fitted.seconds,
    )


def level_shares(labels: FloatArray) -> FloatArray:
    """(7,) how often each level is broken where the neck is, from labels (N, 7)."""
    broken = np.asarray(labels)[np.asarray(labels).any(axis=1)]
    return np.clip(broken.mean(axis=0) if len(broken) else np.full(7, 0.1), 0.01, 0.99)


def neck_probabilities(z: FloatArray, judged: Validation, share: FloatArray) -> FloatArray:
    """Logits (N, 1) → (N, 8): the neck calibrated, each level its share of it."""
    overall = calibrated(z, judged.z, judged.y)
    return np.column_stack([overall, overall * share])


def load_neck(profile: Profile, folder: Path) -> tuple[NeckSequenceNet, Validation, FloatArray]:
    """What a fold has left: network, what it is calibrated on, shares of the levels.

    Raises:
        CspineError: a part is missing.
    """
    model = build_neck_net(profile, "random")
    load_weights(model, folder / "neck")
    share = np.array(read_json(folder / SHARES)["share"])
    return model.to(device_name()).eval(), Validation.read(folder), share
