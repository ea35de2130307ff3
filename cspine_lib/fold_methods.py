"""Each method on one outer fold: train on the rest, predict what was held out.

Every function takes a ``FoldTask`` and gives a ``FoldResult``: calibrated probabilities of
the held-out studies, and the parts that the run record needs to prove that none of them
reached training.  All work is in whole files under the fold's folder, so that a killed run
goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cspine_lib.anatomy import TARGETS
from cspine_lib.errors import CspineError
from cspine_lib.fold_cnn3d import cnn3d, cube_probabilities
from cspine_lib.fold_dlc import dlc_fold
from cspine_lib.fold_neck import neck_sequence
from cspine_lib.fold_task import (
    VALIDATION_SHARE,
    FloatArray,
    FoldResult,
    FoldTask,
    Validation,
    calibration_part,
)
from cspine_lib.fold_winners import segmented
from cspine_lib.methods import train_method
from cspine_lib.ranks import is_main
from cspine_lib.runs import Part
from cspine_lib.slice_method import (
    load_slice_classifier,
    slice_outputs,
    slice_probabilities,
    study_levels,
    train_slice_classifier,
)
from cspine_lib.slice_stacks import SliceStacks
from cspine_lib.splits import inner_split
from cspine_lib.two_stage import TwoStageModel
from cspine_lib.visibility import load_visibility, pseudo_labels, train_visibility

__all__ = [
    "KINDS",
    "FoldResult",
    "FoldTask",
    "cnn3d",
    "cube_probabilities",
    "dlc",
    "fold_pseudo_labels",
    "slice_probabilities",
    "slices",
    "two_stage",
]

# --- slices with pseudo-labels -----------------------------------------------------------------


def fold_pseudo_labels(task: FoldTask) -> tuple[dict[str, FloatArray], Part]:
    """Visibility of all slices of all studies, from a model that has not seen this fold.

    Raises:
        CspineError: too few masked studies outside the fold.
    """
    masked = set(task.cache.masked_ids)
    ids = [uid for uid in task.train if uid in masked]
    if len(ids) < 3:
        raise CspineError(
            f"pseudo-labels need masks of at least 3 training studies, found {len(ids)}: "
            "add segmentations, or make a phantom with more (--masked)"
        )
    train, val = inner_split(ids, np.ones((len(ids), 1)), VALIDATION_SHARE, task.seed)
    folder = task.shared / "visibility"
    model, fit = train_visibility(
        task.cache,
        train,
        val,
        task.profile,
        folder,
        seed=task.seed,
        progress=task.progress,
        label=f"visibility, fold {task.fold}",
    )
    found = pseudo_labels(
        [load_visibility(folder, task.profile)],
        task.cache,
        [*task.train, *task.test],
        task.shared / "pseudo_labels",
        task.profile.localiser_pitch_mm,
    )
    part = Part(
        f"visibility/fold{task.fold}",
        train,
        val,
        kind="pseudo_labels",
        fold=task.fold,
        weights=model.encoder.weights_used,
        seconds=fit.seconds,
    )
    return found, part


def slices(task: FoldTask) -> FoldResult:
    """Single-head and multi-head models (chapters 06 and 07)."""
    return slices_from(task, *fold_pseudo_labels(task))


def slices_from(task: FoldTask, visible: dict[str, FloatArray], labelled: Part) -> FoldResult:
    """The same from given pseudo-labels.

    Args:
        visible: per study (Z, 7) of its native slices.
        labelled: the part that they come from.
    """
    assert task.recipe.slices is not None
    heads = task.recipe.slices.heads
    stacks = SliceStacks(task.cache, task.shared.parent / "slices", task.profile.slice_px)
    stacks.build([*task.train, *task.test], workers=task.profile.workers, progress=task.progress)
    visible = {uid: table[stacks.z_index(uid)] for uid, table in visible.items()}
    train, val = task.inner()
    trained, fit = train_slice_classifier(
        stacks,
        task.labels,
        visible,
        train,
        val,
        heads,
        task.profile,
        task.folder / "classifier",
        seed=task.seed,
        progress=task.progress,
        label=f"{task.recipe.name}, fold {task.fold}",
    )
    if not is_main():
        return FoldResult.of_the_first()
    model = load_slice_classifier(task.folder / "classifier", task.profile, heads)
    z, z_val = (
        np.stack([study_levels(*slice_outputs(model, stacks, uid)) for uid in ids])
        for ids in (task.test, val)
    )
    judged = Validation(z_val, np.stack([task.labels[uid] for uid in val]))
    judged.write(task.folder)
    p = slice_probabilities(task.recipe, z, judged)
    name = f"{task.recipe.name}/fold{task.fold}"
    # Of the network that was trained: the one that was loaded has started from nothing.
    weights = trained.encoder.weights_used
    own = Part(
        name, train, val, uses=[labelled.name], fold=task.fold, weights=weights, seconds=fit.seconds
    )
    return FoldResult(
        p,
        [labelled, own, calibration_part(task, val, [name])],
        weights,
        labelled.seconds + fit.seconds,
        n_processes=fit.n_processes,
    )


def dlc(task: FoldTask) -> FoldResult:
    """Deck A's classifier, its single rival, and that one with forests (chapter 12)."""
    return dlc_fold(task, fold_pseudo_labels)


# --- two stages --------------------------------------------------------------------------------


def two_stage(task: FoldTask) -> FoldResult:
    """Localiser, crops, sequence net (chapters 08 and 09)."""
    record = train_method(
        task.recipe.name,
        task.dataset,
        task.profile,
        task.folder / "two_stage",
        ids=task.train,
        seed=task.seed,
        progress=task.progress,
    )
    if not is_main():
        return FoldResult.of_the_first()
    model = TwoStageModel.load(task.folder / "two_stage")
    rows = []
    for uid in task.test:
        volume = task.volume(uid)
        said = model.classify(volume, model.locate(volume))
        rows.append([said[target] for target in TARGETS])
    parts = [_renamed(part, task.fold) for part in record.parts]
    parts[-1] = Part(**{**parts[-1].__dict__, "test": task.test})
    return FoldResult(
        np.array(rows), parts, record.weights, record.seconds, n_processes=record.n_processes
    )


def _renamed(part: Part, fold: int) -> Part:
    """The same part, named and numbered for its fold."""
    content = dict(part.__dict__)
    content |= {"name": f"{part.name}/fold{fold}", "fold": fold}
    content["uses"] = [f"{name}/fold{fold}" for name in part.uses]
    return Part(**content)


KINDS: dict[str, Callable[[FoldTask], FoldResult]] = {
    "two_stage": two_stage,
    "slices": slices,
    "cnn3d": cnn3d,
    "segmented": segmented,
    "neck_sequence": neck_sequence,
    "dlc": dlc,
}
"""Kind of a recipe → how it is trained and applied to a fold."""
