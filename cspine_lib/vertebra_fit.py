"""Train the winners' sequence nets on crops of segmented vertebrae, and ask them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.batches import set_seed
from cspine_lib.config import Profile, Weights, device_name
from cspine_lib.datasets import SampledCropDataset
from cspine_lib.engine import FitResult, FitSettings, fit, load_weights
from cspine_lib.errors import CspineError
from cspine_lib.metrics import auroc
from cspine_lib.recipes import VertebraRecipe
from cspine_lib.vertebra_crops import VertebraCrops, VertebraStore, View
from cspine_lib.vertebra_net import VertebraNet, VertebraViews
from cspine_lib.weights import create_encoder

Labels = Mapping[str, npt.NDArray[np.int64]]
"""Study → (7,) for C1–C7."""
SEEDS = 5000
"""Offset of the seed of a sequence net's first weights."""


def view_of(recipe: VertebraRecipe, profile: Profile) -> View:
    """What is cut of a vertebra for a recipe."""
    frames, px = recipe.frames_of(profile), recipe.px_of(profile)
    return View(frames, recipe.channels, recipe.outline, px, plane=recipe.plane)


def build_vertebra_net(
    recipe: VertebraRecipe, profile: Profile, weights: Weights = "imagenet"
) -> VertebraNet:
    """The untrained network of a profile."""
    view = view_of(recipe, profile)
    encoder = create_encoder(profile.backbone, weights, in_chans=view.depth)
    return VertebraNet(encoder, recipe, view.images)


class StudySequences(Dataset[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]):
    """All seven levels of a study as one item.

    Items are ``((frames, level), (labels, found))``: uint8 (7, T, C, S, S), 0–6, float (7,) and
    float (7,), 1 for a level that was found; the others are black and do not count.
    """

    def __init__(self, store: VertebraStore, ids: Sequence[str], labels: Labels) -> None:
        self.store = store
        self.ids = [uid for uid in ids if store.found(uid).any()]
        self._labels = labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        uid = self.ids[i]
        frames = study_images(self.store.sequences(uid), self.store.view)
        labels = torch.tensor(np.asarray(self._labels[uid]), dtype=torch.float32)
        found = torch.from_numpy(self.store.found(uid)).float()
        return (torch.from_numpy(frames), torch.arange(N_LEVELS)), (labels, found)


def study_images(crops: VertebraCrops, view: View) -> npt.NDArray[np.uint8]:
    """Images of all seven levels (7, T, C, S, S), black where a level was not found."""
    out = np.zeros((N_LEVELS, view.images, view.depth, view.size, view.size), dtype=np.uint8)
    for k in np.flatnonzero(crops.found).tolist():
        out[k] = crops[k]
    return out


def train_vertebra_net(
    store: VertebraStore,
    labels: Labels,
    train: Sequence[str],
    val: Sequence[str],
    recipe: VertebraRecipe,
    profile: Profile,
    folder: Path,
    *,
    seed: int,
    progress: bool = True,
    label: str = "vertebrae",
) -> tuple[VertebraNet, FitResult]:
    """Train a sequence net; the epoch with the lowest validation loss is kept, or the last one.

    Args:
        val: studies that choose the epoch; none: the last one is kept.

    Raises:
        CspineError: no level was found in the training or in the validation studies.
    """
    sets = _data(store, labels, train, val, recipe, profile)
    if not all(len(part) for part in sets if part is not None):
        raise CspineError(
            "the U-Net found no level to train the next network on: give it more masks or epochs"
        )
    set_seed(seed, SEEDS)
    model = build_vertebra_net(recipe, profile)
    study = recipe.scope == "study"
    result = fit(
        model,
        *sets,
        loss=_Loss(recipe.positive_weight),
        settings=FitSettings(
            epochs=profile.study_epochs if study else profile.classifier_epochs,
            batch_size=profile.study_batch if study else profile.classifier_batch,
            lr=profile.classifier_lr,
            encoder_lr_factor=profile.classifier_encoder_lr_factor,
            ema_decay=profile.classifier_ema,
            samples_per_epoch=None if study else sets[0].per_epoch,
            seed=seed,
        ),
        out_dir=folder,
        batch_transform=VertebraViews(store.view.px, store.view.outline),
        evaluate=_scores,
        fingerprint={"train": list(train), "val": list(val), "crops": store.view.digest},
        progress=progress,
        label=label,
    )
    return model, result


