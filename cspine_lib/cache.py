"""The decoded-once cache: each study is read from DICOM one time, then memory-mapped.

``study_files`` says which files stand for a study.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cspine_lib.errors import CspineError
from cspine_lib.jobs import for_each, load_array, only_builder, save_json, usable_cores
from cspine_lib.labels import LevelBox, levels_from_json
from cspine_lib.runs import read_json
from cspine_lib.study_files import FORMAT, Mode, StudyReader, store_study
from cspine_lib.volume import Volume

if TYPE_CHECKING:
    from cspine_lib.config import Profile


def build_cache(
    dataset: StudyReader,
    cache_dir: Path,
    ids: Sequence[str],
    *,
    mode: Mode = "volume",
    low_px: int = 96,
    pitch_mm: float = 2.0,
    workers: int = 1,
    progress: bool = False,
) -> VolumeCache:
    """Read studies that are not in the cache yet.

    May be killed at any time and run again: finished studies stay, half-written files do
    not count.  A second process that builds the same folder waits for the first.

    Args:
        dataset: usually ``rsna.open_dataset(…)``.
        cache_dir: one folder per data set and setting; see :func:`cache_for`.
        ids: studies to have in the cache.
        mode: ``"volume"`` keeps whole volumes and masks; ``"low"`` only what stage 1
            needs (for the real set, whose volumes would be 373 GB).
        low_px: side of the small slices.
        pitch_mm: largest distance between small slices; masked studies keep every slice.

    Returns:
        The cache of ``ids``.  Studies that cannot be read are in its ``failed``.

    Raises:
        CspineError: the folder holds a cache of other data or other settings.
    """
    cache_dir = Path(cache_dir)
    settings = {
        "format": FORMAT,
        "mode": mode,
        "low_px": low_px,
        "pitch_mm": pitch_mm,
        "data": dataset.fingerprint(),
    }
    with only_builder(cache_dir):
        _same_settings(cache_dir, settings)
        missing = [uid for uid in ids if not (cache_dir / f"{uid}.json").exists()]
        job = partial(store_study, dataset, cache_dir, mode, low_px, pitch_mm)
        for_each(job, missing, workers=workers, progress=progress, what="reading studies")
    return VolumeCache(cache_dir, ids)


def cache_for(
    dataset: StudyReader,
    profile: Profile,
    ids: Sequence[str],
    *,
    root: Path | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> VolumeCache:
    """The cache that a profile uses for a data set, built where needed.

    It lies under ``root`` (default ``data/cache``) in a folder named by the data's
    fingerprint and the settings, so that changed data never meet an old cache.
    """
    from cspine_lib.config import data_home

    setting = f"{profile.cache}-{profile.localiser_px}px-{profile.localiser_pitch_mm:g}mm"
    folder = (root or data_home() / "cache") / f"{dataset.fingerprint()[:16]}-{setting}-v{FORMAT}"
    return build_cache(
        dataset,
        folder,
        ids,
        mode=profile.cache,
        low_px=profile.localiser_px,
        pitch_mm=profile.localiser_pitch_mm,
        workers=workers or usable_cores(),
        progress=progress,
    )


def _same_settings(cache_dir: Path, settings: dict[str, Any]) -> None:
    path = cache_dir / "cache.json"
    if not path.exists():
        save_json(path, settings)
        return
    there = read_json(path)
    differing = [key for key in settings if there.get(key) != settings[key]]
    if differing:
        raise CspineError(
            f"{cache_dir} holds a cache with another {', '.join(differing)}: "
            "choose another folder or delete this one"
        )


class VolumeCache:
    """What :func:`build_cache` has stored, by study.

    Args:
        folder: a cache folder.
        ids: studies to look at; default: all that are there, sorted.

    Attributes:
        ids: readable studies, in the order asked for.
        failed: study → why it could not be read.
        mode: ``"volume"`` or ``"low"``.
        low_px: side of the small slices.

    Raises:
        CspineError: no cache there, or a study that is not in it.
    """

    def __init__(self, folder: Path, ids: Sequence[str] | None = None) -> None:
        self.folder = Path(folder)
        if not (self.folder / "cache.json").exists():
            raise CspineError(f"no cache in {self.folder}: build it first")
        settings = read_json(self.folder / "cache.json")
        self.mode: Mode = settings["mode"]
        self.low_px: int = settings["low_px"]
        if ids is None:
            ids = sorted(p.stem for p in self.folder.glob("[!.]*.json") if p.name != "cache.json")
        self._entries = {uid: self._read_entry(uid) for uid in ids}
        self.failed = {uid: e["error"] for uid, e in self._entries.items() if "error" in e}
        self.ids = [uid for uid in self._entries if uid not in self.failed]
        self._open: OrderedDict[str, npt.NDArray[Any]] = OrderedDict()

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"VolumeCache({len(self.ids)} studies{failed}, mode {self.mode!r})"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def masked_ids(self) -> list[str]:
        """Readable studies with a mask that fits."""
        return [uid for uid in self.ids if self._entries[uid]["masked"]]

    def volume(self, uid: str) -> Volume:
        """The whole study, memory-mapped.  CspineError in mode ``"low"``."""
        if self.mode == "low":
            raise CspineError("this cache keeps no whole volumes (mode 'low'): read the study")
        return Volume(self._array(uid, "npy"), np.array(self._entry(uid)["affine_mm"]))

    def mask(self, uid: str) -> npt.NDArray[np.uint8] | None:
        """The mask on the volume's grid, memory-mapped; None where there is none."""
        if self.mode == "low" and self._entry(uid)["masked"]:
            raise CspineError("this cache keeps no whole masks (mode 'low'): read the study")
        return self._array(uid, "mask.npy") if self._entry(uid)["masked"] else None

    def slices(self, uid: str) -> npt.NDArray[np.uint8]:
        """Small bone-window slices (N, P, P), memory-mapped; see :func:`slices.low_stack`."""
        return self._array(uid, "low.npy")

    def z_index(self, uid: str) -> npt.NDArray[np.int64]:
        """Index (N,) in the volume of each of :meth:`slices`."""
        return np.array(self._entry(uid)["low_z"], dtype=np.int64)

    def side_px(self, uid: str) -> int:
        """Native pixels that the side of a small slice stands for: box in 0..1 × this = px."""
        return max(self.shape_zyx(uid)[1:])

    def visible_levels(self, uid: str) -> npt.NDArray[np.bool_]:
        """Levels in view (Z, 7) of every native slice of a masked study."""
        return self._labels(uid, "levels.npy")

    def spine_boxes(self, uid: str) -> npt.NDArray[np.float64]:
        """Box (Z, 4) in native px of every native slice of a masked study, NaN for none."""
        return self._labels(uid, "boxes.npy")

    def true_levels(self, uid: str) -> dict[str, LevelBox]:
        """Slice range and box of each level, from the mask; empty without one."""
        return levels_from_json(self._entry(uid)["levels"])

    def shape_zyx(self, uid: str) -> tuple[int, int, int]:
        """Voxels of the volume along z, y, x."""
        z, y, x = self._entry(uid)["shape_zyx"]
        return z, y, x

    def affine_mm(self, uid: str) -> npt.NDArray[np.float64]:
        """The volume's (4, 4) affine, voxel (z, y, x, 1) → LPS mm."""
        return np.array(self._entry(uid)["affine_mm"], dtype=np.float64)

    def spacing_zyx_mm(self, uid: str) -> tuple[float, float, float]:
        """Spacing of the volume along z, y, x."""
        z, y, x = np.linalg.norm(self.affine_mm(uid)[:3, :3], axis=0)
        return float(z), float(y), float(x)

    def slice_of_number(self, uid: str) -> dict[int, int]:
        """Number in a file's name → slice index, as the box table needs it."""
        return {int(k): v for k, v in self._entry(uid)["slice_of_number"].items()}

    def issues(self, uid: str) -> list[dict[str, str]]:
        """What the reader found: severity, code, message, file."""
        return list(self._entry(uid)["issues"])

    def reversed(self, uid: str) -> bool:
        """Whether the files ran from feet to head."""
        return bool(self._entry(uid)["reversed"])

    def _read_entry(self, uid: str) -> dict[str, Any]:
        path = self.folder / f"{uid}.json"
        if not path.exists():
            raise CspineError(f"study {uid} is not in the cache {self.folder}")
        return read_json(path)

    def _entry(self, uid: str) -> dict[str, Any]:
        if uid in self.failed:
            raise CspineError(f"study {uid} could not be read: {self.failed[uid]}")
        if uid not in self._entries:
            raise CspineError(f"study {uid} is not among this cache's studies")
        return self._entries[uid]

    def _labels(self, uid: str, kind: str) -> npt.NDArray[Any]:
        if not self._entry(uid)["masked"]:
            raise CspineError(f"study {uid} has no mask")
        return np.asarray(self._array(uid, kind))

    def _array(self, uid: str, kind: str) -> npt.NDArray[Any]:
        """A memory map; some stay open, few enough for any limit on open files."""
        self._entry(uid)
        name = f"{uid}.{kind}"
        if name not in self._open:
            self._open[name] = load_array(self.folder / name, mmap=True)
            if len(self._open) > 200:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        return self._open[name]

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes open their own maps.
        return {**self.__dict__, "_open": OrderedDict()}
