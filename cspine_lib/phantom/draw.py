"""``draw_study``: a plan becomes HU, mask, boxes and truth."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import LEVELS
from cspine_lib.errors import CspineError
from cspine_lib.phantom import scanner as scan
from cspine_lib.phantom.bones import Material, Painted, VertebraModel
from cspine_lib.phantom.boxes import Floats, Region, changed_region, slice_extents, union_boxes
from cspine_lib.phantom.fractures import Break, Coordinates
from cspine_lib.phantom.head import draw_dental, paint_unlabelled
from cspine_lib.phantom.kinds import draw_breaks
from cspine_lib.phantom.lookalikes import draw_lookalikes
from cspine_lib.phantom.plan import STREAMS, DrawnStudy, Fracture, StudyPlan
from cspine_lib.phantom.sdf import Array, Frame, Grid, ellipsoid, union
from cspine_lib.phantom.soft_tissue import Habitus, Levels, paint_background
from cspine_lib.phantom.spine import SPINE, Spine, draw_patient, place_spine
from cspine_lib.phantom.vertebra import vertebra_parts

SHOWS: Final = 0.35
"""A voxel shows a fracture if its gap there is this share of the gap's largest."""
ATTEMPTS: Final = 40
"""How often a fracture is drawn anew when none of it lies in the field of view."""


def _place_grid(plan: StudyPlan, spine: Spine) -> tuple[Grid, dict[str, Any]]:
    """Where the field of view sits; independent of what is broken."""
    rng = plan.rng("anatomy").spawn(1)[0]
    shape, spacing = np.array(plan.shape_zyx), np.array(plan.spacing_zyx_mm)
    extent = shape * spacing
    shift, motion = scan.draw_motion(plan)
    top = spine["C1"].frame.centre_xyz_mm[2] - 13
    foot = spine["C7"].frame.to_world([0, 0, 0.5 * spine["C7"].dims.height])[2]
    free = max(extent[0] - (foot - top), 8.0)
    above = float(np.clip(rng.uniform(0.4, 0.65) * free, 4.0, 60.0))
    u = rng.random()
    start = top - above
    if plan.cut_top:
        start = top + 2 + 5 * u
    if plan.cut_bottom:
        start = foot - 3 + 8 * u - extent[0]
    if plan.no_cervical:
        start = spine["T1"].frame.centre_xyz_mm[2] + 32 + 10 * u
    middle = start + extent[0] / 2
    centres = spine.centres_xyz_mm
    x, y = (np.interp(middle, centres[:, 2], centres[:, i]) for i in (0, 1))
    # Share of the field of view in front of the middle of the body: RSNA's boxes centre there.
    front = rng.normal(0.43, 0.02)
    side = 0.5 + rng.normal(0, 0.02)
    origin = np.array([x - side * extent[2], y - front * extent[1], start])
    return Grid(plan.shape_zyx, plan.spacing_zyx_mm, origin, shift), motion


def _paint_discs(volume: Array, grid: Grid, spine: Spine) -> None:
    """Fibrous discs of some 90 HU between the bodies, in place."""
    for upper, lower in pairwise(spine.vertebrae[1:]):
        d = upper.dims
        centre = (
            upper.frame.to_world([0, 0, 0.5 * d.height])
            + lower.frame.to_world([0, 0, -0.5 * lower.dims.height])
        ) / 2
        frame = Frame(centre, upper.frame.axes)
        part = ellipsoid(
            (0, 0, 0), (0.5 * d.width + 0.8, 0.5 * d.depth + 1.0, 0.8 * d.disc_below + 2.5)
        )
        box = grid.box(frame.to_world(part.corners()), 2.0)
        if any(s.stop <= s.start for s in box):
            continue
        distance = union(grid, frame, box, [part], frame.coordinates(grid, box), 2.0)
        cover = np.clip(0.5 - distance / np.float32(grid.edge_mm + 0.6), 0, 1)
        Painted(box, cover, cover * np.float32(88.0)).onto(volume)


def _model(
    plan: StudyPlan, grid: Grid, spine: Spine, name: str
) -> tuple[VertebraModel, dict[str, int]]:
    """One vertebra with its look-alikes; every level has random streams of its own."""
    i, v, p = SPINE.index(name), spine[name], spine.patient
    shape_rng = np.random.default_rng([plan.seed, plan.index, STREAMS["anatomy"], i])
    like_rng = np.random.default_rng([plan.seed, plan.index, STREAMS["lookalike"], i])
    parts = vertebra_parts(spine, name, shape_rng)
    likes = draw_lookalikes(v, p, like_rng)
    material = Material(
        cortical_hu=p.cortical_hu * float(shape_rng.normal(1, 0.03)),
        trabecular_hu=p.trabecular_hu * float(shape_rng.normal(1, 0.05)),
        shell_mm=float(shape_rng.uniform(0.65, 1.0)) if name not in ("C1", "C2") else 1.0,
        texture_hu=35 + 0.1 * p.trabecular_hu,
        posterior_hu=140.0,
        posterior_from_mm=0.5 * v.dims.depth,
    )
    return VertebraModel.build(grid, v.frame, parts, likes, material, shape_rng), likes.to_dict()


@dataclass(frozen=True, eq=False)
class _Level:
    """One vertebra, drawn whole: what breaking it needs."""

    name: str
    model: VertebraModel
    coordinates: Coordinates
    distance: Array
    trabecular: Array
    whole: Painted
    lookalikes: dict[str, int]


