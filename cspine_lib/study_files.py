"""What the cache keeps of one study.

For every study a folder holds

=====================  =====================================================
``<uid>.npy``          int16 HU (Z, Y, X); mode ``"volume"`` only
``<uid>.mask.npy``     uint8 mask on the same grid; mode ``"volume"`` only, masked studies
``<uid>.low.npy``      uint8 (N, P, P): small bone-window slices that stage 1 looks at
``<uid>.levels.npy``   bool (Z, 7): levels in view per slice; masked studies
``<uid>.boxes.npy``    float64 (Z, 4): box of the cervical spine per slice; masked studies
``<uid>.json``         geometry and findings of the reader; written last, so it says "finished"
=====================  =====================================================

A study that cannot be read leaves only a ``.json`` with its ``error``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from cspine_lib.errors import CspineError
from cspine_lib.jobs import save_array, save_json
from cspine_lib.labels import LevelBox, spine_boxes, true_levels, visible_levels
from cspine_lib.slices import low_stack
from cspine_lib.volume import Volume

Mode = Literal["volume", "low"]
FORMAT = 1
"""Raised whenever the files' content changes."""


class StudyReader(Protocol):
    """What the cache asks of a data set; ``rsna.RsnaDataset`` is one."""

    name: str

    @property
    def masked_ids(self) -> list[str]:
        """Studies that have a mask."""

    def read_study(self, uid: str, workers: int = 1) -> Any:
        """A series with ``volume``, ``slice_of_number``, ``issues`` and ``reversed``."""

    def read_mask(self, uid: str, series: Any) -> npt.NDArray[np.uint8]:
        """The mask on the series' grid."""

    def fingerprint(self) -> str:
        """A short text that changes with the files."""


def store_study(
    dataset: StudyReader, cache_dir: Path, mode: Mode, low_px: int, pitch_mm: float, uid: str
) -> None:
    """Read one study and write its files, the JSON last."""
    try:
        series = dataset.read_study(uid)
    except CspineError as error:
        save_json(cache_dir / f"{uid}.json", {"uid": uid, "error": str(error)})
        return
    volume: Volume = series.volume
    issues = [_plain(issue) for issue in series.issues]
    mask = _read_mask(dataset, uid, series, issues)
    stack, z_index = low_stack(volume, low_px, None if mask is not None else pitch_mm)
    save_array(cache_dir / f"{uid}.low.npy", stack)
    if mode == "volume":
        save_array(cache_dir / f"{uid}.npy", np.ascontiguousarray(volume.hu_zyx))
    levels: dict[str, LevelBox] = {}
    if mask is not None:
        levels = true_levels(mask)
        save_array(cache_dir / f"{uid}.levels.npy", visible_levels(mask))
        save_array(cache_dir / f"{uid}.boxes.npy", spine_boxes(mask))
        if mode == "volume":
            save_array(cache_dir / f"{uid}.mask.npy", mask)
    entry = {
        "uid": uid,
        "shape_zyx": volume.shape_zyx,
        "affine_mm": volume.affine_mm.tolist(),
        "slice_of_number": {str(k): int(v) for k, v in series.slice_of_number.items()},
        "issues": issues,
        "reversed": bool(series.reversed),
        "masked": mask is not None,
        "levels": {name: box.to_dict() for name, box in levels.items()},
        "low_z": z_index.tolist(),
    }
    save_json(cache_dir / f"{uid}.json", entry)


def _read_mask(
    dataset: StudyReader, uid: str, series: Any, issues: list[dict[str, str]]
) -> npt.NDArray[np.uint8] | None:
    """A study's mask; one that does not fit is noted among the issues and left out."""
    if uid not in set(dataset.masked_ids):
        return None
    try:
        return np.ascontiguousarray(dataset.read_mask(uid, series), dtype=np.uint8)
    except CspineError as error:
        issues.append({"severity": "error", "code": "mask", "message": str(error), "file": ""})
        return None


def _plain(issue: Any) -> dict[str, str]:
    return {key: str(getattr(issue, key)) for key in ("severity", "code", "message", "file")}
