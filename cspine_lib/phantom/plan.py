"""What one simulated study is to be, and what was drawn.

Every random draw of a study comes from a stream of its own
(``StudyPlan.rng("noise")`` and so on), so that switching one thing off, such as
the fractures, changes no other draw.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.errors import CspineError

DEFAULT_DIFFICULTY: Final = 0.5
"""Visibility of fractures: 0 all plain to see, 1 nearly all hidden.

It moves the distribution from which width, extent, contrast and displacement of
each fracture are drawn (see ``fractures.draw_visibility``); at
any value the set is a mixture of obvious and hardly visible ones.
"""

STREAMS: Final = {
    "patient": 1,
    "anatomy": 2,
    "texture": 3,
    "fracture": 4,
    "lookalike": 5,
    "scanner": 6,
    "noise": 7,
    "streak": 8,
    "motion": 9,
}
"""Number of each independent random stream; never re-use or renumber one."""


@dataclass(frozen=True)
class StudyPlan:
    """Everything that decides one study; the same plan gives the same bytes.

    Args:
        seed: of the data set.
        index: of the study in the set.
        broken: 7 flags, C1 to C7.
        shape_zyx: slices, rows, columns.
        spacing_zyx_mm: distance between voxel centres.
        difficulty: see ``DEFAULT_DIFFICULTY``.
        cut_top: the field of view starts within C1, without the skull base.
        cut_bottom: it ends about C7's lower end plate.  Every cervical level stays at
            least partly in view, so that a cut is independent of what is broken.
        no_cervical: a thorax: no cervical level in view.  Nothing may be broken.

    Raises:
        CspineError: flags of another number than 7, a shape or spacing that is
            not positive, a difficulty outside 0 to 1, a fracture where there is
            no level.
    """

    seed: int
    index: int
    broken: tuple[bool, ...]
    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    difficulty: float = DEFAULT_DIFFICULTY
    cut_top: bool = False
    cut_bottom: bool = False
    no_cervical: bool = False

    def __post_init__(self) -> None:
        if len(self.broken) != N_LEVELS:
            raise CspineError(f"a plan needs {N_LEVELS} flags (C1–C7), got {len(self.broken)}")
        if min(self.shape_zyx) < 1 or min(self.spacing_zyx_mm) <= 0:
            raise CspineError("shape and spacing of a plan must be positive")
        if not 0 <= self.difficulty <= 1:
            raise CspineError(f"difficulty runs from 0 to 1, got {self.difficulty}")
        if self.no_cervical and any(self.broken):
            raise CspineError("a study without a cervical level cannot have one broken")

    def rng(self, stream: str) -> np.random.Generator:
        """A fresh generator of one purpose, a key of ``STREAMS``."""
        return np.random.default_rng([self.seed, self.index, STREAMS[stream]])


@dataclass(frozen=True)
class Fracture:
    """One drawn fracture.

    ``centre_zyx_mm`` is measured from the centre of voxel (0, 0, 0).
    ``region_zyx`` are the voxels ``(z0, z1, y0, y1, x0, x1)``, half open, outside
    which switching the fracture off changes nothing.  ``extent_px`` are, per
    slice in which it shows, ``(z, x0, y0, width, height)``.
    """

    level: str
    kind: str
    centre_zyx_mm: tuple[float, float, float]
    width_mm: float
    contrast: float
    """Share of the bone's density that the cut removes, 0 to 1."""
    displacement_mm: float
    region_zyx: tuple[int, int, int, int, int, int]
    extent_px: tuple[tuple[int, float, float, float, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description for the truth file."""
        return {
            "level": self.level,
            "kind": self.kind,
            "centre_zyx_mm": [round(float(v), 2) for v in self.centre_zyx_mm],
            "width_mm": round(float(self.width_mm), 3),
            "contrast": round(float(self.contrast), 3),
            "displacement_mm": round(float(self.displacement_mm), 3),
            "region_zyx": [int(v) for v in self.region_zyx],
            "slices": [int(e[0]) for e in self.extent_px],
        }


@dataclass(frozen=True, eq=False)
class DrawnStudy:
    """A drawn study, head to feet, front to back, patient right to left.

    ``boxes`` holds exactly one ``(z, x0, y0, width, height)`` in px per slice in
    which a fracture shows: the union over the fractures of that slice.
    """

    hu_zyx: npt.NDArray[np.int16]
    mask_zyx: npt.NDArray[np.uint8]
    """0 background, 1–7 C1–C7, 8–19 T1–T12."""
    fractures: tuple[Fracture, ...]
    boxes: tuple[tuple[int, float, float, float, float], ...]
    truth: dict[str, Any] = field(default_factory=dict)

    @property
    def fracture_regions(self) -> tuple[tuple[int, int, int, int, int, int], ...]:
        """Per fracture the voxels that it may change, ``(z0, z1, y0, y1, x0, x1)``."""
        return tuple(f.region_zyx for f in self.fractures)
