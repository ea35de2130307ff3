"""The patient: age, sex, sizes of each vertebra, and where each one sits.

Local frame of C3 and below: origin in the middle of the body.  C2: in the
middle of the body below the dens.  C1: on the axis of the dens at the height of
the arches.  Axes: x to the patient's left, y to the back, z to the feet.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import LEVELS
from cspine_lib.phantom.plan import StudyPlan
from cspine_lib.phantom.sdf import Frame, rotation

SPINE: Final = (*LEVELS, *(f"T{i}" for i in range(1, 13)))

# Bodies: width and depth (mean of both end plates) and posterior height, mm.  Rounded after
# Panjabi et al., "Cervical human vertebrae", Spine 16 (1991) 861–869 (C2–C7) and "Thoracic
# human vertebrae", Spine 16 (1991) 888–901 (T1–T12).
BODY_MM: Final = {
    "C2": (17.5, 15.0, 19.0),
    "C3": (16.5, 15.3, 11.6),
    "C4": (17.1, 15.6, 11.4),
    "C5": (18.5, 16.5, 11.4),
    "C6": (20.3, 17.4, 10.9),
    "C7": (22.6, 17.5, 12.8),
    "T1": (26.0, 19.0, 14.1),
    "T2": (25.5, 20.5, 15.6),
    "T3": (25.0, 22.5, 15.7),
}
# Canal: width and depth, mm; C3–C7 width near 24–26 by Panjabi 1991, depth on CT 13–15 at C3–C7,
# more above.
CANAL_MM: Final = {
    "C2": (23.0, 16.5),
    "C3": (22.5, 14.0),
    "C4": (23.5, 13.8),
    "C5": (24.2, 13.8),
    "C6": (24.6, 13.8),
    "C7": (23.5, 14.2),
    "T1": (20.5, 14.8),
}
# Tip of the transverse process from the midline, and how far the spinous process reaches behind
# the canal, mm.  Drawn after CT; growth towards C7 as in Panjabi 1991.
TRANSVERSE_MM: Final = {"C2": 26, "C3": 25, "C4": 26, "C5": 27, "C6": 28.5, "C7": 33, "T1": 36}
SPINOUS_MM: Final = {"C2": 17, "C3": 12, "C4": 12.5, "C5": 15, "C6": 21, "C7": 30, "T1": 31}
DISC_MM: Final = 5.2
"""Mean height of cervical discs; 4–6 mm in Gilad & Nissan, Spine 11 (1986) 154–157."""
DENS_MM: Final = 15.5
"""Height of the dens above the body of C2; some 14–17 mm (Schaffler et al., Spine 17 (1992))."""


@dataclass(frozen=True)
class Patient:
    """Who is scanned; drawn from the stream ``patient`` alone."""

    age: float
    female: bool
    size: float
    lordosis_deg: float
    lean_deg: float
    tilt_deg: float
    turn_deg: float
    trabecular_hu: float
    cortical_hu: float
    degeneration: float
    """0 young and smooth, 1 narrow discs and large osteophytes."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, rounded."""
        values = self.__dict__.items()
        return {k: v if isinstance(v, bool) else round(float(v), 3) for k, v in values}


def draw_patient(plan: StudyPlan) -> Patient:
    """Age 18–95, sex, size, posture, density.

    Trabecular HU fall by about 2–2.5 HU a year in the lumbar spine (Pickhardt et
    al., Ann Intern Med 158 (2013) 588–595); the cervical spine is denser, here
    by a factor near 1.7, set by eye on CT.
    """
    rng = plan.rng("patient")
    age = float(np.clip(rng.normal(58, 21), 18, 95))
    female = bool(rng.random() < 0.45)
    lumbar = 255 - 2.1 * (age - 20) + rng.normal(0, 25)
    return Patient(
        age=age,
        female=female,
        size=float((0.945 if female else 1.025) * rng.normal(1, 0.03)),
        lordosis_deg=float(np.clip(rng.normal(17, 11), -8, 40)),
        lean_deg=float(rng.normal(0, 4)),
        tilt_deg=float(np.clip(rng.normal(0, 3), -8, 8)),
        turn_deg=float(np.clip(rng.normal(0, 4.5), -13, 13)),
        trabecular_hu=float(np.clip(1.7 * lumbar, 110, 520)),
        cortical_hu=float(1250 - 3.0 * (age - 20) + rng.normal(0, 80)),
        degeneration=float(np.clip((age - 35) / 55 + rng.normal(0, 0.2), 0, 1)),
    )


@dataclass(frozen=True)
class Dims:
    """Sizes of one vertebra in mm, already scaled to the patient."""

    width: float
    depth: float
    height: float
    canal_width: float
    canal_depth: float
    transverse: float
    spinous: float
    disc_below: float


