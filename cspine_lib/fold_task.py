"""One outer fold of a method: what its training is given, and what it gives back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.cache import VolumeCache
from cspine_lib.config import Profile, settings_of
from cspine_lib.errors import CspineError
from cspine_lib.jobs import load_array, save_array
from cspine_lib.metrics import fit_platt
from cspine_lib.recipes import Recipe, settings_of_recipe
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import Part
from cspine_lib.splits import inner_split
from cspine_lib.volume import Volume

FloatArray = npt.NDArray[np.floating]
VALIDATION = "validation.npy"
VALIDATION_SHARE = 0.15
"""Of a fold's training studies, for early stopping and calibration."""


@dataclass(frozen=True)
class FoldTask:
    """One method on one outer fold.

    Args:
        train, test: readable studies of the other folds, and of this one.
        folder: of this method and fold.
        shared: of this fold, for what several methods use (pseudo-labels, cubes).
    """

    recipe: Recipe
    profile: Profile
    dataset: RsnaDataset
    cache: VolumeCache
    fold: int
    train: list[str]
    test: list[str]
    folder: Path
    shared: Path
    seed: int
    progress: bool = True

    @property
    def labels8(self) -> dict[str, npt.NDArray[np.int64]]:
        """Training labels (8,) in the order of ``anatomy.TARGETS``; none of a held-out study."""
        rows = {uid: self.dataset.labels(uid) for uid in self.train}
        return {uid: np.concatenate([[int(row.any())], row]) for uid, row in rows.items()}

    @property
    def labels(self) -> dict[str, npt.NDArray[np.int64]]:
        """Training labels (7,) for C1–C7."""
        return {uid: row[1:] for uid, row in self.labels8.items()}

    def volume(self, uid: str) -> Volume:
        """A study's volume: from the cache, or decoded again where that keeps none."""
        if self.cache.mode == "volume":
            return self.cache.volume(uid)
        return self.dataset.read_study(uid).volume

    def inner(self) -> tuple[list[str], list[str]]:
        """Training and validation studies within this fold's training part."""
        labels = self.labels8
        rows = [labels[uid] for uid in self.train]
        return inner_split(self.train, rows, VALIDATION_SHARE, self.seed)


@dataclass
class FoldResult:
    """Probabilities (N, 8) of a fold's held-out studies, and how they came about."""

    p: FloatArray
    parts: list[Part]
    weights: str
    seconds: float
    notes: dict[str, Any] = field(default_factory=dict)
    n_processes: int = 1
    """That trained the last network together."""

    @classmethod
    def of_the_first(cls) -> FoldResult:
        """Nothing: of several processes that train together the first alone predicts."""
        return cls(np.empty((0, N_LEVELS + 1)), [], "", 0.0)


@dataclass(frozen=True)
class Validation:
    """Logits and labels of a fold's validation studies: what its probabilities are calibrated on.

    Args:
        z, y: (M, 7) or (M, 8), rows in the order of ``FoldTask.inner``.
    """

    z: FloatArray
    y: npt.NDArray[np.int64]

    def write(self, folder: Path) -> None:
        """Keep it beside a fold's weights."""
        save_array(folder / VALIDATION, np.stack([self.z, self.y.astype(np.float64)]))

    @classmethod
    def read(cls, folder: Path) -> Validation:
        """What :meth:`write` has kept.

        Raises:
            CspineError: there is none.
        """
        if not (folder / VALIDATION).exists():
            raise CspineError(
                f"{folder} keeps no validation logits to calibrate with: "
                "delete it and run 'cspine run' again"
            )
        z, y = load_array(folder / VALIDATION)
        return cls(z, y.astype(np.int64))


def calibrated(z: FloatArray, z_val: FloatArray, y_val: npt.NDArray[Any]) -> FloatArray:
    """Logits → probabilities, by a Platt scale and bias fitted on validation logits."""
    scale, bias = fit_platt(z_val, y_val)
    return 1 / (1 + np.exp(-(scale * z + bias)))


def calibration_part(task: FoldTask, val: list[str], uses: list[str]) -> Part:
    """The last part of a fold's chain: what turns its outputs into the probabilities scored."""
    name = f"calibration/fold{task.fold}"
    return Part(name, val, test=task.test, uses=uses, kind="calibration", fold=task.fold)


def training_settings(recipe: Recipe, profile: Profile) -> list[dict[str, Any]]:
    """What of a method and of a profile decides a training, whatever the data."""
    # A spine cube is cut by stage 1 and sized by stage 2: their settings decide it too.
    kind = "cnn3d_spine" if recipe.cube == "spine" else recipe.kind
    return [settings_of_recipe(recipe), settings_of(profile, kind)]


def settings_digest(recipe: Recipe, profile: Profile) -> str:
    """The same in short: a fold of another digest has other networks."""
    content = json.dumps(training_settings(recipe, profile), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:20]
