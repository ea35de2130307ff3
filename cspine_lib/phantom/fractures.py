"""How a fracture looks to CT: rough lucent sheets, and fragments that have moved.

``kinds`` says where each kind runs in each vertebra; here are the pieces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cspine_lib.phantom.sdf import Array

Triple = tuple[float, float, float]
Coordinates = tuple[Array, Array, Array]

GAP_HU: Final = 45.0
"""Blood and marrow in a fresh fracture gap."""
BLEND_MM: Final = 0.9
"""Width of the step in the displacement across a sheet."""


@dataclass(frozen=True)
class Visibility:
    """How well one fracture shows."""

    width_mm: float
    contrast: float
    """Share of the bone that the gap takes away where it fills a voxel."""
    displacement_mm: float
    reach: float
    """Size of the sheet, 1 through the whole structure."""
    hidden: float
    """The draw behind the others: 0 plain, 1 hidden."""
    pieces: int = 0
    """Comminution: further sheets around the first."""


def draw_visibility(rng: np.random.Generator, difficulty: float) -> Visibility:
    """One draw of a fracture's visibility.

    ``hidden`` is logistic-normal: its median runs from below 0.001 at difficulty 0 over
    0.04 at 0.5 to 0.88 at 1, with a wide spread at every value, so that a set
    always mixes plain and hidden fractures.  Widths run from 2 mm (plain) to
    0.3 mm, below any voxel; plain fractures also move by up to 6 mm and break
    into more pieces.  For equal random numbers every property falls as the
    difficulty grows.
    """
    z = rng.standard_normal()
    first, second, third = rng.random(3)
    hidden = 1 / (1 + math.exp(-(10.4 * difficulty - 8.4 + 1.7 * z)))
    plain = 1 - hidden
    moved = first < 0.9 * plain
    return Visibility(
        width_mm=0.3 + 1.7 * plain**0.5,
        contrast=1 - 0.6 * hidden**1.5,
        displacement_mm=(1.2 + 4.8 * second) * plain if moved else 0.0,
        reach=1.3 - 0.55 * hidden,
        hidden=hidden,
        pieces=int(plain * (1.5 + 3.0 * third)),
    )


@dataclass(frozen=True)
class Sheet:
    """A rough, slightly curved surface within an ellipsoid, in the local frame."""

    point: Triple
    normal: Triple
    radii: Triple
    """Half axes of the ellipsoid around ``point`` in which the bone is cut."""
    curvature: float = 0.0
    rough_mm: float = 0.3
    phases: Triple = (0.0, 0.0, 0.0)

    def signed_mm(self, u: Array, v: Array, w: Array) -> Array:
        """Distance along the normal, positive on its side, waves included."""
        n = np.asarray(self.normal) / np.linalg.norm(self.normal)
        du, dv, dw = (c - float(p) for c, p in zip((u, v, w), self.point, strict=True))
        s = du * float(n[0]) + dv * float(n[1]) + dw * float(n[2])
        if self.curvature:
            s += (du * du + dv * dv + dw * dw - s * s) * np.float32(self.curvature)
        if self.rough_mm:
            a, b, c = (np.float32(p) for p in self.phases)
            waves = np.sin(du * np.float32(1.1) + dv * np.float32(0.7) + a)
            waves += np.sin(dv * np.float32(1.3) - dw * np.float32(0.8) + b)
            waves += np.float32(0.6) * np.sin((du + dw) * np.float32(2.3) + c)
            s += waves * np.float32(self.rough_mm)
        return s

    def within(self, u: Array, v: Array, w: Array) -> Array:
        """1 inside the ellipsoid, falling to 0 over its outer fifth."""
        r2 = sum(
            ((c - float(p)) * float(1 / r)) ** 2
            for c, p, r in zip((u, v, w), self.point, self.radii, strict=True)
        )
        return np.clip((1 - np.sqrt(r2)) * 5, 0, 1)

    def gap(self, coordinates: Coordinates, width_mm: float, edge_mm: float) -> Array:
        """Share of each voxel that the gap of this width takes."""
        s = self.signed_mm(*coordinates)
        half, e = np.float32(width_mm / 2), np.float32(edge_mm / 2)
        share = np.minimum(s + e, half) - np.maximum(s - e, -half)
        return np.clip(share / (2 * e), 0, 1) * self.within(*coordinates)


@dataclass(frozen=True)
class Move:
    """A fragment on one side of a sheet shifts; the shift dies away within ``radius_mm``."""

    sheet: int
    side: float
    """+1: the side to which the sheet's normal points."""
    direction: Triple
    centre: Triple
    radius_mm: float


@dataclass(frozen=True)
class Break:
    """One fracture in the local frame of its vertebra."""

    kind: str
    sheets: tuple[Sheet, ...]
    moves: tuple[Move, ...]
    visibility: Visibility
    impaction_hu: float = 0.0
    """Denser trabeculae along the first sheet, where bone is pressed together."""

    def warp(self, coordinates: Coordinates) -> Coordinates:
        """Where the material now seen at each voxel came from."""
        amount = self.visibility.displacement_mm
        if amount <= 0 or not self.moves:
            return coordinates
        u, v, w = coordinates
        out = [u, v, w]
        for move in self.moves:
            s = self.sheets[move.sheet].signed_mm(u, v, w)
            weight = np.clip(0.5 + s * np.float32(move.side / BLEND_MM), 0, 1)
            r2 = sum(
                ((c - float(p)) / move.radius_mm) ** 2
                for c, p in zip((u, v, w), move.centre, strict=True)
            )
            weight *= np.clip(1 - r2, 0, 1) ** 2 * np.float32(amount)
            direction = np.asarray(move.direction) / np.linalg.norm(move.direction)
            out = [c - weight * float(k) for c, k in zip(out, direction, strict=True)]
        return out[0], out[1], out[2]

    def gap(self, coordinates: Coordinates, edge_mm: float) -> Array:
        """Share of each voxel's bone that is gone, contrast included."""
        keep = np.ones_like(coordinates[0])
        for sheet in self.sheets:
            share = sheet.gap(coordinates, self.visibility.width_mm, edge_mm)
            keep *= 1 - share * np.float32(self.visibility.contrast)
        return 1 - keep

    def impaction(self, coordinates: Coordinates) -> Array | None:
        """HU added to trabecular bone beside the first sheet."""
        if self.impaction_hu <= 0:
            return None
        sheet = self.sheets[0]
        s = sheet.signed_mm(*coordinates)
        near = np.clip(np.float32(1.6) - np.abs(s) * np.float32(0.6), 0, 1)
        return near * sheet.within(*coordinates) * np.float32(self.impaction_hu)


def combined_gap(breaks: Sequence[Break], coordinates: Coordinates, edge_mm: float) -> Array:
    """All breaks of one vertebra together."""
    keep = np.ones_like(coordinates[0])
    for one in breaks:
        keep *= 1 - one.gap(coordinates, edge_mm)
    return 1 - keep
