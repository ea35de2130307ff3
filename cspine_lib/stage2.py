"""Stage 2 of deck B: a sequence of crops per level → is it broken?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cspine_lib.anatomy import LEVELS, N_LEVELS
from cspine_lib.augment import SequenceTransform, augment_sequences
from cspine_lib.batches import set_seed
from cspine_lib.config import Profile, Weights, device_name
from cspine_lib.cropstore import CropStore
from cspine_lib.datasets import SampledCropDataset
from cspine_lib.engine import FitResult, FitSettings, fit, load_weights
from cspine_lib.errors import CspineError
from cspine_lib.metrics import auroc, fit_platt
from cspine_lib.models import CropSequenceNet, bce
from cspine_lib.recipes import SequenceRecipe
from cspine_lib.weights import create_encoder

Labels = Mapping[str, npt.NDArray[np.int64]]
"""Study → (7,) for C1–C7."""


def build_classifier(
    profile: Profile, recipe: SequenceRecipe, weights: Weights = "imagenet"
) -> CropSequenceNet:
    """The untrained network of a profile."""
    return CropSequenceNet(
        create_encoder(profile.backbone, weights),
        recipe.hidden,
        lstm=recipe.lstm,
        attention=recipe.attention,
        level_embedding=recipe.level_embedding,
        dropout=recipe.dropout,
    )


def train_classifier(
    store: CropStore,
    labels: Labels,
    train: Sequence[str],
    val: Sequence[str],
    recipe: SequenceRecipe,
    profile: Profile,
    folder: Path,
    *,
    seed: int,
    progress: bool = True,
    label: str = "stage 2",
) -> tuple[CropSequenceNet, FitResult]:
    """Train the sequence net; the epoch with the lowest validation loss is kept.

    Raises:
        CspineError: no level was found in the training or in the validation studies.
    """
    train_set = SampledCropDataset(store, train, labels, profile.classifier_whole_share)
    val_set = SampledCropDataset(store, val, labels)
    if not len(train_set) or not len(val_set):
        raise CspineError(
            "stage 1 found no level to train stage 2 on: look at the boxes in the run's levels/ "
            "and train stage 1 longer or on more masks"
        )
    set_seed(seed, 1000)
    model = build_classifier(profile, recipe)
    result = fit(
        model,
        train_set,
        val_set,
        loss=_loss,
        settings=FitSettings(
            epochs=profile.classifier_epochs,
            batch_size=profile.classifier_batch,
            lr=profile.classifier_lr,
            encoder_lr_factor=profile.classifier_encoder_lr_factor,
            ema_decay=profile.classifier_ema,
            samples_per_epoch=train_set.per_epoch,
            seed=seed,
        ),
        out_dir=folder,
        batch_transform=SequenceTransform(profile.crop_px),
        evaluate=_val_scores,
        fingerprint={
            "train": list(train),
            "val": list(val),
            "crops": [store.px, store.size, store.frames],
        },
        progress=progress,
        label=label,
    )
    return model, result


def _loss(logits: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
    """BCE; the offset stands for the whole levels that training leaves out."""
    label, offset = target
    return bce(logits + offset, label)


def _val_scores(logits: npt.NDArray[Any], target: tuple[npt.NDArray[Any], ...]) -> dict[str, float]:
    return {"val_auroc": auroc(target[0], logits)}


def load_classifier(folder: Path, profile: Profile, recipe: SequenceRecipe) -> CropSequenceNet:
    """A trained sequence net, ready to predict on the best device there is."""
    model = build_classifier(profile, recipe, "random")
    load_weights(model, folder)
    return model.to(device_name()).eval()


@torch.inference_mode()
def level_logits(
    model: CropSequenceNet,
    crops: npt.NDArray[np.uint8],
    found: npt.NDArray[np.bool_],
    px: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Logit of each level of one study, mean over the crop and its mirror image.

    Args:
        crops: uint8 (7, T, 3, S, S).
        found: (7,) which levels have crops.
        px: side that the network sees.

    Returns:
        Logits (7,), NaN where a level was not found, and attention (7, T).
    """
    logits = np.full(N_LEVELS, np.nan)
    attention = np.full(crops.shape[:2], np.nan)
    levels = np.flatnonzero(found)
    if not len(levels):
        return logits, attention
    device = next(model.parameters()).device
    frames = augment_sequences(torch.from_numpy(np.array(crops[levels])).to(device), None, px)
    index = torch.from_numpy(levels).to(device)
    views: list[tuple[Tensor, Tensor]] = [
        model.forward_with_attention(view, index) for view in (frames, frames.flip(-1))
    ]
    logits[levels] = torch.stack([view[0] for view in views]).mean(0).double().cpu().numpy()
    attention[levels] = torch.stack([view[1] for view in views]).mean(0).double().cpu().numpy()
    return logits, attention


def study_logits(
    model: CropSequenceNet, store: CropStore, ids: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Logits (studies, 7) of cropped studies, NaN for levels that were not found."""
    model = model.to(device_name()).eval()
    return np.stack(
        [level_logits(model, store.sequences(uid), store.found(uid), store.px)[0] for uid in ids]
    )


def calibration(
    logits: npt.NDArray[np.float64], ids: Sequence[str], labels: Labels
) -> dict[str, float]:
    """Platt scale and bias that fit the validation studies' levels."""
    y = np.stack([labels[uid] for uid in ids]).astype(float)
    known = np.isfinite(logits)
    scale, bias = fit_platt(logits[known], y[known])
    return {"scale": scale, "bias": bias}


def training_rates(labels: Labels, ids: Sequence[str]) -> dict[str, float]:
    """Share of broken levels among the training studies: what a level unseen is given."""
    rate = np.stack([labels[uid] for uid in ids]).mean(axis=0)
    # Neither 0 nor 1, also in a set too small to hold every fracture.
    return dict(zip(LEVELS, np.clip(rate, 0.01, 0.99).round(6).tolist(), strict=True))
