"""Which levels does a slice show?  The deck's vertebra classifier, and its pseudo-labels.

Trained on the masked studies alone; what it says of every study's slices are the labels of
the slice classifiers.  For outer fold k nothing may come from a model that has seen fold k:
one model is trained on the masked studies of the other folds and labels every study, the
held-out ones included.  (The deck averages five models, of which four have seen a study;
``notebooks/05`` shows what that does to a later score.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.augment import SliceTransform, to_float
from cspine_lib.batches import set_seed
from cspine_lib.cache import VolumeCache
from cspine_lib.config import Profile, Weights, device_name
from cspine_lib.datasets import InferenceSliceDataset, SliceDataset
from cspine_lib.engine import FitResult, FitSettings, fit, load_weights
from cspine_lib.jobs import load_array, save_array
from cspine_lib.metrics import auroc
from cspine_lib.models import bce
from cspine_lib.ranks import main_first
from cspine_lib.slice_models import VisibilityNet
from cspine_lib.stage1 import BATCH, VIEWS
from cspine_lib.weights import create_encoder

FloatArray = npt.NDArray[np.floating]


def build_visibility_net(profile: Profile, weights: Weights = "imagenet") -> VisibilityNet:
    """The untrained network of a profile."""
    return VisibilityNet(create_encoder(profile.backbone, weights))


def train_visibility(
    cache: VolumeCache,
    train: Sequence[str],
    val: Sequence[str],
    profile: Profile,
    folder: Path,
    *,
    seed: int,
    progress: bool = True,
    label: str = "visibility",
) -> tuple[VisibilityNet, FitResult]:
    """Train on masked studies; the epoch with the lowest validation loss is kept."""
    set_seed(seed, 2000)
    model = build_visibility_net(profile)
    result = fit(
        model,
        SliceDataset(cache, train, profile.slices_per_level),
        SliceDataset(cache, val, profile.slices_per_level),
        loss=_loss,
        settings=FitSettings(
            epochs=profile.localiser_epochs,
            batch_size=profile.localiser_batch,
            lr=profile.localiser_lr,
            seed=seed,
        ),
        out_dir=folder,
        batch_transform=SliceTransform(VIEWS),
        evaluate=_scores,
        fingerprint={"cache": cache.folder.name, "train": list(train), "val": list(val)},
        progress=progress,
        label=label,
    )
    return model, result


def _loss(logits: Tensor, target: dict[str, Tensor]) -> Tensor:
    return bce(logits, target["levels"])


def _scores(logits: npt.NDArray[Any], target: dict[str, npt.NDArray[Any]]) -> dict[str, float]:
    return {"val_accuracy": float(((logits > 0) == (target["levels"] > 0.5)).mean())}


def load_visibility(folder: Path, profile: Profile) -> VisibilityNet:
    """A trained network, ready to predict on the best device there is."""
    model = build_visibility_net(profile, "random")
    load_weights(model, folder)
    return model.to(device_name()).eval()


@torch.inference_mode()
def visible_probability(
    models: Sequence[VisibilityNet], cache: VolumeCache, uid: str, pitch_mm: float
) -> FloatArray:
    """Probability that each native slice of a study shows each level, (Z, 7).

    Slices are looked at every ``pitch_mm`` and interpolated between; several models are
    averaged.
    """
    looked_at = InferenceSliceDataset(cache, [uid], pitch_mm)
    images = np.stack([looked_at[i][0].numpy() for i in range(len(looked_at))])
    device = next(models[0].parameters()).device
    parts = []
    for start in range(0, len(images), BATCH):
        batch = to_float(torch.from_numpy(images[start : start + BATCH]).to(device))
        parts.append(torch.stack([m(batch).sigmoid() for m in models]).mean(0).cpu())
    seen = torch.cat(parts).double().numpy()
    z, at = np.arange(cache.shape_zyx(uid)[0]), looked_at.z_index[uid]
    return np.stack([np.interp(z, at, seen[:, k]) for k in range(N_LEVELS)], axis=1)


def pseudo_labels(
    models: Sequence[VisibilityNet],
    cache: VolumeCache,
    ids: Sequence[str],
    folder: Path,
    pitch_mm: float,
) -> dict[str, FloatArray]:
    """Visibility of every study's slices, kept in ``folder``; resumable.

    Masked studies are labelled by the model too: the deck does not say, and a study with a
    mask must not get better labels than the rest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with main_first(folder):
        for uid in ids:
            path = folder / f"{uid}.npy"
            if not path.exists():
                seen = visible_probability(models, cache, uid, pitch_mm)
                save_array(path, seen.astype(np.float32))
    return {uid: load_array(folder / f"{uid}.npy").astype(np.float64) for uid in ids}


def visibility_scores(truth: npt.NDArray[np.bool_], p: FloatArray) -> dict[str, list[float]]:
    """Accuracy and AUROC by level of (N, 7) probabilities against (N, 7) truth."""
    return {
        "accuracy": [float(((p[:, k] >= 0.5) == truth[:, k]).mean()) for k in range(N_LEVELS)],
        "auroc": [float(auroc(truth[:, k], p[:, k])) for k in range(N_LEVELS)],
    }
