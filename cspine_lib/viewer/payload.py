"""A study as the bytes that go to the browser, once: gzipped NIfTI files.

A CT of 512 × 512 × 300 is 157 MB of int16.  What a screen shows has 256 greys, over
1800 HU in the bone window and over 400 HU in the soft-tissue window, and the noise of a
sharp kernel is tens of HU, so the lowest bits only cost bytes: HU are rounded to ``step_hu``.
"""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import WINDOWS
from cspine_lib.volume import LPS_TO_RAS

STEP_HU = 4
"""HU are sent in steps of this; a grey of the soft-tissue window is 1.6 HU, of bone 7."""
LOWEST_HU = round(min(level - width / 2 for width, level in WINDOWS.values()))
HIGHEST_HU = round(max(level + width / 2 for width, level in WINDOWS.values()))
"""Beyond these every display window is black or white; the noise of the air around the
patient, a fifth of the bytes, goes with it."""


def nifti_gz(values_zyx: npt.NDArray[Any], affine_mm: npt.NDArray[np.float64]) -> bytes:
    """A (Z, Y, X) array as a ``.nii.gz`` file.

    Args:
        values_zyx: int16 or uint8.
        affine_mm: (4, 4), voxel (z, y, x, 1) → LPS mm, as of ``Volume``.
    """
    import nibabel

    to_zyx = np.eye(4)[[2, 1, 0, 3]]  # NIfTI counts x, y, z
    affine_ras = LPS_TO_RAS @ affine_mm @ to_zyx
    image = nibabel.Nifti1Image(values_zyx.transpose(2, 1, 0), affine_ras)
    image.header.set_xyzt_units("mm")
    # Level 1: three times as fast as the default, and a tenth larger.
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def display_hu(hu_zyx: npt.NDArray[np.int16], step_hu: int = STEP_HU) -> npt.NDArray[np.int16]:
    """HU for the screen: clipped, and rounded to ``step_hu``, which must be a power of two."""
    half = step_hu // 2
    shown = np.clip(hu_zyx, LOWEST_HU, HIGHEST_HU) + np.int16(half)
    return shown & np.int16(-step_hu)
