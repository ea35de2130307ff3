"""How far labels made from a mask are from the truth, and how they serve what follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage, stats

from cspine_lib.anatomy import LEVELS, MASK_VALUE, N_LEVELS
from cspine_lib.errors import CspineError
from cspine_lib.labels import evenly_spaced, slice_range, spine_boxes, true_levels, visible_levels
from cspine_lib.mask_lab.studies import MARKS, MaskedStudy
from cspine_lib.metrics import Interval, ratio_ci

Mask = npt.NDArray[np.integer]
Boxes = npt.NDArray[np.float64]


def mean_ci(table: pd.DataFrame, column: str, *, seed: int = 0) -> Interval:
    """Mean of a column with its 95% bootstrap interval, whole studies drawn (column ``uid``).

    Rows without a value are left out; NaN if none has one.
    """
    known = table[table[column].notna()]
    if known.empty:
        return Interval(float("nan"), float("nan"), float("nan"))
    by_study = known.groupby("uid")[column].agg(["sum", "count"])
    return ratio_ci(by_study["sum"].to_numpy(), by_study["count"].to_numpy(), seed=seed)


def summary(table: pd.DataFrame, by: str, columns: Sequence[str]) -> pd.DataFrame:
    """Mean and interval (:func:`mean_ci`) of columns for each value of ``by``, in its order."""
    return pd.DataFrame(
        {
            name: {column: str(mean_ci(part, column)) for column in columns}
            for name, part in table.groupby(by, sort=False)
        }
    ).T


def share_ci(k: int, n: int) -> str:
    """A share k of n and its 95% interval (Wilson 1927), in words."""
    low, high = stats.binomtest(int(k), int(n)).proportion_ci(method="wilson")
    return f"{k} of {n}, {k / n:.0%} [{low:.0%}, {high:.0%}]"


# --- a mask against the true mask ------------------------------------------------------------


def _cervical(mask: Mask) -> npt.NDArray[np.bool_]:
    return (mask >= 1) & (mask <= N_LEVELS)


def dice(found_zyx: Mask, true_zyx: Mask) -> float:
    """Dice overlap of C1–C7: voxels of the same level in both, against those of either.

    1 is the same mask, 0 no voxel in common; NaN where neither holds a cervical level.
    """
    if found_zyx.shape != true_zyx.shape:
        raise CspineError(f"masks of {found_zyx.shape} and {true_zyx.shape} do not compare")
    in_found, in_true = _cervical(found_zyx), _cervical(true_zyx)
    total = int(in_found.sum()) + int(in_true.sum())
    same = int((in_found & (found_zyx == true_zyx)).sum())
    return 2 * same / total if total else float("nan")


def level_shift_mm(
    found_zyx: Mask, true_zyx: Mask, spacing_zyx_mm: tuple[float, float, float]
) -> float:
    """Mean distance in mm of the levels' centres of mass, over the levels in both masks."""
    values = list(MASK_VALUE.values())
    both = [int(v) for v in values if (found_zyx == v).any() and (true_zyx == v).any()]
    if not both:
        return float("nan")
    centres = [np.array(ndimage.center_of_mass(m > 0, m, both)) for m in (found_zyx, true_zyx)]
    off_mm = (centres[0] - centres[1]) * np.array(spacing_zyx_mm)
    return float(np.linalg.norm(off_mm, axis=1).mean())


def label_errors(
    found_zyx: Mask,
    true_zyx: Mask,
    spacing_zyx_mm: tuple[float, float, float],
    *,
    min_share: float = 0.0,
) -> pd.DataFrame:
    """Labels from one mask against those from the true one, by the same rule, a row per level.

    Returns:
        level; slices_wrong (visible in one and not in the other); range_mm (how far first and
        last slice are off, added); iou (of the boxes in the axial plane).  A level that was
        not found has its whole range wrong and an iou of 0.
    """
    if found_zyx.shape != true_zyx.shape:
        raise CspineError(f"masks of {found_zyx.shape} and {true_zyx.shape} do not compare")
    seen = [visible_levels(m, min_share=min_share) for m in (found_zyx, true_zyx)]
    boxes = [true_levels(m, min_share=min_share) for m in (found_zyx, true_zyx)]
    rows = []
    for i, level in enumerate(LEVELS):
        found, true = boxes[0].get(level), boxes[1].get(level)
        if true is None:
            continue
        off = true.z1 - true.z0 + 1
        if found is not None:
            off = abs(found.z0 - true.z0) + abs(found.z1 - true.z1)
        rows.append(
            {
                "level": level,
                "slices_wrong": int((seen[0][:, i] != seen[1][:, i]).sum()),
                "range_mm": off * spacing_zyx_mm[0],
                "iou": 0.0 if found is None else _iou(found.box_px, true.box_px),
            }
        )
    return pd.DataFrame(rows, columns=["level", "slices_wrong", "range_mm", "iou"])


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    areas = [(e[2] - e[0]) * (e[3] - e[1]) for e in (a, b)]
    return both / (sum(areas) - both)


# --- what a rule for "the slice shows the level" does for stage 2 ----------------------------


