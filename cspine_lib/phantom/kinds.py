"""Where each kind of fracture runs, level by level.

Kinds and places after textbooks of cervical trauma imaging: Jefferson and arch
fractures of C1, Anderson–D'Alonzo types II and III and the hangman's fracture of
C2, compression, burst and teardrop of the bodies below, and the posterior
elements, the spinous process mostly at C6 and C7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from cspine_lib.phantom.fractures import Break, Move, Sheet, Triple, Visibility, draw_visibility
from cspine_lib.phantom.spine import Vertebra

Shape = tuple[list[Sheet], list[Move]]
Builder = Callable[[Vertebra, float, np.random.Generator, float], Shape]

# Relative frequency of the main fracture of a level.
KINDS: Final[dict[str, dict[str, float]]] = {
    "C1": {"jefferson": 0.3, "anterior_arch": 0.2, "posterior_arch": 0.35, "lateral_mass": 0.15},
    "C2": {
        "dens_2": 0.38,
        "dens_3": 0.24,
        "hangman": 0.2,
        "teardrop": 0.1,
        "transverse_process": 0.08,
    },
    "C3": {
        "burst": 0.08,
        "compression": 0.12,
        "teardrop": 0.15,
        "facet": 0.25,
        "lamina": 0.2,
        "transverse_process": 0.2,
    },
    "C4": {
        "burst": 0.1,
        "compression": 0.12,
        "teardrop": 0.13,
        "facet": 0.25,
        "lamina": 0.2,
        "transverse_process": 0.2,
    },
    "C5": {
        "burst": 0.15,
        "compression": 0.15,
        "teardrop": 0.15,
        "facet": 0.2,
        "lamina": 0.2,
        "transverse_process": 0.15,
    },
    "C6": {
        "burst": 0.1,
        "compression": 0.14,
        "teardrop": 0.08,
        "facet": 0.22,
        "lamina": 0.16,
        "transverse_process": 0.14,
        "spinous_process": 0.16,
    },
    "C7": {
        "burst": 0.07,
        "compression": 0.12,
        "teardrop": 0.05,
        "facet": 0.14,
        "lamina": 0.12,
        "transverse_process": 0.24,
        "spinous_process": 0.26,
    },
}
COMPANIONS: Final = {"C1": ("posterior_arch",), "C2": ("transverse_process", "hangman")}
"""What a second fracture of the same level can be; below C2 any posterior element."""
PRESSED: Final = ("compression", "burst")
"""Kinds in which bone is driven into bone: some height is always lost."""
COMPANION_SHARE: Final = 0.5
MAX_PIECES: Final = 4


def _sheet(
    rng: np.random.Generator, point: Triple, normal: Triple, radii: Triple, reach: float
) -> Sheet:
    """A sheet with a little random tilt, curvature and waves."""
    n = np.asarray(normal, dtype=float) / np.linalg.norm(normal) + rng.normal(0, 0.12, 3)
    phases = rng.uniform(0, 6.28, 3)
    size = tuple(float(r * reach) for r in radii)
    return Sheet(
        point,
        (float(n[0]), float(n[1]), float(n[2])),
        (size[0], size[1], size[2]),
        float(rng.normal(0, 0.012)),
        float(rng.uniform(0.12, 0.4)),
        (float(phases[0]), float(phases[1]), float(phases[2])),
    )


def _arch_point(v: Vertebra, side: float, angle_deg: float) -> tuple[Triple, Triple]:
    """A point on the posterior arch of C1 and the direction along it; 0° is the midline."""
    k, a = v.dims.height / 19.0, np.radians(angle_deg)
    point = (side * 19 * k * np.sin(a), (6 + 22 * np.cos(a)) * k, 0.0)
    return point, (side * 19 * np.cos(a), -22 * np.sin(a), 0.0)


def _posterior_arch(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    sheets, moves = [], []
    sides = (s, -s) if rng.random() < 0.5 else (s,)
    for i, side in enumerate(sides):
        point, along = _arch_point(v, side, rng.uniform(35, 85))
        sheets.append(_sheet(rng, point, along, (7, 7, 10), max(reach, 0.75)))
        moves.append(Move(i, -1.0, (-side * 0.4, 1.0, 0.2), (0.0, 28.0, 0.0), 20.0))
    return sheets, moves[:1]


def _anterior_arch(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    k = v.dims.height / 19.0
    point = (s * rng.uniform(2, 9) * k, -9.5 * k, 0.0)
    sheet = _sheet(rng, point, (1.0, 0.3 * s, 0.0), (6, 7, 10), max(reach, 0.75))
    return [sheet], [Move(0, s, (s, -0.5, 0.0), (s * 14.0 * k, -5.0, 0.0), 14.0)]


def _jefferson(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    front, _ = _anterior_arch(v, s, rng, reach)
    rear, _ = _posterior_arch(v, s, rng, reach)
    k = v.dims.height / 19.0
    return front + rear, [Move(0, s, (s, 0.0, 0.1), (s * 18.0 * k, 0.0, 0.0), 24.0)]


def _lateral_mass(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    x = s * rng.uniform(14, 18) * v.dims.height / 19.0
    sheet = _sheet(rng, (x, 0.0, 0.0), (1.0, 0.4 * s, 0.1), (9, 11, 15), reach)
    return [sheet], [Move(0, s, (s, 0.0, 0.2), (x + s * 6, 0.0, 0.0), 18.0)]


def _dens_2(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    top = -0.5 * v.dims.height - rng.uniform(0.0, 3.5)
    lean = rng.uniform(-0.45, 0.45)
    sheet = _sheet(rng, (0.0, -2.0, top), (0.15 * s, lean, 1.0), (11, 11, 8), reach)
    return [sheet], [Move(0, -1.0, (0.3 * s, 1.0, 0.1), (0.0, -2.0, top - 8), 19.0)]


def _dens_3(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    top = -0.5 * v.dims.height + rng.uniform(3, 6.5)
    sheet = _sheet(rng, (0.0, -1.0, top), (0.2 * s, rng.uniform(0.0, 0.6), 1.0), (15, 12, 9), reach)
    return [sheet], [Move(0, -1.0, (0.2 * s, -1.0, 0.3), (0.0, -2.0, top - 9), 22.0)]


def _hangman(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    out, _ = v.pillar_uv
    sheets = []
    for side in (s, -s):
        point = (side * (out - 3.5), 0.5 * v.dims.depth + rng.uniform(-0.5, 3.5), -1.0)
        normal = (side * rng.uniform(-0.2, 0.5), 1.0, rng.uniform(-0.4, 0.2))
        sheets.append(_sheet(rng, point, normal, (9, 9, 12), reach))
    return sheets, [Move(0, -1.0, (0.0, -1.0, 0.2), (0.0, -1.0, -3.0), 26.0)]


def _compression(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    a, b, h = v.half_width, 0.5 * v.dims.depth, 0.5 * v.dims.height
    point = (0.15 * a * s, -0.25 * b, -h + rng.uniform(2.0, 4.0))
    lid = _sheet(rng, point, (0.1 * s, 0.25, 1.0), (a + 2, b + 2, 5), reach)
    front = _sheet(rng, (0.1 * a * s, -0.8 * b, -0.2 * h), (0.25 * s, 0.7, 1.0), (a, 6, h), reach)
    return [lid, front], [Move(0, -1.0, (0.0, -0.25, 1.0), (0.0, -0.6 * b, -h), a + 5)]


def _burst(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    a, b, h = v.half_width, 0.5 * v.dims.depth, 0.5 * v.dims.height
    split = _sheet(
        rng, (s * rng.uniform(0, 0.3) * a, 0.0, 0.0), (1.0, 0.3 * s, 0.0), (9, b + 4, h + 4), reach
    )
    rear = _sheet(rng, (0.0, 0.35 * b, -0.3 * h), (0.0, 1.0, 0.35), (a + 1, 7, h + 2), reach)
    lid = _sheet(rng, (0.0, 0.0, -0.45 * h), (0.1 * s, 0.1, 1.0), (a, b, 5), reach)
    return [split, rear, lid], [Move(1, 1.0, (0.0, 1.0, 0.0), (0.0, b, -0.5 * h), 12.0)]


def _teardrop(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    a, b, h = v.half_width, 0.5 * v.dims.depth, 0.5 * v.dims.height
    point = (0.0, -rng.uniform(0.35, 0.65) * b, h - rng.uniform(2.5, 5.5))
    sheet = _sheet(rng, point, (0.1 * s, -0.8, 0.6), (a + 3, 8, 9), reach)
    return [sheet], [Move(0, 1.0, (0.0, -1.0, 0.4), (0.0, -b, h), 11.0)]


def _facet(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    out, back = v.pillar_uv
    point = (s * out, back + rng.uniform(-1, 1), rng.uniform(-3.5, 3.5))
    across = rng.random() < 0.6
    normal = (0.25 * s, 0.2, 1.0) if across else (0.5 * s, 1.0, 0.1)
    sheet = _sheet(rng, point, normal, (9, 9, 10), max(reach, 0.7))
    return [sheet], [Move(0, 1.0, (0.5 * s, 0.6, 0.4), (s * out, back + 2, 4.0), 13.0)]


def _lamina(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    out, back = v.pillar_uv
    dorsal = 0.5 * v.dims.depth + v.dims.canal_depth + 2.6
    t = rng.uniform(0.3, 0.8)
    point = (s * (out - t * (out - 1.2)), back + 3.2 + t * (dorsal - back - 3.2), 2.5)
    normal = (-s * (out - 1.2), dorsal - back - 3.2, rng.uniform(-4, 4))
    sheet = _sheet(rng, point, normal, (8, 8, 10), max(reach, 0.7))
    return [sheet], [Move(0, 1.0, (0.2 * s, -1.0, 0.2), (0.0, dorsal, 2.5), 14.0)]


def _transverse(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    a, tip = v.half_width, v.dims.transverse
    x = s * (a + rng.uniform(0.3, 0.8) * (tip - a))
    sheet = _sheet(rng, (x, 2.0, 3.0), (1.0, 0.3 * s, 0.1), (7, 12, 10), max(reach, 0.75))
    return [sheet], [Move(0, s, (s, 0.3, 0.8), (x + s * 6, 3.0, 3.0), 14.0)]


def _spinous(v: Vertebra, s: float, rng: np.random.Generator, reach: float) -> Shape:
    start = 0.5 * v.dims.depth + v.dims.canal_depth + 2.0
    along = rng.uniform(0.2, 0.75) * v.dims.spinous
    point = (0.0, start + along, 2.0 + 0.3 * along)
    sheet = _sheet(rng, point, (0.15 * s, 1.0, -0.4), (8, 9, 12), max(reach, 0.8))
    return [sheet], [Move(0, 1.0, (0.1 * s, 0.4, 1.0), (0.0, start + along + 9, 6.0), 17.0)]


BUILDERS: Final[dict[str, Builder]] = {
    "jefferson": _jefferson,
    "anterior_arch": _anterior_arch,
    "posterior_arch": _posterior_arch,
    "lateral_mass": _lateral_mass,
    "dens_2": _dens_2,
    "dens_3": _dens_3,
    "hangman": _hangman,
    "compression": _compression,
    "burst": _burst,
    "teardrop": _teardrop,
    "facet": _facet,
    "lamina": _lamina,
    "transverse_process": _transverse,
    "spinous_process": _spinous,
}


def _splinter(main: Sheet, rng: np.random.Generator) -> Sheet:
    """A further crack beside the main one, at an angle to it: comminution."""
    n = np.asarray(main.normal) / np.linalg.norm(main.normal)
    away = rng.choice([-1.0, 1.0]) * rng.uniform(1.5, 5.0)
    point = np.asarray(main.point) + away * n + rng.normal(0, 1.5, 3)
    tilted = n + rng.normal(0, 0.55, 3)
    size = np.asarray(main.radii) * rng.uniform(0.55, 0.95)
    phases = rng.uniform(0, 6.28, 3)
    return replace(
        main,
        point=_triple(point),
        normal=_triple(tilted),
        radii=_triple(size),
        phases=_triple(phases),
    )


def _triple(values: np.ndarray) -> Triple:
    x, y, z = (float(v) for v in values)
    return x, y, z


def make_break(v: Vertebra, kind: str, rng: np.random.Generator, visibility: Visibility) -> Break:
    """One fracture of a kind in a vertebra."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    sheets, moves = BUILDERS[kind](v, side, rng, visibility.reach)
    # Each piece has a generator of its own: more pieces leave the other draws as they are.
    for child in rng.spawn(MAX_PIECES)[: visibility.pieces]:
        sheets.append(_splinter(sheets[0], child))
    pressed = 0.0
    if kind in PRESSED:
        plain = 1 - visibility.hidden
        pressed = 160.0 * plain
        visibility = replace(
            visibility, displacement_mm=max(visibility.displacement_mm, 2.2 * plain)
        )
    return Break(kind, tuple(sheets), tuple(moves), visibility, pressed)


def draw_breaks(v: Vertebra, rng: np.random.Generator, difficulty: float) -> list[Break]:
    """The fractures of one broken level: one, in a share of levels two."""
    table = KINDS[v.name]
    weights = np.array(list(table.values()))
    kind = str(rng.choice(list(table), p=weights / weights.sum()))
    out = [make_break(v, kind, rng, draw_visibility(rng, difficulty))]
    others = [
        k for k in COMPANIONS.get(v.name, ("facet", "lamina", "transverse_process")) if k != kind
    ]
    if rng.random() < COMPANION_SHARE and others and kind != "jefferson":
        second = str(rng.choice(others))
        out.append(make_break(v, second, rng, draw_visibility(rng, difficulty)))
    return out
