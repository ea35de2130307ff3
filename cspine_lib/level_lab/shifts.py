"""Boxes put off on purpose: as far as a worse stage 1 would put them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from cspine_lib.anatomy import LEVELS
from cspine_lib.crops import crop_side_mm
from cspine_lib.labels import LevelBox

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Shift:
    """How far every box of a study is put off.

    Attributes:
        side_mm: to the patient's left (towards higher x).
        back_mm: to the back (towards higher y).
        feet_mm: to the feet (towards higher z), in whole slices.
        level_up: whether each name stands at the vertebra above its own.
    """

    name: str
    side_mm: float = 0.0
    back_mm: float = 0.0
    feet_mm: float = 0.0
    level_up: bool = False


SHIFTS = (
    Shift("in place"),
    Shift("5 mm sideways", side_mm=5),
    Shift("10 mm sideways", side_mm=10),
    Shift("20 mm sideways", side_mm=20),
    Shift("10 mm to the back", back_mm=10),
    Shift("20 mm to the back", back_mm=20),
    Shift("5 mm to the feet", feet_mm=5),
    Shift("10 mm to the feet", feet_mm=10),
    Shift("10 mm to the head", feet_mm=-10),
    Shift("one level up", level_up=True),
)
"""What notebook 08 does to the boxes."""


def put_off(
    levels: Mapping[str, LevelBox], shift: Shift, spacing_zyx_mm: Spacing, n_slices: int
) -> dict[str, LevelBox]:
    """The boxes of a study, all put off alike; a level that leaves the scan is left out.

    One level up, C2 gets the slices and the box of C1, C3 those of C2 and so on.  C1 has no
    vertebra above it: its box moves up by its own height.
    """
    dz, dy, dx = spacing_zyx_mm
    start = _one_up(levels) if shift.level_up else dict(levels)
    down = round(shift.feet_mm / dz)
    out = {}
    for name, box in start.items():
        moved = box.moved(shift.side_mm / dx, shift.back_mm / dy)
        moved = replace(moved, z0=box.z0 + down, z1=box.z1 + down)
        if moved.z1 >= 0 and moved.z0 < n_slices:
            out[name] = moved
    return out


def _one_up(levels: Mapping[str, LevelBox]) -> dict[str, LevelBox]:
    out = {}
    for k, name in enumerate(LEVELS):
        if name not in levels:
            continue
        above = LEVELS[k - 1] if k else ""
        if above in levels:
            out[name] = replace(levels[above], level=name)
        elif k == 0:
            box = levels[name]
            height = box.z1 - box.z0 + 1
            out[name] = replace(box, z0=box.z0 - height, z1=box.z1 - height)
    return out


def fracture_in_view(marks: pd.DataFrame, box: LevelBox | None, spacing_zyx_mm: Spacing) -> float:
    """Share of a known fracture that the crops around a box show.

    Args:
        marks: rows of ``mask_lab.known_fractures`` of one level: a rectangle per slice.
        box: None: there is no crop.

    Returns:
        Mean over the rows of the rectangle's share inside the crop, 0 in slices outside the
        box's range; NaN without rows.
    """
    if not len(marks):
        return float("nan")
    if box is None:
        return 0.0
    _, dy, dx = spacing_zyx_mm
    half = crop_side_mm(box, spacing_zyx_mm) / 2
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    left, right, top, bottom = x - half / dx, x + half / dx, y - half / dy, y + half / dy
    shown = 0.0
    for z, x0, y0, x1, y1 in marks[["z", "x0", "y0", "x1", "y1"]].to_numpy(float).tolist():
        width = max(0.0, min(x1, right) - max(x0, left)) / (x1 - x0)
        height = max(0.0, min(y1, bottom) - max(y0, top)) / (y1 - y0)
        shown += width * height * (box.z0 <= z <= box.z1)
    return shown / len(marks)
