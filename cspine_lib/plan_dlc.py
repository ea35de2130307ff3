"""What deck A's methods have to do in an outer fold, counted before anything is read."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.config import Profile
from cspine_lib.recipes import DlcRecipe

LEVEL_MM = 17.0
"""Height of a level with its disc, about."""
Row = tuple[str, str, int, int, int, int, int]
"""Fields of ``plan_counts.Stage``."""


class Counts(Protocol):
    """Of ``plan_counts.Census``."""

    @property
    def studies(self) -> int: ...
    @property
    def masked(self) -> int: ...
    @property
    def slices(self) -> float: ...
    @property
    def pitch_mm(self) -> float: ...


def dlc_rows(
    recipe: DlcRecipe, profile: Profile, census: Counts, train: float, judged: float
) -> list[Row]:
    """Stages of a fold as rows: detection network, detection again, classifiers.

    Args:
        train: studies that teach a classifier.
        judged: studies that it is judged and applied on.
    """
    rows: list[Row] = []
    if recipe.located or recipe.forests:
        rows += _detection(profile, census)
    nets = 1 if recipe.forests else profile.dlc_nets
    looked_at = _stepped(census, profile.dlc_pitch_mm)
    passes = 2 * looked_at * (nets * judged + (train if recipe.forests else 0))
    rows.append(
        (
            "localised classifier" if recipe.located else "single classifier",
            "dlc" if recipe.located else "dlc_single",
            nets,
            round(train * profile.dlc_per_study),
            profile.dlc_epochs,
            profile.dlc_batch,
            round(passes),
        )
    )
    return rows


def _detection(profile: Profile, census: Counts) -> list[Row]:
    share = (profile.folds - 1) / profile.folds
    masked = census.masked * share * 0.85
    others = (census.studies - census.masked) * share
    epochs, batch = profile.localiser_epochs, profile.localiser_batch
    first = round(masked * _chosen(profile.slices_per_level, census))
    again = round((masked + others) * _chosen(profile.dlc_detector_per_level, census))
    looked_at = _stepped(census, profile.localiser_pitch_mm)
    every, inside = round(census.studies * looked_at), round(census.studies * share * looked_at)
    rows: list[Row] = [("detection", "visibility", 1, first, epochs, batch, every)]
    if profile.dlc_rounds:
        n, more = profile.dlc_rounds, profile.dlc_detector_epochs
        rows.append(("detection again", "detector", n, again, more, batch, n * inside))
    return rows


def _chosen(per_level: int, census: Counts) -> float:
    """Slices of a study that train a detector: each level's, and as many of none."""
    level = min(LEVEL_MM / census.pitch_mm, census.slices / N_LEVELS)
    rest = max(census.slices - N_LEVELS * level, 0)
    return N_LEVELS * min(per_level, level) + min(per_level, rest)


def _stepped(census: Counts, pitch_mm: float) -> float:
    """Slices of a study that lie at most so far apart."""
    return float(np.ceil(census.slices / max(1, int(pitch_mm / census.pitch_mm + 1e-6))))
