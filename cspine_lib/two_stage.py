"""A trained two-stage run as one object: locate the levels of a volume, then judge them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import LEVELS, OVERALL
from cspine_lib.cache import VolumeCache, cache_for
from cspine_lib.checkpoint import MODEL_FILE
from cspine_lib.config import PROFILES, Profile
from cspine_lib.crops import STACK, crop_slices
from cspine_lib.cropstore import MARGIN, study_crops
from cspine_lib.errors import CspineError
from cspine_lib.labels import LevelBox
from cspine_lib.metrics import overall_noisy_or
from cspine_lib.models import CropSequenceNet, LevelLocaliser
from cspine_lib.recipes import Recipe, get_recipe
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import RunRecord, read_json
from cspine_lib.stage1 import load_localisers, locate_volume
from cspine_lib.stage2 import level_logits, load_classifier
from cspine_lib.study_result import Frames, Judged
from cspine_lib.volume import Volume

RECORD = "run.json"
MODEL = "two_stage.json"


def open_cache(dataset: RsnaDataset, profile: Profile, *, progress: bool = True) -> VolumeCache:
    """The decoded-once cache of a data set's training studies, built where needed."""
    return cache_for(dataset, profile, dataset.train_ids, progress=progress)


@dataclass(frozen=True, eq=False)
class TwoStageModel:
    """Everything that a study needs on its way from volume to probabilities."""

    folder: Path
    record: RunRecord
    recipe: Recipe
    profile: Profile
    localisers: Sequence[LevelLocaliser]
    classifier: CropSequenceNet
    scale: float
    bias: float
    rates: Mapping[str, float]
    """Training rate of each level, for levels that are not found."""
    identity: str
    """Changes with the weights: results of another model are never taken for this one's."""

    @classmethod
    def load(cls, folder: str | Path) -> TwoStageModel:
        """Load a finished run.

        Raises:
            CspineError: no finished run there.
        """
        folder = Path(folder)
        if not (folder / RECORD).exists():
            raise CspineError(
                f"no finished run in {folder}: train one with 'cspine train', or run it to its end"
            )
        record, facts = RunRecord.read(folder / RECORD), read_json(folder / MODEL)
        try:
            return cls._from_facts(folder, record, facts)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CspineError(
                f"{folder / MODEL} or {RECORD} is damaged ({type(error).__name__}: {error}): "
                "train it again"
            ) from error

    @classmethod
    def _from_facts(cls, folder: Path, record: RunRecord, facts: dict[str, Any]) -> TwoStageModel:
        recipe = get_recipe(record.method)
        # Where the hub did not answer, the run has another backbone than its profile.
        profile = replace(PROFILES[record.profile], backbone=facts["profile"]["backbone"])
        if not _same_nets(facts["profile"], profile):
            raise CspineError(
                f"{folder} was trained with other sizes than profile {profile.name!r} has now: "
                "train it again into another folder"
            )
        localisers = [folder / name for name in facts["localisers"]]
        if not localisers or not isinstance(record.data, str):
            raise ValueError("it names no localisers or no data")
        for part in (*localisers, folder / "classifier"):
            _check_weights(part, facts["weights_sha256"][part.name])
        return cls(
            folder,
            record,
            recipe,
            profile,
            load_localisers(localisers, profile),
            load_classifier(folder / "classifier", profile, recipe.sequence),
            _number(facts["scale"]),
            _number(facts["bias"]),
            {level: _number(facts["rates"][level], 0, 1) for level in LEVELS},
            hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16],
        )

    @property
    def trained_on(self) -> str:
        """Name of the data; a phantom's begins with that word."""
        return self.record.data

    @property
    def prior(self) -> dict[str, float]:
        """What a study gets of which nothing can be seen."""
        return self._with_overall(np.full(len(LEVELS), np.nan))

    def locate(self, volume: Volume) -> dict[str, LevelBox]:
        """Slice range and box of each level that the localisers find."""
        return locate_volume(self.localisers, volume, self.recipe.localiser, self.profile)

    def judge_volume(self, volume: Volume) -> tuple[dict[str, float], dict[str, LevelBox]]:
        """Calibrated probabilities of the eight targets, and the levels that were found."""
        levels = self.locate(volume)
        return self.classify(volume, levels), levels

    @property
    def about(self) -> dict[str, str]:
        """What a report says of the model."""
        return {
            "method": f"{self.recipe.name}: {self.recipe.title}",
            "profile": self.profile.name,
            "weights before training": self.record.weights,
            "training studies": str(len({uid for p in self.record.parts for uid in p.train})),
        }

    def explain(self, volume: Volume) -> Judged:
        """As ``judge_volume``, with what stage 2 looked at."""
        levels = self.locate(volume)
        said, attention = self.classify_with_attention(volume, levels)
        return Judged(said, levels, self.frames(volume, levels, attention))

    def frames(
        self,
        volume: Volume,
        levels: Mapping[str, LevelBox],
        attention: npt.NDArray[np.float64],
    ) -> dict[str, Frames]:
        """Slices and weight (7, T) of each level's frames; none from a net without attention."""
        if not self.recipe.sequence.attention:
            return {}
        n, t = volume.shape_zyx[0], attention.shape[1]
        return {
            name: Frames(
                crop_slices(box, n, STACK * t).reshape(t, STACK), attention[LEVELS.index(name)]
            )
            for name, box in levels.items()
        }

    def classify(self, volume: Volume, levels: Mapping[str, LevelBox]) -> dict[str, float]:
        """Calibrated probabilities of C1–C7 and ``patient_overall``."""
        return self.classify_with_attention(volume, levels)[0]

    def classify_with_attention(
        self, volume: Volume, levels: Mapping[str, LevelBox]
    ) -> tuple[dict[str, float], npt.NDArray[np.float64]]:
        """As ``classify``; also the weight of each frame (7, T), NaN for levels not found."""
        return self.judge(self.crops(volume, levels), levels)

    def crops(self, volume: Volume, levels: Mapping[str, LevelBox]) -> npt.NDArray[np.uint8]:
        """What stage 2 looks at, (7, T, 3, S, S)."""
        sequence = self.recipe.sequence
        return study_crops(
            volume,
            levels,
            frames=sequence.frames_of(self.profile),
            px=self.profile.crop_px,
            margin=MARGIN,
            crop=sequence.crop,
            neighbours=sequence.neighbours,
        )

    def judge(
        self, crops: npt.NDArray[np.uint8], levels: Mapping[str, LevelBox]
    ) -> tuple[dict[str, float], npt.NDArray[np.float64]]:
        """As ``classify_with_attention``, from crops that are cut already."""
        found = np.array([level in levels for level in LEVELS])
        logits, attention = level_logits(self.classifier, crops, found, self.profile.crop_px)
        return self._with_overall(logits), attention

    def _with_overall(self, logits: npt.NDArray[np.float64]) -> dict[str, float]:
        return probabilities(logits, self.scale, self.bias, self.rates, self.recipe.overall_top_n)


