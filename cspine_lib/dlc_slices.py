"""Slices for deck A's classifiers: what is cut from them, what each of them is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.config import Profile
from cspine_lib.errors import CspineError
from cspine_lib.labels import evenly_spaced
from cspine_lib.slice_stacks import SHOWS, SliceStacks, chosen_positions, stack_px
from cspine_lib.slices import low_stack, neighbour_step, stack_25d
from cspine_lib.volume import Volume

FloatArray = npt.NDArray[np.floating]

BROKEN_SHARE = 0.8
"""At most this share of an epoch are slices of broken levels."""


# --- what it looks at ----------------------------------------------------------------------------


def cut(images: npt.NDArray[np.uint8], profile: Profile) -> npt.NDArray[np.uint8]:
    """The part (…, p, p) of slices (…, P, P) that the networks see, at the same mm a pixel."""
    side = images.shape[-1]
    px = min(profile.dlc_px, side)
    y, x = (min(max(round(c * side - px / 2), 0), side - px) for c in profile.dlc_centre_yx)
    return images[..., y : y + px, x : x + px]


@dataclass(frozen=True, eq=False)
class OneStudy:
    """The slices of one study, as prediction goes through them.

    Args:
        stack: (N, P, P), uint8.
        z: (N,) native slice of each entry.
        dz_mm: distance of native slices.
    """

    stack: npt.NDArray[np.uint8]
    z: npt.NDArray[np.int64]
    dz_mm: float

    @classmethod
    def of_stacks(cls, stacks: SliceStacks, uid: str) -> OneStudy:
        """A study that is on disk."""
        dz = stacks.cache.spacing_zyx_mm(uid)[0]
        return cls(stacks.stack(uid), stacks.z_index(uid), dz)

    @classmethod
    def of_volume(cls, volume: Volume, profile: Profile) -> OneStudy:
        """A study that is new."""
        pitch = None if profile.cache == "volume" else profile.localiser_pitch_mm
        return cls(*low_stack(volume, stack_px(profile), pitch), volume.spacing_zyx_mm[0])

    def looked_at(self, pitch_mm: float) -> npt.NDArray[np.intp]:
        """Entries at most ``pitch_mm`` apart, or all where they are farther apart already."""
        between = float(self.z[1] - self.z[0]) * self.dz_mm if len(self.z) > 1 else self.dz_mm
        return np.arange(0, len(self.z), max(1, int(pitch_mm / between + 1e-6)))

    def images(self, positions: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """(K, 3, P, P): entries with their neighbours."""
        step = neighbour_step(self.z, self.dz_mm)
        return stack_25d(self.stack, np.asarray(positions, dtype=np.intp), step)


@dataclass(frozen=True, eq=False)
class Outputs:
    """What networks say of the slices of a study.

    Args:
        z: (K,) native slices.
        visible, fracture: (K, 7) probabilities, the mean over the networks.
        features: (K, F) pooled features of the first network.
    """

    z: npt.NDArray[np.int64]
    visible: FloatArray
    fracture: FloatArray
    features: FloatArray


# --- what it learns from -------------------------------------------------------------------------


class DlcSlices(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Slices of studies with what each is told: items ``(image, target)``.

    The image is uint8 (3, p, p).  The target has ``visible`` and ``fracture`` (7,), and
    ``offset`` (7,): what an epoch's choice of slices adds to the log-odds of a fracture.  Added
    to the logit in the loss alone, it leaves the network's own logits those of all slices.

    Args:
        labels: per study (7,) for C1–C7.
        visible: per study (N, 7), how surely each entry of its stack shows each level; None:
            every slice carries its study's labels.
        per_level: slices of each level, and of none, that a study offers.
        per_epoch: slices that an epoch looks at; None: all of them.

    Attributes:
        always: indices that are in every epoch, those that show a broken level.

    Raises:
        CspineError: no study, or a table that does not fit its stack.
    """

    def __init__(
        self,
        stacks: SliceStacks,
        ids: Sequence[str],
        labels: Mapping[str, npt.ArrayLike],
        visible: Mapping[str, FloatArray] | None,
        profile: Profile,
        *,
        per_level: int,
        per_epoch: int | None = None,
    ) -> None:
        if not ids:
            raise CspineError("a slice classifier needs studies, got none")
        self.stacks, self.profile = stacks, profile
        self.rows: list[tuple[str, int]] = []
        shows, broken = [], []
        for uid in ids:
            n = len(stacks.z_index(uid))
            if visible is None:
                chosen = np.unique(evenly_spaced(n, per_level * (N_LEVELS + 1)))
                table = np.ones((n, N_LEVELS), dtype=np.float32)
            else:
                table = np.asarray(visible[uid], dtype=np.float32)
                if table.shape != (n, N_LEVELS):
                    raise CspineError(f"the detector's labels of {uid} do not fit its slices")
                chosen = chosen_positions(table, per_level)
            self.rows += [(uid, int(i)) for i in chosen]
            shows.append(table[chosen])
            broken.append(np.tile(np.asarray(labels[uid], dtype=np.float32), (len(chosen), 1)))
        self.visible, self.fracture = np.concatenate(shows), np.concatenate(broken)
        self.always: list[int] = []
        share = 1.0
        if per_epoch is not None and visible is not None and per_epoch < len(self.rows):
            share = self._choose(per_epoch)
        self.offset = self._offsets(share)

    def _choose(self, per_epoch: int) -> float:
        """Name what is in every epoch; returns the chance of any other slice."""
        meant = np.flatnonzero(((self.visible >= SHOWS) & (self.fracture > 0)).any(axis=1))
        room = max(int(BROKEN_SHARE * per_epoch), 1)
        if len(meant) > room:
            # So many broken levels: fewer slices of each, and none of the rest ever.
            kept = meant[evenly_spaced(len(meant), room)]
            self._drop(np.setdiff1d(meant, kept))
            meant = np.flatnonzero(((self.visible >= SHOWS) & (self.fracture > 0)).any(axis=1))
        self.always = meant.tolist()
        others = len(self.rows) - len(meant)
        return min(1.0, max(per_epoch - len(meant), 1) / max(others, 1))

    def _drop(self, gone: npt.NDArray[np.intp]) -> None:
        keep = np.setdiff1d(np.arange(len(self.rows)), gone)
        self.rows = [self.rows[i] for i in keep]
        self.visible, self.fracture = self.visible[keep], self.fracture[keep]

    def _offsets(self, share: float) -> Tensor:
        """(7,): minus the log of the share of each level's whole slices that an epoch sees."""
        seen = np.full(len(self.rows), share)
        seen[self.always] = 1.0
        whole = self.visible.astype(np.float64) * (1 - self.fracture)
        of = whole.sum(axis=0)
        part = np.where(of > 0, (seen[:, None] * whole).sum(axis=0) / np.maximum(of, 1e-9), 1.0)
        return torch.from_numpy(-np.log(np.clip(part, 1e-3, 1.0))).float()

    def rates(self) -> tuple[float, float]:
        """Mean of the targets over all slices as the loss meets them: visible, fracture."""
        fracture = (self.visible * self.fracture).sum() / max(self.visible.sum(), 1e-9)
        return (
            float(np.clip(self.visible.mean(), 0.001, 0.999)),
            float(np.clip(fracture, 0.001, 0.999)),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        uid, position = self.rows[i]
        image = cut(self.stacks.images(uid, [position])[0], self.profile)
        target = {
            "visible": torch.from_numpy(self.visible[i]),
            "fracture": torch.from_numpy(self.fracture[i]),
            "offset": self.offset,
        }
        return torch.from_numpy(np.ascontiguousarray(image)), target