@dataclass(frozen=True)
class Vertebra:
    """One level: its name, sizes and place."""

    name: str
    dims: Dims
    frame: Frame

    @property
    def half_width(self) -> float:
        """Half the body's width at its waist; hooks stand outside the end plate in C3–C7."""
        hooks = 2.4 if self.name in LEVELS[2:] else 0.0
        return 0.5 * self.dims.width + hooks

    @property
    def pillar_uv(self) -> tuple[float, float]:
        """Lateral and posterior position of the articular pillar in the local frame."""
        d = self.dims
        out = 0.5 * d.canal_width + (2.0 if self.name.startswith("T") else 4.6)
        return out, 0.5 * d.depth + (9.0 if self.name.startswith("T") else 6.2)


@dataclass(frozen=True)
class Spine:
    """All vertebrae that may be in view, head to feet, from C1."""

    patient: Patient
    vertebrae: tuple[Vertebra, ...]

    def __getitem__(self, name: str) -> Vertebra:
        return self.vertebrae[SPINE.index(name)]

    @property
    def centres_xyz_mm(self) -> npt.NDArray[np.float64]:
        """Origins of the local frames, (N, 3)."""
        return np.array([v.frame.centre_xyz_mm for v in self.vertebrae])


def _dims(name: str, patient: Patient, rng: np.random.Generator) -> Dims:
    key = name if name in BODY_MM else "C2" if name == "C1" else "T3"
    small = key if key in CANAL_MM else "T1"
    vary = 1 + 0.035 * np.clip(rng.standard_normal(8), -2.2, 2.2)
    width, depth, height = np.array(BODY_MM[key]) * patient.size * vary[:3]
    if key == "T3":
        height *= 1 + 0.012 * max(SPINE.index(name) - SPINE.index("T3"), 0)
    canal = np.array(CANAL_MM[small]) * (0.6 + 0.4 * patient.size) * vary[3:5]
    narrow = 1 - patient.degeneration * rng.uniform(0.0, 0.6) * (name in LEVELS[2:6])
    disc = DISC_MM * patient.size * vary[7] * narrow
    return Dims(
        width=float(width),
        depth=float(depth),
        height=float(height),
        canal_width=float(canal[0]),
        canal_depth=float(canal[1]),
        transverse=float(TRANSVERSE_MM[small] * patient.size * vary[5]),
        spinous=float(SPINOUS_MM[small] * patient.size * (1 + 2.0 * (vary[6] - 1))),
        disc_below=float(disc),
    )


def _sagittal_deg(patient: Patient) -> dict[str, float]:
    """Tilt of each local z axis towards the back, degrees."""
    share = np.linspace(-0.35, 0.65, 6)
    tilt = {
        n: patient.lordosis_deg * s + 5 + patient.lean_deg
        for n, s in zip(LEVELS[1:], share, strict=True)
    }
    tilt["C1"] = 0.6 * tilt["C2"] + 1
    for i, name in enumerate(SPINE[7:]):
        tilt[name] = tilt["C7"] + (2.0 if i < 2 else 4.0 - 2.5 * i)
    return tilt


def place_spine(plan: StudyPlan, patient: Patient) -> Spine:
    """Stack the vertebrae along the curve; C4's origin is at (0, 0, 0)."""
    rng = plan.rng("anatomy")
    tilt = _sagittal_deg(patient)
    dims = {name: _dims(name, patient, rng) for name in SPINE}
    jitter = {name: rng.normal(0, (1.2, 1.0, 1.2)) for name in SPINE}
    axes = {}
    for i, name in enumerate(SPINE):
        # Turning of the head is taken up half at C1/C2 and fades towards the chest.
        turn = patient.turn_deg * float(np.interp(i, [0, 1, 6, 9], [1.0, 0.6, 0.15, 0.0]))
        lean = patient.tilt_deg * float(np.interp(i, [0, 6, 9], [1.0, 0.35, 0.0]))
        a, b, c = jitter[name]
        axes[name] = rotation(tilt[name] + a, lean + b, turn + c)
    centres = {"C2": np.zeros(3)}
    size = patient.size
    centres["C1"] = axes["C2"] @ np.array([0.0, -2.2 * size, -19.2 * size])
    for upper, lower in pairwise(SPINE[1:]):
        half = 0.5 * (dims[upper].height + dims[upper].disc_below)
        rest = 0.5 * (dims[lower].height + dims[upper].disc_below)
        step = axes[upper][:, 2] * half + axes[lower][:, 2] * rest
        # Backs of the bodies line up, not their centres: they bound the canal.
        slide = 0.5 * (dims[upper].depth - dims[lower].depth)
        centres[lower] = centres[upper] + step + axes[lower][:, 1] * slide
    origin = centres["C4"]
    return Spine(
        patient,
        tuple(Vertebra(n, dims[n], Frame(centres[n] - origin, axes[n])) for n in SPINE),
    )
