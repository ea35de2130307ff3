"""From shapes to HU: cortex, trabecular core, fractures, look-alikes, partial volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cspine_lib.phantom.fractures import GAP_HU, Break, Coordinates, combined_gap
from cspine_lib.phantom.lookalikes import Lookalikes
from cspine_lib.phantom.sdf import (
    Array,
    Frame,
    Grid,
    Part,
    Slices,
    bone_box,
    coverage,
    smooth_min,
    union,
)

TEXTURE_MM: Final = 0.5
"""Blur of the trabecular texture (standard deviation)."""
CHUNK_VOXELS: Final = 4_000_000
"""Largest box painted at once, which bounds memory."""


@dataclass(frozen=True)
class Material:
    """HU and thickness of one bone's tissues."""

    cortical_hu: float
    trabecular_hu: float
    shell_mm: float = 0.9
    texture_hu: float = 55.0
    posterior_hu: float = 0.0
    """Added to the trabecular HU behind ``posterior_from_mm``: arches are denser than bodies."""
    posterior_from_mm: float = 7.0


@dataclass(frozen=True, eq=False)
class Painted:
    """One bone in its box: what to lay over the background, ``bg * (1 − cover) + hu``."""

    box: Slices
    cover: Array
    hu: Array

    def onto(self, volume: Array) -> None:
        """Lay the bone over a volume, in place."""
        view = volume[self.box]
        view *= 1 - self.cover
        view += self.hu


