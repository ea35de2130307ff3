"""Geometry of a stack of slices: which belong together, in which order, on which grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from cspine_lib.errors import CspineError
from cspine_lib.headers import Issue, SliceHeader, natural_key

AXIAL: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
SAME_DIRECTION = 2e-3
"""Direction cosines that differ by less belong to one stack (0.1°; scanners round them)."""
SAME_SPACING = 1e-3
SAME_PLACE = 0.01
"""Slices nearer than this fraction of the usual gap are the same slice twice."""
GRID_TOLERANCE = 0.1
"""A slice this fraction of a gap beside its regular place is left where it is."""
MAX_TILT_DEG = 45.0
SMALL_TILT_DEG = 0.5
MAX_HOLE_MM = 20.0
"""A wider hole (about one vertebra) is not filled: the larger side of it is kept."""


@dataclass(frozen=True)
class InPlane:
    """How an image's rows and columns turn into y (front→back) and x (patient right→left)."""

    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False

    def shape_yx(self, rows: int, columns: int) -> tuple[int, int]:
        """Shape of the turned image."""
        return (columns, rows) if self.transpose else (rows, columns)

    def apply(self, image: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        """(rows, columns) → (Y, X), a view."""
        turned = image.T if self.transpose else image
        return turned[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

    def box(
        self, x: float, y: float, width: float, height: float, shape_yx: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """A box (x, y, width, height) in pixels of the file → the same in the turned image."""
        if self.transpose:
            x, y, width, height = y, x, height, width
        if self.flip_y:
            y = shape_yx[0] - y - height
        if self.flip_x:
            x = shape_yx[1] - x - width
        return x, y, width, height


@dataclass(frozen=True)
class Stack:
    """Slices of one series, head to feet."""

    headers: list[SliceHeader]
    place_mm: npt.NDArray[np.float64]
    """Position of each slice along the slice normal, falling or rising, sorted head → feet."""
    normal: npt.NDArray[np.float64]
    """Unit normal that points to the feet."""
    twins: dict[int, int] = field(default_factory=dict)
    """File number of a dropped duplicate → number of the file that was kept in its place."""

    @property
    def rows(self) -> int:
        return self.headers[0].rows

    @property
    def columns(self) -> int:
        return self.headers[0].columns

    @property
    def axes(self) -> npt.NDArray[np.float64]:
        """(2, 3): direction of a growing column index, and of a growing row index."""
        return _axes(self.headers[0])

    @property
    def positions_mm(self) -> npt.NDArray[np.float64]:
        """(Z, 3) LPS centres of the slices' first pixels."""
        return np.array([h.position_mm for h in self.headers], dtype=np.float64)

    def only(self, keep: Sequence[int]) -> Stack:
        """The stack of some of the slices."""
        headers = [self.headers[i] for i in keep]
        return replace(self, headers=headers, place_mm=self.place_mm[list(keep)])


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


def _axes(header: SliceHeader) -> npt.NDArray[np.float64]:
    axes = np.reshape(header.orientation or AXIAL, (2, 3)).astype(np.float64)
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


def _tilt_deg(axes: npt.NDArray[np.float64]) -> float:
    """Angle between the slice normal and the body's long axis."""
    return float(np.degrees(np.arccos(min(1.0, abs(np.cross(*axes)[2])))))


def find_stack(headers: Sequence[SliceHeader], issues: list[Issue]) -> Stack:
    """The largest stack of axial slices that share series, matrix, spacing and direction.

    Raises:
        CspineError: no axial slices.
    """
    groups = _groups(headers)
    axial = [g for g in groups if _tilt_deg(_axes(g[0])) <= MAX_TILT_DEG]
    if not axial:
        raise CspineError(
            "[not_axial] the slices are sagittal or coronal reformats; give the axial series"
        )
    group = max(axial, key=len)
    if len(groups) > 1:
        others = [h for g in groups if g is not group for h in g]
        issues.append(
            Issue(
                "warning",
                "mixed_series",
                f"{len(groups)} series, sizes, kernels or directions in one folder; the largest "
                f"axial stack ({len(group)} files) is read, {len(others)} files are left out",
                others[0].name,
            )
        )
    return _without_twins(_sorted(group), issues)


def _groups(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    groups: list[list[SliceHeader]] = []
    for header in headers:
        for group in groups:
            if _together(group[0], header):
                group.append(header)
                break
        else:
            groups.append([header])
    return groups


def _together(a: SliceHeader, b: SliceHeader) -> bool:
    same = (a.series_uid, a.rows, a.columns, a.kernel) == (
        b.series_uid,
        b.rows,
        b.columns,
        b.kernel,
    )
    assert a.spacing_yx_mm is not None and b.spacing_yx_mm is not None
    return (
        same
        and np.allclose(a.spacing_yx_mm, b.spacing_yx_mm, rtol=SAME_SPACING, atol=0)
        and bool(np.abs(_axes(a) - _axes(b)).max() < SAME_DIRECTION)
    )


def _sorted(headers: list[SliceHeader]) -> Stack:
    normal = np.cross(*_axes(headers[0]))
    normal = normal / np.linalg.norm(normal)
    normal = -normal if normal[2] > 0 else normal
    place = np.array([h.position_mm for h in headers]) @ normal
    order = sorted(range(len(headers)), key=lambda i: (place[i], natural_key(headers[i].name)))
    return Stack([headers[i] for i in order], place[order], normal)


def _without_twins(stack: Stack, issues: list[Issue]) -> Stack:
    """Drop slices that lie in the place of another; the first by file name stays."""
    gaps = np.diff(stack.place_mm)
    usual = float(np.median(gaps[gaps > 1e-3])) if (gaps > 1e-3).any() else 0.0
    limit = max(SAME_PLACE * usual, 1e-3)
    keep, twins, dropped = [0], {}, []
    for i in range(1, len(stack.headers)):
        kept = stack.headers[keep[-1]]
        if stack.place_mm[i] - stack.place_mm[keep[-1]] > limit:
            keep.append(i)
            continue
        dropped.append(stack.headers[i])
        number = stack.headers[i].number
        if number is not None and kept.number is not None:
            twins[number] = kept.number
    if dropped:
        issues.append(
            Issue(
                "warning",
                "duplicate_positions",
                f"{len(dropped)} slices lie exactly where another one lies; the first by file "
                "name is kept",
                dropped[0].name,
            )
        )
    return replace(stack.only(keep), twins=twins)


def in_plane_turn(stack: Stack) -> InPlane:
    """Flips (and a transpose) after which rows run front→back and columns right→left."""
    along_x, along_y = stack.axes  # patient directions of growing column and row index
    transpose = bool(abs(along_x[1]) > abs(along_x[0]))
    if transpose:
        along_x, along_y = along_y, along_x
    return InPlane(transpose, flip_y=bool(along_y[1] < 0), flip_x=bool(along_x[0] < 0))


def regular_grid(stack: Stack, issues: list[Issue]) -> Grid:
    """Where the slices belong on a regular grid, and what must be filled or moved."""
    first, last = _largest_part(stack, issues)
    place = stack.place_mm[first : last + 1]
    if len(place) == 1:
        zero = np.zeros(1, dtype=np.intp)
        issues.append(
            Issue("warning", "single_slice", "one slice only; its SliceThickness is its spacing")
        )
        return Grid((first, last), zero, zero, np.zeros(1), zero, 0)
    usual = float(np.median(np.diff(place)))
    counts = np.maximum(np.rint(np.diff(place) / usual).astype(int), 1)
    nodes = np.concatenate([[0], np.cumsum(counts)])
    step = (place[-1] - place[0]) / nodes[-1]
    offsets = (place - place[0]) / step
    if np.abs(offsets - nodes).max() <= GRID_TOLERANCE:
        _tell_missing(int(nodes[-1] + 1 - len(nodes)), counts, step, stack, first, issues)
        offsets = nodes.astype(np.float64)
        total = int(nodes[-1])
    else:
        total = max(1, round((place[-1] - place[0]) / usual))
        gaps = np.diff(place)
        issues.append(
            Issue(
                "warning",
                "uneven_gaps",
                f"gaps between slices run from {gaps.min():.2f} to {gaps.max():.2f} mm; the volume "
                f"is interpolated to one slice every {(place[-1] - place[0]) / total:.2f} mm",
            )
        )
        offsets = (place - place[0]) / (place[-1] - place[0]) * total
    return _interpolation((first, last), offsets, total)


def _interpolation(kept: tuple[int, int], offsets: npt.NDArray[np.float64], total: int) -> Grid:
    """Neighbours and weights of the nodes 0…total among slices at ``offsets`` (rising)."""
    nodes = np.arange(total + 1)
    upper = np.clip(np.searchsorted(offsets, nodes), 1, len(offsets) - 1)
    lower = upper - 1
    weight = np.clip((nodes - offsets[lower]) / (offsets[upper] - offsets[lower]), 0, 1)
    on_upper = weight > 1 - 1e-6
    lower, weight = (
        np.where(on_upper, upper, lower),
        np.where(on_upper | (weight < 1e-6), 0, weight),
    )
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
            Issue(
                "warning",
                "split_stack",
                f"a hole of {gaps.max():.0f} mm is too wide to fill; the largest part is read, "
                f"{lost} slices beyond it are left out",
            )
        )
    return int(starts[best]), int(ends[best])


def _tell_missing(
    missing: int,
    counts: npt.NDArray[np.int_],
    step: float,
    stack: Stack,
    first: int,
    issues: list[Issue],
) -> None:
    if not missing:
        return
    after = stack.headers[first + int(np.argmax(counts > 1))].name
    issues.append(
        Issue(
            "warning",
            "missing_slices",
            f"{missing} slices are missing (first after {after}, {step:.2f} mm apart); they are "
            "filled by linear interpolation between their neighbours",
        )
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
        step_mm = stack.normal * (header.thickness_mm or 1.0)
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
            Issue(
                "warning",
                "gantry_tilt",
                f"slices are tilted by {shear:.1f}° against the direction in which they follow "
                "each other; the grid is left sheared, its affine is true",
            )
        ]
    axes = affine_mm[:3, :3] / np.linalg.norm(affine_mm[:3, :3], axis=0)
    turned = float(np.degrees(np.arccos(np.clip(np.abs(axes).max(axis=0).min(), -1, 1))))
    if turned > 2.0:
        return [
            Issue(
                "warning",
                "oblique",
                f"slices are turned by {turned:.1f}° against the body's axes; the affine says how",
            )
        ]
    return []
