"""The parts that a method may be made of, as data; ``recipes`` puts them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


class Sizes(Protocol):
    """What of a ``config.Profile`` a recipe asks for."""

    @property
    def frames(self) -> int: ...
    @property
    def crop_px(self) -> int: ...
    @property
    def vertebra_frames(self) -> int: ...


Crop = Literal["box", "centre", "whole"]
Plane = Literal["axial", "sagittal", "both"]


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

    def frames_of(self, profile: Sizes) -> int:
        """Images in a sequence under a profile."""
        return self.frames or profile.frames


@dataclass(frozen=True)
class SlicesRecipe:
    """Fracture and visibility from single slices with pseudo-labels."""

    heads: int = 1
    """1: one layer of 14 outputs; 2: two fully connected heads, two losses."""


@dataclass(frozen=True)
class DlcRecipe:
    """Deck A: fracture and visibility of the levels from one image of a whole slice."""

    located: bool = True
    """A detection network says which slices show a level; else each has its study's labels."""
    forests: bool = False
    """Sequential random forests on the single classifier's features, with the detector's prior."""


@dataclass(frozen=True)
class SegmenterRecipe:
    """A U-Net in the place of stage 1: every voxel gets a level."""

    dims: Literal[2, 3] = 3
    """3: the whole study as a small cube; 2: slices with their neighbours (2.5D)."""


@dataclass(frozen=True)
class VertebraRecipe:
    """Is a segmented vertebra broken, given its slices in sequence?"""

    frames: int = 15
    """Images of a level."""
    channels: int = 5
    """Neighbouring slices in an image."""
    outline: bool = True
    """The vertebra's outline as one more channel."""
    scope: Literal["level", "study"] = "level"
    """``study``: all seven levels of a study in one sequence."""
    recurrent: Literal["lstm", "gru", "transformer", "none"] = "lstm"
    layers: int = 2
    hidden: int = 128
    """Width of a recurrent net in each direction; a Transformer is twice as wide."""
    pooling: Literal["slices", "attention"] = "slices"
    """``slices``: a logit per image, their mean for the level; ``attention``: one logit."""
    dropout: float = 0.3
    spatial_dropout: float = 0.0
    """Share of whole feature maps that are left out while training."""
    positive_weight: float = 2.0
    """Of broken levels in the loss."""
    crop_scale: float = 1.0
    """Times the profile's ``crop_px``: the same field of view on more pixels."""
    plane: Plane = "axial"
    """From which side; ``both``: ``frames`` images of each, in one sequence."""

    def frames_of(self, profile: Sizes) -> int:
        """Images of a level under a profile: a smoke run has few."""
        return min(self.frames, profile.vertebra_frames or self.frames)

    def px_of(self, profile: Sizes) -> int:
        """Side of what the network sees, a multiple of 8."""
        return round(self.crop_scale * profile.crop_px / 8) * 8
