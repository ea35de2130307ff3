"""Every method as one call that can be timed: volume → eight probabilities, steps on a clock.

How long a network takes does not depend on what it has learned, so ``untrained`` ones can be
timed as well as trained ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cspine_lib.anatomy import LEVELS, TARGETS, TRAIN_IMAGES
from cspine_lib.config import DEFAULT_SEED, Profile, device_name
from cspine_lib.cost import STEPS, Clock, Predictor, split_table, time_studies
from cspine_lib.cubes import neck_cube, spine_cube, spine_spec
from cspine_lib.dlc_predictors import untrained_dlc
from cspine_lib.fold_cnn3d import cube_probabilities
from cspine_lib.fold_task import Validation
from cspine_lib.jobs import usable_cores
from cspine_lib.labels import LevelBox
from cspine_lib.metrics import overall_max, overall_noisy_or
from cspine_lib.models import LevelLocaliser
from cspine_lib.models3d import NeckCNN3D
from cspine_lib.recipes import Recipe, get_recipe
from cspine_lib.results import record_paths
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import RunRecord
from cspine_lib.slice_method import (
    build_slice_classifier,
    slice_outputs,
    slice_probabilities,
    study_levels,
)
from cspine_lib.slice_models import SliceClassifier
from cspine_lib.slice_stacks import stack_px
from cspine_lib.slices import low_stack, neighbour_step, stack_25d
from cspine_lib.stage1 import build_localiser, locate_volume
from cspine_lib.stage2 import build_classifier
from cspine_lib.study_result import Judged
from cspine_lib.two_stage import TwoStageModel
from cspine_lib.volume import Volume
from cspine_lib.whole_neck import cube_logits
from cspine_lib.winner_predictors import untrained_neck_sequence, untrained_segmented

FloatArray = npt.NDArray[np.floating]
LevelBoxes = Mapping[str, LevelBox]


@dataclass(frozen=True, eq=False)
class TwoStagePredictor:
    """``TwoStageModel`` with its steps on the clock; the same probabilities.

    Args:
        stand_in: where networks have learned nothing, classify these places and not what
            stage 1 claims (which still takes its time).
    """

    model: TwoStageModel
    stand_in: bool = False

    def __call__(self, volume: Volume, clock: Clock) -> FloatArray:
        """(8,) in the order of ``anatomy.TARGETS``."""
        return self.judge(volume, clock)[0]

    def judge(self, volume: Volume, clock: Clock) -> tuple[FloatArray, LevelBoxes]:
        """(8,), and the levels that stage 1 found."""
        said = self.explain(volume, clock)
        return np.array([said.probability[target] for target in TARGETS]), said.levels

    def explain(self, volume: Volume, clock: Clock) -> Judged:
        """As ``judge``, with what stage 2 looked at."""
        model = self.model
        with clock.step("localise"):
            levels: LevelBoxes = model.locate(volume)
        if self.stand_in:
            levels = even_levels(volume)
        with clock.step("crop"):
            crops = model.crops(volume, levels)
        with clock.step("classify"):
            said, attention = model.judge(crops, levels)
        return Judged(said, levels, model.frames(volume, levels, attention))


def even_levels(volume: Volume) -> dict[str, LevelBox]:
    """Seven boxes of a vertebra's size down the middle: a place to crop where none is known."""
    z, y, x = volume.shape_zyx
    dz, dy, dx = volume.spacing_zyx_mm
    half_z = max(1, round(9 / dz))  # a level and its disc are some 18 mm tall, 55 mm across
    half_y, half_x = min(27.5 / dy, y / 2), min(27.5 / dx, x / 2)
    centres = np.linspace(half_z, z - 1 - half_z, len(LEVELS)).astype(int)
    return {
        name: LevelBox(
            name,
            max(int(c) - half_z, 0),
            min(int(c) + half_z, z - 1),
            x / 2 - half_x,
            y / 2 - half_y,
            x / 2 + half_x,
            y / 2 + half_y,
        )
        for name, c in zip(LEVELS, centres, strict=True)
    }


