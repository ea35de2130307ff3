"""Bones around the spine: skull base, jaw, teeth, hyoid, larynx, collar bones, ribs.

Head bones live in the frame of C1, for the head moves with it.  Places are drawn
after CT, without a claim to measured sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cspine_lib.phantom.bones import Material, paint_parts
from cspine_lib.phantom.sdf import Array, Frame, Grid, Part, capsule, ellipsoid, round_box, tube
from cspine_lib.phantom.spine import SPINE, Patient, Spine
from cspine_lib.phantom.vertebra import SIDES, ribs

ENAMEL_HU: Final = 2400.0
METAL_HU: Final = 3071.0


def skull_base(spine: Spine) -> list[Part]:
    """Occiput with its condyles, clivus and the foramen magnum; mastoids; hard palate."""
    k = spine.patient.size
    outer = ellipsoid((0, 28 * k, -66 * k), (71 * k, 84 * k, 60 * k))
    inner = ellipsoid((0, 28 * k, -68 * k), (66.5 * k, 79 * k, 56.5 * k), carve=True)
    foramen = ellipsoid((0, 15.5 * k, -12 * k), (14.5 * k, 17 * k, 22 * k), carve=True)
    clivus = capsule((0, -5 * k, -16 * k), (0, -20 * k, -48 * k), 5.5, 8.0)
    wide = [capsule((s * 7, -6 * k, -18 * k), (s * 9, -20 * k, -46 * k), 4.5, 6.0) for s in SIDES]
    late: list[Part] = [clivus, *wide]
    for s in SIDES:
        # The condyle rests in the hollow on top of the atlas, with a joint gap between.
        condyle = ellipsoid((s * 15.0 * k, -0.5, -14.5 * k), (6.0 * k, 10.0 * k, 7.0 * k))
        late.append(condyle.clipped((s * 0.45, 0.1, 1.0), (s * 16 * k, 0, -10.2 * k)))
        late.append(capsule((s * 50 * k, 8, -28 * k), (s * 51 * k, 9, -5 * k), 12.0, 6.0))
        late.append(capsule((s * 22 * k, -2, -26 * k), (s * 48 * k, 4, -30 * k), 6.0, 9.0))
        late.append(capsule((s * 18, -32, -18), (s * 16, -30, 0), 2.6, 2.0))
    late.append(round_box((0, -58, -6), (21, 26, 4), 3.0))
    return [outer, inner, *late, foramen]


def mandible(spine: Spine) -> list[Part]:
    """Rami, angles and body, as a band two rods high."""
    k = spine.patient.size
    parts: list[Part] = []
    for s in SIDES:
        ramus = [(s * 49, -20, -26), (s * 46, -20, 6), (s * 44, -24, 22)]
        parts += tube([np.array(p) * k for p in ramus], [4.5, 4.0, 4.5])
        parts += tube([np.array(p) * k + (0, -9, -2) for p in ramus[1:]], [3.6, 4.2])
        body = [(s * 44, -26, 22), (s * 34, -50, 30), (s * 14, -80, 37), (0, -84, 38)]
        for up in (0.0, 6.5):
            parts += tube([np.array(p) * k - (0, 0, up) for p in body], [4.8, 5.0, 5.2, 5.2])
    return parts


def teeth(spine: Spine) -> list[Part]:
    """Molars to incisors of both jaws along the arch."""
    k = spine.patient.size
    parts: list[Part] = []
    for t in np.linspace(0, 1, 7):
        x, y = 27 - 20 * t**1.6, -42 - 34 * t
        r = 4.2 - 1.4 * t
        for s in SIDES:
            parts.append(
                capsule((s * x * k, y * k, 8), (s * x * k, y * k, 19), r, 0.7 * r, blend_mm=0)
            )
            parts.append(
                capsule((s * x * k, y * k, 5.5), (s * x * k, y * k, -5), r, 0.7 * r, blend_mm=0)
            )
    return parts


def throat(spine: Spine) -> list[Part]:
    """Hyoid at C3/C4 and the ossified rims of the thyroid and cricoid cartilages."""
    k = spine.patient.size
    c3, c5, c6 = (spine[n].frame.centre_xyz_mm for n in ("C3", "C5", "C6"))
    hyoid = [(-20, -24, 0), (-15, -40, 5), (0, -46, 7), (15, -40, 5), (20, -24, 0)]
    wing = [(-17, -24, -4), (-11, -38, -1), (0, -48, 0), (11, -38, -1), (17, -24, -4)]
    ring = [(-10, -24, 2), (-11, -32, 4), (0, -41, 6), (11, -32, 4), (10, -24, 2)]
    old = float(np.clip((spine.patient.age - 25) / 40, 0.3, 1.0))
    parts = tube([c3 + np.array(p) * k for p in hyoid], [1.8, 2.4, 3.2, 2.4, 1.8])
    parts += tube([c5 + np.array(p) * k for p in wing], [1.1 * old, 1.2, 1.0 * old, 1.2, 1.1 * old])
    parts += tube([c6 + np.array(p) * k for p in ring], [2.0 * old, 1.4, 1.1, 1.4, 2.0 * old])
    return parts


def shoulder_girdle(spine: Spine) -> list[Part]:
    """Collar bones, the tops of the shoulder blades, and the breast bone's upper end."""
    k = spine.patient.size
    t1, t3 = (spine[n].frame.centre_xyz_mm for n in ("T1", "T3"))
    parts: list[Part] = []
    for s in SIDES:
        collar = [(s * 13, -55, 30), (s * 45, -52, 18), (s * 85, -25, 6), (s * 125, -2, -2)]
        parts += tube([t1 + np.array(p) * k for p in collar], [8.0, 5.5, 5.5, 6.0])
        blade = [(s * 62, 38, 20), (s * 95, 26, 4), (s * 135, 8, -2)]
        parts += tube([t1 + np.array(p) * k for p in blade], [3.0, 5.0, 6.5])
    parts.append(round_box(t3 + np.array([0, -62, 22]) * k, (24, 6, 22), 5.0))
    return parts


