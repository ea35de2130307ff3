"""Skin, fat, muscles, vessels, airway, cord, brain, lungs and the table, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cspine_lib.phantom.organs import AIRWAY, LUNG, MUSCLES, OUTLINE, THROAT, Organ
from cspine_lib.phantom.sdf import Array, Grid, Point
from cspine_lib.phantom.spine import Spine

FAT_HU: Final = -100.0
MUSCLE_FILL: Final = 1.13
"""Muscles press against each other: how much wider than in the table."""
SLAB: Final = 12
"""Slices painted together."""


@dataclass(frozen=True)
class Habitus:
    """Fat and scanner table of one patient."""

    fat_mm: float
    girth: float
    fat_planes: float
    table_gap_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Habitus:
        """From the stream ``patient`` or ``anatomy``."""
        fat = float(np.clip(rng.lognormal(1.9, 0.5), 2.5, 22))
        return cls(
            fat_mm=fat,
            girth=float(0.93 + 0.008 * fat + rng.normal(0, 0.02)),
            fat_planes=float(rng.uniform(-45, 15)),
            table_gap_mm=float(rng.uniform(2, 16)),
        )


class Levels:
    """Per slice: the level as a real number, and where the spine runs."""

    def __init__(self, grid: Grid, spine: Spine) -> None:
        centres = spine.centres_xyz_mm
        z = grid.axis_mm(0)
        above = centres[0, 2] - 17.0 * np.arange(8, 0, -1)
        heights = np.concatenate([above, centres[:, 2]])
        self.level = np.interp(z, heights, np.arange(-7, len(centres) + 1))
        self.shift = grid.shift_xy_mm
        self.x = np.interp(z, centres[:, 2], centres[:, 0]) + self.shift[:, 0]
        self.y = np.interp(z, centres[:, 2], centres[:, 1]) + self.shift[:, 1]

    def table(self, rows: Point, values: Point) -> npt.NDArray[np.float64]:
        """A column of a table at every slice."""
        return np.interp(self.level, np.asarray(rows), np.asarray(values))


@dataclass(frozen=True, eq=False)
class Stack:
    """An ellipse per slice: centre and half axes, each (Z,), in the frame of the grid."""

    hu: float
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    rx: npt.NDArray[np.float64]
    ry: npt.NDArray[np.float64]

    def cover(self, grid: Grid, slab: slice) -> Array:
        """Share of each voxel of a slab inside the ellipse."""
        out = np.zeros((slab.stop - slab.start, *grid.shape_zyx[1:]), dtype=np.float32)
        Stack(1.0, self.x, self.y, self.rx, self.ry).paint(out, grid, slab, first=slab.start)
        return out

    def paint(self, volume: Array, grid: Grid, slab: slice, first: int = 0) -> None:
        """Lay the organ over a slab, in place; ``volume`` begins at slice ``first``."""
        keep = np.minimum(self.rx[slab], self.ry[slab]) > 0.3
        if not keep.any():
            return
        rows = np.arange(slab.start, slab.stop)[keep]
        z0, z1 = int(rows[0]), int(rows[-1]) + 1
        sel = slice(z0, z1)
        x, y = (getattr(self, n)[sel] for n in ("x", "y"))
        rx, ry = (np.maximum(getattr(self, n)[sel], 0.05) for n in ("rx", "ry"))
        spans = []
        for axis, c, r in ((1, y, ry), (2, x, rx)):
            at = np.array([(c - r).min() - 2, (c + r).max() + 2]) - grid.origin_xyz_mm[2 - axis]
            at = np.clip(at / grid.spacing_zyx_mm[axis] + (0, 1), 0, grid.shape_zyx[axis]).astype(
                int
            )
            spans.append(slice(at[0], at[1]))
        if any(s.stop <= s.start for s in spans):
            return
        dy = (grid.axis_mm(1, spans[0])[None] - y[:, None]) / ry[:, None]
        dx = (grid.axis_mm(2, spans[1])[None] - x[:, None]) / rx[:, None]
        f = (dy * dy).astype(np.float32)[:, :, None] + (dx * dx).astype(np.float32)[:, None, :]
        np.sqrt(f, out=f)
        edge = grid.edge_mm
        scale = (np.minimum(rx, ry) / edge).astype(np.float32)[:, None, None]
        f -= 1
        f *= -scale
        f += np.float32(0.5)
        np.clip(f, 0, 1, out=f)
        view = volume[z0 - first : z1 - first, spans[0], spans[1]]
        view += f * (np.float32(self.hu) - view)


def _stacks(
    organ: Organ, levels: Levels, rng: np.random.Generator, scale: float, fill: float
) -> list[Stack]:
    rows = np.array(organ.rows)
    out = []
    for side in (-1.0, 1.0) if organ.mirrored else (1.0,):
        grow = fill * scale * (1 + 0.05 * np.clip(rng.standard_normal(2), -2, 2))
        nudge = rng.normal(0, 0.6, 2)
        x, y, rx, ry = (levels.table(rows[:, 0], rows[:, i]) for i in (1, 2, 3, 4))
        inside = (levels.level >= rows[0, 0]) & (
            levels.level <= max(rows[-1, 0], 20 * (rows[-1, 0] >= 8.6))
        )
        gone = np.where(inside | (rows[0, 0] <= -0.4) & (levels.level < 1), 1.0, 0.0)
        hu = organ.hu + (rng.normal(0, 3) if organ.hu > -500 else 0)
        out.append(
            Stack(
                hu,
                levels.x + side * x * scale + nudge[0],
                levels.y + y * scale + nudge[1],
                rx * grow[0] * gone,
                ry * grow[1] * gone,
            )
        )
    return out


def _outline(levels: Levels, girth: float, inset_mm: float, hu: float) -> Stack:
    """The skin, or a layer ``inset_mm`` below it."""
    rows = np.array(OUTLINE)
    wide, front, back = (levels.table(rows[:, 0], rows[:, i]) * girth - inset_mm for i in (1, 2, 3))
    middle = (back - front) / 2
    return Stack(hu, levels.x, levels.y + middle, wide, (front + back) / 2)


def _canal(spine: Spine, levels: Levels) -> list[Stack]:
    """Fluid and cord, down the middle of the canal; brain stem and brain above."""
    names = np.arange(1, len(spine.vertebrae) + 1)
    back = []
    for v in spine.vertebrae:
        middle = [0, 0.5 * (v.dims.depth + v.dims.canal_depth), 0]
        if v.name == "C1":
            middle = [0, 15.0, 0]
        back.append(v.frame.to_world(middle)[1] - v.frame.centre_xyz_mm[1])
    y = levels.y + np.interp(levels.level, names, back)
    depth = np.interp(levels.level, [0, 1, 2, 3], [8.5, 8.0, 7.3, 6.3])
    cord = np.interp(levels.level, [-1, 0, 1, 2, 5, 8], [9, 6.0, 4.6, 4.0, 3.7, 3.5])
    return [
        Stack(14, levels.x, y, depth * 1.4, depth),
        Stack(42, levels.x, y - 0.5, cord * 1.6, cord),
    ]


def _brain(spine: Spine, levels: Levels, grid: Grid) -> list[Stack]:
    k = spine.patient.size
    cx, cy, cz = spine["C1"].frame.to_world([0, 28 * k, -68 * k])
    lift = np.clip(1 - ((grid.axis_mm(0) - cz) / (56.5 * k)) ** 2, 0, 1) ** 0.5
    full = np.ones_like(lift)
    x, y = cx * full + levels.shift[:, 0], cy * full + levels.shift[:, 1]
    return [
        Stack(20, x, y, 66 * k * lift, 79 * k * lift),
        Stack(35, x, y, 64 * k * lift - 1, 77 * k * lift - 1),
    ]


def paint_background(
    volume: Array, grid: Grid, spine: Spine, habitus: Habitus, rng: np.random.Generator
) -> None:
    """Air, table, and every soft tissue but discs, in place; ``rng`` jitters the organs."""
    levels, girth = Levels(grid, spine), habitus.girth
    skin = [_outline(levels, girth, 0.0, 5.0), _outline(levels, girth, 1.6, FAT_HU)]
    deep = _outline(levels, girth, 2.0 + habitus.fat_mm, 0.0)
    layers: list[Stack] = []
    for organ in (*MUSCLES, *THROAT, AIRWAY, LUNG):
        fill = MUSCLE_FILL if organ in MUSCLES else 1.0
        layers += _stacks(organ, levels, rng, spine.patient.size, fill)
    layers += [*_brain(spine, levels, grid), *_canal(spine, levels)]
    volume[:] = -1000
    _paint_table(volume, grid, float((skin[0].y + skin[0].ry).max()) + habitus.table_gap_mm)
    for start in range(0, grid.shape_zyx[0], SLAB):
        slab = slice(start, min(start + SLAB, grid.shape_zyx[0]))
        for layer in skin:
            layer.paint(volume, grid, slab)
        # Nothing inside may stick out of the layer of fat.
        inside = np.full_like(volume[slab], habitus.fat_planes)
        for layer in layers:
            layer.paint(inside, grid, slab, first=start)
        within = deep.cover(grid, slab)
        volume[slab] += within * (inside - volume[slab])


def _paint_table(volume: Array, grid: Grid, top_mm: float) -> None:
    """A hollow carbon-fibre board, slightly trough-shaped."""
    y, x = grid.axis_mm(1)[:, None], grid.axis_mm(2)[None, :]
    depth = y - (top_mm - 0.0006 * x**2)
    wall = np.clip(1.5 - np.abs(depth - 1), 0, 1) + np.clip(1.5 - np.abs(depth - 22), 0, 1)
    foam = ((depth > 1) & (depth < 22)) * 60.0
    volume += (wall * 850 + foam).astype(np.float32)
