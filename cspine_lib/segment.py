"""Train a U-Net on masked studies, and lay its levels over a study that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cspine_lib.augment import Ranges
from cspine_lib.augment3d import Turns
from cspine_lib.batches import set_seed
from cspine_lib.cache import VolumeCache
from cspine_lib.config import Profile, device_name
from cspine_lib.cubes import CubeSpec, CubeStore, build_cubes, neck_cube
from cspine_lib.engine import FitResult, FitSettings, fit, load_weights
from cspine_lib.label_maps import LabelMap
from cspine_lib.recipes import SegmenterRecipe
from cspine_lib.rsna import RsnaDataset
from cspine_lib.segment_data import CubeViews, MaskedCubes, MaskedSlices, SliceViews
from cspine_lib.segmenters import (
    SliceSegmenter,
    VoxelSegmenter,
    dice_by_level,
    segmentation_loss,
)
from cspine_lib.slices import low_stack, neighbour_step, stack_25d
from cspine_lib.volume import Volume

VIEWS = Ranges(shift=0.08, turn_deg=15.0, zoom=0.12)
BATCH = 32
"""Slices at once when predicting."""
SEEDS = 4000
"""Offset of the seed of a segmenter's first weights."""


def segmenter_cubes(
    cache: VolumeCache,
    ids: Sequence[str],
    folder: Path,
    profile: Profile,
    dataset: RsnaDataset,
    *,
    progress: bool = True,
) -> CubeStore:
    """Whole studies as the cubes that the 3D U-Net reads; the same for every fold."""
    side = profile.seg_px
    return build_cubes(
        cache,
        ids,
        folder / f"cubes-{side}",
        CubeSpec((side, side, side)),
        dataset=dataset,
        workers=profile.workers,
        progress=progress,
    )


def train_segmenter(
    recipe: SegmenterRecipe,
    cache: VolumeCache,
    dataset: RsnaDataset,
    train: Sequence[str],
    val: Sequence[str],
    profile: Profile,
    folder: Path,
    *,
    cubes_in: Path,
    seed: int,
    progress: bool = True,
    label: str = "U-Net",
) -> FitResult:
    """Train the U-Net of a recipe; the epoch with the lowest validation loss is kept.

    Args:
        train, val: masked studies.
        cubes_in: folder that keeps cubes for all folds (3D only).

    Raises:
        CspineError: no masked study.
    """
    sets: list[Any]
    if recipe.dims == 3:
        every = [*train, *val]
        store = segmenter_cubes(cache, every, cubes_in, profile, dataset, progress=progress)
        sets = [MaskedCubes(store, ids, cache, dataset) for ids in (train, val)]
    else:
        counts = (profile.seg25d_per_level, max(profile.seg25d_per_level // 2, 1))
        pairs = zip((train, val), counts, strict=True)
        sets = [MaskedSlices(cache, dataset, ids, n) for ids, n in pairs]
    set_seed(seed, SEEDS)
    model = (
        VoxelSegmenter(sets[0].shares())
        if recipe.dims == 3
        else SliceSegmenter(profile.backbone, "imagenet", sets[0].shares())
    )
    return fit(
        model,
        *sets,
        loss=segmentation_loss,
        settings=_settings(recipe, profile, seed),
        out_dir=folder,
        batch_transform=CubeViews(Turns()) if recipe.dims == 3 else SliceViews(VIEWS),
        evaluate=_scores,
        fingerprint={"train": list(train), "val": list(val), "cache": cache.folder.name},
        progress=progress,
        label=label,
    )


def _settings(recipe: SegmenterRecipe, profile: Profile, seed: int) -> FitSettings:
    if recipe.dims == 3:
        return FitSettings(
            epochs=profile.seg_epochs, batch_size=profile.seg_batch, lr=profile.seg_lr, seed=seed
        )
    return FitSettings(
        epochs=profile.seg25d_epochs,
        batch_size=profile.seg25d_batch,
        lr=profile.seg25d_lr,
        seed=seed,
    )


def _scores(logits: npt.NDArray[Any], labels: npt.NDArray[Any]) -> dict[str, float]:
    return {"val_dice": float(np.nanmean(dice_by_level(logits.argmax(axis=1), labels)))}


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A trained U-Net that lays its levels over whole studies.

    Args:
        net: on the device that shall run it, in evaluation mode.
    """

    net: VoxelSegmenter | SliceSegmenter
    recipe: SegmenterRecipe
    profile: Profile

    @classmethod
    def load(cls, recipe: SegmenterRecipe, profile: Profile, folder: Path) -> Segmenter:
        """What :func:`train_segmenter` has left.

        Raises:
            CspineError: nothing is there, or it was trained with other sizes.
        """
        untrained = cls.untrained(recipe, profile)
        load_weights(untrained.net, folder)
        untrained.net.to(device_name()).eval()
        return untrained

    @classmethod
    def untrained(cls, recipe: SegmenterRecipe, profile: Profile) -> Segmenter:
        """With random weights: as slow as a trained one."""
        net: VoxelSegmenter | SliceSegmenter
        net = VoxelSegmenter() if recipe.dims == 3 else SliceSegmenter(profile.backbone, "random")
        return cls(net.to(device_name()).eval(), recipe, profile)

    def segment(self, volume: Volume) -> LabelMap:
        """Levels on the network's own grid, cleaned of small pieces."""
        raw = self.raw(volume)
        return LabelMap.cleaned(raw.cells, raw.scale_zyx, raw.depth)

    def raw(self, volume: Volume) -> LabelMap:
        """Levels on the network's own grid, as the network has them."""
        return self._cubes(volume) if self.recipe.dims == 3 else self._slices(volume)

    @torch.inference_mode()
    def _cubes(self, volume: Volume) -> LabelMap:
        side = self.profile.seg_px
        cube = torch.from_numpy(neck_cube(volume, (side, side, side))[0]).to(self._device)
        logits = self.net(cube[None, None].float() / 255.0)[0]
        z, y, x = (n / side for n in volume.shape_zyx)
        return LabelMap(_classes(logits), (z, y, x), volume.shape_zyx[0])

    @torch.inference_mode()
    def _slices(self, volume: Volume) -> LabelMap:
        px = self.profile.localiser_px
        stack, z_index = low_stack(volume, px, self.profile.localiser_pitch_mm)
        step = neighbour_step(z_index, volume.spacing_zyx_mm[0])
        said = []
        for start in range(0, len(stack), BATCH):
            some = np.arange(start, min(start + BATCH, len(stack)))
            images = torch.from_numpy(stack_25d(stack, some, step)).to(self._device)
            logits = self.net(images.float() / 255.0)  # (B, 8, P, P)
            said.append(_classes(logits.movedim(1, 0)))  # (B, P, P)
        native = max(volume.shape_zyx[1:]) / px
        between = float(z_index[1] - z_index[0]) if len(z_index) > 1 else 1.0
        scale = (between, native, native)
        return LabelMap(np.concatenate(said), scale, volume.shape_zyx[0])

    @property
    def _device(self) -> torch.device:
        return next(self.net.parameters()).device


def _classes(logits: torch.Tensor) -> npt.NDArray[np.uint8]:
    """(8, …) → the likeliest class, uint8 (…)."""
    return logits.argmax(dim=0).to(torch.uint8).cpu().numpy()
