"""What stage 1 looks at: small bone-window slices, each stacked with its neighbours (2.5D)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from cspine_lib.volume import Volume, window

NEIGHBOUR_MM = 2.0
"""About how far the two neighbours of a 2.5D image are.  A fixed distance in mm, and not the
next slice: scans are 0.3 to 3.5 mm thin, and a network should see the same thing in all."""


def low_stack(
    volume: Volume, px: int, pitch_mm: float | None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Small bone-window slices of a volume.

    Args:
        px: side of the square result P.  An image that is not square is first filled
            up with air on the right or at the bottom, so that pixels stay square.
        pitch_mm: largest distance between the slices kept; None keeps every slice.  Where
            the volume is coarser, every slice is kept as well.

    Returns:
        uint8 (N, P, P), resized once with a triangle filter (averaging where it
        shrinks), and the (N,) index of each slice in the volume.
    """
    z, y, x = volume.shape_zyx
    step = 1 if pitch_mm is None else max(1, int(pitch_mm / volume.spacing_zyx_mm[0] + 1e-6))
    z_index = np.arange(0, z, step)
    out = np.empty((len(z_index), px, px), dtype=np.uint8)
    square = np.zeros((max(y, x), max(y, x)), dtype=np.uint8)
    for i, k in enumerate(z_index):
        square[:y, :x] = window(volume.hu_zyx[k], "bone")
        image = Image.fromarray(square)
        out[i] = np.asarray(image.resize((px, px), Image.Resampling.BILINEAR))
    return out, z_index


def neighbour_step(z_index: npt.ArrayLike, dz_mm: float) -> int:
    """How many stack entries away the neighbours of a 2.5D image are, at least 1.

    Args:
        z_index: (N,) index in the volume of each entry, evenly spaced.
        dz_mm: slice spacing of the volume.
    """
    z = np.asarray(z_index)
    between_mm = float(z[1] - z[0]) * dz_mm if len(z) > 1 else dz_mm
    return max(1, round(NEIGHBOUR_MM / between_mm))


def stack_25d(
    slices: npt.NDArray[np.uint8], position: int | npt.NDArray[np.integer], step: int
) -> npt.NDArray[np.uint8]:
    """Slices with their neighbours towards head and feet as three channels.

    Args:
        slices: (N, P, P).
        position: one entry, or (K,) of them.
        step: see :func:`neighbour_step`.  At an end the last slice stands in.

    Returns:
        (3, P, P), or (K, 3, P, P): channel 0 towards the head, 2 towards the feet.
    """
    where = np.asarray(position)[..., None] + np.array([-step, 0, step])
    return np.asarray(slices[np.clip(where, 0, len(slices) - 1)])
