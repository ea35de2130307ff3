"""Where fractures change a study, and the boxes that a reader would draw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cspine_lib.phantom.plan import Fracture
from cspine_lib.phantom.sdf import Grid, Slices

Extent = tuple[int, float, float, float, float]
Region = tuple[int, int, int, int, int, int]
Floats = npt.NDArray[np.floating]


def changed_region(
    changed: npt.NDArray[np.bool_], box: Slices, reach: tuple[int, int, int], shape: tuple[int, ...]
) -> Region:
    """Box of the changed voxels, widened by the point spread, clipped to the volume."""
    out: list[int] = []
    for axis in range(3):
        hit = np.nonzero(changed.any(axis=tuple(a for a in range(3) if a != axis)))[0]
        lo, hi = int(hit[0]) + int(box[axis].start), int(hit[-1]) + 1 + int(box[axis].start)
        out += [max(lo - reach[axis], 0), min(hi + reach[axis], int(shape[axis]))]
    return out[0], out[1], out[2], out[3], out[4], out[5]


def slice_extents(
    shows: npt.NDArray[np.bool_],
    box: Slices,
    grid: Grid,
    pad_mm: Floats,
) -> tuple[Extent, ...]:
    """Per slice the padded rectangle around what shows, within the image, in px.

    Readers draw generous boxes: RSNA's median is 89 × 70 px of 512.
    """
    out = []
    _, ny, nx = grid.shape_zyx
    _, dy, dx = grid.spacing_zyx_mm
    for k in np.nonzero(shows.any(axis=(1, 2)))[0]:
        ys, xs = (np.nonzero(shows[k].any(axis=a))[0] for a in (1, 0))
        x0 = max(xs[0] + box[2].start - pad_mm[0] / dx, 0.0)
        x1 = min(xs[-1] + 1 + box[2].start + pad_mm[1] / dx, float(nx))
        y0 = max(ys[0] + box[1].start - pad_mm[2] / dy, 0.0)
        y1 = min(ys[-1] + 1 + box[1].start + pad_mm[3] / dy, float(ny))
        out.append((int(k + box[0].start), float(x0), float(y0), float(x1 - x0), float(y1 - y0)))
    return tuple(out)


def union_boxes(fractures: tuple[Fracture, ...]) -> tuple[Extent, ...]:
    """One box per slice: the union over the fractures that show in it."""
    edges: dict[int, list[float]] = {}
    for z, x0, y0, width, height in (e for f in fractures for e in f.extent_px):
        new = [x0, y0, x0 + width, y0 + height]
        old = edges.get(z, new)
        edges[z] = [
            min(old[0], new[0]),
            min(old[1], new[1]),
            max(old[2], new[2]),
            max(old[3], new[3]),
        ]
    return tuple((z, e[0], e[1], e[2] - e[0], e[3] - e[1]) for z, e in sorted(edges.items()))
