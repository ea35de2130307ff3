"""Studies as small cubes: what the 3D classifier reads, resized once from the native volume.

The deck stacks a study's slices and resizes the stack to a cube, whatever its size in mm.
A *neck* cube does just that.  A *spine* cube is its counterpart at the resolution of
stage 2's crops: the box around the levels that stage 1 found, at a fixed mm per voxel.
One ``<uid>.npy`` per study, uint8 (D, H, W) through the bone window, and a ``<uid>.json``
that says from what it was made and how large it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cspine_lib.cache import VolumeCache
from cspine_lib.config import Profile
from cspine_lib.crops import SIDE_MM
from cspine_lib.errors import CspineError
from cspine_lib.jobs import for_each, load_array, only_builder, save_array, save_json
from cspine_lib.labels import LevelBox
from cspine_lib.runs import read_json
from cspine_lib.study_files import StudyReader
from cspine_lib.volume import Volume, window

FORMAT = 1

SPINE_FIELD_MM = (150.0, 80.0, 80.0)
"""Field of a spine cube along z, y, x: C1 to C7 are 110 to 140 mm tall in adults, and the
crops of stage 2 are at most 80 mm wide."""
VOXELS_A_FRAME = 1.5
"""Of a spine cube along z, for each frame that stage 2 takes of a level."""
LEVELS_HIGH = 8
"""Heights of a level in that field: with its disc one is 15 to 20 mm high."""


@dataclass(frozen=True)
class CubeSpec:
    """What a cube shows.

    Args:
        shape_zyx: voxels.
        field_mm: extent along z, y, x around the spine; None: the whole study, stretched.
    """

    shape_zyx: tuple[int, int, int]
    field_mm: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if min(self.shape_zyx) < 8:
            raise CspineError(f"a cube needs at least 8 voxels a side, got {self.shape_zyx}")


def spine_spec(profile: Profile) -> CubeSpec:
    """Spine cubes of a profile, with voxels as stage 2's images have them.

    In plane a voxel is a pixel of stage 2's widest crop.  Along the body axis there are
    three voxels for two frames: with 8 frames a level that is 1.6 mm, where the slices of
    a frame are 0.8 mm apart in a thin-sliced scan.  Twice as fine would take twice the time.
    """
    _, y, x = (round(mm / SIDE_MM[1] * profile.crop_px) for mm in SPINE_FIELD_MM)
    return CubeSpec((round(LEVELS_HIGH * VOXELS_A_FRAME * profile.frames), y, x), SPINE_FIELD_MM)


def neck_cube(
    volume: Volume, shape_zyx: tuple[int, int, int]
) -> tuple[npt.NDArray[np.uint8], tuple[float, float, float]]:
    """The whole study on a grid of ``shape_zyx`` voxels, blurred first where it shrinks.

    Returns:
        uint8 (D, H, W) and its extent in mm along z, y, x.
    """
    z, y, x = (n * s for n, s in zip(volume.shape_zyx, volume.spacing_zyx_mm, strict=True))
    return window(volume.resampled(shape_zyx).hu_zyx, "bone"), (z, y, x)


def spine_cube(
    volume: Volume, levels: Mapping[str, LevelBox], spec: CubeSpec
) -> tuple[npt.NDArray[np.uint8], tuple[float, float, float]]:
    """The cervical spine at a fixed size in mm; the middle of the study where no level is found."""
    return neck_cube(spine_field(volume, levels, spec), spec.shape_zyx)


def spine_field(volume: Volume, levels: Mapping[str, LevelBox], spec: CubeSpec) -> Volume:
    """The part of a study that a spine cube shows, at native resolution; air outside the scan."""
    assert spec.field_mm is not None
    spacing = volume.spacing_zyx_mm
    if levels:
        edges = np.array([(b.z0, b.y0, b.x0, b.z1 + 1, b.y1, b.x1) for b in levels.values()])
        centre = (edges[:, :3].min(axis=0) + edges[:, 3:].max(axis=0)) / 2
    else:
        centre = np.array(volume.shape_zyx) / 2
    size = [max(round(mm / s), 1) for mm, s in zip(spec.field_mm, spacing, strict=True)]
    z0, y0, x0 = (round(c - n / 2) for c, n in zip(centre, size, strict=True))
    return volume.crop((z0, y0, x0), (size[0], size[1], size[2]))


def build_cubes(
    cache: VolumeCache,
    ids: Sequence[str],
    out_dir: Path,
    spec: CubeSpec,
    *,
    levels: Mapping[str, Mapping[str, LevelBox]] | None = None,
    dataset: StudyReader | None = None,
    workers: int = 1,
    progress: bool = False,
) -> CubeStore:
    """Make the cubes that are not there yet; resumable like the cache.

    Args:
        levels: per study the levels found, for spine cubes.
        dataset: needed where the cache keeps no volumes.

    Raises:
        CspineError: spine cubes without levels; no volumes and no data set.
    """
    source = cache if cache.mode == "volume" else dataset
    if source is None:
        raise CspineError("this cache keeps no volumes: give the data set to make cubes from")
    if spec.field_mm is not None and levels is None:
        raise CspineError("a spine cube needs the levels that stage 1 found")
    setting = {"format": FORMAT, "shape_zyx": list(spec.shape_zyx), "field_mm": spec.field_mm}
    with only_builder(out_dir):
        jobs = []
        for uid in ids:
            found = {} if levels is None else {k: b.to_dict() for k, b in levels[uid].items()}
            request = json.loads(json.dumps({**setting, "levels": found}))
            path = out_dir / f"{uid}.json"
            if not path.exists() or read_json(path).get("request") != request:
                jobs.append((uid, request))
        work = partial(_store_cube, source, out_dir, spec)
        for_each(work, jobs, workers=workers, progress=progress, what="making cubes")
    return CubeStore(out_dir, ids)


def _store_cube(
    source: VolumeCache | StudyReader, out_dir: Path, spec: CubeSpec, job: tuple[str, Any]
) -> None:
    uid, request = job
    volume = (
        source.volume(uid) if isinstance(source, VolumeCache) else source.read_study(uid).volume
    )
    if spec.field_mm is None:
        cube, size_mm = neck_cube(volume, spec.shape_zyx)
    else:
        found = {k: LevelBox(**b) for k, b in request["levels"].items()}
        cube, size_mm = spine_cube(volume, found, spec)
    (out_dir / f"{uid}.json").unlink(missing_ok=True)
    save_array(out_dir / f"{uid}.npy", cube)
    save_json(out_dir / f"{uid}.json", {"request": request, "size_zyx_mm": size_mm})


class CubeStore:
    """Cubes that :func:`build_cubes` has made.

    Attributes:
        ids: the studies.
    """

    def __init__(self, folder: Path, ids: Sequence[str]) -> None:
        self.folder, self.ids = Path(folder), list(ids)
        self._size = {
            uid: read_json(self.folder / f"{uid}.json")["size_zyx_mm"] for uid in self.ids
        }

    def cube(self, uid: str) -> npt.NDArray[np.uint8]:
        """uint8 (D, H, W)."""
        return load_array(self.folder / f"{uid}.npy")

    def size_zyx_mm(self, uid: str) -> tuple[float, float, float]:
        """Extent of a cube along z, y, x."""
        z, y, x = self._size[uid]
        return z, y, x

    def voxel_zyx_mm(self, uid: str) -> tuple[float, float, float]:
        """Size of a voxel: what is left of a 1 mm line."""
        z, y, x = (s / n for s, n in zip(self._size[uid], self.cube(uid).shape, strict=True))
        return z, y, x


class CubeDataset(Dataset[tuple[tuple[Tensor, Tensor], Tensor]]):
    """Items ``((cube, size_xyz_mm), labels)``: uint8 (1, D, H, W), float (3,), float (8,).

    Cubes stay in memory: 64³ of 2019 studies are 0.5 GB.
    """

    def __init__(
        self, store: CubeStore, ids: Sequence[str], labels: Mapping[str, npt.ArrayLike]
    ) -> None:
        self.ids = list(ids)
        self._cubes = torch.from_numpy(np.stack([store.cube(uid) for uid in ids]))
        sizes = np.array([store.size_zyx_mm(uid)[::-1] for uid in ids], dtype=np.float32)
        self._sizes = torch.from_numpy(sizes)
        rows = np.stack([np.asarray(labels[uid], dtype=np.float32) for uid in ids])
        if rows.shape[1:] != (8,):
            raise CspineError(f"labels must be (8,) per study, got {rows.shape[1:]}")
        self._labels = torch.from_numpy(rows)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        return (self._cubes[i][None], self._sizes[i]), self._labels[i]
