"""Torch datasets over the cache and the crops, and augmentation by whole batches.

Items are 8-bit; a batch becomes floats in 0..1 on the device that trains, where it is
augmented too.  Random numbers are drawn on the CPU from a generator that the caller
seeds, so that the same seed gives the same batch on every device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cspine_lib.anatomy import LEVELS, N_LEVELS
from cspine_lib.cache import VolumeCache
from cspine_lib.cropstore import CropStore
from cspine_lib.errors import CspineError
from cspine_lib.labels import evenly_spaced
from cspine_lib.slices import neighbour_step, stack_25d


class SliceDataset(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Stage 1, training: labelled 2.5D slices of masked studies.

    Per level ``slices_per_level`` evenly spaced slices (deck: 24), and as many of the
    slices without a cervical level, from which stage 1 learns to say "none" (the deck does
    not say).  A slice that stands for two levels, or twice for one, is there once: its
    label names every level in it.

    Items are ``(image, target)``: uint8 (3, P, P), and ``levels`` float (7,), ``box`` float
    (4,) as x0, y0, x1, y1 in 0..1 of the image, ``has_box`` float (1 or 0).

    Args:
        cache: has the studies.
        ids: masked studies; others are an error.
        slices_per_level: how many slices stand for a level.

    Attributes:
        uids: study of each item.
        z: native slice of each item, (N,).

    Raises:
        CspineError: a study without a mask, or no study at all.
    """

    def __init__(self, cache: VolumeCache, ids: Sequence[str], slices_per_level: int = 24) -> None:
        if not ids:
            raise CspineError("stage 1 needs studies with masks, got none")
        self.cache = cache
        self.uids: list[str] = []
        positions: list[int] = []
        z, levels, boxes = [], [], []
        for uid in ids:
            z_index = cache.z_index(uid)
            visible = cache.visible_levels(uid)[z_index]
            chosen = training_slices(visible, slices_per_level)
            self.uids += [uid] * len(chosen)
            positions += chosen.tolist()
            z.append(z_index[chosen])
            levels.append(visible[chosen])
            boxes.append(cache.spine_boxes(uid)[z_index[chosen]] / cache.side_px(uid))
        self.z = np.concatenate(z)
        self._position = positions
        self._step = {uid: _step(cache, uid) for uid in ids}
        self._levels = torch.from_numpy(np.concatenate(levels).astype(np.float32))
        box = np.concatenate(boxes).astype(np.float32)
        self._has_box = torch.from_numpy(np.isfinite(box).all(axis=1).astype(np.float32))
        self._box = torch.from_numpy(np.nan_to_num(box))

    def __len__(self) -> int:
        return len(self.uids)

    def __getitem__(self, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        uid = self.uids[i]
        image = stack_25d(self.cache.slices(uid), self._position[i], self._step[uid])
        target = {"levels": self._levels[i], "box": self._box[i], "has_box": self._has_box[i]}
        return torch.from_numpy(image), target


def training_slices(visible_z7: npt.NDArray[np.bool_], per_level: int) -> npt.NDArray[np.intp]:
    """Positions, ascending and each once, of the slices that train stage 1.

    Args:
        visible_z7: (Z, 7) bool.
        per_level: evenly spaced slices of each level, and of the rest.
    """
    none = ~visible_z7.any(axis=1, keepdims=True)
    chosen = []
    for column in np.concatenate([visible_z7, none], axis=1).T:
        where = np.flatnonzero(column)
        if len(where):
            chosen.append(where[evenly_spaced(len(where), per_level)])
    return np.unique(np.concatenate(chosen))


class InferenceSliceDataset(Dataset[tuple[Tensor, int]]):
    """Stage 1, prediction: 2.5D slices of whole studies, no labels.

    Items are ``(image, index)``: uint8 (3, P, P) and the item's own number.

    Args:
        cache: has the studies.
        ids: any studies.
        pitch_mm: largest distance between slices that are looked at.

    Attributes:
        z_index: per study the native slices that are looked at, ascending.
        rows: per study the slice of this dataset's items that are its own.
    """

    def __init__(self, cache: VolumeCache, ids: Sequence[str], pitch_mm: float) -> None:
        self.cache = cache
        self.z_index: dict[str, npt.NDArray[np.int64]] = {}
        self.rows: dict[str, slice] = {}
        self._items: list[tuple[str, int]] = []
        self._step = {uid: _step(cache, uid) for uid in ids}
        for uid in ids:
            z_index, dz = cache.z_index(uid), cache.spacing_zyx_mm(uid)[0]
            between_mm = (z_index[1] - z_index[0]) * dz if len(z_index) > 1 else dz
            chosen = np.arange(0, len(z_index), max(1, int(pitch_mm / between_mm + 1e-6)))
            self.rows[uid] = slice(len(self._items), len(self._items) + len(chosen))
            self._items += [(uid, int(i)) for i in chosen]
            self.z_index[uid] = z_index[chosen]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        uid, position = self._items[i]
        image = stack_25d(self.cache.slices(uid), position, self._step[uid])
        return torch.from_numpy(image), i


def _step(cache: VolumeCache, uid: str) -> int:
    return neighbour_step(cache.z_index(uid), cache.spacing_zyx_mm(uid)[0])


class CropDataset(Dataset[tuple[tuple[Tensor, int], Tensor]]):
    """Stage 2: one sequence of crops per level that was found.

    Items are ``((frames, level), label)``: uint8 (T, 3, S, S), 0–6 for C1–C7, and a float
    that is 1 for a broken level (0 where no labels are given).

    Args:
        store: has the studies.
        ids: which of them.
        labels: per study (7,) for C1–C7; None where only predictions are wanted.

    Attributes:
        rows: (study, level) of each item.
    """

    def __init__(
        self,
        store: CropStore,
        ids: Sequence[str],
        labels: Mapping[str, npt.ArrayLike] | None = None,
    ) -> None:
        self.store = store
        self.ids = list(ids)
        self.rows = [(uid, k) for uid in ids for k in np.flatnonzero(store.found(uid)).tolist()]
        if labels is None:
            self.labels = np.zeros(len(self.rows), dtype=np.float32)
        else:
            table = {uid: np.asarray(labels[uid], dtype=np.float32) for uid in ids}
            if any(row.shape != (N_LEVELS,) for row in table.values()):
                raise CspineError(f"labels must be (7,) per study, for {', '.join(LEVELS)}")
            self.labels = np.array([table[uid][k] for uid, k in self.rows], dtype=np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[tuple[Tensor, int], Tensor]:
        uid, k = self.rows[i]
        frames = torch.from_numpy(np.array(self.store.sequences(uid)[k]))
        return (frames, k), torch.tensor(self.labels[i])

    def table(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """One value per item → (studies, 7), NaN for levels that were not found."""
        value = np.asarray(values, dtype=np.float64)
        if value.shape != (len(self.rows),):
            raise CspineError(f"expected {len(self.rows)} values, got shape {value.shape}")
        out = np.full((len(self.ids), N_LEVELS), np.nan)
        row_of = {uid: i for i, uid in enumerate(self.ids)}
        for (uid, k), v in zip(self.rows, value, strict=True):
            out[row_of[uid], k] = v
        return out


class SampledCropDataset(CropDataset):
    """``CropDataset`` for training on all broken and a share of the whole levels.

    One level in ten is broken: most of an epoch would go to whole ones.  Items are
    ``((frames, level), (label, offset))``.  The offset is what leaving out whole levels adds to the
    log-odds of a fracture; added to the logit in the loss alone, it leaves the network's
    own logits those of the full set (King & Zeng, Political Analysis 2001;9(2)).

    Args:
        share: of the whole levels that an epoch looks at, in (0, 1]; 1 has no offset.

    Attributes:
        always: indices of the broken levels.
        per_epoch: samples of an epoch.
        offset: −ln(share used).
    """

    def __init__(
        self,
        store: CropStore,
        ids: Sequence[str],
        labels: Mapping[str, npt.ArrayLike],
        share: float = 1.0,
    ) -> None:
        super().__init__(store, ids, labels)
        if not 0 < share <= 1:
            raise CspineError(f"the share of whole levels lies in (0, 1], got {share}")
        self.always = np.flatnonzero(self.labels > 0).tolist()
        whole = len(self.labels) - len(self.always)
        used = max(round(share * whole), 1) if whole else 0
        self.per_epoch = len(self.always) + used
        self.offset = math.log(whole / used) if used else 0.0

    def __getitem__(self, i: int) -> tuple[tuple[Tensor, int], tuple[Tensor, Tensor]]:  # type: ignore[override]
        inputs, label = super().__getitem__(i)
        return inputs, (label, torch.tensor(self.offset, dtype=torch.float32))
