"""Whole slices of cached studies at the size that the 2D classifiers read, made once.

Where the cache keeps whole volumes, a stack holds every native slice, resized once; else
(the real set) it is the cache's own small stack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.cache import VolumeCache
from cspine_lib.config import Profile
from cspine_lib.errors import CspineError
from cspine_lib.jobs import for_each, load_array, only_builder, save_array
from cspine_lib.labels import evenly_spaced
from cspine_lib.slices import low_stack, neighbour_step, stack_25d

SHOWS = 0.5
"""A slice shows a level from this probability on."""


def stack_px(profile: Profile) -> int:
    """Side of a slice in a profile's stacks: the cache's own where that keeps no volumes."""
    return profile.slice_px if profile.cache == "volume" else profile.localiser_px


class SliceStacks:
    """2.5D slices of cached studies, uint8.

    Args:
        cache: has the studies.
        folder: where stacks are kept; not used where the cache keeps no volumes.
        px: side of a slice; where the cache keeps no volumes, that of its small slices.
    """

    def __init__(self, cache: VolumeCache, folder: Path, px: int) -> None:
        self.cache = cache
        self.whole = cache.mode == "volume"
        self.px = px if self.whole else cache.low_px
        self.folder = Path(folder) / f"{cache.folder.name}-slices-{self.px}px"

    def build(self, ids: Sequence[str], *, workers: int = 1, progress: bool = False) -> None:
        """Make the stacks that are not there yet."""
        if not self.whole:
            return
        with only_builder(self.folder):
            todo = [uid for uid in ids if not (self.folder / f"{uid}.npy").exists()]
            work = partial(_store_stack, self.cache, self.folder, self.px)
            for_each(work, todo, workers=workers, progress=progress, what="resizing slices")

    def z_index(self, uid: str) -> npt.NDArray[np.int64]:
        """Native slice of each entry of a stack."""
        return np.arange(self.cache.shape_zyx(uid)[0]) if self.whole else self.cache.z_index(uid)

    def stack(self, uid: str) -> npt.NDArray[np.uint8]:
        """(N, P, P), memory-mapped."""
        if self.whole:
            return load_array(self.folder / f"{uid}.npy", mmap=True)
        return self.cache.slices(uid)

    def images(self, uid: str, positions: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """(K, 3, P, P): entries of a stack with their neighbours."""
        step = neighbour_step(self.z_index(uid), self.cache.spacing_zyx_mm(uid)[0])
        return stack_25d(self.stack(uid), np.asarray(positions, dtype=np.intp), step)


def _store_stack(cache: VolumeCache, folder: Path, px: int, uid: str) -> None:
    save_array(folder / f"{uid}.npy", low_stack(cache.volume(uid), px, None)[0])


def chosen_positions(visible: npt.NDArray[np.floating], per_level: int) -> npt.NDArray[np.intp]:
    """Entries that stand for a study: evenly spaced ones of each level, as many of none.

    Args:
        visible: (N, 7) probability that an entry shows a level.

    Returns:
        ascending, each once; evenly spaced over the study where nothing is visible.
    """
    shows = visible >= SHOWS
    columns = [*shows.T, ~shows.any(axis=1)]
    found = [np.flatnonzero(column) for column in columns]
    chosen = [where[evenly_spaced(len(where), per_level)] for where in found if len(where)]
    return np.unique(np.concatenate(chosen))


class FractureSlices(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Slices with pseudo-labels: which levels they show, and what the study's labels say of those.

    Items are ``(image, target)``: uint8 (3, P, P); ``visible`` float (7,), the pseudo-label,
    and ``fracture`` float (7,), the study's label of each level.

    Args:
        stacks: has the studies.
        labels: per study (7,) for C1–C7.
        visible: per study (N, 7), the probability that each entry of its stack shows a level.
        per_level: slices that stand for a level.

    Attributes:
        visible, fracture: (items, 7), the targets of all items.

    Raises:
        CspineError: no study, or a table that does not fit its stack.
    """

    def __init__(
        self,
        stacks: SliceStacks,
        ids: Sequence[str],
        labels: Mapping[str, npt.ArrayLike],
        visible: Mapping[str, npt.NDArray[np.floating]],
        per_level: int,
    ) -> None:
        if not ids:
            raise CspineError("a slice classifier needs studies, got none")
        self.stacks = stacks
        self.rows: list[tuple[str, int]] = []
        shows, broken = [], []
        for uid in ids:
            table = np.asarray(visible[uid], dtype=np.float32)
            if table.shape != (len(stacks.z_index(uid)), N_LEVELS):
                raise CspineError(f"the pseudo-labels of {uid} do not fit its slices")
            chosen = chosen_positions(table, per_level)
            self.rows += [(uid, int(i)) for i in chosen]
            shows.append(table[chosen])
            broken.append(
                np.repeat(np.asarray(labels[uid], dtype=np.float32)[None], len(chosen), 0)
            )
        self.visible = torch.from_numpy(np.concatenate(shows))
        self.fracture = torch.from_numpy(np.concatenate(broken))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        uid, position = self.rows[i]
        image = self.stacks.images(uid, [position])[0]
        target = {"visible": self.visible[i], "fracture": self.fracture[i]}
        return torch.from_numpy(np.ascontiguousarray(image)), target
