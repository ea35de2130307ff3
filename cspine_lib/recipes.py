"""The method table: every system of the decks as data, found by name.

Commands, notebooks and benchmarks all look a method up here.  A recipe says which
parts a system is made of; sizes and epochs belong to the profile (``config``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from cspine_lib.errors import CspineError
from cspine_lib.recipe_parts import (
    Crop,
    DlcRecipe,
    LocaliserRecipe,
    SegmenterRecipe,
    SequenceRecipe,
    SlicesRecipe,
    VertebraRecipe,
)

__all__ = [
    "RECIPES",
    "Crop",
    "DlcRecipe",
    "LocaliserRecipe",
    "Recipe",
    "SegmenterRecipe",
    "SequenceRecipe",
    "SlicesRecipe",
    "VertebraRecipe",
    "get_recipe",
    "settings_of_recipe",
]


FEWEST_IN_PART = 10
"""Studies that a part of a cross-fitted fold has, unless there are only as many as networks."""


@dataclass(frozen=True)
class Recipe:
    """One system: its parts, and the slide's number where a deck has one."""

    name: str
    title: str
    slide: str
    slide_score: float | None
    """Score on the slide, on RSNA data; never comparable with a phantom's."""
    kind: str = "two_stage"
    """A key of ``fold_methods.KINDS``."""
    slices: SlicesRecipe | None = None
    segmenter: SegmenterRecipe | None = None
    vertebra: VertebraRecipe | None = None
    members: int = 1
    """``segmented``: networks a fold, each trained without its own part of the studies; from
    two on, rules for levels in context and for the neck are learned from what they say of
    those parts."""
    parts: int = 0
    """Parts that the studies are dealt into; 0: one for each network.  With more of them each
    network learns from more, and the rules from less."""
    early_stop: bool = True
    """``segmented``, of several networks: each keeps some of its studies back to choose its epoch
    by; False: none, and it is its last epoch that counts."""
    dlc: DlcRecipe | None = None
    cube: Literal["neck", "spine"] = "neck"
    """``cnn3d``: the whole study as a cube, or the spine alone at stage 2's mm per voxel."""
    localiser: LocaliserRecipe = field(default_factory=LocaliserRecipe)
    sequence: SequenceRecipe = field(default_factory=SequenceRecipe)
    overall_top_n: int = 7
    """patient_overall = 1 − Π(1 − p) over this many highest levels."""

    def parts_among(self, studies: int) -> int:
        """Parts that so many training studies are dealt into: none of a handful."""
        return max(self.members, min(self.parts, studies // FEWEST_IN_PART))


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
    Recipe(
        name="dlc",
        title="detection-localised classifier",
        slide="deck A, Detection Localized Fracture Classifier",
        slide_score=None,
        kind="dlc",
        dlc=DlcRecipe(),
    ),
    Recipe(
        name="single_classifier",
        title="the same classifier without a detection network",
        slide="deck A, single classifier",
        slide_score=None,
        kind="dlc",
        dlc=DlcRecipe(located=False),
    ),
    Recipe(
        name="forest_classifier",
        title="single classifier + sequential random forests",
        slide="deck A, classifier enhanced by sequential random forests",
        slide_score=None,
        kind="dlc",
        dlc=DlcRecipe(located=False, forests=True),
    ),
)

_SECOND_PLACE = VertebraRecipe(
    frames=24,
    channels=3,
    outline=False,
    recurrent="gru",
    pooling="attention",
    spatial_dropout=0.2,
    positive_weight=1.0,
)

_WINNERS = (
    Recipe(
        name="first_place",
        title="3D U-Net, outline as channel, 15 × 2.5D + BiLSTM, level by level",
        slide="none: first place of the challenge, after its published description",
        slide_score=None,
        kind="segmented",
        segmenter=SegmenterRecipe(3),
        vertebra=VertebraRecipe(),
    ),
    Recipe(
        name="first_place_study",
        title="the same, all seven levels in one sequence",
        slide="none: first place of the challenge, its second model",
        slide_score=None,
        kind="segmented",
        segmenter=SegmenterRecipe(3),
        vertebra=VertebraRecipe(scope="study"),
    ),
    Recipe(
        name="second_place",
        title="2.5D U-Net, 24 slices, spatial dropout + BiGRU + attention",
        slide="none: second place of the challenge, after its published description",
        slide_score=None,
        kind="segmented",
        segmenter=SegmenterRecipe(2),
        vertebra=_SECOND_PLACE,
    ),
    Recipe(
        name="salehinejad",
        title="slices in three windows + BiLSTM over the study, case label only",
        slide="none: Salehinejad et al., arXiv 2010.13336",
        slide_score=None,
        kind="neck_sequence",
        overall_top_n=1,
    ),
    Recipe(
        name="beyond",
        title="our best: three cross-fitted level nets on more pixels, learned rules",
        slide="none: the deck's future work, carried out",
        slide_score=None,
        kind="segmented",
        segmenter=SegmenterRecipe(3),
        vertebra=replace(_SECOND_PLACE, frames=12, crop_scale=1.4),
        members=3,
        parts=5,
        early_stop=False,
    ),
)

_SEGMENTED = ("segmenter", "vertebra", "members", "parts", "early_stop")
_NOT_FOR = {
    "two_stage": ("kind", "slices", "cube", "dlc", *_SEGMENTED),
    "slices": ("cube", "localiser", "sequence", "dlc", *_SEGMENTED),
    "cnn3d": ("slices", "sequence", "dlc", *_SEGMENTED),
    "dlc": ("slices", "cube", "localiser", "sequence", *_SEGMENTED),
    "segmented": ("slices", "cube", "localiser", "sequence", "dlc"),
    "neck_sequence": ("slices", "cube", "localiser", "sequence", "dlc", *_SEGMENTED),
}


def settings_of_recipe(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides its training: its name and the parts of its kind."""
    content = asdict(recipe)
    for name in _NOT_FOR[recipe.kind]:
        del content[name]
    # Trainings from before there was a choice stay what they are.
    if recipe.vertebra is not None and recipe.vertebra.plane == "axial":
        del content["vertebra"]["plane"]
    for name, default in (("early_stop", True), ("parts", 0)):
        if content.get(name) == default:
            del content[name]
    return content


RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (*_TABLE, *_WINNERS)}


def get_recipe(name: str) -> Recipe:
    """The method of that name.

    Raises:
        CspineError: no such method.
    """
    if name not in RECIPES:
        raise CspineError(f"unknown method {name!r}; known methods: {', '.join(RECIPES)}")
    return RECIPES[name]
