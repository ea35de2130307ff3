"""How far what stage 1 says is from the truth, with intervals over studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import LEVELS
from cspine_lib.crops import crop_side_mm
from cspine_lib.labels import LevelBox
from cspine_lib.level_lab.looks import Looked, Truth
from cspine_lib.localise import truth_errors
from cspine_lib.metrics import Interval, ratio_ci

Spacing = tuple[float, float, float]


def level_errors(
    uid: str, claimed: Mapping[str, LevelBox], truth: Truth, spacing_zyx_mm: Spacing
) -> pd.DataFrame:
    """As ``localise.truth_errors`` for the levels that are there, and two columns more.

    Returns:
        A row per level in view: also uid; ``counted`` (whether the claimed middle is nearer
        to this level's true middle, along z, than to any other's; False if not found) and
        ``in_crop`` (share of the level's own box that stage 2's crop would show).
    """
    table = truth_errors(claimed, truth.levels, spacing_zyx_mm)
    table = table[table["present"].astype(bool)].copy()
    names = table["level"].tolist()
    table.insert(0, "uid", uid)
    table["counted"] = [_counted(name, claimed, truth.levels) for name in names]
    table["in_crop"] = [
        _in_crop(claimed[name], truth.levels[name], spacing_zyx_mm) if name in claimed else np.nan
        for name in names
    ]
    return table


def _counted(name: str, claimed: Mapping[str, LevelBox], true: Mapping[str, LevelBox]) -> bool:
    if name not in claimed:
        return False
    gap = {k: abs(claimed[name].centre_zyx[0] - b.centre_zyx[0]) for k, b in true.items()}
    return all(gap[name] < other for k, other in gap.items() if k != name)


def _in_crop(claimed: LevelBox, true: LevelBox, spacing_zyx_mm: Spacing) -> float:
    _, dy, dx = spacing_zyx_mm
    half = crop_side_mm(claimed, spacing_zyx_mm) / 2
    shown = 1.0
    for first, last, mm in (("x0", "x1", dx), ("y0", "y1", dy)):
        start, stop = getattr(true, first) * mm, getattr(true, last) * mm
        middle = (getattr(claimed, first) + getattr(claimed, last)) / 2 * mm
        shown *= max(0.0, min(stop, middle + half) - max(start, middle - half)) / (stop - start)
    return shown


def slice_answers(uid: str, looked: Looked, truth: Truth) -> pd.DataFrame:
    """Every yes or no of stage 1, from 0.5 on a yes.

    Returns:
        A row per slice looked at and level: uid, z, level, said (bool), true (bool), wrong,
        ``edge_mm`` (distance along z to where the level begins or ends, NaN if it is not in
        the scan), and ``spine_iou`` (box around the cervical spine, NaN in slices without).
    """
    dz = looked.spacing_zyx_mm[0]
    said, true = looked.prob >= 0.5, truth.visible[looked.z]
    edge = np.full(true.shape, np.nan)
    for k, name in enumerate(LEVELS):
        if name in truth.levels:
            first, last = truth.levels[name].z0 - 0.5, truth.levels[name].z1 + 0.5
            edge[:, k] = np.minimum(abs(looked.z - first), abs(looked.z - last)) * dz
    n = len(looked.z)
    return pd.DataFrame(
        {
            "uid": uid,
            "z": np.repeat(looked.z, len(LEVELS)),
            "level": list(LEVELS) * n,
            "said": said.ravel(),
            "true": true.ravel(),
            "wrong": (said != true).ravel(),
            "edge_mm": edge.ravel(),
            "spine_iou": np.repeat(
                _iou_rows(looked.boxes_px, truth.boxes_px[looked.z]), len(LEVELS)
            ),
        }
    )


def _iou_rows(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """IoU of boxes (N, 4) row by row, NaN where one is."""
    size = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = np.clip(size, 0, None).prod(axis=1)
    area = (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1)
    return common / (area - common)


# --- with intervals ------------------------------------------------------------------------


def value_ci(table: pd.DataFrame, column: str) -> Interval:
    """Mean of a column over its rows, NaN left out; studies (``uid``) are drawn anew."""
    known = table[["uid", column]].astype({column: float})
    known = known.assign(n=known[column].notna().astype(float)).fillna({column: 0.0})
    sums = known.groupby("uid")[[column, "n"]].sum()
    return ratio_ci(sums[column].to_numpy(), sums["n"].to_numpy())


def share_ci(table: pd.DataFrame, column: str) -> str:
    """As ``value_ci`` for shares, in words with two digits."""
    value, low, high = value_ci(table, column)
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


_SHOWN = {
    "found": ("found", 2),
    "counted": ("counted right", 2),
    "off_mm": ("centre off, mm", 1),
    "slice_iou": ("slice IoU", 2),
    "box_iou": ("box IoU", 2),
    "in_crop": ("in the crop", 2),
}
"""Column of ``level_errors`` → its name in a table, and its digits."""


def _row(table: pd.DataFrame) -> dict[str, str]:
    table = table.assign(off_mm=table["centre_error_mm"].abs())
    out = {}
    for column, (name, digits) in _SHOWN.items():
        value, low, high = value_ci(table, column)
        out[name] = f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    return out


def by_level(table: pd.DataFrame) -> pd.DataFrame:
    """Means of ``level_errors`` with 95% intervals over studies, a row per level and one for all.

    Distances are absolute ones, along z.
    """
    rows = {name: _row(part) for name, part in table.groupby("level")}
    return pd.DataFrame.from_dict({**rows, "all": _row(table)}, orient="index")


def over_all(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The last row of ``by_level`` of several tables, under their names."""
    return pd.DataFrame.from_dict({k: _row(t) for k, t in tables.items()}, orient="index")


def difference(table: pd.DataFrame, other: pd.DataFrame, column: str) -> Interval:
    """Mean of a column minus that of another table of the same rows, paired by study."""
    keys = ["uid", "level"]
    both = table[[*keys, column]].merge(other[[*keys, column]], on=keys, validate="1:1")
    gap = both[f"{column}_x"].astype(float) - both[f"{column}_y"].astype(float)
    return value_ci(both.assign(gap=gap), "gap")


def at_pitch(
    looked: Mapping[str, Looked], truth: Mapping[str, Truth], every: Sequence[int]
) -> pd.DataFrame:
    """Stage 1 on every second, third, … of the slices that it has looked at.

    The neighbours in each 2.5D image stay where they are; only the images get fewer.

    Returns:
        A row per step: pitch_mm and slices (means over studies), and of the centres
        off_mm, low, high (mean distance and its interval), and found (share).
    """
    rows = []
    for step in every:
        errors = pd.concat(
            [
                level_errors(uid, one.levels(every=step), truth[uid], one.spacing_zyx_mm)
                for uid, one in looked.items()
            ]
        )
        off = value_ci(errors.assign(off_mm=errors["centre_error_mm"].abs()), "off_mm")
        pitch = [step * _between(one.z) * one.spacing_zyx_mm[0] for one in looked.values()]
        rows.append(
            {
                "pitch_mm": float(np.mean(pitch)),
                "slices": float(np.mean([-(-len(one.z) // step) for one in looked.values()])),
                "off_mm": off.value,
                "low": off.low,
                "high": off.high,
                "found": value_ci(errors, "found").value,
            }
        )
    return pd.DataFrame(rows, index=pd.Index(list(every), name="every"))


def _between(z: npt.NDArray[np.int64]) -> int:
    return int(z[1] - z[0]) if len(z) > 1 else 1
