"""What a U-Net says of a study, before and after the clean-up, beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import LEVELS, MASK_VALUE
from cspine_lib.components import labelled
from cspine_lib.errors import CspineError
from cspine_lib.label_maps import LabelMap
from cspine_lib.metrics import Interval, ratio_ci
from cspine_lib.segment import Segmenter
from cspine_lib.segment_data import Mask, at_cell_centres
from cspine_lib.segmenters import dice_by_level
from cspine_lib.volume import Volume


@dataclass(frozen=True, eq=False)
class Laid:
    """A study's levels as a U-Net has them.

    Attributes:
        raw: as the network has them.
        clean: with the largest piece of each level only.
        truth: (D, H, W) the mask at the centres of the same cells; None without a mask.
    """

    volume: Volume
    raw: LabelMap
    clean: LabelMap
    truth: Mask | None = None

    def dice(self, clean: bool = True) -> npt.NDArray[np.float64]:
        """Dice of C1–C7 on the network's grid, (7,).

        Raises:
            CspineError: the study has no mask.
        """
        if self.truth is None:
            raise CspineError("a Dice needs a study with a mask")
        return dice_by_level((self.clean if clean else self.raw).cells, self.truth)


def truth_on(found: LabelMap, mask: Mask) -> Mask:
    """A native mask (Z, Y, X), 1–7 for C1–C7, at the centres of a label map's cells."""
    shape = found.cells.shape
    extent = tuple(n * s for n, s in zip(shape, found.scale_zyx, strict=True))
    return at_cell_centres(mask, shape, extent)


def lay(segmenter: Segmenter, volume: Volume, mask: Mask | None = None) -> Laid:
    """Ask a U-Net for the levels of a study."""
    raw = segmenter.raw(volume)
    clean = LabelMap.cleaned(raw.cells, raw.scale_zyx, raw.depth)
    return Laid(volume, raw, clean, None if mask is None else truth_on(raw, mask))


def dice_table(laid: Mapping[str, Sequence[Laid]]) -> pd.DataFrame:
    """Mean Dice of each level over studies that show it, and over all with its interval.

    Args:
        laid: name of a U-Net → studies with masks.

    Returns:
        Rows ``name, as it is`` and ``name, cleaned``; columns C1–C7, ``all``, ``all [95%]``.
    """
    rows = {}
    for name, studies in laid.items():
        for clean, words in ((False, "as it is"), (True, "cleaned")):
            dice = np.array([study.dice(clean) for study in studies])  # (N, 7)
            per_level = [_mean(column) for column in dice.T]
            per_study = np.array([_mean(row) for row in dice])
            known = per_study[np.isfinite(per_study)]
            over_all = ratio_ci(known, np.ones(len(known)))
            rows[f"{name}, {words}"] = [*per_level, over_all.value, str(over_all)]
    columns = [*LEVELS, "all", "all [95%]"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _mean(values: npt.NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def gain_ci(studies: Sequence[Laid]) -> Interval:
    """Dice with the clean-up minus without, paired by study, with its 95% interval."""
    gain = [_mean(study.dice()) - _mean(study.dice(False)) for study in studies]
    known = np.array([value for value in gain if np.isfinite(value)])
    return ratio_ci(known, np.ones(len(known)))


def worst_strays(studies: Sequence[Laid]) -> pd.DataFrame:
    """What the clean-up does to levels, a row per study and level that was found.

    Columns: ``study`` (its place), ``level``, ``pieces``, ``slices before`` and ``slices after``
    (height of the level's range in native slices), ``shorter by`` (their difference), ``gone``
    (share of its cells); the range that shrinks most comes first.
    """
    rows = []
    for i, study in enumerate(studies):
        before, after = study.raw.levels(), study.clean.levels()
        for name in (n for n in LEVELS if n in before):
            inside = study.raw.cells == MASK_VALUE[name]
            _, sizes = labelled(inside)
            kept = int((study.clean.cells == MASK_VALUE[name]).sum())
            was = before[name].z1 - before[name].z0 + 1
            now = after[name].z1 - after[name].z0 + 1 if name in after else 0
            gone = 1 - kept / int(inside.sum())
            rows.append((i, name, len(sizes) - 1, was, now, was - now, gone))
    columns = ["study", "level", "pieces", "slices before", "slices after", "shorter by", "gone"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("shorter by", ascending=False, kind="stable", ignore_index=True)


def planted(found: LabelMap, level: str, at_level: str, side: int = 2) -> LabelMap:
    """A stray block of one level inside another: what a U-Net does when it is unsure.

    Args:
        level: whose value the block gets.
        at_level: in the middle of whose cells it is put.
        side: of the block, in cells.

    Raises:
        CspineError: either level is not there.
    """
    cells = found.cells.copy()
    for name in (level, at_level):
        if not (cells == MASK_VALUE[name]).any():
            raise CspineError(f"{name} was not found in this study: choose another level")
    middle = np.median(np.argwhere(cells == MASK_VALUE[at_level]), axis=0).astype(int)
    block = tuple(slice(max(m - side // 2, 0), m - side // 2 + side) for m in middle)
    cells[block] = MASK_VALUE[level]
    return LabelMap(cells, found.scale_zyx, found.depth)
