"""Deck A's classifier: fracture and visibility of seven levels from a single image.

With a detection network behind it each slice is asked about the levels that it shows, and a
level is the mean over slices weighted by visibility.  Without one every slice carries its
study's labels, and a level is the plain mean.  Network, budget and tuning are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from cspine_lib.dlc_slices import DlcSlices, OneStudy, Outputs, cut
from cspine_lib.engine import FitResult, FitSettings, fit, load_weights
from cspine_lib.metrics import auroc, logit
from cspine_lib.slice_models import SliceClassifier
from cspine_lib.slice_stacks import SHOWS, SliceStacks
from cspine_lib.weights import create_encoder

FloatArray = npt.NDArray[np.floating]

VIEWS = Ranges(shift=0.06, turn_deg=10.0, zoom=0.12, brightness=0.08, contrast=0.2)
BATCH = 64


def build_dlc_net(profile: Profile, weights: Weights = "imagenet") -> SliceClassifier:
    """The untrained network of a profile: one layer of 14 outputs on the encoder."""
    return SliceClassifier(create_encoder(profile.backbone, weights), heads=1)


def load_dlc_net(folder: Path, profile: Profile) -> SliceClassifier:
    """A trained network, ready to predict on the best device there is."""
    model = build_dlc_net(profile, "random")
    load_weights(model, folder)
    return model.to(device_name()).eval()


# --- what it says --------------------------------------------------------------------------------


@torch.inference_mode()
def study_outputs(nets: Sequence[SliceClassifier], study: OneStudy, profile: Profile) -> Outputs:
    """All networks on the slices of a study, at the profile's pitch.

    The mean over each slice and its mirror image.
    """
    device = next(nets[0].parameters()).device
    where = study.looked_at(profile.dlc_pitch_mm)
    found: dict[str, list[Tensor]] = {"visible": [], "fracture": [], "features": []}
    for start in range(0, len(where), BATCH):
        images = cut(study.images(where[start : start + BATCH]), profile)
        batch = to_float(torch.from_numpy(np.ascontiguousarray(images)).to(device))
        pairs = [(net, view) for net in nets for view in (batch, batch.flip(-1))]
        features = [net.encoder(view) for net, view in pairs]
        outs = [net.from_features(f) for (net, _), f in zip(pairs, features, strict=True)]
        for name in ("visible", "fracture"):
            found[name].append(torch.stack([out[name].sigmoid() for out in outs]).mean(0).cpu())
        found["features"].append(torch.stack(features[:2]).mean(0).float().cpu())
    joined = {name: torch.cat(parts).double().numpy() for name, parts in found.items()}
    return Outputs(study.z[where], **joined)


def level_logits(fracture: FloatArray, visible: FloatArray | None) -> FloatArray:
    """Slices (N, 7) → logits (7,) of the study's levels.

    Args:
        visible: weights (N, 7) of the mean over slices; None: all slices alike.
    """
    weight = np.ones_like(fracture) if visible is None else visible
    mean = (weight * fracture).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-9)
    return logit(mean)


# --- how it learns -------------------------------------------------------------------------------


def fracture_term(out: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """BCE of fracture, a level in a slice weighted by how surely the slice shows it."""
    terms = functional.binary_cross_entropy_with_logits(
        out["fracture"].float() + target["offset"], target["fracture"], reduction="none"
    )
    return (terms * target["visible"]).sum() / target["visible"].sum().clamp(min=1.0)


def visible_term(out: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """BCE of visibility over all levels and slices."""
    return functional.binary_cross_entropy_with_logits(out["visible"].float(), target["visible"])


@dataclass(frozen=True)
class WeightedLoss:
    """The deck's weighted sum of two BCE terms.

    Args:
        visible: 0 leaves that term out: a single classifier has no such labels.
    """

    fracture: float
    visible: float

    def __call__(self, out: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        loss = self.fracture * fracture_term(out, target)
        return loss + self.visible * visible_term(out, target) if self.visible else loss


def _scores(
    out: Mapping[str, npt.NDArray[Any]], target: Mapping[str, npt.NDArray[Any]]
) -> dict[str, float]:
    """Both terms, and how well fractures are told apart over the levels that slices show."""
    tensors = [{k: torch.from_numpy(v) for k, v in part.items()} for part in (out, target)]
    shown = target["visible"] >= SHOWS
    y, z = target["fracture"][shown], out["fracture"][shown]
    ranked = auroc(y, z) if len(y) else np.nan
    return {
        "val_fracture_loss": float(fracture_term(*tensors)),
        "val_visible_loss": float(visible_term(*tensors)),
        "val_auroc": ranked,
        # Without both kinds nothing can be ranked: all epochs are alike.
        "val_rank_loss": 1.0 if math.isnan(ranked) else 1.0 - ranked,
    }


class _Views:
    """``augment.SliceTransform`` for slices without a box."""

    def __init__(self) -> None:
        self._views = SliceTransform(VIEWS)

    def __call__(
        self, inputs: tuple[Tensor, ...], targets: Any, generator: torch.Generator | None
    ) -> tuple[tuple[Tensor, ...], Any]:
        box = torch.zeros((len(inputs[0]), 4), device=inputs[0].device)
        seen, _ = self._views(inputs, {"box": box}, generator)
        return seen, targets


def train_dlc_net(
    stacks: SliceStacks,
    labels: Mapping[str, npt.ArrayLike],
    visible: Mapping[str, FloatArray] | None,
    train: Sequence[str],
    val: Sequence[str],
    profile: Profile,
    folder: Path,
    *,
    seed: int,
    weights: Weights = "imagenet",
    progress: bool = True,
    label: str = "classifier",
) -> tuple[SliceClassifier, FitResult]:
    """Train one network of an ensemble; resumes; the epoch that ranks fractures best is kept.

    Args:
        visible: as in :class:`DlcSlices`.
        seed: another one for each network of the ensemble.
        weights: that the encoder starts from.
    """
    set_seed(seed, 5000)
    model = build_dlc_net(profile, weights)
    per_epoch = profile.dlc_per_study * len(train)
    few = max(profile.dlc_per_level // 2, 1)
    seen, judged = (
        DlcSlices(stacks, ids, labels, visible, profile, per_level=n, per_epoch=limit)
        for ids, n, limit in ((train, profile.dlc_per_level, per_epoch), (val, few, None))
    )
    model.start_at(*seen.rates())
    result = fit(
        model,
        seen,
        judged,
        loss=WeightedLoss(
            profile.dlc_fracture_weight, 0.0 if visible is None else profile.dlc_visible_weight
        ),
        settings=FitSettings(
            epochs=profile.dlc_epochs,
            batch_size=profile.dlc_batch,
            lr=profile.dlc_lr,
            ema_decay=profile.dlc_ema,
            metric="val_rank_loss",
            samples_per_epoch=per_epoch,
            seed=seed,
        ),
        out_dir=folder,
        batch_transform=_Views(),
        evaluate=_scores,
        fingerprint={
            "train": list(train),
            "val": list(val),
            "slices": stacks.folder.name,
            "located": visible is not None,
        },
        progress=progress,
        label=label,
    )
    return model, result
