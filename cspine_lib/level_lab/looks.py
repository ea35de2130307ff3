"""What the localisers say of every slice of a study, and what is true of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cspine_lib.cache import VolumeCache
from cspine_lib.config import Profile
from cspine_lib.labels import LevelBox, spine_boxes, true_levels, visible_levels
from cspine_lib.localise import decode_levels
from cspine_lib.mask_lab import redrawn
from cspine_lib.models import LevelLocaliser
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import atomic_path
from cspine_lib.slices import low_stack, neighbour_step, stack_25d
from cspine_lib.stage1 import neck_field, slice_predictions
from cspine_lib.volume import Volume

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Looked:
    """Answers of stage 1, slice by slice, before they are decoded.

    Attributes:
        z: (N,) slices of the volume that were looked at, ascending.
        prob: (N, 7) probability that the slice shows C1 … C7.
        boxes_px: (N, 4) box around the cervical spine, half-open edges in native px.
        shape_zyx, spacing_zyx_mm: of the volume.
    """

    z: npt.NDArray[np.int64]
    prob: npt.NDArray[np.float64]
    boxes_px: npt.NDArray[np.float64]
    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]

    def levels(self, *, ordered: bool = True, every: int = 1) -> dict[str, LevelBox]:
        """Slice range and box of each level, from every ``every``-th slice."""
        rows = slice(None, None, every)
        return decode_levels(
            self.prob[rows],
            self.boxes_px[rows],
            self.z[rows],
            self.spacing_zyx_mm,
            ordered=ordered,
        )


@dataclass(frozen=True, eq=False)
class Truth:
    """What a mask says of a study.

    Attributes:
        levels: slice range and box of each level that is in view.
        visible: (Z, 7) which levels each slice shows.
        boxes_px: (Z, 4) box around the cervical spine, NaN where a slice shows none.
    """

    levels: dict[str, LevelBox]
    visible: npt.NDArray[np.bool_]
    boxes_px: npt.NDArray[np.float64]


def look(
    models: Sequence[LevelLocaliser],
    volume: Volume,
    profile: Profile,
    change: Callable[[Images], Images] | None = None,
) -> Looked:
    """Show a study to the localisers; the mean of what they say.

    Args:
        change: applied to the 2.5D images (N, 3, P, P) first, to see what that does.
    """
    part, (dy, dx) = neck_field(volume)
    stack, z = low_stack(part, profile.localiser_px, profile.localiser_pitch_mm)
    step = neighbour_step(z, volume.spacing_zyx_mm[0])
    images = stack_25d(stack, np.arange(len(stack)), step)
    prob, box = slice_predictions(models, images if change is None else change(images))
    boxes_px = box * max(part.shape_zyx[1:]) + np.array([dx, dy, dx, dy])
    return Looked(z, prob, boxes_px, volume.shape_zyx, volume.spacing_zyx_mm)


def truth_of(
    dataset: RsnaDataset, cache: VolumeCache, uid: str, keep: Path | None = None
) -> Truth | None:
    """The truth of a training study; None where nobody knows it.

    A study without a mask has a truth in a phantom only: it is drawn once more, this time
    with its mask.  Nothing that trains may see that.

    Args:
        keep: folder where truths that were drawn are kept for the next time.
    """
    if uid in cache.masked_ids:
        return Truth(cache.true_levels(uid), cache.visible_levels(uid), cache.spine_boxes(uid))
    if not dataset.is_phantom:
        return None
    path = None if keep is None else keep / f"{uid}.npz"
    mask = _drawn_mask(dataset, uid, path)
    if mask.shape != cache.shape_zyx(uid):
        return None  # files of this study are missing: its slices are other ones
    return Truth(true_levels(mask), visible_levels(mask), spine_boxes(mask))


def _drawn_mask(dataset: RsnaDataset, uid: str, path: Path | None) -> npt.NDArray[np.uint8]:
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as stored:
            return stored["mask_zyx"]
    mask = redrawn(dataset, uid).mask_zyx
    if path is not None:
        with atomic_path(path) as part, part.open("wb") as file:
            np.savez_compressed(file, mask_zyx=mask)
    return mask


def upside_down(truth: Truth) -> Truth:
    """The truth of the same study with its slices from feet to head."""
    last = len(truth.visible) - 1
    levels = {k: replace(b, z0=last - b.z1, z1=last - b.z0) for k, b in truth.levels.items()}
    return Truth(levels, truth.visible[::-1], truth.boxes_px[::-1])
