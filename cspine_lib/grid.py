"""The regular grid of a stack: holes filled, uneven gaps evened out, the affine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cspine_lib.issues import Issue, warning
from cspine_lib.stack import InPlane, Stack

GRID_TOLERANCE = 0.1
"""A slice this fraction of a gap beside its regular place is left where it is."""
SNAP = 0.02
"""Where a slice lies this near a place of the grid it is taken as it is, not mixed."""
MAX_GROWTH = 3
"""A grid has at most this many times the slices that were read."""
MAX_HOLE_MM = 20.0
"""A wider hole (about one vertebra) is not filled: the larger side of it is kept."""
THICKNESS_MM = (0.01, 100.0)
"""A slice of another thickness has none."""
SMALL_TILT_DEG = 0.5
SMALL_TURN_DEG = 2.0


@dataclass(frozen=True)
class Grid:
    """Regular places along z, and the two decoded slices that each is made of."""

    kept: tuple[int, int]
    """First and last slice of the stack that is used."""
    lower: npt.NDArray[np.intp]
    upper: npt.NDArray[np.intp]
    weight: npt.NDArray[np.float64]
    """Share of ``upper`` in the mixture; 0 where a slice is taken as it is."""
    slice_of_source: npt.NDArray[np.intp]
    """z index at which each kept slice of the stack is, or is nearest to."""
    steps: float
    """Length of the kept stack in grid steps."""

    def fill(self, hu_zyx: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        """Decoded slices (kept, Y, X) → (Z, Y, X) on the grid, interpolated linearly in HU."""
        if len(self.lower) == len(hu_zyx) and not self.weight.any():
            return hu_zyx
        out = np.empty((len(self.lower), *hu_zyx.shape[1:]), dtype=np.int16)
        for z, (a, b, w) in enumerate(zip(self.lower, self.upper, self.weight, strict=True)):
            out[z] = hu_zyx[a] if w == 0 else np.rint(hu_zyx[a] * (1 - w) + hu_zyx[b] * w)
        return out


def regular_grid(stack: Stack, issues: list[Issue]) -> Grid:
    """Where the slices belong on a regular grid, and what must be filled or moved."""
    first, last = _largest_part(stack, issues)
    place = stack.place_mm[first : last + 1] - stack.place_mm[first]
    if len(place) == 1:
        zero = np.zeros(1, dtype=np.intp)
        issues.append(warning("single_slice", "one slice only; its SliceThickness is its spacing"))
        return Grid((first, last), zero, zero, np.zeros(1), zero, 0)
    gaps = np.diff(place)
    usual = float(np.median(gaps))
    counts = np.maximum(np.rint(gaps / usual).astype(int), 1)
    nodes = np.concatenate([[0], np.cumsum(counts)])
    offsets = place / place[-1] * nodes[-1]
    regular = np.abs(offsets - nodes).max() <= GRID_TOLERANCE
    if regular and nodes[-1] < MAX_GROWTH * len(place):
        _tell_missing(counts, stack, first, issues)
        return _interpolation((first, last), nodes.astype(np.float64), int(nodes[-1]))
    total = int(np.clip(round(place[-1] / usual), 1, MAX_GROWTH * len(place)))
    issues.append(
        warning(
            "uneven_gaps",
            f"gaps between slices run from {gaps.min():.2f} to {gaps.max():.2f} mm; the volume "
            f"is interpolated to one slice every {place[-1] / total:.2f} mm",
        )
    )
    return _interpolation((first, last), place / place[-1] * total, total)


def _interpolation(kept: tuple[int, int], offsets: npt.NDArray[np.float64], total: int) -> Grid:
    """Neighbours and weights of the nodes 0…total among slices at ``offsets`` (rising)."""
    nodes = np.arange(total + 1)
    upper = np.clip(np.searchsorted(offsets, nodes), 1, len(offsets) - 1)
    lower = upper - 1
    weight = np.clip((nodes - offsets[lower]) / (offsets[upper] - offsets[lower]), 0, 1)
    on_upper, on_lower = weight > 1 - SNAP, weight < SNAP
    lower = np.where(on_upper, upper, lower)
    weight = np.where(on_upper | on_lower, 0.0, weight)
    nearest = np.clip(np.rint(offsets), 0, total).astype(np.intp)
    return Grid(kept, lower, upper, weight, nearest, float(total))


def _largest_part(stack: Stack, issues: list[Issue]) -> tuple[int, int]:
    """First and last slice of the longest run without a hole too wide to fill."""
    gaps = np.diff(stack.place_mm)
    if not len(gaps):
        return 0, 0
    limit = max(MAX_HOLE_MM, 4 * float(np.median(gaps)))
    edges = np.flatnonzero(gaps > limit)
    starts = np.concatenate([[0], edges + 1])
    ends = np.concatenate([edges, [len(gaps)]])
    best = int(np.argmax(ends - starts))
    if len(edges):
        lost = len(stack.headers) - int(ends[best] - starts[best] + 1)
        issues.append(
            warning(
                "split_stack",
                f"a hole of {gaps.max():.0f} mm is too wide to fill; the largest part is read, "
                f"{lost} slices beyond it are left out",
            )
        )
    return int(starts[best]), int(ends[best])


def _tell_missing(
    counts: npt.NDArray[np.int_], stack: Stack, first: int, issues: list[Issue]
) -> None:
    missing = int((counts - 1).sum())
    if missing:
        after = stack.headers[first + int(np.argmax(counts > 1))].name
        what = f"a slice is missing after {after}"
        if missing > 1:
            what = f"{missing} slices are missing, the first one after {after}"
        issues.append(
            warning("missing_slices", f"{what}; filled by interpolation between its neighbours")
        )


def stack_affine(stack: Stack, grid: Grid, turn: InPlane) -> npt.NDArray[np.float64]:
    """(4, 4) matrix from (z, y, x, 1) of the turned volume to LPS mm.

    The z column is the true step from slice to slice, not the normal: under gantry tilt
    the two differ and the grid is sheared.
    """
    first, last = grid.kept
    positions = stack.positions_mm[[first, last]]
    header = stack.headers[first]
    assert header.spacing_yx_mm is not None
    step_row, step_column = header.spacing_yx_mm
    column_mm, row_mm = stack.axes[0] * step_column, stack.axes[1] * step_row
    if grid.steps:
        step_mm = (positions[1] - positions[0]) / grid.steps
    else:
        thick = header.thickness_mm or 0.0
        step_mm = stack.normal * (thick if THICKNESS_MM[0] <= thick <= THICKNESS_MM[1] else 1.0)
    affine = np.eye(4)
    y_mm, x_mm, corner = row_mm, column_mm, positions[0]
    if turn.transpose:
        y_mm, x_mm = x_mm, y_mm
    height, width = turn.shape_yx(stack.rows, stack.columns)
    if turn.flip_y:
        corner, y_mm = corner + y_mm * (height - 1), -y_mm
    if turn.flip_x:
        corner, x_mm = corner + x_mm * (width - 1), -x_mm
    affine[:3, :] = np.stack([step_mm, y_mm, x_mm, corner], axis=1)
    return affine


def tilt_issues(stack: Stack, affine_mm: npt.NDArray[np.float64]) -> list[Issue]:
    """Says that a grid is sheared or turned against the body's axes."""
    step = affine_mm[:3, 0] / np.linalg.norm(affine_mm[:3, 0])
    shear = float(np.degrees(np.arccos(np.clip(step @ stack.normal, -1, 1))))
    if shear > SMALL_TILT_DEG:
        return [
            warning(
                "gantry_tilt",
                f"slices are tilted by {shear:.1f}° against the direction in which they follow "
                "each other; the grid is left sheared, its affine is true",
            )
        ]
    axes = affine_mm[:3, :3] / np.linalg.norm(affine_mm[:3, :3], axis=0)
    turned = float(np.degrees(np.arccos(np.clip(np.abs(axes).max(axis=0).min(), -1, 1))))
    if turned > 2.0:
        return [
            warning(
                "oblique",
                f"slices are turned by {turned:.1f}° against the body's axes; the affine says how",
            )
        ]
    return []
