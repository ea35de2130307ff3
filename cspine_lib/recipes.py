"""The method table: every system of the decks as data, found by name.

Commands, notebooks and benchmarks all look a method up here.  A recipe says which
parts a system is made of; sizes and epochs belong to the profile (``config``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cspine_lib.errors import CspineError


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


@dataclass(frozen=True)
class Recipe:
    """One system: its parts, and the slide's number where a deck has one."""

    name: str
    title: str
    slide: str
    slide_score: float | None
    """Score on the slide, on RSNA data; never comparable with a phantom's."""
    localiser: LocaliserRecipe = field(default_factory=LocaliserRecipe)
    sequence: SequenceRecipe = field(default_factory=SequenceRecipe)
    overall_top_n: int = 7
    """patient_overall = 1 − Π(1 − p) over this many highest levels."""


_TABLE = (
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
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _TABLE}


def get_recipe(name: str) -> Recipe:
    """The method of that name.

    Raises:
        CspineError: no such method.
    """
    if name not in RECIPES:
        raise CspineError(f"unknown method {name!r}; known methods: {', '.join(RECIPES)}")
    return RECIPES[name]