def _number(value: Any, low: float = -1e6, high: float = 1e6) -> float:
    if not low <= value <= high:  # also for NaN
        raise ValueError(f"{value} is no number from {low:g} to {high:g}")
    return float(value)


def _check_weights(folder: Path, sha256: str) -> None:
    """Refuse weights that are not the ones that the run ended with: copied badly, or exchanged."""
    path = folder / MODEL_FILE
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise CspineError(f"{path} is not what the run ended with: copy it again, or train again")


def probabilities(
    logits: npt.NDArray[np.float64],
    scale: float,
    bias: float,
    rates: Mapping[str, float],
    top_n: int,
) -> dict[str, float]:
    """Logits (7,) of one study → probabilities of the eight targets; NaN gets its rate."""
    p = 1 / (1 + np.exp(-(scale * logits + bias)))
    p = np.where(np.isfinite(logits), p, [rates[level] for level in LEVELS])
    overall = float(overall_noisy_or(p[None], top_n)[0])
    return {OVERALL: overall, **dict(zip(LEVELS, p.tolist(), strict=True))}


def model_facts(
    profile: Profile,
    localisers: Sequence[Path],
    weights_sha256: Mapping[str, str],
    calibration: Mapping[str, float],
    rates: Mapping[str, float],
) -> dict[str, Any]:
    """What ``TwoStageModel.load`` needs beside the weights.

    Args:
        localisers: their folders, seen from the run's folder.
    """
    return {
        "profile": asdict(profile),
        "localisers": [path.as_posix() for path in localisers],
        "weights_sha256": dict(weights_sha256),
        "rates": dict(rates),
        **calibration,
    }


def _same_nets(stored: Mapping[str, Any], profile: Profile) -> bool:
    """Whether networks and inputs have the sizes that they were trained with."""
    names = ("backbone", "localiser_px", "crop_px", "frames", "slices_per_level")
    return all(stored[name] == getattr(profile, name) for name in names)
