"""Small pieces of a mask: found, planted on purpose, removed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from cspine_lib.anatomy import LEVELS, MASK_VALUE, N_LEVELS
from cspine_lib.components import Mask, labelled
from cspine_lib.errors import CspineError


def pieces(mask_zyx: npt.NDArray[np.integer]) -> pd.DataFrame:
    """Connected pieces of C1–C7: columns level, voxels, rank (0 is the level's largest)."""
    rows = []
    boxes = ndimage.find_objects(np.asarray(mask_zyx), max_label=N_LEVELS)
    for level, box in zip(LEVELS, boxes, strict=True):
        if box is not None:
            _, sizes = labelled(mask_zyx[box] == MASK_VALUE[level])
            rows += [(level, int(n), i) for i, n in enumerate(sorted(sizes[1:].tolist())[::-1])]
    return pd.DataFrame(rows, columns=["level", "voxels", "rank"])


def planted(
    mask_zyx: Mask,
    spacing_zyx_mm: tuple[float, float, float],
    rng: np.random.Generator,
    *,
    strays: int = 1,
    radius_mm: float = 0.0,
) -> Mask:
    """The mask with false pieces in it: balls of a cervical value, anywhere in the background.

    Args:
        mask_zyx: (Z, Y, X).
        strays: how many; each gets the value of a level that is in the mask.
        radius_mm: of each ball; 0 is a single voxel.  Voxels of other bone stay as they are.

    Raises:
        CspineError: no cervical level in the mask.
    """
    present = np.intersect1d(mask_zyx, list(MASK_VALUE.values()))
    if not len(present):
        raise CspineError("no cervical level in this mask: nothing to plant")
    out = mask_zyx.copy()
    shape = np.array(mask_zyx.shape)
    for _ in range(strays):
        value, centre = rng.choice(present), rng.integers(0, shape)
        while mask_zyx[tuple(centre)]:
            centre = rng.integers(0, shape)
        reach = np.floor(radius_mm / np.array(spacing_zyx_mm)).astype(int)
        low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, shape)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        place = np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij", sparse=True)
        squared = sum(
            ((axis - c) * mm) ** 2
            for axis, c, mm in zip(place, centre, spacing_zyx_mm, strict=True)
        )
        out[box][(squared <= radius_mm**2) & (mask_zyx[box] == 0)] = value
    return out
