"""The 3D classifier on one outer fold: the whole neck as a cube, or the spine alone.

The two differ in the cube and in nothing else, so that what lies between their scores is
the resolution.  A spine cube needs to know where the spine is: the fold's own localisers
say so.  Training studies are located by the one that has not seen them, held-out studies
by all together, and no localiser has learned from a held-out study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cspine_lib.cubes import CubeSpec, CubeStore, build_cubes, spine_spec
from cspine_lib.fold_task import (
    FloatArray,
    FoldResult,
    FoldTask,
    Validation,
    calibrated,
    calibration_part,
)
from cspine_lib.jobs import save_json
from cspine_lib.labels import LevelBox, levels_from_json
from cspine_lib.models import LevelLocaliser
from cspine_lib.ranks import is_main, main_first
from cspine_lib.runs import Part, read_json
from cspine_lib.stage1 import (
    cross_fitted_levels,
    locate_volume,
)
from cspine_lib.whole_neck import train_whole_neck, whole_neck_logits

Levels = Mapping[str, LevelBox]


def cnn3d(task: FoldTask) -> FoldResult:
    """The 3D net on the cubes that the recipe asks for (chapter 04).

    Raises:
        CspineError: spine cubes, and too few masked studies outside the fold.
    """
    store, before = spine_cubes(task) if task.recipe.cube == "spine" else (neck_cubes(task), [])
    train, val = task.inner()
    labels = task.labels8
    model, fit = train_whole_neck(
        store,
        labels,
        train,
        val,
        task.profile,
        task.folder / "cnn3d",
        seed=task.seed,
        progress=task.progress,
        label=f"3D CNN, fold {task.fold}",
    )
    if not is_main():
        return FoldResult.of_the_first()
    z, z_val = (whole_neck_logits(model, store, ids) for ids in (task.test, val))
    judged = Validation(z_val, np.stack([labels[uid] for uid in val]))
    judged.write(task.folder)
    p = cube_probabilities(z, judged)
    name = f"{task.recipe.name}/fold{task.fold}"
    net = Part(
        name,
        train,
        val,
        uses=[part.name for part in before],
        fold=task.fold,
        weights="random",
        seconds=fit.seconds,
    )
    return FoldResult(
        p,
        [*before, net, calibration_part(task, val, [name])],
        "random",
        sum(part.seconds for part in before) + fit.seconds,
        n_processes=fit.n_processes,
    )


def cube_probabilities(z: FloatArray, judged: Validation) -> FloatArray:
    """Logits (N, 8) of a 3D net → probabilities, calibrated on validation studies (M, 8)."""
    # The neck's own row breaks at another rate than the levels, and is calibrated by itself.
    parts = [slice(0, 1), slice(1, None)]
    rows = [calibrated(z[:, s], judged.z[:, s], judged.y[:, s]) for s in parts]
    return np.concatenate(rows, axis=1)


def neck_cubes(task: FoldTask) -> CubeStore:
    """Whole studies as cubes; the same for every fold."""
    side = task.profile.cube_px
    return build_cubes(
        task.cache,
        [*task.train, *task.test],
        task.shared.parent / f"cubes-{side}",
        CubeSpec((side, side, side)),
        dataset=task.dataset,
        workers=task.profile.workers,
        progress=task.progress,
    )


def spine_cubes(task: FoldTask) -> tuple[CubeStore, list[Part]]:
    """Spines as cubes, cut where this fold's localisers see them, and who taught those.

    Raises:
        CspineError: too few masked studies outside the fold.
    """
    levels, parts = fold_levels(task)
    spec = spine_spec(task.profile)
    store = build_cubes(
        task.cache,
        list(levels),
        task.shared / f"spine-{'x'.join(map(str, spec.shape_zyx))}",
        spec,
        levels=levels,
        dataset=task.dataset,
        workers=task.profile.workers,
        progress=task.progress,
    )
    return store, parts


def fold_levels(task: FoldTask) -> tuple[dict[str, dict[str, LevelBox]], list[Part]]:
    """Levels of all studies, from localisers that have seen neither fold nor study; resumable.

    Returns:
        For each study the levels found, and one part for each localiser.

    Raises:
        CspineError: too few masked studies outside the fold.
    """
    recipe, folder = task.recipe.localiser, task.shared / "stage1"
    trained, models, levels = cross_fitted_levels(
        task.cache,
        task.train,
        recipe,
        task.profile,
        folder,
        seed=task.seed,
        progress=task.progress,
    )
    levels |= _locate_held_out(task, models, folder / "held_out")
    parts = [
        Part(
            f"stage1/{part.index}/fold{task.fold}",
            part.train,
            part.val,
            fold=task.fold,
            weights=part.weights_used,
            seconds=part.seconds,
        )
        for part in trained
    ]
    return levels, parts


def _locate_held_out(
    task: FoldTask, models: Sequence[LevelLocaliser], folder: Path
) -> dict[str, dict[str, LevelBox]]:
    """Levels of the held-out studies, by all localisers together, as a new study's are."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {uid: folder / f"{uid}.json" for uid in task.test}
    with main_first(folder):
        for uid, path in paths.items():
            if not path.exists():
                volume = task.volume(uid)
                levels = locate_volume(models, volume, task.recipe.localiser, task.profile)
                save_json(path, {"levels": {k: box.to_dict() for k, box in levels.items()}})
    return {uid: levels_from_json(read_json(path)["levels"]) for uid, path in paths.items()}
