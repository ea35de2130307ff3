"""Deck B's 3D CNN: a whole study as one cube → eight probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cspine_lib.augment3d import CubeTransform
from cspine_lib.batches import set_seed
from cspine_lib.config import Profile, device_name
from cspine_lib.cubes import CubeDataset, CubeStore
from cspine_lib.engine import FitResult, FitSettings, fit
from cspine_lib.metrics import macro_auroc
from cspine_lib.models import bce
from cspine_lib.models3d import NeckCNN3D

Labels8 = Mapping[str, npt.NDArray[np.int64]]
"""Study → (8,) in the order of ``anatomy.TARGETS``."""


def train_whole_neck(
    store: CubeStore,
    labels: Labels8,
    train: Sequence[str],
    val: Sequence[str],
    profile: Profile,
    folder: Path,
    *,
    seed: int,
    progress: bool = True,
    label: str = "3D CNN",
) -> tuple[NeckCNN3D, FitResult]:
    """Train the 3D net; the epoch with the lowest validation loss is kept.

    AdamW and a cosine, as on the slide; turned and mirrored volumes, as on the slide.
    """
    set_seed(seed, 3000)
    model = NeckCNN3D()
    result = fit(
        model,
        CubeDataset(store, train, labels),
        CubeDataset(store, val, labels),
        loss=_loss,
        settings=FitSettings(
            epochs=profile.cube_epochs,
            batch_size=profile.cube_batch,
            lr=profile.cube_lr,
            seed=seed,
        ),
        out_dir=folder,
        batch_transform=CubeTransform(),
        evaluate=lambda logits, y: {"val_auroc": macro_auroc(y[:, 1:], logits[:, 1:])},
        fingerprint={"train": list(train), "val": list(val), "cubes": store.folder.name},
        progress=progress,
        label=label,
    )
    return model, result


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    return bce(logits, target)


@torch.inference_mode()
def whole_neck_logits(
    model: NeckCNN3D, store: CubeStore, ids: Sequence[str], batch: int = 4
) -> npt.NDArray[np.float64]:
    """Logits (studies, 8), the mean over a cube and its mirror image."""
    model = model.to(device_name()).eval()
    starts = range(0, len(ids), batch)
    cubes = (np.stack([store.cube(uid) for uid in ids[i : i + batch]]) for i in starts)
    return np.concatenate([cube_logits(model, some) for some in cubes])


@torch.inference_mode()
def cube_logits(model: NeckCNN3D, cubes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Cubes (B, D, H, W) → logits (B, 8), the mean over a cube and its mirror image."""
    device = next(model.parameters()).device
    volumes = torch.from_numpy(cubes)[:, None].to(device).float() / 255.0
    both = torch.stack([model(volumes), model(volumes.flip(-1))]).mean(0)
    return both.double().cpu().numpy()
