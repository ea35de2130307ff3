"""What a trained method says of one study, and what is asked of a method so that it can say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cspine_lib.issues import Issue
from cspine_lib.labels import LevelBox
from cspine_lib.volume import Volume

NOT_FOR_CLINIC = "Research software, not for clinical use."
PHANTOM_ONLY = (
    "This model was trained on simulated scans alone; its probabilities mean nothing for a patient."
)


@dataclass(frozen=True, eq=False)
class Frames:
    """What the sequence net looked at in one level.

    Attributes:
        z: native slices of each frame, (T, 3), head to feet.
        weight: attention of the frames, (T,), summing to 1.
    """

    z: npt.NDArray[np.integer]
    weight: npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Judged:
    """Probabilities of one volume, and how they came about.

    Attributes:
        probability: of ``anatomy.TARGETS``, calibrated.
        levels: those that were found, which may be none.
        frames: of each level found; empty for a method without attention.
        remark: what has to be known to read levels and frames, if anything.
    """

    probability: Mapping[str, float]
    levels: Mapping[str, LevelBox]
    frames: Mapping[str, Frames] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True, eq=False)
class StudyResult(Judged):
    """What is known of one study after prediction."""

    study: str = ""
    issues: tuple[Issue, ...] = ()
    error: str = ""
    """Why the study was not judged; its probabilities are then the training rates."""


class StudyModel(Protocol):
    """A trained method as prediction needs it."""

    @property
    def prior(self) -> Mapping[str, float]:
        """What a study gets of which nothing can be seen."""
        ...

    @property
    def trained_on(self) -> str:
        """Name of the data; a phantom's begins with that word."""
        ...

    @property
    def identity(self) -> str:
        """Changes with the weights."""
        ...

    def judge_volume(self, volume: Volume) -> tuple[Mapping[str, float], Mapping[str, LevelBox]]:
        """Calibrated probabilities of the eight targets, and the levels that were found."""
        ...


def judge(model: StudyModel, volume: Volume) -> Judged:
    """All that a model tells of a volume: frames too, from a model that has ``explain``."""
    explain = getattr(model, "explain", None)
    if explain is not None:
        said: Judged = explain(volume)
        return said
    return Judged(*model.judge_volume(volume))


def about(model: StudyModel) -> dict[str, str]:
    """What a model tells of itself, for a report: names and values."""
    return {
        **getattr(model, "about", {}),
        "weights' hash": model.identity,
        "trained on": model.trained_on,
    }


def is_phantom_only(model: StudyModel) -> bool:
    """Whether a model has seen no patient."""
    return model.trained_on.startswith("phantom")


def caution(model: StudyModel) -> str:
    """What every page and file of results says."""
    return f"{NOT_FOR_CLINIC} {PHANTOM_ONLY}" if is_phantom_only(model) else NOT_FOR_CLINIC
