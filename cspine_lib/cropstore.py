"""Crops of many studies on disk: what stage 2 reads, cut once at native resolution.

One ``<uid>.npy`` per study, uint8 (7, frames, 3, S, S) with zeros for a level that was
not found, and a ``<uid>.json`` that says from which boxes.  Crops follow from the boxes of
one stage-1 model: another model needs another folder, or overwrites them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import LEVELS, N_LEVELS
from cspine_lib.cache import VolumeCache
from cspine_lib.crops import STACK, cut_crops, padded_px
from cspine_lib.errors import CspineError
from cspine_lib.jobs import for_each, load_array, only_builder, save_array, save_json
from cspine_lib.labels import LevelBox, levels_from_json
from cspine_lib.ranks import is_main
from cspine_lib.recipes import Crop
from cspine_lib.runs import read_json
from cspine_lib.study_files import StudyReader
from cspine_lib.volume import Volume

FORMAT = 1
MARGIN = 1.15
"""Surroundings that augmentation needs: a shift of 5% and a turn of 10° stay inside."""

LevelBoxes = Mapping[str, LevelBox]


def build_crops(
    cache: VolumeCache,
    levels: Mapping[str, LevelBoxes],
    out_dir: Path,
    *,
    frames: int = 8,
    px: int = 64,
    margin: float = MARGIN,
    crop: Crop = "box",
    neighbours: bool = True,
    dataset: StudyReader | None = None,
    workers: int = 1,
    progress: bool = False,
) -> CropStore:
    """Cut the crops of all levels found in all studies.

    Resumable: a study whose crops were cut from the same boxes with the same settings is
    left as it is.

    Args:
        cache: where volumes come from; in mode ``"low"`` each study is decoded again.
        levels: per study the levels of :func:`localise.decode_levels`.
        out_dir: folder of the crops.
        frames: 2.5D images per level, of three slices each.
        px: side of what the network sees.
        margin, crop, neighbours: see :func:`crops.cut_crops`.
        dataset: needed where the cache keeps no volumes.

    Raises:
        CspineError: the cache keeps no volumes and no ``dataset`` is given.
    """
    source = cache if cache.mode == "volume" else dataset
    if source is None:
        raise CspineError("this cache keeps no volumes: give the data set to cut crops from")
    out_dir = Path(out_dir)
    setting: dict[str, Any] = {"format": FORMAT, "frames": frames, "px": px, "margin": margin}
    setting |= _view(crop, neighbours)
    with only_builder(out_dir):
        if is_main():
            save_json(out_dir / "crops.json", {**setting, "size": padded_px(px, margin)})
        jobs = []
        for uid, found in levels.items():
            entry: dict[str, Any] = {
                "levels": {name: found[name].to_dict() for name in LEVELS if name in found}
            }
            entry["request"] = _digest({**setting, **entry})
            if _request_of(out_dir / f"{uid}.json") != entry["request"]:
                jobs.append((uid, entry))
        work = partial(_store_crops, source, out_dir, setting)
        for_each(work, jobs, workers=workers, progress=progress, what="cutting crops")
    return CropStore(out_dir, list(levels))


def _view(crop: Crop, neighbours: bool) -> dict[str, Any]:
    """What differs from the usual crop, so that notes of usual ones stay what they are."""
    view: dict[str, Any] = {} if crop == "box" else {"crop": crop}
    return view if neighbours else {**view, "neighbours": False}


def study_crops(
    volume: Volume,
    found: LevelBoxes,
    *,
    frames: int,
    px: int,
    margin: float,
    crop: Crop = "box",
    neighbours: bool = True,
) -> npt.NDArray[np.uint8]:
    """Crops of one study (7, frames, 3, S, S); zeros for levels that were not found."""
    size = padded_px(px, margin)
    out = np.zeros((N_LEVELS, frames, STACK, size, size), dtype=np.uint8)
    for k, level in enumerate(LEVELS):
        if level in found:
            out[k] = cut_crops(
                volume,
                found[level],
                slices=STACK * frames,
                frames=frames,
                px=px,
                margin=margin,
                crop=crop,
                neighbours=neighbours,
            )
    return out


def _store_crops(
    source: VolumeCache | StudyReader,
    out_dir: Path,
    setting: dict[str, Any],
    job: tuple[str, dict[str, Any]],
) -> None:
    uid, entry = job
    if isinstance(source, VolumeCache):
        volume = source.volume(uid)
    else:
        volume = source.read_study(uid).volume
    options = {name: value for name, value in setting.items() if name != "format"}
    crops = study_crops(volume, levels_from_json(entry["levels"]), **options)
    # The old note goes first: it must never stand beside new crops.
    (out_dir / f"{uid}.json").unlink(missing_ok=True)
    save_array(out_dir / f"{uid}.npy", crops)
    save_json(out_dir / f"{uid}.json", entry)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def _request_of(path: Path) -> str | None:
    if not path.exists():
        return None
    return str(read_json(path).get("request"))


class CropStore:
    """Crops that :func:`build_crops` has cut.

    Args:
        folder: where they are.
        ids: studies; default: all, sorted.

    Attributes:
        ids: the studies.
        frames: 2.5D images per level.
        px: side of what the network sees, in the middle of ``size``.
        size: side of the stored crops, S.

    Raises:
        CspineError: no crops there, or none of a study.
    """

    def __init__(self, folder: Path, ids: Sequence[str] | None = None) -> None:
        self.folder = Path(folder)
        if not (self.folder / "crops.json").exists():
            raise CspineError(f"no crops in {self.folder}: build them first")
        setting = read_json(self.folder / "crops.json")
        self.frames: int = setting["frames"]
        self.px: int = setting["px"]
        self.size: int = setting["size"]
        if ids is None:
            ids = sorted(p.stem for p in self.folder.glob("[!.]*.json") if p.name != "crops.json")
        self.ids = list(ids)
        self._levels: dict[str, dict[str, LevelBox]] = {}
        for uid in self.ids:
            path = self.folder / f"{uid}.json"
            if not path.exists():
                raise CspineError(f"no crops of study {uid} in {self.folder}: build them first")
            self._levels[uid] = levels_from_json(read_json(path)["levels"])

    def __repr__(self) -> str:
        return f"CropStore({len(self.ids)} studies, {self.frames} × 3 × {self.size}² px)"

    def __len__(self) -> int:
        return len(self.ids)

    def levels(self, uid: str) -> dict[str, LevelBox]:
        """The boxes that a study's crops were cut from."""
        return self._levels[uid]

    def found(self, uid: str) -> npt.NDArray[np.bool_]:
        """Which of the seven levels have crops, (7,) bool."""
        return np.array([level in self._levels[uid] for level in LEVELS])

    def sequences(self, uid: str) -> npt.NDArray[np.uint8]:
        """All crops of a study (7, frames, 3, S, S), memory-mapped."""
        return load_array(self.folder / f"{uid}.npy", mmap=True)
