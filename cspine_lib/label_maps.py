"""A segmentation on a coarse grid over a study: its levels, and its outline in a crop.

Networks that segment see a study small.  What they say is kept on their own grid together
with the size of a cell in native voxels, and is asked for where it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import MASK_VALUE
from cspine_lib.components import cleaned
from cspine_lib.labels import LevelBox, true_levels

LEAST_CELLS = 3
"""A level of fewer cells is noise."""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Levels of a study on a coarse grid whose edges are those of the study.

    Args:
        cells: uint8 (D, H, W), 1–7 for C1–C7.
        scale_zyx: native voxels in a cell along each axis.
        depth: slices of the study.
    """

    cells: npt.NDArray[np.uint8]
    scale_zyx: tuple[float, float, float]
    depth: int

    @classmethod
    def cleaned(
        cls,
        cells: npt.NDArray[np.uint8],
        scale_zyx: tuple[float, float, float],
        depth: int,
    ) -> LabelMap:
        """With only the largest connected piece of each level (the winners' clean-up)."""
        return cls(cleaned(cells), scale_zyx, depth)

    def levels(self) -> dict[str, LevelBox]:
        """Slice range and box of each level that is there, in native voxels."""
        sz, sy, sx = self.scale_zyx
        out = {}
        for name, box in true_levels(self.cells).items():
            if int((self.cells == MASK_VALUE[name]).sum()) < LEAST_CELLS:
                continue
            z0 = min(max(round(box.z0 * sz), 0), self.depth - 1)
            z1 = min(max(round((box.z1 + 1) * sz) - 1, z0), self.depth - 1)
            edges = (box.x0 * sx, box.y0 * sy, box.x1 * sx, box.y1 * sy)
            out[name] = LevelBox(name, z0, z1, *edges)
        return out

    def outline(
        self,
        level: str,
        z: int,
        edges_x: tuple[float, float],
        edges_y: tuple[float, float],
        size: int,
    ) -> npt.NDArray[np.uint8]:
        """A level in a crop of a slice: (size, size), 255 inside, 0 outside.

        Args:
            z: native slice.
            edges_x, edges_y: half-open edges of the crop in native pixels; may leave the study.
        """
        sz, sy, sx = self.scale_zyx
        depth, rows, columns = self.cells.shape
        plane = self.cells[min(int((z + 0.5) / sz), depth - 1)]
        y = np.floor(_centres(*edges_y, size) / sy).astype(int)
        x = np.floor(_centres(*edges_x, size) / sx).astype(int)
        inside = ((y >= 0) & (y < rows))[:, None] & ((x >= 0) & (x < columns))[None]
        there = plane[np.clip(y, 0, rows - 1)][:, np.clip(x, 0, columns - 1)]
        return np.where(inside & (there == MASK_VALUE[level]), 255, 0).astype(np.uint8)


def _centres(start: float, stop: float, size: int) -> npt.NDArray[np.float64]:
    """Centres of ``size`` pixels between two edges."""
    return start + (np.arange(size) + 0.5) * (stop - start) / size
