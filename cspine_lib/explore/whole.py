"""The data set that a notebook looks at: its kept index, its check, its example studies."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import STUDY_COLUMN
from cspine_lib.config import data_home
from cspine_lib.dicom import Series
from cspine_lib.index import build_index
from cspine_lib.integrity import CheckReport, check_dataset
from cspine_lib.rsna import RsnaDataset, open_dataset
from cspine_lib.volume import Volume


def kept_index(dataset: RsnaDataset) -> Path:
    """File that keeps a data set's index, by the set's folder.

    The file is no part of the data set, which may lie where nothing can be written.
    """
    place = hashlib.sha256(str(dataset.root.resolve()).encode()).hexdigest()[:12]
    return data_home() / "cache" / f"index-{place}.csv"


def _only(dataset: RsnaDataset) -> Collection[str] | None:
    """The studies of a set that was cut down; None for a whole one."""
    if len(dataset.train_ids) == len(open_dataset(dataset.root).train_ids):
        return None
    return {*dataset.train_ids, *dataset.test_ids}


def index_of(dataset: RsnaDataset, workers: int = 1) -> pd.DataFrame:
    """``index.build_index`` of the studies of a data set, read once and kept."""
    return build_index(dataset.root, workers, kept_index(dataset), only=_only(dataset))


def check_of(dataset: RsnaDataset, workers: int = 1) -> CheckReport:
    """``integrity.check_dataset`` by headers, masks, one slice a study, from the kept index."""
    return check_dataset(
        dataset.root, workers, pixels=False, cache=kept_index(dataset), only=_only(dataset)
    )


@dataclass(frozen=True, eq=False)
class Example:
    """A study with a mask and one with boxes; one and the same where a study has both.

    ``mask_zyx`` is None in a set without masks, ``boxed_uid`` in one without boxes.
    """

    uid: str
    series: Series
    mask_zyx: npt.NDArray[np.uint8] | None
    boxed_uid: str | None
    boxed: Volume
    boxes: pd.DataFrame
    """z, x, y, width, height in voxels of ``boxed``; empty in a set without boxes."""


def example(dataset: RsnaDataset) -> Example:
    """Read the studies of the pictures: with a mask and as many boxes as can be."""
    there = [uid for uid in dataset.train_ids if dataset.has_images(uid)]
    counts = dataset.boxes[STUDY_COLUMN].value_counts()
    by_boxes = sorted(there, key=lambda uid: -int(counts.get(uid, 0)))  # stable: table's order
    masked = set(dataset.masked_ids)
    uid = next((u for u in by_boxes if u in masked), by_boxes[0])
    series = dataset.read_study(uid)
    mask_zyx = dataset.read_mask(uid, series) if uid in masked else None
    boxed_uid = uid if uid in counts.index else by_boxes[0]
    boxed = series if boxed_uid == uid else dataset.read_study(boxed_uid)
    boxes = dataset.boxes_of(boxed_uid, boxed)
    found = None if boxes.empty else boxed_uid
    return Example(uid, series, mask_zyx, found, boxed.volume, boxes)
