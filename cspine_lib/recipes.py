"""The method table: every system of the decks as data, found by name.

Commands, notebooks and benchmarks all look a method up here.  A recipe says which
parts a system is made of; sizes and epochs belong to the profile (``config``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cspine_lib.config import Profile
from cspine_lib.errors import CspineError

Crop = Literal["box", "centre", "whole"]


@dataclass(frozen=True)
class LocaliserRecipe:
    """Stage 1: which levels does a slice show, and where is the box around them?"""

    parts: int = 2
    """Cross-fitting parts: the levels of a study come from a model that has not seen it."""
    ordered: bool = True
    """Decode with the knowledge that levels follow each other."""
    box_weight: float = 2.0
    """Weight of the box loss beside the level loss."""


@dataclass(frozen=True)
class SequenceRecipe:
    """Stage 2: is this level broken, given a sequence of 2.5D crops?"""

    lstm: bool = True
    attention: bool = True
    level_embedding: bool = True
    """Tell the net which level it looks at (the deck does not say; fracture kinds differ)."""
    hidden: int = 128
    """Width of the LSTM in each direction."""
    dropout: float = 0.3
    crop: Crop = "box"
    """``box``: around the level (stage 1); ``centre``: as large, in the middle of the slice;
    ``whole``: the whole slice.  The levels' slices are stage 1's in all of them."""
    neighbours: bool = True
    """Three neighbouring slices as channels; else the middle one three times."""
    frames: int = 0
    """Images in a sequence; 0: the profile's."""

    def frames_of(self, profile: Profile) -> int:
        """Images in a sequence under a profile."""
        return self.frames or profile.frames


@dataclass(frozen=True)
class SlicesRecipe:
    """Fracture and visibility from single slices with pseudo-labels."""

    heads: int = 1
    """1: one layer of 14 outputs; 2: two fully connected heads, two losses."""


@dataclass(frozen=True)
class Recipe:
    """One system: its parts, and the slide's number where a deck has one."""

    name: str
    title: str
    slide: str
    slide_score: float | None
    """Score on the slide, on RSNA data; never comparable with a phantom's."""
    kind: str = "two_stage"
    """``two_stage``, ``slices`` or ``cnn3d``: see ``fold_methods.KINDS``."""
    slices: SlicesRecipe | None = None
    cube: Literal["neck", "spine"] = "neck"
    """``cnn3d``: the whole study as a cube, or the spine alone at stage 2's mm per voxel."""
    localiser: LocaliserRecipe = field(default_factory=LocaliserRecipe)
    sequence: SequenceRecipe = field(default_factory=SequenceRecipe)
    overall_top_n: int = 7
    """patient_overall = 1 − Π(1 − p) over this many highest levels."""


_TABLE = (
    Recipe(
        name="cnn3d",
        title="3D CNN on the whole neck",
        slide="deck B, 3D classification model",
        slide_score=0.6048,
        kind="cnn3d",
    ),
    Recipe(
        name="cnn3d_spine",
        title="3D CNN on the spine, at stage 2's resolution",
        slide="none: the 3D model without its loss of resolution",
        slide_score=None,
        kind="cnn3d",
        cube="spine",
    ),
    Recipe(
        name="single_head",
        title="slices, one head, pseudo-labels",
        slide="deck B, Single-head Model",
        slide_score=0.5813,
        kind="slices",
        slices=SlicesRecipe(heads=1),
        overall_top_n=1,
    ),
    Recipe(
        name="multi_head",
        title="slices, two heads, pseudo-labels",
        slide="deck B, Multi-head Model",
        slide_score=0.5019,
        kind="slices",
        slices=SlicesRecipe(heads=2),
    ),
    Recipe(
        name="crop_bilstm",
        title="box crop + BiLSTM + attention",
        slide="deck B, Proposed method, stages 1 and 2",
        slide_score=0.3691,
    ),
    Recipe(
        name="crop_bilstm_mean",
        title="box crop + BiLSTM, mean over frames",
        slide="none: the proposed method without its attention",
        slide_score=None,
        sequence=SequenceRecipe(attention=False),
    ),
    Recipe(
        name="crop_attention",
        title="box crop + attention, no LSTM",
        slide="none: the proposed method without its LSTM",
        slide_score=None,
        sequence=SequenceRecipe(lstm=False),
    ),
    Recipe(
        name="crop_mean",
        title="box crop, mean over frames, no LSTM",
        slide="none: the proposed method without LSTM and attention",
        slide_score=None,
        sequence=SequenceRecipe(lstm=False, attention=False),
    ),
    Recipe(
        name="crop_bilstm_centre",
        title="crop from the middle of the slice + BiLSTM + attention",
        slide="none: the proposed method without stage 1's box",
        slide_score=None,
        sequence=SequenceRecipe(crop="centre"),
    ),
    Recipe(
        name="crop_bilstm_whole",
        title="whole slice + BiLSTM + attention",
        slide="none: the proposed method without a crop",
        slide_score=None,
        sequence=SequenceRecipe(crop="whole"),
    ),
    Recipe(
        name="crop_bilstm_1ch",
        title="box crop, 1 slice a frame + BiLSTM + attention",
        slide="none: the proposed method without 2.5D",
        slide_score=None,
        sequence=SequenceRecipe(neighbours=False),
    ),
    Recipe(
        name="crop_bilstm_4f",
        title="box crop, 4 frames + BiLSTM + attention",
        slide="none: the proposed method with half of its frames",
        slide_score=None,
        sequence=SequenceRecipe(frames=4),
    ),
    Recipe(
        name="crop_bilstm_16f",
        title="box crop, 16 frames + BiLSTM + attention",
        slide="none: the proposed method with twice its frames",
        slide_score=None,
        sequence=SequenceRecipe(frames=16),
    ),
)


_NOT_FOR = {
    "two_stage": ("kind", "slices", "cube"),
    "slices": ("cube", "localiser", "sequence"),
    "cnn3d": ("slices", "sequence"),
}


def settings_of_recipe(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides its training: its name and the parts of its kind."""
    content = asdict(recipe)
    for name in _NOT_FOR[recipe.kind]:
        del content[name]
    return content


RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _TABLE}


def get_recipe(name: str) -> Recipe:
    """The method of that name.

    Raises:
        CspineError: no such method.
    """
    if name not in RECIPES:
        raise CspineError(f"unknown method {name!r}; known methods: {', '.join(RECIPES)}")
    return RECIPES[name]
