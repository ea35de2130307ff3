"""What the winners' networks have to do in one outer fold, as rows for ``plan_counts.Stage``."""

from __future__ import annotations

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.config import Profile
from cspine_lib.recipes import Recipe
from cspine_lib.vertebra_fit import view_of

Row = tuple[str, str, int, int, int, int, int]
"""Name, network, fits, samples, epochs, batch, passes; see ``plan_counts.Stage``."""


def segmented_rows(
    recipe: Recipe,
    profile: Profile,
    studies: int,
    train: float,
    rate: float,
    counts: tuple[float, float, float],
) -> list[Row]:
    """U-Net and sequence nets of a fold.

    Args:
        train: studies that one sequence net would train on.
        rate: broken levels over all levels.
        counts: masked training studies, their slices that train a 2.5D U-Net, and the slices
            of all studies that it looks at.
    """
    assert recipe.segmenter is not None and recipe.vertebra is not None
    masked, chosen, looked_at = (round(count) for count in counts)
    p = profile
    unet: Row = ("3D U-Net", "unet3d", 1, masked, p.seg_epochs, p.seg_batch, studies)
    if recipe.segmenter.dims == 2:
        sizes = (p.seg25d_epochs, p.seg25d_batch, looked_at)
        unet = ("2.5D U-Net", "unet25d", 1, chosen, *sizes)
    members, parts = recipe.members, recipe.parts_among(round(train))
    own = train * ((parts - 1) / parts if members > 1 else 1)
    judged = 2 * (studies / p.folds * members + train * (members / parts))
    if recipe.vertebra.scope == "study":
        sizes = (round(own), p.study_epochs, p.study_batch)
    else:
        share = rate + p.classifier_whole_share * (1 - rate)
        sizes = (round(N_LEVELS * own * share), p.classifier_epochs, p.classifier_batch)
        judged *= N_LEVELS
    return [unet, ("sequence nets", "vertebrae", members, *sizes, round(judged))]


def neck_row(profile: Profile, train: float, judged: float) -> Row:
    """The case-level sequence net of a fold."""
    sizes = (round(train), profile.neck_epochs, profile.study_batch)
    return ("slices in sequence", "neck_sequence", 1, *sizes, round(2 * judged))


def vertebra_bytes(recipe: Recipe, profile: Profile, studies: int, height: float) -> float:
    """Crops of all folds: of a level each slice once, at most those of its height.

    Args:
        height: slices of a level.
    """
    assert recipe.vertebra is not None
    view = view_of(recipe.vertebra, profile)
    most = view.frames * view.channels
    above = 0 if view.plane == "sagittal" else min(most, height + view.channels)
    slices = above + (0 if view.plane == "axial" else most)  # across the width none is shared
    return profile.folds * studies * N_LEVELS * slices * (1 + view.outline) * view.size**2
