"""The masked studies of a data set, and what is known of their fractures.

In a phantom the truth file says in which slices each fracture shows, and any study can be
drawn again with its mask.  In RSNA's set only boxes are known, without a level; where just
one level is broken, its level is clear.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import BOX_COLUMNS, LEVELS, STUDY_COLUMN, TRUTH_FILE
from cspine_lib.dicom import Geometry, read_geometry
from cspine_lib.errors import CspineError
from cspine_lib.masks import read_mask
from cspine_lib.phantom.build import PHANTOM_VERSION, draw_labelled
from cspine_lib.phantom.design import design_set
from cspine_lib.phantom.plan import DrawnStudy
from cspine_lib.phantom.traits import Request, StudyDesign
from cspine_lib.rsna import RsnaDataset
from cspine_lib.volume import LPS_TO_RAS

N_VALUES = 20
"""0 background, 1–7 C1–C7, 8–19 T1–T12."""
MARKS = ["level", "z", "x0", "y0", "x1", "y1"]
"""Columns of ``known_fractures``: a half-open rectangle in px per slice."""


def _no_marks() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=object) for name in MARKS})


@dataclass(frozen=True, eq=False)
class MaskedStudy:
    """Where a study's mask lies, on which grid it belongs, and how much bone is in a slice.

    Args:
        affine_mm: (4, 4), image voxel (z, y, x, 1) → LPS mm.
        axes: NIfTI axis codes of the mask's file.
        feet_first: whether the image files are numbered from feet to head.
        areas_px: (Z, 20) voxels of each mask value in each slice.
        marks: what is known of its fractures, see ``known_fractures``.
    """

    uid: str
    path: Path
    shape_zyx: tuple[int, int, int]
    affine_mm: npt.NDArray[np.float64]
    axes: str
    feet_first: bool
    areas_px: npt.NDArray[np.intp]
    marks: pd.DataFrame = field(default_factory=_no_marks)

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres."""
        z, y, x = np.linalg.norm(self.affine_mm[:3, :3], axis=0)
        return float(z), float(y), float(x)

    def mask(self) -> npt.NDArray[np.uint8]:
        """(Z, Y, X) on the image's grid, by the affines."""
        return read_mask(self.path, self.shape_zyx, self.affine_mm)

    def stored(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        """What the file holds: values (I, J, K) and the affine to RAS mm."""
        image = nibabel.load(self.path)
        values = np.asanyarray(image.dataobj).astype(np.uint8)  # type: ignore[attr-defined]
        return values.reshape(values.shape[:3]), np.asarray(image.affine)  # type: ignore[attr-defined]


def area_profile(mask_zyx: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    """(Z, 20) voxels of each mask value in each slice."""
    return np.stack([np.bincount(p.ravel(), minlength=N_VALUES)[:N_VALUES] for p in mask_zyx])


def masked_studies(dataset: RsnaDataset) -> tuple[list[MaskedStudy], dict[str, str]]:
    """Every masked study, from headers and masks alone, and why some could not be used.

    Returns:
        The studies in the order of ``train.csv``; study → reason of those left out.
    """
    found, refused = [], {}
    for uid in dataset.masked_ids:
        path = dataset.mask_path(uid)
        assert path is not None
        try:
            geometry = read_geometry(dataset.study_folder(uid))
            mask = read_mask(path, geometry.shape_zyx, geometry.affine_mm)
        except CspineError as error:
            refused[uid] = str(error)
            continue
        affine = nibabel.load(path).affine  # type: ignore[attr-defined]
        found.append(
            MaskedStudy(
                uid,
                path,
                geometry.shape_zyx,
                geometry.affine_mm,
                "".join(map(str, nibabel.aff2axcodes(affine))),
                geometry.reversed,
                area_profile(mask),
                known_fractures(dataset, uid, geometry),
            )
        )
    return found, refused


@lru_cache(maxsize=4)
def _truth(path: Path, modified_ns: int) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _truth_of(dataset: RsnaDataset) -> dict:
    path = dataset.root / TRUTH_FILE
    return _truth(path, path.stat().st_mtime_ns)


def known_fractures(dataset: RsnaDataset, uid: str, geometry: Geometry) -> pd.DataFrame:
    """Where fractures of a training study are known to show, a row per slice and fracture.

    Phantom: from the truth; the rectangle holds all voxels that the fracture may change.
    Else: the boxes, if exactly one level is broken; empty otherwise.

    Returns:
        Columns level, z, x0, y0, x1, y1 (px, half open).
    """
    rows: list[tuple] = []
    if dataset.is_phantom:
        for one in _truth_of(dataset)["studies"][uid]["fractures"]:
            _, _, y0, y1, x0, x1 = one["region_zyx"]
            rows += [(one["level"], z, x0, y0, x1, y1) for z in one["slices"]]
        return pd.DataFrame(rows, columns=MARKS)
    broken = [k for k, is_broken in zip(LEVELS, dataset.labels(uid), strict=True) if is_broken]
    boxes = dataset.boxes[dataset.boxes[STUDY_COLUMN] == uid]
    for x, y, width, height, number in boxes[list(BOX_COLUMNS[1:])].to_numpy().tolist():
        z = geometry.slice_of_number.get(int(number))
        if z is not None and len(broken) == 1:
            shape_yx = geometry.shape_zyx[1:]
            left, top, w, h = geometry.in_plane.box(x, y, width, height, shape_yx)
            rows.append((broken[0], z, left, top, left + w, top + h))
    return pd.DataFrame(rows, columns=MARKS)


@lru_cache(maxsize=4)
def _designs(root: Path, modified_ns: int) -> dict[str, StudyDesign]:
    request: dict[str, Any] = dict(_truth(root / TRUTH_FILE, modified_ns)["request"])
    if request.pop("version") != PHANTOM_VERSION:
        raise CspineError("this phantom is of another version of cspine_lib: make it again")
    request |= {name: tuple(request[name]) for name in ("shape_zyx", "fov_mm")}
    return {design.uid: design for design in design_set(Request(**request))}


def redrawn(dataset: RsnaDataset, uid: str) -> DrawnStudy:
    """A study of a phantom drawn once more: its image, its whole mask, its fractures.

    Raises:
        CspineError: no phantom, or of another version.
    """
    if not dataset.is_phantom:
        raise CspineError("only a phantom's studies can be drawn again")
    modified_ns = (dataset.root / TRUTH_FILE).stat().st_mtime_ns
    return draw_labelled(_designs(dataset.root, modified_ns)[uid].plan)


def broken_without_mask(dataset: RsnaDataset, most: int) -> list[MaskedStudy]:
    """Broken training studies of a phantom that have no mask, with the mask that was drawn.

    They widen what is known of fractures; the methods of the course never see these masks.

    Args:
        most: how many at most, in the order of ``train.csv``; empty for real data.
    """
    if not dataset.is_phantom:
        return []
    masked = set(dataset.masked_ids)
    ids = [u for u in dataset.train_ids if u not in masked and dataset.labels(u).any()]
    out = []
    for uid in ids[:most]:
        drawn = redrawn(dataset, uid)
        geometry = read_geometry(dataset.study_folder(uid))
        marks = known_fractures(dataset, uid, geometry)
        nz, ny, nx = drawn.mask_zyx.shape
        axes = "".join(map(str, nibabel.aff2axcodes(LPS_TO_RAS @ geometry.affine_mm)))
        areas = area_profile(drawn.mask_zyx)
        out.append(
            MaskedStudy(
                uid, Path(), (nz, ny, nx), geometry.affine_mm, axes, geometry.reversed, areas, marks
            )
        )
    return out
