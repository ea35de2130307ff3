"""One outer fold of the localised classifier, of the single one, and of that with forests."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cspine_lib.dlc_forests import ForestChain, train_chain
from cspine_lib.dlc_method import level_logits, load_dlc_net, study_outputs, train_dlc_net
from cspine_lib.dlc_predictors import DlcFolder, dlc_probabilities, load_detector, members
from cspine_lib.dlc_slices import OneStudy, Outputs
from cspine_lib.fold_dlc.detection import iterate_detection
from cspine_lib.fold_task import FoldResult, FoldTask, Validation, calibration_part
from cspine_lib.jobs import save_json
from cspine_lib.ranks import is_main
from cspine_lib.recipes import DlcRecipe
from cspine_lib.runs import Part
from cspine_lib.slice_models import SliceClassifier
from cspine_lib.slice_stacks import SliceStacks
from cspine_lib.visibility import visible_probability

FloatArray = npt.NDArray[np.floating]
Labeller = Callable[[FoldTask], tuple[dict[str, FloatArray], Part]]
"""A fold → its pseudo-labels (Z, 7) per study, and the network that they come from."""


def dlc_fold(task: FoldTask, labeller: Labeller) -> FoldResult:
    """Train and predict; parts that two methods use lie under ``task.shared``.

    Args:
        labeller: gives the first round of the detection network; a single classifier that
            is not followed by forests never asks it.

    Raises:
        CspineError: too few masked studies outside the fold.
    """
    assert task.recipe.dlc is not None
    recipe = task.recipe.dlc
    stacks = SliceStacks(task.cache, task.shared.parent / "slices", task.profile.slice_px)
    stacks.build([*task.train, *task.test], workers=task.profile.workers, progress=task.progress)
    before: list[Part] = []
    visible = None
    if recipe.located or recipe.forests:
        said, labelled = labeller(task)
        visible, before = iterate_detection(task, said, labelled)
    nets, parts = _networks(task, recipe, stacks, visible if recipe.located else None, before)
    if not is_main():
        return FoldResult.of_the_first()
    said_of = {
        uid: study_outputs(nets, OneStudy.of_stacks(stacks, uid), task.profile)
        for uid in [*task.inner()[1], *task.test]
    }
    chain: list[Part] = [*before, *parts]
    if recipe.forests:
        assert visible is not None
        z_of, forests = _forests(task, stacks, nets, said_of, visible, chain)
        chain.append(forests)
    else:
        z_of = {
            uid: level_logits(out.fracture, out.visible if recipe.located else None)
            for uid, out in said_of.items()
        }
    return _result(task, z_of, chain, parts[0].weights)


def _networks(
    task: FoldTask,
    recipe: DlcRecipe,
    stacks: SliceStacks,
    visible: Mapping[str, FloatArray] | None,
    before: Sequence[Part],
) -> tuple[list[SliceClassifier], list[Part]]:
    """The ensemble: one network a seed, all on the same studies."""
    where, (train, val) = DlcFolder(task.folder, task.shared), task.inner()
    tables = (
        None
        if visible is None
        else {uid: visible[uid][stacks.z_index(uid)] for uid in [*train, *val]}
    )
    name = "dlc" if recipe.located else "single"
    nets, parts = [], []
    for i in range(members(recipe, task.profile)):
        folder = where.net(i, recipe.located)
        trained, fit = train_dlc_net(
            stacks,
            task.labels,
            tables,
            train,
            val,
            task.profile,
            folder,
            seed=task.seed + 1000 * i,
            progress=task.progress,
            label=f"{name} {i}, fold {task.fold}",
        )
        nets.append(load_dlc_net(folder, task.profile))
        parts.append(
            Part(
                f"{name}{i}/fold{task.fold}",
                train,
                val,
                uses=[before[-1].name] if recipe.located else [],
                fold=task.fold,
                weights=trained.encoder.weights_used,
                seconds=fit.seconds,
            )
        )
    return nets, parts


def _forests(
    task: FoldTask,
    stacks: SliceStacks,
    nets: Sequence[SliceClassifier],
    said_of: Mapping[str, Outputs],
    visible: Mapping[str, FloatArray],
    chain: Sequence[Part],
) -> tuple[dict[str, FloatArray], Part]:
    """Grow the forests on the training studies, apply them to the others."""
    where, (train, _) = DlcFolder(task.folder, task.shared), task.inner()
    if not where.forests.exists():
        start = time.perf_counter()
        outputs = {
            uid: study_outputs(nets, OneStudy.of_stacks(stacks, uid), task.profile) for uid in train
        }
        seen = {uid: visible[uid][out.z] for uid, out in outputs.items()}
        grown, _history = train_chain(
            outputs, seen, task.labels, train, task.profile, seed=task.seed
        )
        save_json(where.own / "forests.json", {"seconds": time.perf_counter() - start})
        grown.save(where.forests)
    forests = ForestChain.load(where.forests)
    detector = load_detector(where.detector(task.profile.dlc_rounds), task.profile)
    pitch = task.profile.localiser_pitch_mm
    z_of = {
        uid: forests.logits(out, visible_probability([detector], task.cache, uid, pitch)[out.z])
        for uid, out in said_of.items()
    }
    seconds = _seconds(where)
    uses = [part.name for part in chain if part.name.startswith(("detector", "single"))]
    uses = uses or [part.name for part in chain]
    part = Part(f"forests/fold{task.fold}", train, uses=uses, fold=task.fold, seconds=seconds)
    return z_of, part


def _seconds(where: DlcFolder) -> float:
    from cspine_lib.runs import read_json

    return float(read_json(where.own / "forests.json")["seconds"])


def _result(
    task: FoldTask, z_of: Mapping[str, FloatArray], chain: list[Part], weights: str
) -> FoldResult:
    """Calibrated on the validation studies, as every method."""
    _, val = task.inner()
    judged = Validation(
        np.stack([z_of[uid] for uid in val]), np.stack([task.labels[uid] for uid in val])
    )
    judged.write(task.folder)
    p = dlc_probabilities(np.stack([z_of[uid] for uid in task.test]), judged)
    used = {name for part in chain for name in part.uses}
    ends = [part.name for part in chain if part.name not in used]
    return FoldResult(
        p,
        [*chain, calibration_part(task, val, ends)],
        weights,
        sum(part.seconds for part in chain),
    )
