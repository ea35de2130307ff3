"""What is left of a thin line on the grids that networks read.

A fracture is a dark line, 1 to 2 mm wide, in bright bone.  Here the grids of the course are
put side by side: a study's own voxels, the deck's cube of 224³ and smaller ones, the spine
cube, and the crops of stage 2.  Grids are known by shape and spacing alone, so that one can
also ask about a scan that is not at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.config import Profile
from cspine_lib.crops import STACK, crop_side_mm, crop_slices, cut_crops
from cspine_lib.cubes import CubeSpec, spine_field, spine_spec
from cspine_lib.labels import LevelBox
from cspine_lib.volume import Volume

Zyx = tuple[int, int, int]
Mm = tuple[float, float, float]
FloatArray = npt.NDArray[np.float64]

SIDES = (224, 128, 64, 32)
"""Sides of neck cubes in voxels: the deck's, and smaller ones."""
BONE_HU, LINE_HU = 1000, 0
"""Of the measured line: compact bone, and what fills a gap in it."""
POSITIONS, SPAN_MM = 96, 12.0
"""At which a line is measured, and over how far: it may fall on a voxel or between two."""
NATIVE, CROP = "native", "stage 2's crop"
LEVEL_MM = (18.0, 60.0, 60.0)
"""Height, depth and width of a usual level with its disc and its processes."""


@dataclass(frozen=True)
class Grid:
    """A way to look at a study: some of its voxels, and the number that they become."""

    name: str
    cut_zyx: Zyx
    """Native voxels that are shown."""
    shape_zyx: Zyx
    """Voxels that they become."""

    def voxel_zyx_mm(self, spacing_zyx_mm: Mm) -> Mm:
        """Size of a voxel along z, y, x in mm, for a study of that spacing."""
        z, y, x = (
            n * s / m for n, s, m in zip(self.cut_zyx, spacing_zyx_mm, self.shape_zyx, strict=True)
        )
        return z, y, x


def study_grids(shape_zyx: Zyx, spacing_zyx_mm: Mm, profile: Profile) -> list[Grid]:
    """Native voxels, neck cubes from large to small (the profile's among them), spine cube."""
    grids = [Grid(NATIVE, shape_zyx, shape_zyx)]
    for side in sorted({*SIDES, profile.cube_px}, reverse=True):
        grids.append(Grid(f"{side}³", shape_zyx, (side, side, side)))
    spec = spine_spec(profile)
    assert spec.field_mm is not None
    z, y, x = (max(round(mm / s), 1) for mm, s in zip(spec.field_mm, spacing_zyx_mm, strict=True))
    return [*grids, Grid(spine_name(spec), (z, y, x), spec.shape_zyx)]


def spine_name(spec: CubeSpec) -> str:
    """What tables and figures call a spine cube."""
    return f"spine, {' × '.join(map(str, spec.shape_zyx))}"


def usual_level(shape_zyx: Zyx, spacing_zyx_mm: Mm) -> LevelBox:
    """A level of ``LEVEL_MM`` in the middle of a study, where no real one is known."""
    middle = [n / 2 for n in shape_zyx]
    size = [mm / s for mm, s in zip(LEVEL_MM, spacing_zyx_mm, strict=True)]
    (z0, y0, x0), (z1, y1, x1) = (
        [m + sign * n / 2 for m, n in zip(middle, size, strict=True)] for sign in (-1, 1)
    )
    return LevelBox("C4", round(z0), max(round(z1) - 1, round(z0)), x0, y0, x1, y1)