@dataclass(frozen=True)
class Dental:
    """Metal in the teeth: the filled tooth's place in the patient, or none."""

    fillings_xyz_mm: tuple[tuple[float, float, float], ...]


def draw_dental(spine: Spine, rng: np.random.Generator) -> Dental:
    """Fillings in some 40% of patients."""
    many = int(rng.integers(1, 5)) if rng.random() < 0.4 else 0
    places = []
    for _ in range(many):
        tooth = teeth(spine)[int(rng.integers(0, 16))]
        centre = (tooth.lo_mm + tooth.hi_mm) / 2
        x, y, z = spine["C1"].frame.to_world(centre)
        places.append((float(x), float(y), float(z)))
    return Dental(tuple(places))


def paint_unlabelled(
    volume: Array, grid: Grid, spine: Spine, dental: Dental, rng: np.random.Generator
) -> None:
    """All bones but the vertebrae, in place."""
    p: Patient = spine.patient
    dense = Material(p.cortical_hu + 50, p.trabecular_hu + 250, 1.5, 80)
    head, world = spine["C1"].frame, Frame(np.zeros(3), np.eye(3))
    paint_parts(volume, grid, head, skull_base(spine), dense, rng, 0.12)
    paint_parts(volume, grid, head, mandible(spine), Material(p.cortical_hu + 150, 350, 2.2), rng)
    paint_parts(volume, grid, head, teeth(spine), Material(ENAMEL_HU, 1500, 1.2, 60), rng, 0.0)
    paint_parts(volume, grid, world, throat(spine), Material(750, 250, 0.7, 30), rng, 0.1)
    paint_parts(volume, grid, world, shoulder_girdle(spine), Material(p.cortical_hu, 250), rng)
    for name in SPINE[7:]:
        v = spine[name]
        if v.frame.centre_xyz_mm[2] < grid.axis_mm(0)[-1] + 25:
            paint_parts(volume, grid, v.frame, ribs(v), Material(p.cortical_hu, 200, 0.8), rng)
    for place in dental.fillings_xyz_mm:
        blob = [ellipsoid(place, (3.0, 3.0, 2.2))]
        paint_parts(volume, grid, world, blob, Material(METAL_HU, METAL_HU, 3, 0), rng, 0.0)
