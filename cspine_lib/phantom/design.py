"""What a whole phantom set consists of: labels, scan geometry and the traps of real files.

``design_set`` decides everything about every study before anything is drawn.
Labels come from one random stream and everything else from others, so that no
identifier, order, spacing, storage or trap can tell a label.  Two things cannot be
independent of it and are not: the study without a cervical level is negative, and
only broken studies have boxes.

Rates are RSNA's where ``facts.json`` knows them; the others are this module's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cspine_lib.facts import boxed_share, feet_first_share
from cspine_lib.phantom.patterns import draw_patterns
from cspine_lib.phantom.plan import StudyPlan
from cspine_lib.phantom.traits import Part, Request, Storage, StudyDesign

UID_ROOT = "1.2.826.0.1.3680043"
"""RSNA's studies are named by a number below this root (pydicom's own)."""

JPEG_SHARE = 0.25
IMPLICIT_SHARE = 0.25
SIGNED_SHARE = 0.5
MULTI_WINDOW_SHARE = 0.3
OVERLAP_SHARE = 0.25
"""Slices thicker than their distance: SliceThickness is not the spacing."""
LATE_START_SHARE = 0.10
SKIP_SHARE = 0.05
CUT_SHARE = 0.04
OTHER_MATRIX_SHARE = 0.004
"""RSNA: 99.6 % of slices are 512 × 512."""
OTHER_MASK_AXES_SHARE = 6 / 87
SPECIALS_FROM = 10
"""Training sets of fewer studies have no unreadable file and no study without a neck."""

RSNA_MASK_AXES = "LAS"
"""Axis order of most of RSNA's masks: the one for which solvers' fixed flips are right."""
OTHER_MASK_AXES = ("RAS", "LPS", "RPI", "SAL", "ASR")


def _rng(request: Request, part: Part, stream: int) -> np.random.Generator:
    """A stream of its own; the first number keeps clear of ``StudyPlan.rng``."""
    return np.random.default_rng([request.seed, 2**32 + stream, part == "test"])


def _count(rng: np.random.Generator, n: int, share: float, at_least: int) -> int:
    """``share`` of ``n``, its fraction rounded by chance, but at least ``at_least``."""
    return min(n, max(at_least, int(share * n + rng.random())))


def _pick(
    rng: np.random.Generator,
    n: int,
    share: float,
    at_least: int = 0,
    free: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_]:
    """``share`` of ``n`` studies at random, of those that are ``free``, as flags (n,)."""
    flags = np.zeros(n, dtype=bool)
    order = rng.permutation(n)
    order = order if free is None else order[free[order]]
    flags[order[: _count(rng, n, share, at_least)]] = True
    return flags


def _mm(length: float) -> float:
    """Rounded to what a DICOM decimal string of 16 characters surely holds."""
    return round(float(length), 4)


def _geometry(
    request: Request, rng: np.random.Generator, other_matrix: bool
) -> tuple[tuple[int, int, int], tuple[float, float, float], tuple[float, float, float]]:
    """Shape, spacing and origin of one study."""
    nz, ny, nx = request.shape_zyx
    fov_z, fov_xy = np.array(request.fov_mm) * rng.uniform(0.92, 1.08, 2)
    nz = max(16, round(nz * rng.uniform(0.85, 1.15)))
    factor = rng.choice([0.75, 0.875, 1.125])
    offset_mm = rng.uniform(-12, 12, 2)
    table_mm = rng.uniform(-1500, 500)
    if other_matrix:
        ny, nx = (max(16, 4 * round(n * factor / 4)) for n in (ny, nx))
    spacing = (_mm(fov_z / nz), _mm(fov_xy / ny), _mm(fov_xy / nx))
    origin = (
        _mm(offset_mm[0] - spacing[2] * (nx - 1) / 2),
        _mm(offset_mm[1] - spacing[1] * (ny - 1) / 2),
        _mm(table_mm),
    )
    return (nz, ny, nx), spacing, origin


def _storages(request: Request, part: Part, geometry: list) -> list[Storage]:
    """The files' traits, each from its own stream."""
    n, at_least = len(geometry), int(part == "train")
    syntax = np.full(n, "explicit", dtype=object)
    order = _rng(request, part, 1).permutation(n)
    n_jpeg = _count(_rng(request, part, 2), n, JPEG_SHARE, at_least)
    n_implicit = _count(_rng(request, part, 3), n, IMPLICIT_SHARE, at_least)
    syntax[order[:n_jpeg]], syntax[order[n_jpeg : n_jpeg + n_implicit]] = "jpeg", "implicit"
    shares = [SIGNED_SHARE, MULTI_WINDOW_SHARE, OVERLAP_SHARE, feet_first_share()]
    shares += [LATE_START_SHARE, SKIP_SHARE]
    picks = [_pick(_rng(request, part, 4 + i), n, s, at_least) for i, s in enumerate(shares)]
    rng = _rng(request, part, 20)
    storages = []
    for i, (shape, spacing, origin) in enumerate(geometry):
        signed, multi, overlap, feet_first, late, skip = (bool(pick[i]) for pick in picks)
        first, places = int(rng.integers(2, 60)), rng.integers(1, shape[0] - 1, 2)
        bone = (float(rng.integers(15, 26) * 100), float(rng.integers(3, 7) * 100))
        storages.append(
            Storage(
                syntax=syntax[i],
                signed=signed,
                window=(bone, (400.0, 40.0)) if multi else (bone,),
                feet_first=feet_first,
                first_number=first if late else 1,
                skipped=tuple(sorted({int(p) for p in places})) if skip else (),
                thickness_mm=_mm(spacing[0] * (1.25 if overlap else 1.0)),
                origin_mm=origin,
            )
        )
    return storages


