"""Connected pieces of a segmentation, and its clean-up: of every level the largest piece."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.errors import CspineError

Mask = npt.NDArray[np.uint8]
TOUCHING = np.ones((3, 3, 3), dtype=int)
"""Voxels that share a face, an edge or a corner belong together: thin bone often steps
diagonally from voxel to voxel."""


def labelled(inside: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """Number of its piece for each voxel, and voxels of each piece (background first)."""
    numbered, count = ndimage.label(inside, structure=TOUCHING)
    return numbered, np.bincount(numbered.ravel(), minlength=count + 1)


def cleaned(mask_zyx: Mask, min_share: float = 1.0) -> Mask:
    """The mask without the small pieces of each cervical level; other values stay.

    Args:
        mask_zyx: (Z, Y, X), 1–7 for C1–C7.
        min_share: pieces below this share of the level's largest go; 1 keeps the largest only.

    Raises:
        CspineError: a share outside 0 to 1.
    """
    if not 0 <= min_share <= 1:
        raise CspineError(f"a share runs from 0 to 1, got {min_share}")
    out = np.array(mask_zyx)
    for value, box in enumerate(ndimage.find_objects(out, max_label=N_LEVELS), start=1):
        if box is None:
            continue
        numbered, sizes = labelled(out[box] == value)
        sizes[0] = 0
        small = sizes < min_share * sizes.max()
        small[0] = False
        out[box][small[numbered]] = 0
    return out