def voxel_table(
    shape_zyx: Zyx, spacing_zyx_mm: Mm, profile: Profile, level: LevelBox | None = None
) -> pd.DataFrame:
    """mm per voxel of a study on each grid.

    Args:
        level: whose crop of stage 2 is meant; None: a usual one.

    Returns:
        A row per grid; columns ``z, mm``, ``y, mm``, ``x, mm`` and ``voxels``.  A crop's z is
        the mean distance of the slices that stage 2 takes, all of its channels counted.
    """
    box = level or usual_level(shape_zyx, spacing_zyx_mm)
    rows = {
        grid.name: [*grid.voxel_zyx_mm(spacing_zyx_mm), int(np.prod(grid.shape_zyx))]
        for grid in study_grids(shape_zyx, spacing_zyx_mm, profile)
    }
    px, taken = profile.crop_px, _slices_of(box, shape_zyx[0], profile)
    side = crop_side_mm(box, spacing_zyx_mm) / px
    step = float(np.diff(np.unique(taken)).mean()) if len(np.unique(taken)) > 1 else 1.0
    rows[CROP] = [step * spacing_zyx_mm[0], side, side, STACK * profile.frames * px**2]
    columns = ["z, mm", "y, mm", "x, mm", "voxels"]
    table = pd.DataFrame(rows, index=columns).T.rename_axis("grid")
    return table.astype({"voxels": int})


def _slices_of(box: LevelBox, n_slices: int, profile: Profile) -> npt.NDArray[np.intp]:
    return crop_slices(box, n_slices, STACK * profile.frames)


def line_contrast(
    shape_zyx: Zyx,
    spacing_zyx_mm: Mm,
    profile: Profile,
    *,
    width_mm: float = 1.0,
    level: LevelBox | None = None,
) -> pd.DataFrame:
    """Share of a line's contrast that is left on each grid: measured, not computed.

    A bone of ``BONE_HU`` with a plane gap of ``LINE_HU`` is sampled by the study's voxels
    (each the mean over its extent), brought to each grid by the code that makes cubes and
    crops, and the darkest voxel is read.  Mean over ``POSITIONS`` places of the line.

    Args:
        width_mm: of the gap.
        level: whose crop of stage 2 is meant; None: a usual one.

    Returns:
        A row per grid, columns ``vertical line`` (a plane across x, seen in each slice) and
        ``horizontal line`` (across z, between slices); 1 is all of the contrast, 0 none.
    """
    box = level or usual_level(shape_zyx, spacing_zyx_mm)
    names = {"vertical line": 2, "horizontal line": 0}
    grids = study_grids(shape_zyx, spacing_zyx_mm, profile)
    out: dict[str, list[float]] = {name: [] for name in (*(g.name for g in grids), CROP)}
    for axis in names.values():
        for grid in grids:
            n, spacing = grid.cut_zyx[axis], spacing_zyx_mm[axis]
            lines = _lines(n, spacing, width_mm, n / 2)
            out[grid.name].append(_left(_regridded(lines, grid.shape_zyx[axis])))
        n, spacing = shape_zyx[axis], spacing_zyx_mm[axis]
        centre = (box.z0 + box.z1 + 1) / 2 if axis == 0 else (box.x0 + box.x1) / 2
        lines = _lines(n, spacing, width_mm, centre)
        if axis == 0:
            out[CROP].append(_left(lines[:, _slices_of(box, n, profile)]))
        else:
            out[CROP].append(_left(_cropped(lines, spacing_zyx_mm, box, profile.crop_px)))
    return pd.DataFrame(out, index=list(names)).T.rename_axis("grid")


def _lines(n: int, spacing_mm: float, width_mm: float, centre: float) -> FloatArray:
    """Bone with a gap on ``n`` voxels, HU (POSITIONS, n); the gap moves about ``centre``.

    ``centre`` is an edge coordinate in voxels.  Each voxel has the mean over its extent.
    """
    moved_mm = SPAN_MM * (np.arange(POSITIONS) / POSITIONS - 0.5)
    middle = centre + moved_mm[:, None] / spacing_mm
    half = width_mm / spacing_mm / 2
    left = np.arange(n)[None]
    covered = np.minimum(middle + half, left + 1) - np.maximum(middle - half, left)
    return BONE_HU + (LINE_HU - BONE_HU) * np.clip(covered, 0, 1)


