"""A set that is asked for, and one study of it: plain data, decided before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cspine_lib.errors import CspineError
from cspine_lib.phantom.plan import StudyPlan

Part = Literal["train", "test"]
Syntax = Literal["explicit", "implicit", "jpeg"]


@dataclass(frozen=True)
class Request:
    """What is asked for; two equal requests give two equal sets.

    Raises:
        CspineError: a count, shape or difficulty that cannot be.
    """

    train: int
    test: int
    shape_zyx: tuple[int, int, int]
    fov_mm: tuple[float, float]
    masked: int
    seed: int
    difficulty: float

    def __post_init__(self) -> None:
        if self.train < 1 or self.test < 0:
            raise CspineError(f"a phantom needs studies, got train={self.train} test={self.test}")
        if not 0 <= self.masked <= self.train:
            raise CspineError(f"masked must lie in 0 to {self.train} (train), got {self.masked}")
        if min(self.shape_zyx) < 16 or min(self.fov_mm) <= 0:
            raise CspineError(f"no study fits in {self.shape_zyx} voxels of {self.fov_mm} mm")
        if not 0 <= self.difficulty <= 1:
            raise CspineError(f"difficulty runs from 0 to 1, got {self.difficulty}")


@dataclass(frozen=True)
class Storage:
    """How a study lies in files.

    ``origin_mm`` is the LPS position of voxel (0, 0, 0), the topmost slice.
    ``skipped`` are the places in the numbering after which one number is left out.
    ``window`` are (width, centre) pairs; more than one makes WindowCenter multi-valued.
    """

    syntax: Syntax = "explicit"
    signed: bool = True
    window: tuple[tuple[float, float], ...] = ((1800.0, 500.0),)
    feet_first: bool = False
    first_number: int = 1
    skipped: tuple[int, ...] = ()
    thickness_mm: float = 1.0
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    unreadable_z: int | None = None

    def numbers(self, n_slices: int) -> npt.NDArray[np.int64]:
        """Number in the file's name of each slice, head to feet."""
        place = np.arange(n_slices)
        number = self.first_number + place
        for after in self.skipped:
            number = number + (place > after)
        return number[::-1] if self.feet_first else number


@dataclass(frozen=True)
class StudyDesign:
    """One study of the set: what to draw, its name, its files, what else there is of it."""

    uid: str
    part: Part
    plan: StudyPlan
    storage: Storage
    boxed: bool = False
    mask_axes: str | None = None
    """NIfTI axis codes of the mask, e.g. ``"LAS"``; None: no mask."""

    def traps(self) -> dict[str, Any]:
        """Every property in which files of real studies differ, by name."""
        return {
            "syntax": self.storage.syntax,
            "signed": self.storage.signed,
            "multi_window": len(self.storage.window) > 1,
            "overlapping_slices": self.storage.thickness_mm > self.plan.spacing_zyx_mm[0],
            "feet_first": self.storage.feet_first,
            "late_start": self.storage.first_number != 1,
            "skipped_number": bool(self.storage.skipped),
            "unreadable_file": self.storage.unreadable_z is not None,
            "no_cervical": self.plan.no_cervical,
            "cut_top": self.plan.cut_top,
            "cut_bottom": self.plan.cut_bottom,
            "mask_axes": self.mask_axes,
        }