def _data(
    store: VertebraStore,
    labels: Labels,
    train: Sequence[str],
    val: Sequence[str],
    recipe: VertebraRecipe,
    profile: Profile,
) -> tuple[Any, Any]:
    """The second is None without validation studies."""
    if recipe.scope == "study":
        study = StudySequences(store, train, labels)
        return study, StudySequences(store, val, labels) if val else None
    crops: Any = store
    levels = SampledCropDataset(crops, train, labels, profile.classifier_whole_share)
    return levels, SampledCropDataset(crops, val, labels) if val else None


class _Loss:
    """BCE of every logit with its level's label; broken levels count ``positive_weight``.

    Targets are (label, offset) of levels, the offset standing for the whole levels that an
    epoch leaves out, or (labels, found) of studies.
    """

    def __init__(self, positive_weight: float) -> None:
        self.positive_weight = positive_weight

    def __call__(self, logits: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        label, other = target
        study = label.ndim == 2
        z = logits.float() if study else logits.float() + other[:, None]
        weight = torch.tensor(self.positive_weight, device=z.device)
        each = functional.binary_cross_entropy_with_logits(
            z, label[..., None].expand_as(z), pos_weight=weight, reduction="none"
        ).mean(dim=-1)
        return (each * other).sum() / other.sum().clamp(min=1) if study else each.mean()


def _scores(logits: npt.NDArray[Any], target: tuple[npt.NDArray[Any], ...]) -> dict[str, float]:
    z, label, other = logits.mean(axis=-1), target[0], target[1]
    if label.ndim == 2:
        z, label = z[other > 0], label[other > 0]
    return {"val_auroc": auroc(label, z)}


def load_vertebra_net(recipe: VertebraRecipe, profile: Profile, folder: Path) -> VertebraNet:
    """A trained net, ready to predict on the best device there is."""
    model = build_vertebra_net(recipe, profile, "random")
    load_weights(model, folder)
    return model.to(device_name()).eval()


@torch.inference_mode()
def vertebra_logits(
    model: VertebraNet, crops: VertebraCrops, view: View, mirror: bool = True
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What a net says of one study, the mean over the crops and their mirror image.

    Args:
        mirror: False: the crops alone, for half the time.

    Returns:
        Logits (7,), NaN where a level was not found, and weights of the images (7, T).
    """
    logits = np.full(N_LEVELS, np.nan)
    weights = np.full((N_LEVELS, view.images), np.nan)
    levels = np.flatnonzero(crops.found)
    if not len(levels):
        return logits, weights
    device = next(model.parameters()).device
    study = model.recipe.scope == "study"
    images = study_images(crops, view)
    frames = torch.from_numpy(images if study else images[levels]).to(device)
    index = torch.arange(N_LEVELS, device=device) if study else torch.from_numpy(levels).to(device)
    if study:
        frames, index = frames[None], index[None]
    plain = VertebraViews(view.px, view.outline).view(frames, None)
    said = [model.forward_with_attention(v, index) for v in (plain, plain.flip(-1))[: 1 + mirror]]
    z = torch.stack([a.float().mean(dim=-1) for a, _ in said]).mean(0).double().cpu().numpy()
    w = torch.stack([b.float() for _, b in said]).mean(0).double().cpu().numpy()
    where = levels if study else np.arange(len(levels))
    z, w = (z[0], w[0]) if study else (z, w)
    logits[levels], weights[levels] = z[where], w[where]
    return logits, weights


def store_logits(
    model: VertebraNet, store: VertebraStore, ids: Sequence[str], mirror: bool = True
) -> npt.NDArray[np.float64]:
    """Logits (studies, 7) of cut studies, NaN for levels that were not found."""
    model = model.to(device_name()).eval()
    cut = (store.sequences(uid) for uid in ids)
    rows = [vertebra_logits(model, crops, store.view, mirror)[0] for crops in cut]
    return np.stack(rows) if rows else np.zeros((0, N_LEVELS))
