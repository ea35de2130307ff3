"""What looks like a fracture and is none, in broken and unbroken levels alike.

Vascular channels have smooth, often corticated walls; old fragments and
osteophytes are rounded and have a cortex of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cspine_lib.phantom.fractures import Coordinates, Sheet
from cspine_lib.phantom.sdf import (
    Array,
    Frame,
    Grid,
    Part,
    Slices,
    capsule,
    coverage,
    ellipsoid,
    sub_box,
)
from cspine_lib.phantom.spine import Patient, Vertebra

WALL_MM: Final = 0.9
"""Thickness of the denser wall of a channel."""


@dataclass(frozen=True)
class Channel:
    """A thin tube of vessel through bone; ``rim_hu`` is its denser wall."""

    part: Part
    contrast: float
    rim_hu: float


@dataclass(frozen=True)
class Groove:
    """A smooth, faint, partial sheet: a vascular groove or a growth line that never closed."""

    sheet: Sheet
    width_mm: float
    contrast: float
    rim_hu: float


@dataclass(frozen=True)
class Lookalikes:
    """All of one level."""

    fused: tuple[Part, ...]
    """Bone added to the vertebra: osteophytes."""
    loose: tuple[Part, ...]
    """Separate corticated bone: old fragments, unfused ossicles."""
    channels: tuple[Channel, ...]
    grooves: tuple[Groove, ...]

    def to_dict(self) -> dict[str, Any]:
        """Counts for the truth file."""
        return {k: len(v) for k, v in self.__dict__.items()}

    def lucency(
        self, grid: Grid, frame: Frame, box: Slices, coordinates: Coordinates
    ) -> tuple[Array, Array]:
        """Share of bone missing, and HU added by the walls, per voxel of ``box``."""
        edge_mm = grid.edge_mm
        keep, rim = np.ones_like(coordinates[0]), np.zeros_like(coordinates[0])
        for channel in self.channels:
            own = sub_box(grid, frame, channel.part, box, WALL_MM + 1.5)
            d = channel.part.distance(*(c[own] for c in coordinates))
            keep[own] *= 1 - coverage(d, edge_mm) * np.float32(channel.contrast)
            rim[own] += coverage(d - np.float32(WALL_MM), edge_mm) * np.float32(channel.rim_hu)
        for groove in self.grooves:
            share = groove.sheet.gap(coordinates, groove.width_mm, edge_mm)
            keep *= 1 - share * np.float32(groove.contrast)
            wall = groove.sheet.gap(coordinates, groove.width_mm + 1.6, edge_mm)
            rim += (wall - share) * np.float32(groove.rim_hu)
        return 1 - keep, rim


def _osteophytes(v: Vertebra, amount: float, rng: np.random.Generator) -> list[Part]:
    """Spurs at the rims of the end plates and at the hooks."""
    a, b, h = v.half_width, 0.5 * v.dims.depth, 0.5 * v.dims.height
    parts = []
    for _ in range(int(rng.poisson(2.5 * amount))):
        end = 1.0 if rng.random() < 0.55 else -1.0
        angle = rng.uniform(-1.2, 1.2) if rng.random() < 0.6 else rng.uniform(2.0, 4.2)
        r = rng.uniform(1.2, 1.6 + 2.4 * amount)
        x, y = 0.96 * a * np.sin(angle), -0.96 * b * np.cos(angle)
        centre = (x * (1 + 0.4 * r / a), y * (1 + 0.4 * r / b), end * (h - 0.3))
        parts.append(ellipsoid(centre, (1.5 * r, 1.1 * r, 0.8 * r), blend_mm=1.5))
    return parts


def _ossicle(v: Vertebra, rng: np.random.Generator) -> Part:
    """A rounded piece beside the front corner of a body or the tip of a spinous process."""
    a, b, h = v.half_width, 0.5 * v.dims.depth, 0.5 * v.dims.height
    r = rng.uniform(1.6, 2.8)
    if v.name == "C1" or rng.random() < 0.35:
        back = 31.0 if v.name == "C1" else b + v.dims.canal_depth + v.dims.spinous + 6.5
        return ellipsoid(
            (rng.normal(0, 2), back + 2.5, 6 + 0.25 * v.dims.spinous), (1.4 * r, r, 1.6 * r)
        )
    end = 1.0 if rng.random() < 0.6 else -1.0
    place = (rng.uniform(-0.6, 0.6) * a, -b - 0.8 * r, end * (h + 0.6 * r))
    return ellipsoid(place, (1.5 * r, r, r))


def _channels(v: Vertebra, rng: np.random.Generator) -> list[Channel]:
    """The basivertebral vein behind the body, nutrient channels anywhere."""
    a, b = v.half_width, 0.5 * v.dims.depth
    out, back = v.pillar_uv
    found = []
    if v.name not in ("C1", "C2"):
        r, w = rng.uniform(0.5, 1.2), rng.normal(0, 0.6)
        tail = (rng.normal(0, 0.6), b * rng.uniform(-0.1, 0.4), w)
        found.append(
            Channel(capsule((0, b + 1, w), tail, 1.5 * r, r), rng.uniform(0.5, 0.9), 150.0)
        )
    for _ in range(int(rng.poisson(1.3))):
        r = rng.uniform(0.35, 0.75)
        s = 1.0 if rng.random() < 0.5 else -1.0
        if rng.random() < 0.5 and v.name != "C1":
            start = np.array([rng.uniform(-0.7, 0.7) * a, -b - 1, rng.normal(0, 1.5)])
            stop = start + np.array([rng.normal(0, 2.5), rng.uniform(4, 9), rng.normal(0, 2)])
        else:
            start = np.array([s * (out + rng.normal(0, 2)), back + 7, rng.normal(1, 2)])
            stop = start + np.array([rng.normal(0, 3), -rng.uniform(5, 10), rng.normal(0, 2)])
        found.append(Channel(capsule(start, stop, r, 0.7 * r), rng.uniform(0.5, 1.0), 120.0))
    return found


def _grooves(v: Vertebra, patient: Patient, rng: np.random.Generator) -> list[Groove]:
    """Partial smooth sheets; in C2 the scar of the growth plate below the dens."""
    found = []
    if v.name == "C2" and rng.random() < 0.35:
        sheet = Sheet(
            (0.0, -1.0, -0.5 * v.dims.height + 4.5), (0.0, 0.1, 1.0), (6.0, 5.0, 4.0), 0.0, 0.05
        )
        found.append(Groove(sheet, rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.7), 220.0))
    if rng.random() < 0.3:
        out, back = v.pillar_uv
        s = 1.0 if rng.random() < 0.5 else -1.0
        normal = rng.normal(0, 1, 3)
        spots = [(s * out, back, 0.0), (s * 7.0, back + 6, 3.0), (0.0, -4.0, rng.normal(0, 3))]
        point = spots[int(rng.integers(3))]
        sheet = Sheet(point, tuple(normal), (4.5, 4.5, 5.0), rng.normal(0, 0.02), 0.05)
        found.append(Groove(sheet, rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.8), 180.0))
    return found


def draw_lookalikes(v: Vertebra, patient: Patient, rng: np.random.Generator) -> Lookalikes:
    """All look-alikes of one level; ``rng`` of the stream ``lookalike``."""
    amount = patient.degeneration * (1.0 if v.name in ("C4", "C5", "C6", "C7") else 0.5)
    spurs = _osteophytes(v, amount, rng) if v.name not in ("C1", "C2") else []
    loose = [_ossicle(v, rng)] if rng.random() < 0.1 else []
    return Lookalikes(
        tuple(spurs), tuple(loose), tuple(_channels(v, rng)), tuple(_grooves(v, patient, rng))
    )