@dataclass(frozen=True, eq=False)
class _OneStack:
    """A single study for ``slice_method.slice_outputs``."""

    stack: npt.NDArray[np.uint8]
    z: npt.NDArray[np.int64]
    dz_mm: float

    def z_index(self, uid: str) -> npt.NDArray[np.int64]:
        return self.z

    def images(self, uid: str, positions: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        step = neighbour_step(self.z, self.dz_mm)
        return stack_25d(self.stack, np.asarray(positions, dtype=np.intp), step)


@dataclass(frozen=True, eq=False)
class SlicePredictor:
    """Single-head or multi-head model on all slices of a study.

    Args:
        judged: what the probabilities are calibrated on; None: they are the network's own.
    """

    net: SliceClassifier
    recipe: Recipe
    profile: Profile
    judged: Validation | None = None

    def __call__(self, volume: Volume, clock: Clock) -> FloatArray:
        """(8,) in the order of ``anatomy.TARGETS``."""
        pitch = None if self.profile.cache == "volume" else self.profile.localiser_pitch_mm
        with clock.step("crop"):
            stack, z = low_stack(volume, stack_px(self.profile), pitch)
        with clock.step("classify"):
            one: Any = _OneStack(stack, z, volume.spacing_zyx_mm[0])
            logits = study_levels(*slice_outputs(self.net, one, ""))
        if self.judged is not None:
            return slice_probabilities(self.recipe, logits[None], self.judged)[0]
        levels = 1 / (1 + np.exp(-logits))
        overall = (
            overall_max(levels) if self.recipe.overall_top_n == 1 else overall_noisy_or(levels)
        )
        return np.concatenate([[overall], levels])

    def judge(self, volume: Volume, clock: Clock) -> tuple[FloatArray, LevelBoxes]:
        """(8,), and no levels: it knows them by slice, without a box."""
        return self(volume, clock), {}


@dataclass(frozen=True, eq=False)
class CubePredictor:
    """The 3D CNN on the whole neck, or on the spine where localisers tell where that is.

    Args:
        judged: what the probabilities are calibrated on; None: they are the network's own.
        localisers: of the recipe's stage 1, for spine cubes.
    """

    net: NeckCNN3D
    recipe: Recipe
    profile: Profile
    judged: Validation | None = None
    localisers: Sequence[LevelLocaliser] = ()

    def __call__(self, volume: Volume, clock: Clock) -> FloatArray:
        """(8,) in the order of ``anatomy.TARGETS``."""
        return self.judge(volume, clock)[0]

    def judge(self, volume: Volume, clock: Clock) -> tuple[FloatArray, LevelBoxes]:
        """(8,), and the levels that stage 1 found: none on whole necks."""
        cube, levels = self._cube(volume, clock)
        with clock.step("classify"):
            logits = cube_logits(self.net, cube[None])
        if self.judged is not None:
            return cube_probabilities(logits, self.judged)[0], levels
        return 1 / (1 + np.exp(-logits[0])), levels

    def _cube(self, volume: Volume, clock: Clock) -> tuple[npt.NDArray[np.uint8], LevelBoxes]:
        if self.recipe.cube == "neck":
            with clock.step("crop"):
                return neck_cube(volume, (self.profile.cube_px,) * 3)[0], {}
        with clock.step("localise"):
            levels = locate_volume(self.localisers, volume, self.recipe.localiser, self.profile)
        with clock.step("crop"):
            return spine_cube(volume, levels, spine_spec(self.profile))[0], levels


def untrained(method: str, profile: Profile) -> Predictor:
    """A method with random weights, as large and as slow as the trained one.

    Raises:
        CspineError: no such method.
    """
    recipe, device = get_recipe(method), device_name()
    if recipe.kind == "segmented":
        return untrained_segmented(recipe, profile)
    if recipe.kind == "neck_sequence":
        return untrained_neck_sequence(profile)
    if recipe.kind == "cnn3d":
        nets = untrained_localisers(recipe, profile) if recipe.cube == "spine" else []
        return CubePredictor(NeckCNN3D().to(device).eval(), recipe, profile, None, nets)
    if recipe.dlc is not None:
        return untrained_dlc(recipe.dlc, profile)
    if recipe.slices is not None:
        net = build_slice_classifier(profile, recipe.slices.heads, "random")
        return SlicePredictor(net.to(device).eval(), recipe, profile)
    model = TwoStageModel(
        Path(),
        RunRecord(method, profile.name, DEFAULT_SEED, "none", "", "random", device),
        recipe,
        profile,
        untrained_localisers(recipe, profile),
        build_classifier(profile, recipe.sequence, "random").to(device).eval(),
        1.0,
        0.0,
        dict.fromkeys(LEVELS, 0.1),
        "untrained",
    )
    return TwoStagePredictor(model, stand_in=True)


def untrained_localisers(recipe: Recipe, profile: Profile) -> list[LevelLocaliser]:
    """Stage 1 with random weights."""
    parts = range(recipe.localiser.parts)
    return [build_localiser(profile, "random").to(device_name()).eval() for _ in parts]


def time_records(
    folder: Path | None, dataset: RsnaDataset, profile: Profile, studies: int
) -> dict[str, float]:
    """Put seconds per study into the records of this data set and profile.

    Networks of a record's method are timed with random weights, from files to probabilities,
    on the first studies of the set; the record keeps where that was.

    Args:
        folder: of the records; None: ``results/``.

    Returns:
        Method → mean seconds.
    """
    ids = dataset.train_ids[:studies]
    folders = {uid: dataset.root / TRAIN_IMAGES / uid for uid in ids}
    found: dict[str, float] = {}
    splits: dict[str, dict[str, float]] = {}
    for path in record_paths(folder):
        record = RunRecord.read(path)
        if (record.fingerprint, record.profile) != (dataset.fingerprint(), profile.name):
            continue
        if record.method not in found:
            table = split_table(time_studies(untrained(record.method, profile), folders))
            means = table.mean().round(4)
            splits[record.method] = {step: float(means[step]) for step in STEPS}
            found[record.method] = float(table.sum(axis=1).mean())
        scores = {
            "seconds_per_study": round(found[record.method], 4),
            "seconds_split": splits[record.method],
            "seconds_measured_on": {
                "device": device_name(),
                "cores": usable_cores(),
                "threads": torch.get_num_threads(),
                "studies": len(ids),
            },
        }
        replace(record, scores={**record.scores, **scores}).write(path)
    return found