def rule_scores(studies: Iterable[MaskedStudy], min_share: float, frames: int = 24) -> pd.DataFrame:
    """What the range of slices is worth to a classifier that sees ``frames`` of them.

    Args:
        min_share: a slice shows a level from this share of the level's largest area on;
            0 is the deck's rule, one pixel.

    Returns:
        A row per study and level: uid, level; range_mm; neighbour (share of the frames in
        which another level has more area); covered (share of the slices with a known fracture
        of the level that lie in the range, NaN without one); on_fracture (share of the frames
        that show it); shown (mean number of levels in the slices that show any, of the study).
    """
    rows = []
    for study in studies:
        areas = study.areas_px[:, 1 : N_LEVELS + 1]
        least = np.maximum(1, min_share * areas.max(axis=0))
        seen = areas >= least
        counts = seen.sum(axis=1)
        for i, level in enumerate(LEVELS):
            if not seen[:, i].any():
                continue
            z0, z1 = slice_range(seen[:, i])
            chosen = z0 + evenly_spaced(z1 - z0 + 1, frames)
            most = study.areas_px[chosen, 1:].argmax(axis=1)
            broken = np.unique(study.marks["z"][study.marks["level"] == level].to_numpy(dtype=int))
            row: dict[str, Any] = {
                "uid": study.uid,
                "level": level,
                "range_mm": (z1 - z0 + 1) * study.spacing_zyx_mm[0],
                "neighbour": float((most != i).mean()),
                "covered": np.nan,
                "on_fracture": np.nan,
                "shown": float(counts[counts > 0].mean()),
            }
            if len(broken):
                row["covered"] = float(((broken >= z0) & (broken <= z1)).mean())
                row["on_fracture"] = float(np.isin(chosen, broken).mean())
            rows.append(row)
    return pd.DataFrame(rows)


def thoracic_scores(study: MaskedStudy, mask_zyx: Mask) -> dict[str, Any]:
    """What three shortcuts make of a mask that goes on below C7, and how T1 lies in its slices.

    Returns:
        uid; too_long_mm and iou (C7's range and box if 8–19 are clipped to 7); t1_present and
        t1_larger (shares of C7's slices); max_wrong (share of the neck's slices in which the
        highest mask value is not the one with most bone).  NaN where there is no C7.
    """
    errors = label_errors(np.minimum(mask_zyx, N_LEVELS), mask_zyx, study.spacing_zyx_mm)
    last = errors[errors["level"] == LEVELS[-1]]
    areas = study.areas_px
    c7, t1 = areas[:, N_LEVELS], areas[:, N_LEVELS + 1]
    neck = areas[:, 1 : N_LEVELS + 1].any(axis=1)
    highest = np.array([np.flatnonzero(row).max(initial=0) for row in areas])
    most = areas[:, 1:].argmax(axis=1) + 1
    return {
        "uid": study.uid,
        "too_long_mm": _mean(last["range_mm"].to_numpy()),
        "iou": _mean(last["iou"].to_numpy()),
        "t1_present": _mean((t1 > 0)[c7 > 0].astype(float)),
        "t1_larger": _mean((t1 > c7)[c7 > 0].astype(float)),
        "max_wrong": _mean((highest != most)[neck].astype(float)),
    }


# --- boxes ---------------------------------------------------------------------------------


def slice_boxes(mask_zyx: Mask, value: int) -> Boxes:
    """(Z, 4) half-open x0, y0, x1, y1 of one mask value slice by slice; NaN where absent."""
    return spine_boxes((mask_zyx == value).astype(np.uint8))


BOX_WAYS = ("C1–C7, slice by slice", "the level, slice by slice", "the level, over its slices")


def box_scores(study: MaskedStudy, mask_zyx: Mask) -> pd.DataFrame:
    """Three kinds of boxes of each level over the slices that show it.

    Returns:
        A row per level and way: uid, level, way; area_cm2 (mean); step_mm (how far the box's
        centre moves from a slice to the next, mean); inside (share of the known fracture's
        rectangle that lies in the box, mean over its slices, NaN without one).
    """
    spine = spine_boxes(mask_zyx)
    _, dy, dx = study.spacing_zyx_mm
    rows = []
    for level, whole in true_levels(mask_zyx).items():
        own = slice_boxes(mask_zyx, MASK_VALUE[level])
        zs = np.arange(whole.z0, whole.z1 + 1)
        known = study.marks[study.marks["level"] == level][MARKS[1:]].to_numpy(float).tolist()
        for way, boxes in zip(
            BOX_WAYS, (spine, own, np.tile(whole.box_px, (len(own), 1))), strict=True
        ):
            chosen = boxes[zs]
            centres_mm = (chosen[:, :2] + chosen[:, 2:]) / 2 * (dx, dy)
            steps = np.linalg.norm(np.diff(centres_mm, axis=0), axis=1)
            sizes = np.prod((chosen[:, 2:] - chosen[:, :2]) * (dx, dy), axis=1) / 100
            inside = [_inside(boxes[int(z)], mark) for z, *mark in known]
            rows.append(
                {
                    "uid": study.uid,
                    "level": level,
                    "way": way,
                    "area_cm2": _mean(sizes),
                    "step_mm": _mean(steps),
                    "inside": _mean(np.array(inside)),
                }
            )
    return pd.DataFrame(rows, columns=["uid", "level", "way", "area_cm2", "step_mm", "inside"])


def _mean(values: npt.NDArray[np.floating]) -> float:
    known = values[np.isfinite(values)] if len(values) else values
    return float(known.mean()) if len(known) else float("nan")


def _inside(box: Boxes, mark: Sequence[float]) -> float:
    """Share of a rectangle that lies in a box; 0 where there is no box."""
    if np.isnan(box).any():
        return 0.0
    width = max(0.0, min(box[2], mark[2]) - max(box[0], mark[0]))
    height = max(0.0, min(box[3], mark[3]) - max(box[1], mark[1]))
    return float(width * height / ((mark[2] - mark[0]) * (mark[3] - mark[1])))
