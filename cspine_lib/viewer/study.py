"""What the viewer shows: one study with what is known of it, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import LEVELS, MASK_VALUE, OVERALL
from cspine_lib.errors import CspineError
from cspine_lib.labels import LevelBox
from cspine_lib.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

BOX_COLUMNS = ("z", "x", "y", "width", "height")


@dataclass(frozen=True)
class ViewedStudy:
    """One study for the eye.

    Args:
        volume: the CT.
        mask_zyx: (Z, Y, X) mask values on the volume's grid (1–7 for C1–C7), or None.
        boxes: fracture boxes as ``RsnaDataset.boxes_of`` gives them: z, x, y, width, height
            in voxels; or None.
        levels: level boxes that a localiser claims.
        probability: fracture probability of some of C1–C7 and ``patient_overall``.
        title: shown above the images.

    Raises:
        CspineError: a mask of another shape, a table without these columns, an unknown level,
            a probability outside 0 … 1.
    """

    volume: Volume
    mask_zyx: npt.NDArray[np.integer] | None = None
    boxes: pd.DataFrame | None = None
    levels: Mapping[str, LevelBox] = field(default_factory=dict)
    probability: Mapping[str, float] = field(default_factory=dict)
    title: str = ""

    def __post_init__(self) -> None:
        shape = self.volume.shape_zyx
        if self.mask_zyx is not None and np.shape(self.mask_zyx) != shape:
            raise CspineError(
                f"the mask has shape {np.shape(self.mask_zyx)}, the volume {shape}: "
                "read it with read_mask, which puts it on the volume's grid"
            )
        missing = set(BOX_COLUMNS) - set(() if self.boxes is None else self.boxes.columns)
        if self.boxes is not None and missing:
            raise CspineError(f"the boxes lack the columns {', '.join(sorted(missing))}")
        for name, value in self.probability.items():
            if name not in (*LEVELS, OVERALL):
                raise CspineError(
                    f"unknown target {name!r}; known: {', '.join((*LEVELS, OVERALL))}"
                )
            if not 0 <= value <= 1:
                raise CspineError(f"the probability of {name} is {value}, not within 0 … 1")

    @property
    def has_boxes(self) -> bool:
        """Whether there is any fracture box."""
        return self.boxes is not None and len(self.boxes) > 0

    @cached_property
    def centres_zyx(self) -> dict[str, tuple[int, int, int]]:
        """A voxel in the middle of each level that the mask or the localiser knows."""
        out = {}
        for level in LEVELS:
            box = self.levels.get(level)
            if self.mask_zyx is not None:
                found = np.argwhere(self.mask_zyx == MASK_VALUE[level])
                if len(found):
                    z, y, x = (int(v) for v in np.median(found, axis=0))
                    out[level] = (z, y, x)
            elif box is not None:
                z, y, x = (round(v) for v in box.centre_zyx)
                out[level] = (z, y, x)
        return out

    @cached_property
    def start_zyx(self) -> tuple[int, int, int]:
        """Where the eye should begin: a fracture box, else the middle of the neck."""
        if self.boxes is not None and len(self.boxes):
            box = self.boxes.iloc[len(self.boxes) // 2]
            middle = [box["z"], box["y"] + box["height"] / 2, box["x"] + box["width"] / 2]
        elif self.centres_zyx:
            middle = np.median(list(self.centres_zyx.values()), axis=0).tolist()
        else:
            middle = [n / 2 for n in self.volume.shape_zyx]
        z, y, x = (
            int(np.clip(v, 0, n - 1)) for v, n in zip(middle, self.volume.shape_zyx, strict=True)
        )
        return z, y, x

    def level_at(self, z: int, y: int, x: int) -> str:
        """Name of the level whose mask covers a voxel; empty if none does."""
        value = 0 if self.mask_zyx is None else int(self.mask_zyx[z, y, x])
        return LEVELS[value - 1] if 1 <= value <= len(LEVELS) else ""

    def boxes_at(self, z: int) -> list[tuple[float, float, float, float]]:
        """x, y, width, height in px of the fracture boxes of one slice."""
        if self.boxes is None:
            return []
        mine = self.boxes[self.boxes["z"] == z]
        rows = mine[["x", "y", "width", "height"]].to_numpy(dtype=float).tolist()
        return [(x, y, width, height) for x, y, width, height in rows]

    def box_frames(self) -> npt.NDArray[np.uint8]:
        """(Z, Y, X) with 1 on the edges of all fracture boxes, about a millimetre wide."""
        out = np.zeros(self.volume.shape_zyx, dtype=np.uint8)
        _, rows, columns = out.shape
        _, dy, dx = self.volume.spacing_zyx_mm
        wide_y, wide_x = max(1, round(1 / dy)), max(1, round(1 / dx))
        for z in range(len(out)):
            for x, y, width, height in self.boxes_at(z):
                x0, y0 = max(round(x), 0), max(round(y), 0)
                x1, y1 = min(round(x + width), columns), min(round(y + height), rows)
                out[z, y0:y1, x0:x1] = 1
                out[z, y0 + wide_y : y1 - wide_y, x0 + wide_x : x1 - wide_x] = 0
        return out