def _identifiers(request: Request) -> list[str]:
    """Names of all studies, training part first, without an order that means anything."""
    rng = np.random.default_rng([request.seed, 2**32])
    # Ten digits: sets of different seeds have no study in common but by a freak of chance.
    seen: dict[int, None] = {}
    while len(seen) < request.train + request.test:
        seen[int(rng.integers(10**9, 10**10))] = None
    return [f"{UID_ROOT}.{number}" for number in seen]


def _special(
    request: Request, broken: npt.NDArray, storages: list[Storage], geometry: list
) -> int | None:
    """Choose the study without a neck; make one file of another unreadable."""
    rng = _rng(request, "train", 30)
    no_cervical = int(rng.choice(np.flatnonzero(~broken.any(axis=1))))
    # Cutting off pixel data leaves nothing to decode only where they are not compressed.
    plain = [i for i, s in enumerate(storages) if s.syntax != "jpeg" and i != no_cervical]
    unreadable = int(rng.choice(plain))
    nz = geometry[unreadable][0][0]
    z = int(rng.integers(nz // 5, nz - nz // 5))
    storages[unreadable] = replace(storages[unreadable], unreadable_z=z)
    return no_cervical


def _masks(request: Request, storages: list[Storage], no_cervical: int | None) -> dict[int, str]:
    """Axis codes of the masked studies.  The two special studies come last in line."""
    rng = _rng(request, "train", 40)
    order = list(rng.permutation(request.train))
    special = [i for i, s in enumerate(storages) if s.unreadable_z is not None]
    special += [] if no_cervical is None else [no_cervical]
    order = [i for i in order if i not in special] + special
    chosen = order[: request.masked]
    other = _pick(rng, len(chosen), OTHER_MASK_AXES_SHARE, 1)
    names = rng.permutation(np.resize(OTHER_MASK_AXES, max(len(chosen), 1)))
    return {int(i): str(names[k]) if other[k] else RSNA_MASK_AXES for k, i in enumerate(chosen)}


def _part(request: Request, part: Part, uids: list[str]) -> list[StudyDesign]:
    n, train = len(uids), part == "train"
    broken = draw_patterns(n, _rng(request, part, 0))
    matrix = _pick(_rng(request, part, 50), n, OTHER_MATRIX_SHARE, int(train))
    rng = _rng(request, part, 51)
    geometry = [_geometry(request, rng, bool(m)) for m in matrix]
    storages = _storages(request, part, geometry)
    special = train and n >= SPECIALS_FROM
    no_cervical = _special(request, broken, storages, geometry) if special else None
    masks = _masks(request, storages, no_cervical) if train else {}
    free = np.arange(n) != (-1 if no_cervical is None else no_cervical)
    top = _pick(_rng(request, part, 60), n, CUT_SHARE, int(special), free)
    bottom = _pick(_rng(request, part, 61), n, CUT_SHARE, int(special), free & ~top)
    positive = np.flatnonzero(broken.any(axis=1))
    n_boxed = max(1, round(boxed_share() * len(positive))) if train and len(positive) else 0
    boxed = set(_rng(request, part, 70).permutation(positive)[:n_boxed].tolist())
    designs = []
    for i, uid in enumerate(uids):
        plan = StudyPlan(
            seed=request.seed,
            # Even in one part, odd in the other: resizing one leaves the other as it was.
            index=2 * i + (not train),
            broken=tuple(bool(b) for b in broken[i]),
            shape_zyx=geometry[i][0],
            spacing_zyx_mm=geometry[i][1],
            difficulty=request.difficulty,
            cut_top=bool(top[i]),
            cut_bottom=bool(bottom[i]),
            no_cervical=i == no_cervical,
        )
        designs.append(StudyDesign(uid, part, plan, storages[i], i in boxed, masks.get(i)))
    return designs


def design_set(request: Request) -> list[StudyDesign]:
    """Every study of a set, training part first.  Cheap: nothing is drawn."""
    uids = _identifiers(request)
    train = _part(request, "train", uids[: request.train])
    return train + (_part(request, "test", uids[request.train :]) if request.test else [])