def _draw_level(plan: StudyPlan, grid: Grid, spine: Spine, name: str) -> _Level | None:
    """One unbroken vertebra, or None when it is out of view."""
    model, likes = _model(plan, grid, spine, name)
    if model.empty:
        return None
    rng = np.random.default_rng([plan.seed, plan.index, STREAMS["texture"], SPINE.index(name)])
    coordinates = model.coordinates()
    distance = model.distance(coordinates)
    trabecular = model.trabeculae(coordinates, rng)
    whole = model.paint(coordinates, distance, trabecular)
    return _Level(name, model, coordinates, distance, trabecular, whole, likes)


def _record(
    plan: StudyPlan, spine: Spine, level: _Level, one: Break, region: Region, pad: Floats
) -> Fracture | None:
    """What is told about a fracture; None when none of it is in the field of view."""
    grid = level.model.grid
    shows = one.gap(level.coordinates, grid.edge_mm) * level.whole.cover
    most = float(shows.max())
    if most < 0.02 * one.visibility.contrast:
        return None
    extent = slice_extents(shows > SHOWS * most, level.model.box, grid, pad)
    at = spine[level.name].frame.to_world(one.sheets[0].point) - grid.origin_xyz_mm
    centre = (float(at[2]), float(at[1]), float(at[0]))
    seen = one.visibility
    return Fracture(
        level.name,
        one.kind,
        centre,
        seen.width_mm,
        seen.contrast,
        seen.displacement_mm,
        region,
        extent,
    )


def _out_of_view(plan: StudyPlan, name: str) -> CspineError:
    return CspineError(
        f"study {plan.index}: {name} is to be broken but lies outside the field of view; "
        "give the plan more slices or leave that level whole"
    )


def _break_level(
    plan: StudyPlan, spine: Spine, level: _Level, reach: tuple[int, int, int]
) -> tuple[Painted, tuple[Fracture, ...]]:
    """Fractures of one level, drawn again until one shows in the field of view."""
    index = SPINE.index(level.name)
    rng = np.random.default_rng([plan.seed, plan.index, STREAMS["fracture"], index])
    for _ in range(ATTEMPTS):
        breaks = draw_breaks(spine[level.name], rng, plan.difficulty)
        pads = np.exp(rng.normal(np.log(6.5), 0.4, (len(breaks), 4)))
        painted = level.model.paint(level.coordinates, level.distance, level.trabecular, breaks)
        changed = (painted.hu != level.whole.hu) | (painted.cover != level.whole.cover)
        if not changed.any():
            continue
        region = changed_region(changed, level.model.box, reach, plan.shape_zyx)
        records = [
            _record(plan, spine, level, one, region, pad)
            for one, pad in zip(breaks, pads, strict=True)
        ]
        found = tuple(r for r in records if r is not None)
        if found:
            return painted, found
    raise _out_of_view(plan, level.name)


def _draw_spine(
    plan: StudyPlan,
    grid: Grid,
    spine: Spine,
    volume: Array,
    reach: tuple[int, int, int],
    fractures: bool,
) -> tuple[npt.NDArray[np.uint8], list[Fracture], dict[str, dict[str, int]]]:
    """All vertebrae in view, in place; returns mask, fractures and look-alikes."""
    mask = np.zeros(plan.shape_zyx, dtype=np.uint8)
    found: list[Fracture] = []
    likes = {}
    for value, name in enumerate(SPINE, start=1):
        level = None
        if spine[name].frame.centre_xyz_mm[2] - 45 < grid.axis_mm(0)[-1]:
            level = _draw_level(plan, grid, spine, name)
        broken = name in LEVELS and plan.broken[LEVELS.index(name)]
        if level is None:
            if broken:
                raise _out_of_view(plan, name)
            continue
        likes[name] = level.lookalikes
        view = mask[level.model.box]
        view[(level.whole.cover > 0.5) & (view == 0)] = value
        painted = level.whole
        if fractures and broken:
            painted, new = _break_level(plan, spine, level, reach)
            found += new
        painted.onto(volume)
    return mask, found, likes


def draw_study(plan: StudyPlan, fractures: bool = True) -> DrawnStudy:
    """Draw one study.

    Args:
        plan: what to draw.
        fractures: False draws the same patient and scan unbroken; it differs only
            within ``fracture_regions`` of the broken one.

    Returns:
        HU int16 and mask uint8, both (Z, Y, X) of ``plan.shape_zyx``.  The mask is
        that of the unbroken bone.

    Raises:
        CspineError: a broken level lies outside the field of view.
    """
    spine = place_spine(plan, draw_patient(plan))
    grid, motion = _place_grid(plan, spine)
    scanner = scan.draw_scanner(plan)
    tissue, streak = plan.rng("texture"), plan.rng("streak")
    volume = np.empty(plan.shape_zyx, dtype=np.float32)
    paint_background(volume, grid, spine, Habitus.draw(tissue), tissue)
    _paint_discs(volume, grid, spine)
    dental = draw_dental(spine, tissue)
    paint_unlabelled(volume, grid, spine, dental, tissue)
    reach = scanner.reach_voxels(plan.spacing_zyx_mm)
    mask, found, likes = _draw_spine(plan, grid, spine, volume, reach, fractures)
    scan.point_spread(volume, scanner, plan.spacing_zyx_mm)
    levels = Levels(grid, spine).level
    scan.add_noise(volume, grid, scanner, levels, plan.rng("noise"), streak)
    scan.add_dental_streaks(volume, grid, scanner, dental, streak)
    truth = {
        "patient": spine.patient.to_dict(),
        "scanner": scanner.to_dict(),
        "motion": motion,
        "fillings": len(dental.fillings_xyz_mm),
        "lookalikes": {k: v for k, v in likes.items() if k in LEVELS},
        "fractures": [f.to_dict() for f in found],
    }
    drawn = tuple(found)
    return DrawnStudy(scan.to_int16(volume), mask, drawn, union_boxes(drawn), truth)
