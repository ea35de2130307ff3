"""Stage 1 of deck B: train the localiser so that no study's levels come from a model that saw it.

The training studies are dealt into parts.  Model ``p`` trains on the masked studies of
all other parts and locates the levels of part ``p``; a new study is located by all of
them together (the mean of their probabilities and boxes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm.auto import tqdm

from cspine_lib.augment import Ranges, SliceTransform, to_float
from cspine_lib.batches import set_seed
from cspine_lib.cache import VolumeCache
from cspine_lib.config import Profile, Weights, device_name
from cspine_lib.datasets import InferenceSliceDataset, SliceDataset
from cspine_lib.engine import FitSettings, fit, load_weights
from cspine_lib.errors import CspineError
from cspine_lib.jobs import save_json
from cspine_lib.labels import LevelBox, levels_from_json
from cspine_lib.localise import decode_levels
from cspine_lib.models import LevelLocaliser, localiser_loss
from cspine_lib.ranks import main_first
from cspine_lib.recipes import LocaliserRecipe
from cspine_lib.runs import read_json
from cspine_lib.slices import low_stack, neighbour_step, stack_25d
from cspine_lib.splits import inner_split, patient_folds
from cspine_lib.volume import Volume
from cspine_lib.weights import create_encoder

WIDEST_MM = 260.0
"""Fields of view up to here are neck scans (RSNA's: about 512 pixels of 0.3 to 0.5 mm)."""
FIELD_MM = 160.0
"""Side of the window that is cut from wider ones."""
BODY_HU = -300
VIEWS = Ranges(shift=0.12, turn_deg=12.0, zoom=0.25, brightness=0.1, contrast=0.3)
"""Wide, wider than any one set of scans needs: fields of view, scanners and patients of other
sets are what a localiser meets next."""

BATCH = 64
"""Slices per forward pass when levels are located."""


@dataclass(frozen=True)
class LocaliserPart:
    """One trained localiser and who taught it."""

    index: int
    folder: Path
    train: list[str]
    val: list[str]
    weights_used: str
    seconds: float


def build_localiser(profile: Profile, weights: Weights = "imagenet") -> LevelLocaliser:
    """The untrained network of a profile."""
    return LevelLocaliser(create_encoder(profile.backbone, weights))


def parts_of(cache: VolumeCache, ids: Sequence[str], n: int, seed: int) -> dict[str, int]:
    """Part 0 … n−1 of every study, masked studies spread evenly.

    Raises:
        CspineError: fewer than 3 masked studies a part, too few to train and validate.
    """
    masked = set(cache.masked_ids)
    n_masked = sum(uid in masked for uid in ids)
    if n_masked < 3 * n:
        raise CspineError(
            f"stage 1 needs masks of at least {3 * n} training studies, found {n_masked}: "
            "add segmentations, or make a phantom with more (--masked)"
        )
    folds = patient_folds(ids, [[uid in masked] for uid in ids], n, seed)
    return dict(zip(ids, folds.tolist(), strict=True))


def train_localisers(
    cache: VolumeCache,
    part_of: Mapping[str, int],
    recipe: LocaliserRecipe,
    profile: Profile,
    out: Path,
    *,
    seed: int,
    progress: bool = True,
) -> list[LocaliserPart]:
    """Train one localiser per part, on the masked studies of the other parts."""
    masked = set(cache.masked_ids)
    return [
        _train_part(
            cache,
            [uid for uid, p in part_of.items() if p != index and uid in masked],
            index,
            recipe,
            profile,
            out / f"localiser-{index}",
            seed,
            progress,
        )
        for index in range(recipe.parts)
    ]


def _train_part(
    cache: VolumeCache,
    masked: list[str],
    index: int,
    recipe: LocaliserRecipe,
    profile: Profile,
    folder: Path,
    seed: int,
    progress: bool,
) -> LocaliserPart:
    train, val = inner_split(masked, np.ones((len(masked), 1)), 0.15, seed)
    set_seed(seed, index)
    model = build_localiser(profile)
    result = fit(
        model,
        SliceDataset(cache, train, profile.slices_per_level),
        SliceDataset(cache, val, profile.slices_per_level),
        loss=lambda out, target: localiser_loss(out, target, recipe.box_weight),
        settings=FitSettings(
            epochs=profile.localiser_epochs,
            batch_size=profile.localiser_batch,
            lr=profile.localiser_lr,
            seed=seed,
        ),
        out_dir=folder,
        batch_transform=SliceTransform(VIEWS),
        fingerprint={"cache": cache.folder.name, "train": train, "val": val},
        progress=progress,
        label=f"stage 1, model {index + 1}/{recipe.parts}",
    )
    return LocaliserPart(index, folder, train, val, model.encoder.weights_used, result.seconds)


def load_localisers(folders: Sequence[Path], profile: Profile) -> list[LevelLocaliser]:
    """Trained localisers, ready to predict on the best device there is."""
    models = []
    for folder in folders:
        model = build_localiser(profile, "random")
        load_weights(model, folder)
        models.append(model.to(device_name()).eval())
    return models


@torch.inference_mode()
def slice_predictions(
    models: Sequence[LevelLocaliser], images: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What the localisers see in 2.5D slices, averaged over them.

    Args:
        images: uint8 (N, 3, P, P).

    Returns:
        Level probabilities (N, 7), and boxes (N, 4) in 0..1 of the image.
    """
    device = next(models[0].parameters()).device
    levels, boxes = [], []
    for start in range(0, len(images), BATCH):
        batch = to_float(torch.from_numpy(images[start : start + BATCH]).to(device))
        outs = [model(batch) for model in models]
        levels.append(torch.stack([out["levels"].sigmoid() for out in outs]).mean(0).cpu())
        boxes.append(torch.stack([out["box"] for out in outs]).mean(0).cpu())
    return torch.cat(levels).double().numpy(), torch.cat(boxes).double().numpy()


def locate_volume(
    models: Sequence[LevelLocaliser], volume: Volume, recipe: LocaliserRecipe, profile: Profile
) -> dict[str, LevelBox]:
    """Levels of a study that none of the models has seen.

    A field of view wider than any neck scan's is first cut down to the neck: the
    localisers know the spine at the size that it has there.
    """
    part, (dy, dx) = neck_field(volume)
    if part is not volume:
        found = locate_volume(models, part, recipe, profile)
        return {name: box.moved(dx, dy) for name, box in found.items()}
    stack, z_index = low_stack(volume, profile.localiser_px, profile.localiser_pitch_mm)
    side = max(volume.shape_zyx[1:])
    images = stack_25d(
        stack, np.arange(len(stack)), neighbour_step(z_index, volume.spacing_zyx_mm[0])
    )
    prob, box = slice_predictions(models, images)
    return decode_levels(prob, box * side, z_index, volume.spacing_zyx_mm, ordered=recipe.ordered)


def neck_field(volume: Volume) -> tuple[Volume, tuple[int, int]]:
    """The part of a volume that a neck scan would show, and its first row and column.

    The neck is where the body is narrowest: the window is centred on the body in the
    two fifths of the slices that hold least of it.  A volume of usual width is returned
    as it is, with (0, 0).
    """
    _, y, x = volume.shape_zyx
    _, dy, dx = volume.spacing_zyx_mm
    if max(y * dy, x * dx) <= WIDEST_MM:
        return volume, (0, 0)
    body = volume.hu_zyx[:, ::2, ::2] > BODY_HU
    area = body.sum(axis=(1, 2))
    neck = body[(area > 0) & (area <= np.quantile(area[area > 0], 0.4))] if area.any() else body
    if not neck.any():
        return volume, (0, 0)
    rows, columns = (
        2 * np.average(np.arange(n), weights=neck.sum(axis=(0, other)))
        for n, other in ((neck.shape[1], 2), (neck.shape[2], 1))
    )
    height, width = min(y, round(FIELD_MM / dy)), min(x, round(FIELD_MM / dx))
    y0 = int(np.clip(round(rows - height / 2), 0, y - height))
    x0 = int(np.clip(round(columns - width / 2), 0, x - width))
    return volume.crop((0, y0, x0), (volume.shape_zyx[0], height, width)), (y0, x0)


def locate_training_studies(
    cache: VolumeCache,
    part_of: Mapping[str, int],
    models: Sequence[LevelLocaliser],
    recipe: LocaliserRecipe,
    profile: Profile,
    out: Path,
    *,
    progress: bool = True,
) -> dict[str, dict[str, LevelBox]]:
    """Levels of every training study, from the model that has not seen it; resumable."""
    out.mkdir(parents=True, exist_ok=True)
    bar = tqdm(part_of.items(), "stage 1, locating", unit="study", disable=not progress)
    with main_first(out):
        for uid, part in bar:
            if not (out / f"{uid}.json").exists():
                levels = _locate_cached(cache, uid, models[part], recipe, profile)
                boxes = {name: box.to_dict() for name, box in levels.items()}
                save_json(out / f"{uid}.json", {"part": part, "levels": boxes})
    return {uid: levels_from_json(read_json(out / f"{uid}.json")["levels"]) for uid in part_of}


def cross_fitted_levels(
    cache: VolumeCache,
    ids: Sequence[str],
    recipe: LocaliserRecipe,
    profile: Profile,
    out: Path,
    *,
    seed: int,
    progress: bool = True,
) -> tuple[list[LocaliserPart], list[LevelLocaliser], dict[str, dict[str, LevelBox]]]:
    """Localisers, and the levels of every study from the one that has not seen it.

    Raises:
        CspineError: too few masked studies among ``ids``.
    """
    part_of = parts_of(cache, ids, recipe.parts, seed)
    parts = train_localisers(cache, part_of, recipe, profile, out, seed=seed, progress=progress)
    models = load_localisers([part.folder for part in parts], profile)
    levels = locate_training_studies(
        cache, part_of, models, recipe, profile, out / "levels", progress=progress
    )
    return parts, models, levels


def _locate_cached(
    cache: VolumeCache,
    uid: str,
    model: LevelLocaliser,
    recipe: LocaliserRecipe,
    profile: Profile,
) -> dict[str, LevelBox]:
    """Levels of a cached study, looked at in the pitch that new studies are looked at."""
    looked_at = InferenceSliceDataset(cache, [uid], profile.localiser_pitch_mm)
    images = np.stack([looked_at[i][0].numpy() for i in range(len(looked_at))])
    prob, box = slice_predictions([model], images)
    return decode_levels(
        prob,
        box * cache.side_px(uid),
        looked_at.z_index[uid],
        cache.spacing_zyx_mm(uid),
        ordered=recipe.ordered,
    )
