"""Tables of a data set's exploration: its folders, the tags that are used, its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pydicom
from pydicom.datadict import dictionary_description
from pydicom.tag import Tag

from cspine_lib.anatomy import (
    LEVELS,
    SEGMENTATIONS,
    STUDY_COLUMN,
    TEST_IMAGES,
    TRAIN_IMAGES,
)
from cspine_lib.facts import facts
from cspine_lib.metrics import ratio_ci
from cspine_lib.rsna import RsnaDataset

USED_TAGS = {
    "TransferSyntaxUID": "how the bytes are to be read, and how the pixels are compressed",
    "ImageType": "a scout view (LOCALIZER) is no slice",
    "Modality": "CT, or it is not for us",
    "SeriesInstanceUID": "slices of different series are not mixed",
    "ImagePositionPatient": "x, y, z in mm of the first pixel's centre: the order of the slices",
    "ImageOrientationPatient": "where rows and columns run in the patient: flips, gantry tilt",
    "PixelSpacing": "mm from row to row, then from column to column",
    "SliceThickness": "how thick a slice is, not how far the next one is",
    "Rows": "height of the image, px",
    "Columns": "width of the image, px",
    "BitsAllocated": "bits that a stored value takes up",
    "BitsStored": "bits of it that are used",
    "PixelRepresentation": "0: stored without a sign, 1: with one",
    "RescaleSlope": "HU = slope × stored + intercept",
    "RescaleIntercept": "HU = slope × stored + intercept",
    "WindowCenter": "how it is meant to be shown; can hold several values",
    "WindowWidth": "how it is meant to be shown; can hold several values",
    "InstanceNumber": "a running number; says nothing about where the slice is",
}
"""Tags that matter here and what each does (DICOM PS3.3 C.7.6 and C.8.2.1)."""


def used_tags(header: pydicom.FileDataset) -> pd.DataFrame:
    """The tags that a reader of CT needs, with their values in one file.

    Args:
        header: as ``pydicom.dcmread(path, stop_before_pixels=True)`` gives it.
    """
    rows = []
    for keyword, purpose in USED_TAGS.items():
        place = header.file_meta if keyword == "TransferSyntaxUID" else header
        value = place.get(keyword, "(not in this file)")
        if keyword == "TransferSyntaxUID" and hasattr(value, "name"):
            value = value.name.split(",")[0]
        tag = Tag(keyword)
        row = (f"({tag.group:04x},{tag.element:04x})", dictionary_description(tag), str(value))
        rows.append((*row, purpose))
    columns = ["tag", "name", "value in this file", "what it is for"]
    return pd.DataFrame(rows, columns=columns).set_index("tag")


def folder_tree(dataset: RsnaDataset, index: pd.DataFrame, shown: int = 2) -> str:
    """The layout of a data set as text, with counts."""
    lines = [f"{dataset.root.name}/"]
    for part, images in (("train", TRAIN_IMAGES), ("test", TEST_IMAGES)):
        mine = index[index["part"] == part]
        lines.append(f"├── {images}/    {len(mine)} folders, {mine['files'].sum():,} files")
        for row in mine.head(shown).itertuples():
            lines.append(f"│   ├── {row.StudyInstanceUID}/    1 file per slice, {row.files} files")
        lines += ["│   └── …"] if len(mine) > shown else []
    masks = sorted(p.name for p in (dataset.root / SEGMENTATIONS).glob("*.nii*"))
    lines.append(f"├── {SEGMENTATIONS}/    {len(masks)} NIfTI files")
    lines += [f"│   ├── {name}" for name in masks[:shown]]
    lines += ["│   └── …"] if len(masks) > shown else []
    tables = sorted(p for p in dataset.root.glob("*.csv"))
    for i, path in enumerate(tables, start=1):
        branch = "└" if i == len(tables) else "├"
        lines.append(f"{branch}── {path.name}    {_rows(path):,} rows")
    return "\n".join(lines)


def _rows(path: Path) -> int:
    with open(path, "rb") as file:
        return max(sum(1 for line in file if line.strip()) - 1, 0)


def slide_table(dataset: RsnaDataset, index: pd.DataFrame) -> pd.DataFrame:
    """Deck B's dataset overview, for the data at hand, for RSNA's counts and as on the slide."""
    slide = facts("published")["deck_b"]["dataset_table"]
    labels, slices = facts("labels"), facts("slices")
    here = {
        "Size": _sizes(index),
        "#vertebrae": len(LEVELS),
        "#masks": len(dataset.masked_ids),
        "#training studies": len(dataset.train_ids),
        "#testing studies": len(dataset.test_ids),
    }
    counted = {
        "Size": f"512 in {slices['matrix_512_share']:.1%} of the slices",
        "#vertebrae": len(labels["level_positive"]),
        "#masks": facts("masks")["studies"],
        "#training studies": labels["studies"],
        "#testing studies": "not public",
    }
    names = [dataset.name, "RSNA 2022, counted", "RSNA 2022, the slide"]
    return pd.DataFrame([here, counted, slide], index=names).astype(str)


def _sizes(index: pd.DataFrame) -> str:
    sides = index[["rows", "columns"]].to_numpy(dtype=np.float64)
    low, usual, high = np.nanmin(sides), np.nanmedian(sides), np.nanmax(sides)
    return f"{usual:.0f}" if low == high else f"{low:.0f} — {high:.0f}, mostly {usual:.0f}"


def boxed_studies(dataset: RsnaDataset, index: pd.DataFrame) -> pd.DataFrame:
    """One row per box: its size in px, as a share of the image and in mm; its study's row.

    RSNA's box sizes are in px of images of 512 px and unknown pixel size, so that only the
    share of the image can be compared with them.
    """
    columns = [STUDY_COLUMN, "rows", "columns", "dy_mm", "dx_mm", "dz_mm", "feet_first"]
    table = dataset.boxes.merge(index[columns], on=STUDY_COLUMN, how="left")
    table["width_share"] = table["width"] / table["columns"]
    table["height_share"] = table["height"] / table["rows"]
    table["width_mm"] = table["width"] * table["dx_mm"]
    table["height_mm"] = table["height"] * table["dy_mm"]
    return table


def shares_row(what: str, data: str, levels: npt.ArrayLike, ratio: Any) -> dict[str, Any]:
    """One row of the chapter's result: shares of broken studies and the neighbours' ratio.

    Args:
        levels: (N, 7) labels.
        ratio: ``Interval`` of the neighbours' ratio.
    """
    y = np.asarray(levels)
    one = np.ones(len(y))

    def share(broken: Any) -> str:
        value, low, high = ratio_ci(broken, one)
        return f"{value:.1%} [{low:.1%}, {high:.1%}]"

    return {
        "what": what,
        "measured on": data,
        "studies": str(len(y)),
        "any level broken [95%]": share(y.any(axis=1)),
        "C7 broken [95%]": share(y[:, LEVELS.index("C7")]),
        "C3 broken [95%]": share(y[:, LEVELS.index("C3")]),
        "neighbours, times chance [95%]": "{:.2f} [{:.2f}, {:.2f}]".format(*ratio),
    }


def shares_slide_row() -> dict[str, Any]:
    """The same as deck A's slide has it, without intervals."""
    deck: Mapping[str, Any] = facts("published")["deck_a"]
    return {
        "what": "slide",
        "measured on": "RSNA 2022, deck A's exploration",
        "studies": "",
        "any level broken [95%]": f"{deck['overall_split_percent'][1]}%",
        "C7 broken [95%]": f"{deck['C7_percent']}%",
        "C3 broken [95%]": f"{deck['C3_percent']}%",
        "neighbours, times chance [95%]": "in words only",
    }
