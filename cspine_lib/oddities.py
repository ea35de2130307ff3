"""Properties of sound studies that trip naive readers, told from headers, a mask, one slice.

None of them makes a study unusable, and the reader here copes with all of them.  They are
named so that whoever brings a reader of their own knows on which studies to try it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.uid import UID, ImplicitVRLittleEndian

from cspine_lib.anatomy import MASK_VALUE
from cspine_lib.decode import RAW_SYNTAXES
from cspine_lib.issues import Issue, warning
from cspine_lib.masks import MAX_MASK_VALUE

USUAL_MASK_AXES = "LAS"
"""NIfTI axis order for which the fixed flips in solvers' code put a mask onto its images."""
SAME_LENGTH = 0.02
"""Thickness and distance of slices that differ by a smaller share are the same, but rounded."""

LUNG_HU = (-950, -550)
"""Aerated lung lies in this range; air in sinuses and airways is darker, fat far brighter."""
LUNG_CM2 = 20.0
"""More lung than this in one slice: it lies in the chest (a whole chest slice has hundreds)."""
LUNG_WIDTH_MM = 4.0
"""Narrower strips in that range are skin, hair or the rim of an airway."""


def header_oddities(row: Mapping[str, Any]) -> list[Issue]:
    """What one row of the index says of its study's files.

    Args:
        row: with ``transfer_syntaxes, bits, windows, thickness_mm, dz_mm, feet_first,
            first_number, numbers_skipped``.
    """
    syntaxes = row["transfer_syntaxes"].split(", ")
    packed = [UID(s).name.split(",")[0] for s in syntaxes if s not in RAW_SYNTAXES]
    found = []
    if packed:
        found.append(("compressed", f"pixels are compressed ({packed[0]}); that needs a decoder"))
    if ImplicitVRLittleEndian in syntaxes:
        found.append(("implicit_vr", "its tags come without their types (implicit VR)"))
    if "unsigned" in row["bits"]:
        message = f"stored in {row['bits']} bits: no HU before RescaleIntercept is added"
        found.append(("unsigned", message))
    if row["windows"] > 1:
        message = f"WindowCenter holds {row['windows']} values: float() of it fails"
        found.append(("several_windows", message))
    if row["thickness_mm"] > row["dz_mm"] * (1 + SAME_LENGTH):
        message = f"slices of {row['thickness_mm']:g} mm lie {row['dz_mm']:.4g} mm apart"
        found.append(("overlapping_slices", message))
    if row["feet_first"]:
        found.append(("feet_first", "file numbers run from feet to head"))
    if row["first_number"] > 1:
        found.append(("late_start", f"file numbers start at {row['first_number']}"))
    if row["numbers_skipped"]:
        message = f"{row['numbers_skipped']} numbers are missing among the files' names"
        found.append(("numbers_skipped", message))
    return [warning(code, message) for code, message in found]


def mask_axes(path: Path) -> str:
    """Axis order of a NIfTI file, e.g. ``LAS``: first axis to the left, then front, then head."""
    import nibabel

    image: Any = nibabel.load(path)
    return "".join(str(code) for code in nibabel.aff2axcodes(image.affine))


def slices_by_value(mask_zyx: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """(Z, 20): whether a slice holds a mask value; far quicker than ``np.unique`` of it all."""
    counts = [np.bincount(plane.ravel(), minlength=MAX_MASK_VALUE + 1) for plane in mask_zyx]
    return np.array(counts) > 0


def mask_oddities(has_value: npt.NDArray[np.bool_], axes: str) -> list[Issue]:
    """What a mask says of its study, with its first slice at the head.

    Args:
        has_value: (Z, 20) as ``slices_by_value`` gives it.
        axes: of the file, see ``mask_axes``.
    """
    found = []
    if axes != USUAL_MASK_AXES:
        message = f"the mask's axes are {axes}: flips made for {USUAL_MASK_AXES} misplace it"
        found.append(("mask_axes", message))
    first, last = has_value[:, MASK_VALUE["C1"]], has_value[:, MASK_VALUE["C7"]]
    if not has_value[:, list(MASK_VALUE.values())].any():
        found.append(("no_cervical_level", "its mask has no voxel of C1–C7"))
        return [warning(code, message) for code, message in found]
    if first[0] or not first.any():
        found.append(("cut_top", "by its mask C1 is cut off by the first slice, or missing"))
    if last[-1] or not last.any():
        found.append(("cut_bottom", "by its mask C7 is cut off by the last slice, or missing"))
    return [warning(code, message) for code, message in found]


def lung_cm2(hu_yx: npt.NDArray[np.int16], spacing_yx_mm: tuple[float, float]) -> float:
    """Area of aerated lung in an axial slice, cm²."""
    from scipy import ndimage

    lung = (hu_yx > LUNG_HU[0]) & (hu_yx < LUNG_HU[1])
    if not lung.any():
        return 0.0
    side = [max(1, round(LUNG_WIDTH_MM / s)) for s in spacing_yx_mm]
    wide = ndimage.binary_opening(lung, np.ones(side, dtype=bool))
    return float(wide.sum() * spacing_yx_mm[0] * spacing_yx_mm[1] / 100)


def middle_oddities(
    hu_yx: npt.NDArray[np.int16], spacing_yx_mm: tuple[float, float]
) -> list[Issue]:
    """A neck CT may end in the tips of the lungs; a study whose middle lies in them is a chest."""
    area = lung_cm2(hu_yx, spacing_yx_mm)
    if area < LUNG_CM2:
        return []
    message = f"its middle slice shows {area:.0f} cm² of lung: a chest, hardly a neck"
    return [warning("chest", message)]