def _regridded(lines: FloatArray, m: int) -> FloatArray:
    """Lines (P, n) as ``Volume.resampled`` makes (P, m) of them."""
    volume = Volume(np.round(lines).astype(np.int16)[:, None], np.eye(4))
    return volume.resampled((len(lines), 1, m)).hu_zyx[:, 0].astype(float)


def _cropped(lines: FloatArray, spacing_zyx_mm: Mm, box: LevelBox, px: int) -> FloatArray:
    """Lines (P, n) as ``cut_crops`` makes (P, px) of them, in HU again."""
    rows = 2 * int(np.ceil(crop_side_mm(box, spacing_zyx_mm) / spacing_zyx_mm[1])) + 4
    upright = LevelBox(box.level, 0, 0, box.x0, *_middle(rows, box), 1.0)
    affine = np.diag([*spacing_zyx_mm, 1.0])
    out = []
    for line in np.round(lines).astype(np.int16):
        volume = Volume(np.tile(line, (1, rows, 1)), affine)
        out.append(cut_crops(volume, upright, slices=STACK, frames=1, px=px)[0, 0, px // 2])
    return _to_hu(np.array(out, dtype=float))


def _middle(rows: int, box: LevelBox) -> tuple[float, float, float]:
    """``y0, x1, y1`` of a box as deep as ``box`` in the middle of so many rows."""
    half = (box.y1 - box.y0) / 2
    return rows / 2 - half, box.x1, rows / 2 + half


def _to_hu(grey: FloatArray) -> FloatArray:
    """8 bits through the bone window → HU."""
    from cspine_lib.anatomy import WINDOWS

    width, centre = WINDOWS["bone"]
    return grey * width / 255 + centre - width / 2


def _left(lines: FloatArray) -> float:
    """Mean contrast of lines (P, n), a share of what the gap has."""
    return float(np.mean((BONE_HU - lines.min(axis=1)) / (BONE_HU - LINE_HU)))


# --- the same place on each grid -------------------------------------------------------------


def views(
    volume: Volume, levels: Mapping[str, LevelBox], level: LevelBox, profile: Profile
) -> dict[str, Volume]:
    """One study as each network sees it, as volumes that know where they are.

    Args:
        levels: the levels found, around which the spine cube is cut.
        level: whose crop of stage 2 is shown.

    Returns:
        ``native``, ``224³``, the profile's neck cube, the spine cube, stage 2's crop.
    """
    spec = spine_spec(profile)
    out = {NATIVE: volume}
    for side in sorted({SIDES[0], profile.cube_px}, reverse=True):
        out[f"{side}³"] = volume.resampled((side, side, side))
    out[spine_name(spec)] = spine_field(volume, levels, spec).resampled(spec.shape_zyx)
    return {**out, CROP: crop_volume(volume, level, profile)}


def crop_volume(volume: Volume, level: LevelBox, profile: Profile) -> Volume:
    """The slices that stage 2 takes of a level, each as it is cropped, one below the other."""
    frames, px = profile.frames, profile.crop_px
    crops = cut_crops(volume, level, slices=STACK * frames, frames=frames, px=px)
    taken, where = np.unique(_slices_of(level, volume.shape_zyx[0], profile), return_index=True)
    planes = _to_hu(crops.reshape(-1, px, px)[where].astype(float))
    side = crop_side_mm(level, volume.spacing_zyx_mm)
    _, dy, dx = volume.spacing_zyx_mm
    scale = np.array([(taken[-1] - taken[0]) / max(len(taken) - 1, 1) or 1, side / px / dy,
                      side / px / dx])  # fmt: skip
    centre = np.array([(level.y0 + level.y1) / 2, (level.x0 + level.x1) / 2])
    first = [taken[0], *(centre - side / 2 / np.array([dy, dx]) + scale[1:] / 2 - 0.5)]
    affine = volume.affine_mm.copy()
    affine[:3, 3] = volume.to_mm(first)
    affine[:3, :3] = volume.affine_mm[:3, :3] * scale
    return Volume(np.round(planes).astype(np.int16), affine)
