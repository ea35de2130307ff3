"""Shapes as signed distances in mm, in frames that sit in the patient.

A ``Part`` gives the distance to its surface, negative inside.  Parts are joined
smoothly to a bone; partial volume follows from the distance analytically.
Points and vectors are (x, y, z): to the patient's left, to the back, to the feet.

Formulas for the round box, the ellipsoid's bound and the polynomial smooth
minimum are the common ones of implicit modelling (I. Quilez, "Distance
functions" and "Smooth minimum").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Point = Sequence[float] | npt.NDArray[np.floating]
Distance = Callable[[Array, Array, Array], Array]
Slices = tuple[slice, slice, slice]

FAR_MM: Final = 20.0
"""Distance that stands for "nowhere near"."""


@dataclass(frozen=True)
class Grid:
    """The voxels of a study.

    Args:
        origin_xyz_mm: of the centre of voxel (0, 0, 0).
        shift_xy_mm: (Z, 2), what the patient has moved when each slice is taken.
    """

    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    origin_xyz_mm: npt.NDArray[np.float64]
    shift_xy_mm: npt.NDArray[np.float64]

    @property
    def edge_mm(self) -> float:
        """Width over which a surface fades from bone to background: one voxel."""
        return float(np.prod(self.spacing_zyx_mm) ** (1 / 3))

    def axis_mm(self, axis: int, part: slice = slice(None)) -> npt.NDArray[np.float64]:
        """Positions along axis 0, 1, 2 = z, y, x, without motion."""
        index = np.arange(self.shape_zyx[axis])[part]
        return index * self.spacing_zyx_mm[axis] + self.origin_xyz_mm[2 - axis]

    def box(self, points_xyz_mm: npt.NDArray[np.floating], pad_mm: float) -> Slices:
        """The voxels around some points (N, 3), clipped to the grid; may be empty."""
        pad = pad_mm + np.array([*np.abs(self.shift_xy_mm).max(axis=0), 0.0])
        lo = (points_xyz_mm.min(axis=0) - pad - self.origin_xyz_mm)[::-1]
        hi = (points_xyz_mm.max(axis=0) + pad - self.origin_xyz_mm)[::-1]
        spacing, shape = np.array(self.spacing_zyx_mm), np.array(self.shape_zyx)
        start = np.clip(np.floor(lo / spacing), 0, shape).astype(int)
        stop = np.clip(np.ceil(hi / spacing) + 1, start, shape).astype(int)
        return (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))


@dataclass(frozen=True)
class Frame:
    """A place in the patient: ``world = centre + axes @ local``; columns are axes."""

    centre_xyz_mm: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]

    def to_world(self, local_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Local points (…, 3) → patient points (…, 3)."""
        return np.asarray(local_mm, dtype=np.float64) @ self.axes.T + self.centre_xyz_mm

    def to_local(self, world_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Patient points (…, 3) → local points (…, 3)."""
        return (np.asarray(world_mm, dtype=np.float64) - self.centre_xyz_mm) @ self.axes

    def coordinates(self, grid: Grid, box: Slices) -> tuple[Array, Array, Array]:
        """Local x, y, z of the voxels of a box, each (Z, Y, X) float32."""
        z = grid.axis_mm(0, box[0]) - self.centre_xyz_mm[2]
        y = grid.axis_mm(1, box[1]) - self.centre_xyz_mm[1]
        x = grid.axis_mm(2, box[2]) - self.centre_xyz_mm[0]
        shift = grid.shift_xy_mm[box[0]]
        out = []
        for axis in self.axes.T:
            per_z = (axis[2] * z - shift @ axis[:2]).astype(np.float32)
            per_y = (axis[1] * y).astype(np.float32)
            per_x = (axis[0] * x).astype(np.float32)
            out.append((per_z[:, None] + per_y[None, :])[..., None] + per_x)
        return out[0], out[1], out[2]


def rotation(sagittal: float, coronal: float, axial: float) -> npt.NDArray[np.float64]:
    """Axes of a tilted frame; degrees about x (foot end to the back), y and z."""
    a, b, c = np.radians([sagittal, coronal, axial])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@dataclass(frozen=True)
class Part:
    """A shape in a local frame, and the local box outside which it has no say."""

    lo_mm: npt.NDArray[np.float64]
    hi_mm: npt.NDArray[np.float64]
    distance: Distance
    blend_mm: float = 2.0
    """Radius of the fillet where it meets the parts before it."""
    carve: bool = False
    """Taken away from the parts before it instead of added."""

    def corners(self) -> npt.NDArray[np.float64]:
        """The 8 corners of the local box, (8, 3)."""
        pick = np.indices((2, 2, 2)).reshape(3, 8).T
        return np.where(pick == 0, self.lo_mm, self.hi_mm)

    def clipped(self, normal: Point, point: Point) -> Part:
        """Without what lies beyond the plane, on the side to which ``normal`` points."""
        n, p = np.asarray(normal, dtype=np.float64), np.asarray(point, dtype=np.float64)
        n = n / np.linalg.norm(n)
        a, b, c, inner = float(n[0]), float(n[1]), float(n[2]), self.distance
        offset = float(n @ p)

        def distance(u: Array, v: Array, w: Array) -> Array:
            return np.maximum(inner(u, v, w), a * u + b * v + c * w - offset)

        return replace(self, distance=distance)


def capsule(a: Point, b: Point, ra: float, rb: float | None = None, **options: float) -> Part:
    """A rod from a to b whose radius runs from ra to rb (mm)."""
    p, q = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    rb = ra if rb is None else rb
    axis = q - p
    scale = axis / max(float(axis @ axis), 1e-9)

    def distance(u: Array, v: Array, w: Array) -> Array:
        du, dv, dw = u - float(p[0]), v - float(p[1]), w - float(p[2])
        t = du * float(scale[0])
        t += dv * float(scale[1])
        t += dw * float(scale[2])
        np.clip(t, 0.0, 1.0, out=t)
        du -= t * float(axis[0])
        dv -= t * float(axis[1])
        dw -= t * float(axis[2])
        length = np.sqrt(du * du + dv * dv + dw * dw)
        return length - (ra + t * (rb - ra))

    r = max(ra, rb)
    return Part(np.minimum(p, q) - r, np.maximum(p, q) + r, distance, **options)  # type: ignore[arg-type]


def tube(points: Sequence[Point], radii: Sequence[float], **options: float) -> list[Part]:
    """A bent rod through points, one capsule per segment."""
    pairs = zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True)
    return [capsule(a, b, ra, rb, **options) for a, b, ra, rb in pairs]


def ellipsoid(centre: Point, radii: Point, **options: float) -> Part:
    """An ellipsoid along the local axes."""
    c, r = np.asarray(centre, dtype=np.float64), np.asarray(radii, dtype=np.float64)

    def distance(u: Array, v: Array, w: Array) -> Array:
        a = (u - float(c[0])) * float(1 / r[0])
        b = (v - float(c[1])) * float(1 / r[1])
        e = (w - float(c[2])) * float(1 / r[2])
        k0 = np.sqrt(a * a + b * b + e * e)
        a *= float(1 / r[0])
        b *= float(1 / r[1])
        e *= float(1 / r[2])
        k1 = np.sqrt(a * a + b * b + e * e)
        return k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-4))

    return Part(c - r, c + r, distance, **options)  # type: ignore[arg-type]


def round_box(
    centre: Point,
    half: Point,
    radius: float,
    axes: npt.NDArray[np.floating] | None = None,
    **options: float,
) -> Part:
    """A box of half sizes ``half`` with rounded edges; columns of ``axes`` are its axes."""
    c, h = np.asarray(centre, dtype=np.float64), np.asarray(half, dtype=np.float64)
    m = np.eye(3) if axes is None else np.asarray(axes, dtype=np.float64)

    def distance(u: Array, v: Array, w: Array) -> Array:
        du, dv, dw = u - float(c[0]), v - float(c[1]), w - float(c[2])
        inside, outside = None, None
        for i in range(3):
            q = du * float(m[0, i])
            q += dv * float(m[1, i])
            q += dw * float(m[2, i])
            np.abs(q, out=q)
            q -= float(h[i] - radius)
            inside = q if inside is None else np.maximum(inside, q)
            positive = np.maximum(q, np.float32(0))
            positive *= positive
            outside = positive if outside is None else outside + positive
        assert inside is not None and outside is not None
        return np.sqrt(outside) + np.minimum(inside, np.float32(0)) - np.float32(radius)

    reach = np.abs(m) @ h
    return Part(c - reach, c + reach, distance, **options)  # type: ignore[arg-type]


def smooth_min(a: Array, b: Array, blend_mm: float) -> Array:
    """The union of two distances with a fillet."""
    if blend_mm <= 0:
        return np.minimum(a, b)
    h = np.abs(a - b)
    np.subtract(np.float32(blend_mm), h, out=h)
    np.maximum(h, np.float32(0), out=h)
    h *= h
    h *= np.float32(0.25 / blend_mm)
    return np.minimum(a, b) - h


def bone_box(grid: Grid, frame: Frame, parts: Sequence[Part], pad_mm: float) -> Slices:
    """The voxels that a bone can touch."""
    corners = np.concatenate([part.corners() for part in parts if not part.carve])
    return grid.box(frame.to_world(corners), pad_mm)


def sub_box(grid: Grid, frame: Frame, part: Part, box: Slices, pad_mm: float) -> Slices:
    """The voxels of ``box`` near a part, counted from the corner of ``box``; may be empty."""
    inner = grid.box(frame.to_world(part.corners()), pad_mm)
    z, y, x = (
        slice(max(i.start, b.start) - b.start, max(min(i.stop, b.stop) - b.start, 0))
        for i, b in zip(inner, box, strict=True)
    )
    return z, y, x


def union(
    grid: Grid,
    frame: Frame,
    box: Slices,
    parts: Sequence[Part],
    coordinates: tuple[Array, Array, Array],
    pad_mm: float,
) -> Array:
    """Signed distance (Z, Y, X) of a bone, in mm, in the voxels of ``box``.

    ``coordinates`` may be warped by up to ``pad_mm``; each part is looked at only
    in its own box, widened by that.
    """
    out = np.full(coordinates[0].shape, FAR_MM, dtype=np.float32)
    for part in parts:
        own = sub_box(grid, frame, part, box, pad_mm)
        if any(s.stop <= s.start for s in own):
            continue
        d = part.distance(*(c[own] for c in coordinates))
        if part.carve:
            out[own] = np.maximum(out[own], -d)
        else:
            out[own] = smooth_min(out[own], d, part.blend_mm)
    return out


def coverage(distance_mm: Array, edge_mm: float) -> Array:
    """Share of each voxel that lies inside: 1 within, 0 without, linear across one voxel."""
    out = distance_mm * np.float32(-1 / edge_mm)
    out += np.float32(0.5)
    return np.clip(out, 0, 1, out=out)
