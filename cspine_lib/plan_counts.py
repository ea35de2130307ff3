"""What a five-fold run has to do, counted before anything is read: samples, steps, bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.config import Profile
from cspine_lib.crops import STACK, padded_px
from cspine_lib.cropstore import MARGIN
from cspine_lib.cubes import CubeSpec, spine_spec
from cspine_lib.errors import CspineError
from cspine_lib.facts import facts
from cspine_lib.metrics import pattern_labels
from cspine_lib.neck_windows import CHANNELS
from cspine_lib.plan_dlc import dlc_rows
from cspine_lib.plan_winners import neck_row, segmented_rows, vertebra_bytes
from cspine_lib.recipes import Recipe
from cspine_lib.rsna import RsnaDataset

TRAINED = 0.85
"""Of a fold's training studies; the rest is for early stopping (``fold_methods``)."""
LEVEL_MM = 17.0
"""Height of a level with its disc, about."""


@dataclass(frozen=True)
class Census:
    """How much data there is; means over studies."""

    name: str
    studies: int
    masked: int
    slices: float
    side_px: float
    pitch_mm: float
    """Distance of slices."""
    positive_rate: float
    """Broken levels over all levels."""


def census_of(dataset: RsnaDataset, sample: int = 40) -> Census:
    """Counted from file names of up to ``sample`` studies and one study's headers."""
    ids = [uid for uid in dataset.train_ids if dataset.has_images(uid)]
    if not ids:
        raise CspineError(f"no training study with images in {dataset.root}")
    some = [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, sample).astype(int))]
    counts = [len(os.listdir(dataset.study_folder(uid))) for uid in some]
    volume = dataset.read_study(some[len(some) // 2]).volume
    return Census(
        dataset.name,
        len(ids),
        len(dataset.masked_ids),
        float(np.mean(counts)),
        float(max(volume.shape_zyx[1:])),
        volume.spacing_zyx_mm[0],
        float(np.mean([dataset.labels(uid).mean() for uid in ids])),
    )


def census_of_profile(profile: Profile) -> Census:
    """What the profile's phantom will hold; for a profile without one RSNA's counts."""
    rate = float(pattern_labels()[:, 1:].mean())
    size = profile.phantom
    if size is None:
        counts = facts("slices")
        return Census(
            "RSNA 2022 (not in place: from its published counts)",
            facts("labels")["studies"],
            facts("masks")["studies"],
            counts["mean"],
            512,
            1.0,  # "at most 1 mm": what is looked at every mm is at most this many slices
            rate,
        )
    z, y, x = size.shape_zyx
    name = f"phantom of profile {profile.name} (not made yet)"
    return Census(name, size.train, size.masked, z, max(y, x), size.fov_mm[0] / z, rate)


@dataclass(frozen=True)
class Stage:
    """One network's work in one outer fold.

    Args:
        fits: trainings of it.
        samples: per epoch and fit.
        passes: samples predicted, one forward pass each.
        network: key of ``plan_probe.NETWORKS``.
    """

    name: str
    network: str
    fits: int
    samples: int
    epochs: int
    batch: int
    passes: int

    @property
    def trained(self) -> float:
        """Samples that the fold's updates see, one forward and one backward pass each."""
        return self.fits * self.epochs * self.samples

    @property
    def predicted(self) -> float:
        """Samples that are only predicted: validation after each epoch, and ``passes``."""
        return self.trained * (1 - TRAINED) / TRAINED + self.passes

    @property
    def steps(self) -> int:
        """Optimiser steps of the fold."""
        return self.fits * self.epochs * max(-(-self.samples // self.batch), 1)


def stages_of(recipe: Recipe, profile: Profile, census: Census) -> list[Stage]:
    """The trainings and predictions of a method in one outer fold."""
    train = census.studies * (profile.folds - 1) / profile.folds
    test, val = census.studies / profile.folds, (1 - TRAINED) * train
    if recipe.kind == "cnn3d":
        own = [_cube_stage(recipe, profile, train, val + test)]
        return own if recipe.cube == "neck" else [*_locating(recipe, profile, census), *own]
    if recipe.dlc is not None:
        rows = dlc_rows(recipe.dlc, profile, census, train * TRAINED, val + test)
        return [Stage(*row) for row in rows]
    if recipe.kind == "slices":
        return _slices(recipe, profile, census, train, val + test)
    if recipe.segmenter is not None:
        masked = census.masked * (profile.folds - 1) / profile.folds * TRAINED
        chosen = masked * _chosen(profile.seg25d_per_level, census, census.slices)
        counts = (masked, chosen, census.studies * _looked_at(profile, census))
        rate = census.positive_rate
        learned = train * (TRAINED if recipe.early_stop else 1)
        rows = segmented_rows(recipe, profile, census.studies, learned, rate, counts)
        return [Stage(*row) for row in rows]
    if recipe.kind == "neck_sequence":
        return [Stage(*neck_row(profile, TRAINED * train, val + test))]
    sequences = N_LEVELS * TRAINED * train
    rate = census.positive_rate
    seen = sequences * (rate + profile.classifier_whole_share * (1 - rate))
    return [
        *_locating(recipe, profile, census),
        Stage(
            "sequence net",
            "sequence",
            1,
            round(seen),
            profile.classifier_epochs,
            profile.classifier_batch,
            round((val + test) * N_LEVELS * 2),
        ),
    ]


def _cube_stage(recipe: Recipe, profile: Profile, train: float, judged: float) -> Stage:
    network = "cube" if recipe.cube == "neck" else "spine_cube"
    return Stage(
        "3D CNN",
        network,
        1,
        round(TRAINED * train),
        profile.cube_epochs,
        profile.cube_batch,
        round(2 * judged),
    )


def _masked_slices(profile: Profile, census: Census) -> float:
    """Slices of one masked study that train a localiser: each level's, and as many of none."""
    return _chosen(profile.slices_per_level, census, census.slices)


def _chosen(per_level: int, census: Census, slices: float) -> float:
    level = min(LEVEL_MM / census.pitch_mm, slices / N_LEVELS)
    rest = max(slices - N_LEVELS * level, 0)
    return N_LEVELS * min(per_level, level) + min(per_level, rest)


def _looked_at(profile: Profile, census: Census) -> float:
    """Slices of a study that a localiser looks at."""
    every = max(1, int(profile.localiser_pitch_mm / census.pitch_mm + 1e-6))
    return np.ceil(census.slices / every)


def _locating(recipe: Recipe, profile: Profile, census: Census) -> list[Stage]:
    parts = recipe.localiser.parts
    masked = census.masked * (profile.folds - 1) / profile.folds * (1 - 1 / parts) * TRAINED
    train = census.studies * (profile.folds - 1) / profile.folds
    test = census.studies / profile.folds
    return [
        Stage(
            "localisers",
            "localiser",
            parts,
            round(masked * _masked_slices(profile, census)),
            profile.localiser_epochs,
            profile.localiser_batch,
            round(_looked_at(profile, census) * (train + parts * test)),
        )
    ]


def _slices(
    recipe: Recipe, profile: Profile, census: Census, train: float, judged: float
) -> list[Stage]:
    assert recipe.slices is not None
    masked = census.masked * (profile.folds - 1) / profile.folds * TRAINED
    stack = census.slices if profile.cache == "volume" else _looked_at(profile, census)
    return [
        Stage(
            "pseudo-labels",
            "visibility",
            1,
            round(masked * _masked_slices(profile, census)),
            profile.localiser_epochs,
            profile.localiser_batch,
            round(census.studies * _looked_at(profile, census)),
        ),
        Stage(
            "slice classifier",
            f"slices{recipe.slices.heads}",
            1,
            round(TRAINED * train * _chosen(profile.slice_per_level, census, stack)),
            profile.slice_epochs,
            profile.slice_batch,
            round(2 * judged * stack),
        ),
    ]


def stored_bytes(recipes: Sequence[Recipe], profile: Profile, census: Census) -> dict[str, float]:
    """What a run leaves on disk beside weights: the decoded-once cache and what is cut from it."""
    n, kinds = census.studies, {recipe.kind for recipe in recipes}
    low = profile.localiser_px**2
    found: dict[str, float] = {}
    if profile.cache == "volume":
        voxels = census.slices * census.side_px**2
        stacks = n * census.slices * low
        found["cache, whole volumes"] = n * voxels * 2 + census.masked * voxels + stacks
    else:
        found["cache, small slices"] = n * _looked_at(profile, census) * low
    if {"slices", "dlc"} & kinds and profile.cache == "volume":
        found["whole slices"] = n * census.slices * profile.slice_px**2
    for recipe in recipes:
        if recipe.kind == "cnn3d":
            cubes = profile.folds if recipe.cube == "spine" else 1  # levels differ by fold
            voxels = float(np.prod(_cube_spec(recipe, profile).shape_zyx))
            found[f"cubes of {recipe.name}"] = cubes * n * voxels
        if recipe.segmenter is not None and recipe.vertebra is not None:
            height = LEVEL_MM / census.pitch_mm
            found[f"crops of {recipe.name}"] = vertebra_bytes(recipe, profile, n, height)
        if recipe.kind == "neck_sequence":
            pixels = len(CHANNELS) * profile.neck_px**2
            found["windowed slices"] = n * profile.neck_frames * float(pixels)
        if recipe.kind == "two_stage":
            frames = recipe.sequence.frames or profile.frames
            size = padded_px(profile.crop_px, MARGIN) ** 2
            train = n * (profile.folds - 1)
            found[f"crops of {recipe.name}"] = train * N_LEVELS * frames * STACK * size
    return found


def _cube_spec(recipe: Recipe, profile: Profile) -> CubeSpec:
    if recipe.cube == "spine":
        return spine_spec(profile)
    return CubeSpec((profile.cube_px,) * 3)