def texture(shape: tuple[int, ...], grid: Grid, rng: np.random.Generator) -> Array:
    """Trabecular texture of unit standard deviation."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    sigma = [TEXTURE_MM / s for s in grid.spacing_zyx_mm]
    if max(sigma) > 0.5:
        noise = ndimage.gaussian_filter(noise, sigma, truncate=2.0)
        noise /= np.float32(max(float(noise.std()), 1e-6))
    return noise


def wobble(coordinates: Coordinates, phases: npt.NDArray[np.floating], amount_mm: float) -> Array:
    """Smooth bumps that no two vertebrae share."""
    u, v, w = coordinates
    p = [np.float32(x) for x in phases]
    out = np.sin(u * np.float32(0.55) + v * np.float32(0.2) + p[0])
    out += np.sin(v * np.float32(0.6) - w * np.float32(0.35) + p[1])
    out += np.sin((w + u) * np.float32(0.9) + p[2])
    out *= np.float32(amount_mm)
    return out


def shade(
    distance: Array,
    trabecular: Array,
    material: Material,
    edge_mm: float,
    extra: Array | None = None,
) -> tuple[Array, Array]:
    """Coverage and HU × coverage of a bone with a shell and a core."""
    cover = coverage(distance, edge_mm)
    core = coverage(distance + np.float32(material.shell_mm), edge_mm)
    hu = (cover - core) * np.float32(material.cortical_hu)
    hu += core * (trabecular if extra is None else trabecular + extra)
    return cover, hu


@dataclass(frozen=True, eq=False)
class VertebraModel:
    """Everything that decides one vertebra, drawn once; it can be painted whole or broken."""

    grid: Grid
    frame: Frame
    parts: Sequence[Part]
    lookalikes: Lookalikes
    material: Material
    phases: npt.NDArray[np.floating]
    box: Slices

    @classmethod
    def build(
        cls,
        grid: Grid,
        frame: Frame,
        parts: Sequence[Part],
        lookalikes: Lookalikes,
        material: Material,
        rng: np.random.Generator,
    ) -> VertebraModel:
        """``rng`` gives the bumps of the surface."""
        whole = [*parts, *lookalikes.fused, *lookalikes.loose]
        # Room for displaced fragments (at most 3.5 mm), whether or not there are any.
        box = bone_box(grid, frame, whole, 5.0)
        return cls(grid, frame, parts, lookalikes, material, rng.uniform(0, 6.28, 3), box)

    @property
    def empty(self) -> bool:
        """Nothing of it is in view."""
        return any(s.stop <= s.start for s in self.box)

    def coordinates(self) -> Coordinates:
        """Local coordinates of the box."""
        return self.frame.coordinates(self.grid, self.box)

    def distance(self, coordinates: Coordinates, pad_mm: float = 2.5) -> Array:
        """Signed distance of the bone, spurs fused, loose pieces beside it."""
        fused = self.lookalikes.fused
        # The canal is carved last, so spurs come before it.
        parts = [*self.parts[:-1], *fused, self.parts[-1]]
        d = union(self.grid, self.frame, self.box, parts, coordinates, pad_mm)
        d += wobble(coordinates, self.phases, 0.13)
        if self.lookalikes.loose:
            loose = union(
                self.grid, self.frame, self.box, self.lookalikes.loose, coordinates, pad_mm
            )
            # At least 0.8 mm of soft tissue stays between a loose piece and its bone.
            d = smooth_min(d, np.maximum(loose, np.float32(0.8) - d), 0.0)
        return d

    def trabeculae(self, coordinates: Coordinates, rng: np.random.Generator) -> Array:
        """HU of the core, texture included."""
        m = self.material
        out = texture(coordinates[0].shape, self.grid, rng)
        out *= np.float32(m.texture_hu)
        out += np.float32(m.trabecular_hu)
        if m.posterior_hu:
            rise = (coordinates[1] - np.float32(m.posterior_from_mm)) * np.float32(0.3)
            out += np.clip(rise, 0, 1) * np.float32(m.posterior_hu)
        return out

    def paint(
        self,
        coordinates: Coordinates,
        distance: Array,
        trabecular: Array,
        breaks: Sequence[Break] = (),
    ) -> Painted:
        """The bone as it looks, unbroken or with its fractures.

        ``distance`` is of the unbroken bone; displaced fragments are evaluated anew.
        """
        edge = self.grid.edge_mm
        extra, warped = None, coordinates
        for one in breaks:
            warped = one.warp(warped)
            pressed = one.impaction(coordinates)
            if pressed is not None:
                extra = pressed if extra is None else extra + pressed
        if warped is not coordinates:
            # Where nothing moves the distance stays what it was, to the last bit.
            moved = np.logical_or.reduce([a != b for a, b in zip(warped, coordinates, strict=True)])
            distance = np.where(moved, self.distance(warped, pad_mm=6.0), distance)
        cover, hu = shade(distance, trabecular, self.material, edge, extra)
        missing, rim = self.lookalikes.lucency(self.grid, self.frame, self.box, coordinates)
        hu += rim * cover
        # Vessels and marrow fill channels.
        hu += cover * missing * np.float32(30.0) - hu * missing
        if breaks:
            gap = combined_gap(breaks, coordinates, edge)
            hu += gap * (cover * np.float32(GAP_HU) - hu)
        return Painted(self.box, cover, hu)


def paint_parts(
    volume: Array,
    grid: Grid,
    frame: Frame,
    parts: Sequence[Part],
    material: Material,
    rng: np.random.Generator,
    wobble_mm: float = 0.15,
) -> None:
    """Bones without a label (skull, jaw, ribs …) painted in place, in chunks along z."""
    whole = bone_box(grid, frame, parts, 2.0)
    phases = rng.uniform(0, 6.28, 3)
    rows = (whole[1].stop - whole[1].start) * (whole[2].stop - whole[2].start)
    if rows == 0:
        return
    step = max(CHUNK_VOXELS // rows, 1)
    for start in range(whole[0].start, whole[0].stop, step):
        box = (slice(start, min(start + step, whole[0].stop)), whole[1], whole[2])
        coordinates = frame.coordinates(grid, box)
        d = union(grid, frame, box, parts, coordinates, 2.5)
        if wobble_mm:
            d += wobble(coordinates, phases, wobble_mm)
        trabecular = texture(d.shape, grid, rng) * np.float32(material.texture_hu)
        trabecular += np.float32(material.trabecular_hu)
        Painted(box, *shade(d, trabecular, material, grid.edge_mm)).onto(volume)
