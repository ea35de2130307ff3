"""Deck B's single-head and multi-head models: slices with pseudo-labels → a study's levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from cspine_lib.augment import Ranges, SliceTransform, to_float
from cspine_lib.batches import set_seed
from cspine_lib.config import Profile, Weights, device_name
from cspine_lib.engine import FitResult, FitSettings, fit, load_weights
from cspine_lib.fold_task import Validation, calibrated
from cspine_lib.metrics import auroc, logit, overall_max, overall_noisy_or
from cspine_lib.models import bce
from cspine_lib.recipes import Recipe
from cspine_lib.slice_models import SliceClassifier
from cspine_lib.slice_stacks import SHOWS, FractureSlices, SliceStacks
from cspine_lib.stage2 import Labels
from cspine_lib.weights import create_encoder

FloatArray = npt.NDArray[np.floating]
Visible = Mapping[str, FloatArray]
"""Study → (N, 7), how surely each entry of its stack shows each level."""

VIEWS = Ranges(shift=0.08, turn_deg=10.0, zoom=0.15, brightness=0.1, contrast=0.2)
BATCH = 64
FRACTURE_WEIGHT = 7.0


def build_slice_classifier(
    profile: Profile, heads: int, weights: Weights = "imagenet"
) -> SliceClassifier:
    """The untrained network of a profile."""
    return SliceClassifier(create_encoder(profile.backbone, weights), heads)


def single_head_loss(out: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """BCE over all 14 outputs (deck B): a fracture counts in the slices that show its level.

    Six of seven fracture outputs of a slice are sure zeros, so the mean over all of them is
    ``FRACTURE_WEIGHT`` times too small beside a loss over the level that is seen.
    """
    seen = target["fracture"] * target["visible"]
    return bce(out["visible"], target["visible"]) + FRACTURE_WEIGHT * bce(out["fracture"], seen)


def multi_head_loss(out: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """Two losses, one a head: visibility, and fracture of the levels that are seen.

    What a slice does not show, it is not asked about: rows are weighed by visibility.
    """
    terms = functional.binary_cross_entropy_with_logits(
        out["fracture"].float(), target["fracture"], reduction="none"
    )
    weight = target["visible"]
    fracture = (terms * weight).sum() / weight.sum().clamp(min=1.0)
    return bce(out["visible"], target["visible"]) + fracture


LOSSES = {1: single_head_loss, 2: multi_head_loss}


def train_slice_classifier(
    stacks: SliceStacks,
    labels: Labels,
    visible: Visible,
    train: Sequence[str],
    val: Sequence[str],
    heads: int,
    profile: Profile,
    folder: Path,
    *,
    seed: int,
    progress: bool = True,
    label: str = "slices",
) -> tuple[SliceClassifier, FitResult]:
    """Train a slice classifier; the epoch that ranks validation slices best is kept.

    Not the loss: half of it is visibility, and an overconfident network is calibrated later.
    """
    set_seed(seed, 4000 + heads)
    model = build_slice_classifier(profile, heads)
    sets = [
        FractureSlices(stacks, ids, labels, visible, profile.slice_per_level)
        for ids in (train, val)
    ]
    model.start_at(*starting_rates(sets[0], heads))
    result = fit(
        model,
        sets[0],
        sets[1],
        loss=LOSSES[heads],
        settings=FitSettings(
            epochs=profile.slice_epochs,
            batch_size=profile.slice_batch,
            lr=profile.slice_lr,
            ema_decay=profile.slice_ema,
            metric="val_rank_loss",
            seed=seed,
        ),
        out_dir=folder,
        batch_transform=_Transform(),
        evaluate=_val_scores,
        fingerprint={"train": list(train), "val": list(val), "slices": stacks.folder.name},
        progress=progress,
        label=label,
    )
    return model, result


def _val_scores(
    out: Mapping[str, npt.NDArray[Any]], target: Mapping[str, npt.NDArray[Any]]
) -> dict[str, float]:
    """How well fractures are told apart, over the levels that slices show."""
    shown = target["visible"] >= SHOWS
    y, z = target["fracture"][shown], out["fracture"][shown]
    ranked = auroc(y, z) if len(y) else np.nan
    # Without both kinds in the validation slices nothing can be ranked: all epochs are alike.
    return {"val_auroc": ranked, "val_rank_loss": 1.0 if np.isnan(ranked) else 1.0 - ranked}


def starting_rates(items: FractureSlices, heads: int) -> tuple[float, float]:
    """Mean of the targets as the loss of one or two heads meets them: visible, fracture."""
    visible, fracture = items.visible, items.fracture
    seen = (visible * fracture).sum() / (visible.numel() if heads == 1 else visible.sum())
    return tuple(float(rate.clamp(0.001, 0.999)) for rate in (visible.mean(), seen))  # type: ignore[return-value]


class _Transform:
    """``augment.SliceTransform`` for slices without a box."""

    def __init__(self) -> None:
        self._views = SliceTransform(VIEWS)

    def __call__(
        self, inputs: tuple[Tensor, ...], targets: Any, generator: torch.Generator | None
    ) -> tuple[tuple[Tensor, ...], Any]:
        box = torch.zeros((len(inputs[0]), 4), device=inputs[0].device)
        seen, _ = self._views(inputs, {"box": box}, generator)
        return seen, targets


def load_slice_classifier(folder: Path, profile: Profile, heads: int) -> SliceClassifier:
    """A trained network, ready to predict on the best device there is."""
    model = build_slice_classifier(profile, heads, "random")
    load_weights(model, folder)
    return model.to(device_name()).eval()


@torch.inference_mode()
def slice_outputs(
    model: SliceClassifier, stacks: SliceStacks, uid: str
) -> tuple[FloatArray, FloatArray]:
    """Visibility and fracture probability (N, 7) of every entry of a study's stack.

    The mean over each slice and its mirror image.
    """
    device = next(model.parameters()).device
    n = len(stacks.z_index(uid))
    seen: dict[str, list[Tensor]] = {"visible": [], "fracture": []}
    for start in range(0, n, BATCH):
        images = stacks.images(uid, np.arange(start, min(start + BATCH, n)))
        batch = to_float(torch.from_numpy(np.ascontiguousarray(images)).to(device))
        outs = [model(view) for view in (batch, batch.flip(-1))]
        for name, parts in seen.items():
            parts.append(torch.stack([out[name].sigmoid() for out in outs]).mean(0).cpu())
    visible, fracture = (torch.cat(parts).double().numpy() for parts in seen.values())
    return visible, fracture


def study_levels(visible: FloatArray, fracture: FloatArray) -> FloatArray:
    """Slices (N, 7) → logits (7,) of the study: fracture averaged by visibility.

    A level that no slice shows surely gets the average by what visibility there is.
    """
    weight = visible / np.maximum(visible.sum(axis=0), 1e-9)
    return logit((weight * fracture).sum(axis=0))


def slice_probabilities(recipe: Recipe, z: FloatArray, judged: Validation) -> FloatArray:
    """Levels' logits (N, 7) of a slice classifier → probabilities (N, 8).

    Args:
        judged: logits and labels (M, 7) of the validation studies, for calibration.
    """
    z_val, y_val = judged.z, judged.y
    levels, levels_val = (calibrated(part, z_val, y_val) for part in (z, z_val))
    if recipe.overall_top_n == 1:
        # The largest of seven probabilities is not that of any: it is calibrated by itself.
        neck, neck_val = (logit(overall_max(part)) for part in (levels, levels_val))
        overall = calibrated(neck, neck_val, y_val.max(axis=1))
    else:
        overall = overall_noisy_or(levels)
    return np.column_stack([overall, levels])
