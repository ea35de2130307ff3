"""A study seen from the side.

What crosses a vertebra level with its end plates (a fracture of the dens, a compression) is
one slice of many from above and a line through several from the side.  A volume whose axes
are permuted is cut by the same code as any other, so nothing else has to know of planes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from cspine_lib.label_maps import LabelMap
from cspine_lib.recipe_parts import Plane
from cspine_lib.volume import Volume

PLANES: dict[Plane, tuple[Literal["axial", "sagittal"], ...]] = {
    "axial": ("axial",),
    "sagittal": ("sagittal",),
    "both": ("axial", "sagittal"),
}
_ORDER = (2, 0, 1)
"""Axes of a sagittal volume among z, y, x: slices from right to left, rows from head to feet,
columns from front to back."""


def sagittal_volume(volume: Volume) -> Volume:
    """The same voxels (X, Z, Y), each at its own place in the patient; nothing is copied."""
    affine = volume.affine_mm.copy()
    affine[:, :3] = affine[:, _ORDER]
    return Volume(volume.hu_zyx.transpose(_ORDER), affine)


def sagittal_map(found: LabelMap, columns: int) -> LabelMap:
    """The same segmentation for :func:`sagittal_volume`.

    Args:
        columns: of the study's slices, X.
    """
    sz, sy, sx = found.scale_zyx
    return LabelMap(np.ascontiguousarray(found.cells.transpose(_ORDER)), (sx, sz, sy), columns)
