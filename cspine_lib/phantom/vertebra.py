"""Bones of each level as lists of parts in the vertebra's local frame.

Shapes follow the anatomy that CT shows; sizes come from ``spine.Dims``.  Facet
joints are planes shared by two neighbours, so that their gap is even.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cspine_lib.phantom.sdf import Array, Part, capsule, ellipsoid, rotation, round_box, tube
from cspine_lib.phantom.spine import SPINE, Spine, Vertebra

FACET_GAP_MM: Final = 1.4
"""Lucent width of a facet joint on CT: both cartilages together, 1–2 mm."""
SIDES: Final = (-1.0, 1.0)


@dataclass(frozen=True)
class Joint:
    """A facet joint: a point and the direction to the lower bone, in the patient."""

    point_xyz_mm: npt.NDArray[np.float64]
    normal_xyz: npt.NDArray[np.float64]
    gap_mm: float = FACET_GAP_MM

    def cut(self, part: Part, bone: Vertebra, lower: bool) -> Part:
        """A part of the upper or lower bone, ending at the joint."""
        sign = -1.0 if lower else 1.0
        normal = bone.frame.axes.T @ self.normal_xyz * sign
        point = bone.frame.to_local(self.point_xyz_mm)
        return part.clipped(normal, point - normal * self.gap_mm / 2)


def facet_joint(spine: Spine, upper: str, side: float) -> Joint:
    """The joint between ``upper`` and the bone below, on one side (−1 right, +1 left)."""
    above, below = spine[upper], spine.vertebrae[SPINE.index(upper) + 1]
    if upper == "C1":
        size = spine.patient.size
        point = above.frame.to_world([side * 16 * size, 1.0, 9.3 * size])
        local = np.array([-side * 0.42, 0.0, 1.0])
        normal = below.frame.axes @ (local / np.linalg.norm(local))
        return Joint(point, normal, gap_mm=1.8)
    points = []
    for bone, sign in ((above, 1.0), (below, -1.0)):
        out, back = bone.pillar_uv
        w = sign * 0.5 * (bone.dims.height + above.dims.disc_below)
        points.append(bone.frame.to_world([side * out, back - 0.5, w - 0.5]))
    # Facets rise to the front at about 45° in the neck and stand nearly upright in the chest.
    slope = 1.0 if upper.startswith("C") and upper != "C7" else 1.9
    local = np.array([0.0, -slope, 1.0])
    normal = (above.frame.axes + below.frame.axes) @ local
    return Joint(np.mean(points, axis=0), normal / np.linalg.norm(normal))


def _body(v: Vertebra, hooks: float) -> list[Part]:
    """Body with a waist, hollow end plates, a flat back, and the hooks of C3–C7."""
    d = v.dims
    a, b, h = v.half_width, 0.5 * d.depth, 0.5 * d.height
    r = 0.8 * b

    def distance(x: Array, y: Array, z: Array) -> Array:
        bulge = z * np.float32(1 / h)
        bulge *= bulge
        bulge = np.minimum(bulge, np.float32(1.2)) * np.float32(0.9) - np.float32(0.7)
        qx = np.abs(x) - np.float32(a - r) - bulge
        # Round in front, flatter behind.
        qy = np.where(
            y < 0, -y - np.float32(b - r) - bulge, y * np.float32(1.12) - np.float32(b - r)
        )
        outside = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2)
        flat = outside + np.minimum(np.maximum(qx, qy), 0) - np.float32(r)
        hollow = np.maximum(1 - (x * np.float32(1 / a)) ** 2 - (y * np.float32(1 / b)) ** 2, 0)
        ends = np.abs(z) - np.float32(h) + hollow * np.float32(1.1)
        # The lower end plate's front lip reaches down over the next disc.
        ends -= np.where(z > 0, np.clip(-y * np.float32(1 / b) - 0.55, 0, 1) * np.float32(2.2), 0)
        soft = np.maximum(np.float32(1.2) - np.abs(flat - ends), 0)
        return np.maximum(flat, ends) + soft * soft * np.float32(0.25 / 1.2)

    lo = np.array([-a - 1.5, -b - 1.5, -h - 1])
    hi = np.array([a + 1.5, b + 1.5, h + 2.5])
    parts = [Part(lo, hi, distance)]
    if hooks > 0:
        for s in SIDES:
            start, stop = (s * (a - 1.2), -0.1 * b, -h + 0.2), (s * (a - 1.6), 0.75 * b, -h - 1.0)
            parts.append(capsule(start, stop, 1.5, 1.5 + 0.9 * hooks, blend_mm=2.5))
    return parts


def _plate(a: npt.ArrayLike, b: npt.ArrayLike, thick: float, tall: float, drop: float) -> Part:
    """A lamina: a flat plate between two points, half sizes ``thick`` and ``tall``."""
    p, q = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    along = (q - p) / np.linalg.norm(q - p)
    up = np.array([0.0, drop, 1.0])
    up -= along * (up @ along)
    up /= np.linalg.norm(up)
    axes = np.stack([along, up, np.cross(along, up)], axis=1)
    half = (0.5 * float(np.linalg.norm(q - p)) + 0.5, tall, thick)
    return round_box((p + q) / 2, half, min(thick, tall) * 0.95, axes)


def _spinous(
    v: Vertebra, start: float, tilt_deg: float, half_height: float, bifid: float
) -> list[Part]:
    """Spinous process from behind the canal; ``bifid`` 0 gives one knob, else two tips."""
    length = v.dims.spinous
    axes = rotation(-tilt_deg, 0, 0)
    along = axes[:, 1]
    base = np.array([0.0, start, 2.0])
    blade = round_box(
        base + along * length / 2, (1.9, 0.5 * length + 1.5, half_height), 1.7, axes, blend_mm=3.0
    )
    tip = base + along * length
    if bifid <= 0:
        return [blade, ellipsoid(tip, (3.6, 3.4, half_height + 0.8), blend_mm=2.0)]
    spread = [tip + np.array([s * bifid, 2.0, 1.5]) for s in SIDES]
    return [blade, *(capsule(tip - along * 3, t, 2.2, 1.9, blend_mm=1.5) for t in spread)]


def _arch(v: Vertebra, joints: dict[str, Joint], slope: float) -> list[Part]:
    """Pedicles, articular pillars between their joints, laminae, canal."""
    d = v.dims
    a, b = v.half_width, 0.5 * d.depth
    out, back = v.pillar_uv
    dorsal = b + d.canal_depth + 1.6
    parts: list[Part] = []
    for s in SIDES:
        pedicle_end = (s * (out - 0.5), back - 2, 0.2)
        parts.append(capsule((s * a * 0.72, b * 0.62, -1.2), pedicle_end, 2.7, 3.0, blend_mm=3.0))
        tall = 0.5 * d.height + 11.0
        lean = rotation(0, 0, -8 * s)
        pillar = round_box((s * out, back, 0.6), (5.3, 5.0, tall), 2.6, lean, blend_mm=2.0)
        key = "R" if s < 0 else "L"
        if f"above{key}" in joints:
            pillar = joints[f"above{key}"].cut(pillar, v, lower=True)
        if f"below{key}" in joints:
            pillar = joints[f"below{key}"].cut(pillar, v, lower=False)
        parts.append(pillar)
        start, stop = (s * (out - 1.0), back + 3.2, 2.0), (s * 1.2, dorsal + 1.0, 2.6)
        parts.append(_plate(start, stop, 1.9, 0.5 * d.height - 0.4, slope))
    half = (0.5 * d.canal_width - 1.2, 0.5 * d.canal_depth)
    middle = (0.0, b + half[1] + 0.3, 0.0)
    canal = ellipsoid(middle, (half[0], half[1], 60.0), carve=True)
    canal = Part(
        np.array([-half[0], b, -20.0]),
        np.array([half[0], dorsal, 20.0]),
        canal.distance,
        carve=True,
    )
    return [*parts, canal]


def _transverse(v: Vertebra, foramen: bool = True) -> list[Part]:
    """Both bars, both tubercles, the bar between, and the foramen of the vertebral artery."""
    d = v.dims
    a, b = v.half_width, 0.5 * d.depth
    out, back = v.pillar_uv
    tip = d.transverse
    hole = 0.5 * (a + tip) - 1.2
    parts: list[Part] = []
    for s in SIDES:
        front = (s * (tip - 2.2), -0.15 * b, 3.0)
        rear = (s * tip, 0.75 * b, 4.5)
        parts += tube([(s * a * 0.9, -0.1 * b, 0.8), front], [2.0, 2.2], blend_mm=2.0)
        parts += tube([(s * out, back - 3, 1.5), rear], [2.6, 2.4], blend_mm=2.0)
        parts.append(capsule(front, rear, 1.7, 1.7))
        if foramen:
            low, high = (s * hole, 0.38 * b, -14.0), (s * hole, 0.42 * b, 14.0)
            parts.append(capsule(low, high, 2.9, carve=True))
    return parts


def _typical(v: Vertebra, joints: dict[str, Joint], rng: np.random.Generator) -> list[Part]:
    """C3 to C7."""
    seventh = v.name == "C7"
    parts = [*_body(v, hooks=1.0 if not seventh else 0.5)]
    arch = _arch(v, joints, slope=0.25)
    start = 0.5 * v.dims.depth + v.dims.canal_depth + 2.0
    tilt = {"C3": 22, "C4": 22, "C5": 22, "C6": 20, "C7": 16}[v.name] + rng.normal(0, 4)
    bifid = 0.0 if seventh or (v.name == "C6" and rng.random() < 0.5) else rng.uniform(2.2, 4.2)
    tall = 4.2 if seventh else 3.2
    return [*parts, *arch[:-1], *_transverse(v), *_spinous(v, start, tilt, tall, bifid), arch[-1]]


def _thoracic(v: Vertebra, joints: dict[str, Joint], rng: np.random.Generator) -> list[Part]:
    """T1 and below: stout transverse process to the back, long sloping spinous process."""
    d = v.dims
    arch = _arch(v, joints, slope=0.35)
    out, back = v.pillar_uv
    parts = [*_body(v, hooks=0.0), *arch[:-1]]
    for s in SIDES:
        tip = (s * d.transverse, back + 7, 0.0)
        parts += tube([(s * out, back, 0.0), tip], [4.0, 3.6], blend_mm=3.0)
    start = 0.5 * d.depth + d.canal_depth + 2.0
    low = float(np.interp(SPINE.index(v.name), [7, 12], [28, 58])) + rng.normal(0, 4)
    return [*parts, *_spinous(v, start, low, 4.2, 0.0), arch[-1]]


def _axis(v: Vertebra, joints: dict[str, Joint], rng: np.random.Generator) -> list[Part]:
    """C2: dens, shoulders with the upper facets, thick laminae, large bifid spinous process."""
    d = v.dims
    b, h, k = 0.5 * d.depth, 0.5 * d.height, d.height / 19.0
    _, back = v.pillar_uv
    dens = tube(
        [(0, -2.0, -h + 5), (0, -1.8, -h - 1), (0, -2.2, -h - 8 * k), (0, -2.0, -h - 12 * k)],
        [6.2 * k, 5.0 * k, 5.3 * k, 4.2 * k],
        blend_mm=2.5,
    )
    arch = _arch(v, {key: j for key, j in joints.items() if key.startswith("below")}, slope=0.3)
    shoulders = []
    for s in SIDES:
        mass = round_box((s * 13.5 * k, 0.5, -4.0), (7.8 * k, 7.2, 9.0), 5.0, blend_mm=3.0)
        shoulders.append(joints["aboveR" if s < 0 else "aboveL"].cut(mass, v, lower=True))
    # The pillar of C2 is only its lower half: what stands up behind is cut away.
    lower = [p.clipped((0, -0.45, -1.0), (0, back, -6.0)) for p in arch[:-1]]
    start = b + d.canal_depth + 2.0
    spinous = _spinous(v, start, 12 + rng.normal(0, 4), 5.2, rng.uniform(3.5, 5.5))
    return [*_body(v, 0.0), *dens, *shoulders, *lower, *_transverse(v), *spinous, arch[-1]]


def _atlas(v: Vertebra, joints: dict[str, Joint], rng: np.random.Generator) -> list[Part]:
    """C1: anterior and posterior arch, lateral masses, wide transverse processes, no body.

    Some 78 mm wide and 44 mm deep: within Doherty & Heggeness, Spine 19 (1994) 2497–2500.
    """
    k = v.dims.height / 19.0
    front = [(-15, -3.5, 0), (-10, -8.2, 0), (0, -10.2, 0), (10, -8.2, 0), (15, -3.5, 0)]
    rear = [(-17, 6, -1), (-19, 14, -1), (-15, 22, 0), (-7, 27, 0.5), (0, 28.5, 1)]
    rear += [(-x, y, z) for x, y, z in rear[-2::-1]]
    parts: list[Part] = []
    for points, radii in (
        (front, [3.4, 2.7, 3.1, 2.7, 3.4]),
        (rear, [3, 2.4, 2.5, 2.9, 3.1, 2.9, 2.5, 2.4, 3]),
    ):
        for shift in (-2.0, 2.0):  # two rods, one above the other: arches are taller than thick
            scaled = [np.array(p) * k + (0, 0, shift) for p in points]
            parts += tube(scaled, [r * k for r in radii], blend_mm=1.5)
    for s in SIDES:
        mass = round_box(
            (s * 17.0 * k, 0.5, -1), (6.8 * k, 7.8 * k, 14), 5.0, rotation(0, 0, 18 * s)
        )
        mass = joints["belowR" if s < 0 else "belowL"].cut(mass, v, lower=False)
        parts.append(mass.clipped((-s * 0.45, -0.1, -1.0), (s * 16 * k, 0, -8.5 * k)))
        tip = (s * 36.5 * k, 3.0, 0.5)
        parts += tube([(s * 21 * k, -3.0, 0), tip], [2.2, 2.4], blend_mm=2.0)
        parts += tube([(s * 20 * k, 6.5, 0), tip], [2.4, 3.0], blend_mm=2.0)
        hole = s * 27.0 * k
        parts.append(capsule((hole, 1.6, -9), (hole, 1.6, 9), 3.0, carve=True))
    return parts


def ribs(v: Vertebra) -> list[Part]:
    """Both ribs of a thoracic level as far as a neck CT shows them."""
    d = v.dims
    first = v.name == "T1"
    back = v.pillar_uv[1]
    parts: list[Part] = []
    for s in SIDES:
        head = (s * (0.5 * d.width + 2.5), 0.35 * d.depth, -0.45 * d.height)
        neck = (s * (d.transverse - 4), back + 1.5, 1.0)
        far = [(50, 4, 6), (58, -14, 12), (52, -34, 20), (34, -48, 27)] if first else []
        far = far or [(56, 14, 10), (72, -6, 20), (80, -32, 32), (74, -58, 42)]
        points = [head, neck, *((s * x, y, z) for x, y, z in far)]
        parts += tube(points, [3.2, 3.0, 3.4, 3.6, 3.6, 3.4], blend_mm=1.0)
    return parts


_BUILDERS: dict[str, Callable[..., list[Part]]] = {"C1": _atlas, "C2": _axis}


def vertebra_parts(spine: Spine, name: str, rng: np.random.Generator) -> list[Part]:
    """All parts of one level, without its ribs."""
    v, i = spine[name], SPINE.index(name)
    joints = {}
    for s, key in zip(SIDES, "RL", strict=True):
        if i > 0:
            joints[f"above{key}"] = facet_joint(spine, SPINE[i - 1], s)
        if i + 1 < len(SPINE):
            joints[f"below{key}"] = facet_joint(spine, name, s)
    fallback = _thoracic if name.startswith("T") else _typical
    return _BUILDERS.get(name, fallback)(v, joints, rng)
