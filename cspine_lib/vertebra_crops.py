"""Crops of a segmented vertebra: its slices, their neighbours, and its outline as a channel.

The first place looks at a vertebra in 15 slices, each with its neighbours as channels and
the outline of the segmented vertebra beside them.  Neighbouring images share slices, so
each slice is cut and kept once and images are put together when they are read.  One
``<uid>.npy`` per study, uint8 (K, N, S, S) with K = 2 where outlines are kept, and a
``<uid>.json`` that says from which boxes and which slices make an image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from cspine_lib.anatomy import LEVELS
from cspine_lib.crops import crop_field, crop_slices, cut_plane, padded_px
from cspine_lib.errors import CspineError
from cspine_lib.jobs import load_array, only_builder, save_array, save_json
from cspine_lib.label_maps import LabelMap
from cspine_lib.labels import LevelBox, levels_from_json
from cspine_lib.planes import PLANES, sagittal_map, sagittal_volume
from cspine_lib.recipe_parts import Plane
from cspine_lib.runs import read_json
from cspine_lib.volume import Volume

FORMAT = 1
Planes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """What is cut of a vertebra.

    Args:
        frames: images of a level in each plane.
        channels: slices in an image, odd.
        outline: keep the vertebra's outline too.
        px: side of what the network sees.
        margin: surroundings for augmentation, see ``crops.padded_px``.
        plane: from above, from the side, or both, one after the other.
    """

    frames: int
    channels: int
    outline: bool
    px: int
    margin: float = 1.15
    plane: Plane = "axial"

    def __post_init__(self) -> None:
        if self.frames < 1 or self.channels < 1 or self.channels % 2 == 0:
            raise CspineError(
                f"a view needs frames ≥ 1 and an odd number of channels, "
                f"got {self.frames} and {self.channels}"
            )

    @property
    def images(self) -> int:
        """Images of a level, T."""
        return self.frames * len(PLANES[self.plane])

    @property
    def size(self) -> int:
        """Side of the stored crops, S."""
        return padded_px(self.px, self.margin)

    @property
    def depth(self) -> int:
        """Channels of an image with its outline, C."""
        return self.channels + self.outline

    @property
    def digest(self) -> str:
        """Changes with whatever changes the crops."""
        return _digest({"format": FORMAT, **self.to_dict()})

    def to_dict(self) -> dict[str, Any]:
        """For JSON; crops from before there was a choice of planes stay what they are."""
        content = asdict(self)
        if self.plane == "axial":
            del content["plane"]
        return content


@dataclass(frozen=True, eq=False)
class VertebraCrops:
    """Cut slices of one study, and how they make images.

    Args:
        planes: (K, N, S, S).
        index: level → (T, channels) positions among the N.
        levels: what was cut.
    """

    planes: Planes
    index: Mapping[str, npt.NDArray[np.intp]]
    levels: Mapping[str, LevelBox]

    def __getitem__(self, k: int) -> Planes:
        """Images (T, C, S, S) of level ``k`` (0 for C1), the outline as last channel."""
        where = self.index[LEVELS[k]]
        images = np.asarray(self.planes[0][where])  # (T, channels, S, S)
        if len(self.planes) == 1:
            return images
        outline = np.asarray(self.planes[1][where[:, where.shape[1] // 2]])  # (T, S, S)
        return np.concatenate([images, outline[:, None]], axis=1)

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """(7,) which levels there are."""
        return np.array([level in self.levels for level in LEVELS])


def cut_vertebrae(volume: Volume, found: LabelMap, view: View) -> VertebraCrops:
    """All levels of a segmented study, each slice cut once at native resolution."""
    levels = found.levels()
    parts: list[Planes] = []
    rows: dict[str, list[npt.NDArray[np.intp]]] = {name: [] for name in levels}
    before = 0
    for plane in PLANES[view.plane]:
        part, index = _cut_from(plane, volume, found, view)
        for name in levels:
            rows[name].append(before + index[name])
        parts.append(part)
        before += part.shape[1]
    index = {name: np.concatenate(found_rows) for name, found_rows in rows.items()}
    return VertebraCrops(np.concatenate(parts, axis=1), index, levels)


def _cut_from(
    plane: Literal["axial", "sagittal"], volume: Volume, found: LabelMap, view: View
) -> tuple[Planes, dict[str, npt.NDArray[np.intp]]]:
    """From one side alone; see :func:`_cut`."""
    if plane == "axial":
        return _cut(volume, found, view, spread=False)
    turned = sagittal_map(found, volume.shape_zyx[2])
    return _cut(sagittal_volume(volume), turned, view, spread=True)


def _cut(
    volume: Volume, found: LabelMap, view: View, *, spread: bool
) -> tuple[Planes, dict[str, npt.NDArray[np.intp]]]:
    """Slices (K, N, S, S) across the volume's first axis, and each level's (T, channels).

    Args:
        spread: a vertebra is some 60 mm wide and 15 mm high: across its width the channels of
            an image reach as far as the next image, lest most of it be looked at by none.
    """
    depth = volume.shape_zyx[0]
    planes: list[list[Planes]] = [[], []] if view.outline else [[]]
    index = {}
    for name, box in found.levels().items():
        centre = crop_slices(box, depth, view.frames)  # (T,)
        step = (box.z1 - box.z0 + 1) / (view.frames * view.channels) if spread else 1.0
        reach = max(1, round(step)) * (np.arange(view.channels) - view.channels // 2)
        z = np.clip(centre[:, None] + reach, 0, depth - 1)  # (T, channels)
        used = np.unique(z)
        index[name] = len(planes[0]) + np.searchsorted(used, z)
        edges = crop_field(volume, box, view.px, view.size)
        for plane in used.tolist():
            planes[0].append(cut_plane(volume.hu_zyx[plane], *edges, view.size))
            if view.outline:
                planes[1].append(found.outline(name, plane, *edges, view.size))
    empty = np.zeros((len(planes), 0, view.size, view.size), dtype=np.uint8)
    return np.array(planes, dtype=np.uint8) if index else empty, index


Segment = Callable[[Volume], LabelMap]


def build_vertebrae(
    read: Callable[[str], Volume],
    segment: Segment,
    ids: Sequence[str],
    folder: Path,
    view: View,
    *,
    by: str,
    progress: bool = False,
) -> VertebraStore:
    """Segment and cut the studies that are not there yet; resumable study by study.

    Args:
        read: study → volume.
        by: what tells the segmenter from any other, e.g. a digest of its weights.
    """
    request = _digest([view.digest, by])
    with only_builder(folder):
        save_json(folder / "crops.json", {"format": FORMAT, **view.to_dict()})
        for uid in tqdm(ids, "segmenting, cutting", unit="study", disable=not progress):
            note = folder / f"{uid}.json"
            if note.exists() and read_json(note)["request"] == request:
                continue
            volume = read(uid)
            crops = cut_vertebrae(volume, segment(volume), view)
            note.unlink(missing_ok=True)
            save_array(folder / f"{uid}.npy", crops.planes)
            save_json(note, {"request": request, **_entry(crops)})
    return VertebraStore(folder, ids)


def _entry(crops: VertebraCrops) -> dict[str, Any]:
    return {
        "levels": {name: box.to_dict() for name, box in crops.levels.items()},
        "index": {name: where.tolist() for name, where in crops.index.items()},
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


class VertebraStore:
    """Crops that :func:`build_vertebrae` has cut; read like a ``CropStore``.

    Attributes:
        ids: the studies.
        view: what was cut.

    Raises:
        CspineError: no crops there, or none of a study.
    """

    def __init__(self, folder: Path, ids: Sequence[str]) -> None:
        self.folder, self.ids = Path(folder), list(ids)
        try:
            setting = read_json(self.folder / "crops.json")
            entries = {uid: read_json(self.folder / f"{uid}.json") for uid in self.ids}
        except (FileNotFoundError, CspineError):
            raise CspineError(f"no crops of all studies in {folder}: build them first") from None
        setting.pop("format")
        self.view = View(**setting)
        self._levels = {uid: levels_from_json(e["levels"]) for uid, e in entries.items()}
        self._index = {
            uid: {name: np.array(rows, dtype=np.intp) for name, rows in e["index"].items()}
            for uid, e in entries.items()
        }

    def levels(self, uid: str) -> dict[str, LevelBox]:
        """The boxes that a study's crops were cut from."""
        return self._levels[uid]

    def found(self, uid: str) -> npt.NDArray[np.bool_]:
        """Which of the seven levels have crops, (7,) bool."""
        return np.array([level in self._levels[uid] for level in LEVELS])

    def sequences(self, uid: str) -> VertebraCrops:
        """The study's crops, memory-mapped: ``[k]`` gives level k's images (T, C, S, S)."""
        planes = load_array(self.folder / f"{uid}.npy", mmap=True)
        return VertebraCrops(planes, self._index[uid], self._levels[uid])
