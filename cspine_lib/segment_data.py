"""What segmenters train on: small cubes and small slices beside the masks' levels.

Only masked studies have them, 87 of RSNA's 2019.  Labels are read from the native mask at
the centres of the small grid's cells: a level is a number and must not be averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.augment import Ranges, random_views, to_float
from cspine_lib.augment3d import Turns, turn_volumes, view_matrices
from cspine_lib.cache import VolumeCache
from cspine_lib.cubes import CubeStore
from cspine_lib.datasets import training_slices
from cspine_lib.errors import CspineError
from cspine_lib.rsna import RsnaDataset
from cspine_lib.slices import neighbour_step, stack_25d

Mask = npt.NDArray[np.uint8]


def native_mask(uid: str, cache: VolumeCache, dataset: RsnaDataset) -> Mask:
    """A study's mask (Z, Y, X), 1–7 for C1–C7, all else 0.

    Raises:
        CspineError: it has none.
    """
    mask = (
        dataset.read_mask(uid, dataset.read_study(uid)) if cache.mode == "low" else cache.mask(uid)
    )
    if mask is None:
        raise CspineError(f"study {uid} has no mask: segmenters train on masked studies only")
    return np.where(mask <= N_LEVELS, mask, 0).astype(np.uint8)


def at_cell_centres(mask: Mask, shape: tuple[int, ...], extent: tuple[float, ...]) -> Mask:
    """The mask at the centres of a grid of ``shape`` cells over ``extent`` voxels; 0 outside."""
    out = mask
    for axis, (n, length) in enumerate(zip(shape, extent, strict=True)):
        where = ((np.arange(n) + 0.5) * length / n).astype(int)
        inside = where < mask.shape[axis]
        out = np.take(out, np.minimum(where, mask.shape[axis] - 1), axis=axis)
        out = out * inside.reshape([-1 if a == axis else 1 for a in range(mask.ndim)])
    return out.astype(np.uint8)


class MaskedCubes(Dataset[tuple[tuple[Tensor, Tensor], Tensor]]):
    """Items ``((cube, size_xyz_mm), labels)``: uint8 (1, D, H, W), float (3,), uint8 (D, H, W).

    Args:
        store: cubes of whole studies.
        ids: masked studies.

    Raises:
        CspineError: no study, or one without a mask.
    """

    def __init__(
        self, store: CubeStore, ids: Sequence[str], cache: VolumeCache, dataset: RsnaDataset
    ) -> None:
        if not ids:
            raise CspineError("a segmenter needs studies with masks, got none")
        cubes, labels, sizes = [], [], []
        for uid in ids:
            cube, mask = store.cube(uid), native_mask(uid, cache, dataset)
            cubes.append(cube)
            labels.append(at_cell_centres(mask, cube.shape, mask.shape))
            sizes.append(store.size_zyx_mm(uid)[::-1])
        self._cubes = torch.from_numpy(np.stack(cubes))
        self._labels = torch.from_numpy(np.stack(labels))
        self._sizes = torch.tensor(np.array(sizes), dtype=torch.float32)

    def __len__(self) -> int:
        return len(self._cubes)

    def __getitem__(self, i: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        return (self._cubes[i][None], self._sizes[i]), self._labels[i]

    def shares(self) -> npt.NDArray[np.float64]:
        """(8,) share of each class among the voxels."""
        return _shares(self._labels)


class MaskedSlices(Dataset[tuple[Tensor, Tensor]]):
    """Items ``(image, labels)``: uint8 (3, P, P) and uint8 (P, P), of the cache's small slices.

    Args:
        ids: masked studies.
        per_level: evenly spaced slices of each level, and of none.

    Raises:
        CspineError: no study, or one without a mask.
    """

    def __init__(
        self, cache: VolumeCache, dataset: RsnaDataset, ids: Sequence[str], per_level: int
    ) -> None:
        if not ids:
            raise CspineError("a segmenter needs studies with masks, got none")
        images, labels = [], []
        for uid in ids:
            z = cache.z_index(uid)
            chosen = training_slices(cache.visible_levels(uid)[z], per_level)
            step = neighbour_step(z, cache.spacing_zyx_mm(uid)[0])
            images.append(stack_25d(cache.slices(uid), chosen, step))
            mask = native_mask(uid, cache, dataset)[z[chosen]]
            side = float(cache.side_px(uid))
            px = cache.low_px
            labels.append(at_cell_centres(mask, (len(mask), px, px), (len(mask), side, side)))
        self._images = torch.from_numpy(np.concatenate(images))
        self._labels = torch.from_numpy(np.concatenate(labels))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self._images[i], self._labels[i]

    def shares(self) -> npt.NDArray[np.float64]:
        """(8,) share of each class among the pixels."""
        return _shares(self._labels)


def _shares(labels: Tensor) -> npt.NDArray[np.float64]:
    return np.bincount(labels.numpy().ravel(), minlength=N_LEVELS + 1) / max(labels.numel(), 1)


class CubeViews:
    """Turned and mirrored cubes with their labels, in the form that the fit loop asks for."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def __call__(
        self, inputs: tuple[Tensor, ...], targets: Any, generator: torch.Generator | None
    ) -> tuple[tuple[Tensor, ...], Any]:
        """((cubes uint8, size_xyz_mm), labels (B, D, H, W)) → ((floats,), labels)."""
        cubes, size_xyz_mm = inputs
        volumes = cubes.float() / 255.0
        if generator is None:
            return (volumes,), targets
        views = view_matrices(size_xyz_mm, generator, self.turns)
        return (turn_volumes(volumes, views),), _read_labels(targets, views)


class SliceViews:
    """Shifted, turned, mirrored slices with labels, in the form that the fit loop asks for."""

    def __init__(self, ranges: Ranges) -> None:
        self.ranges = ranges

    def __call__(
        self, inputs: tuple[Tensor, ...], targets: Any, generator: torch.Generator | None
    ) -> tuple[tuple[Tensor, ...], Any]:
        """((images uint8 (B, 3, P, P),), labels (B, P, P)) → ((floats,), labels)."""
        images = to_float(inputs[0])
        if generator is None:
            return (images,), targets
        views = random_views(len(images), generator, self.ranges)
        matrix = views.matrix(1.0)
        grid = functional.affine_grid(
            matrix.to(images.device), list(images.shape), align_corners=False
        )
        seen = functional.grid_sample(images, grid, align_corners=False)
        return (views.brighten(seen),), _read_labels(targets, matrix)


def _read_labels(labels: Tensor, matrix: Tensor) -> Tensor:
    """Labels (B, …) along views, nearest cell; 0 outside."""
    plain = labels[:, None].float()
    grid = functional.affine_grid(matrix.to(plain.device), list(plain.shape), align_corners=False)
    read = functional.grid_sample(plain, grid, mode="nearest", align_corners=False)
    return read[:, 0].to(labels.dtype)
