"""What a profile is: every setting that depends on how much time and hardware there is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from cspine_lib.errors import CspineError

Weights = Literal["imagenet", "random"]


@dataclass(frozen=True)
class PhantomSize:
    """How large a phantom set is: study counts, matrix and field of view."""

    train: int
    test: int
    shape_zyx: tuple[int, int, int]
    """Nominal number of slices, rows, columns; single studies differ a little."""
    fov_mm: tuple[float, float]
    """Nominal extent along z and in the axial plane."""
    masked: int
    """Studies of the training part that have a segmentation."""


@dataclass(frozen=True)
class Profile:
    """Everything that depends on how much time and hardware there is.

    Sizes in pixels are of network inputs; ``_mm`` are patient millimetres.
    """

    name: str
    phantom: PhantomSize | None
    """None: no phantom, the real set must be in place."""
    backbone: str
    """timm name of the 2D encoder of both stages."""
    folds: int = 5
    cache: Literal["volume", "low"] = "volume"
    """Whole volumes, or low-resolution volumes and crops only (the real set)."""
    # Stage 1: levels and box from a 2.5D slice.
    slices_per_level: int = 24
    localiser_px: int = 96
    localiser_epochs: int = 4
    localiser_batch: int = 32
    localiser_lr: float = 1e-3
    localiser_pitch_mm: float = 2.0
    """Largest distance between slices that stage 1 looks at when it predicts."""
    # Stage 2: a sequence of 2.5D crops per level.
    frames: int = 8
    crop_px: int = 64
    classifier_epochs: int = 4
    classifier_batch: int = 8
    """Sequences (levels) per step, each of ``frames`` images."""
    classifier_lr: float = 6e-4
    classifier_encoder_lr_factor: float = 1.0
    """Times ``classifier_lr`` for the encoder."""
    classifier_whole_share: float = 1.0
    """Share of the unbroken levels that an epoch looks at, drawn anew each time."""
    classifier_ema: float | None = None
    """Decay of the averaged weights that are judged and kept; None: the plain weights."""
    # The 3D classifier: a whole study as a cube.
    cube_px: int = 64
    cube_epochs: int = 12
    cube_batch: int = 4
    cube_lr: float = 1e-3
    # The slice classifiers: whole slices with pseudo-labels.
    slice_px: int = 96
    slice_per_level: int = 4
    """Slices of each level, and of none, that a study gives to an epoch."""
    slice_epochs: int = 5
    slice_batch: int = 32
    slice_lr: float = 1e-3
    slice_ema: float | None = None
    # Deck A: detection network, localised classifier, its rivals.
    dlc_px: int = 36
    """Side of what the networks see, cut from slices of ``slice_px``: their mm a pixel stay."""
    dlc_centre_yx: tuple[float, float] = (0.6, 0.5)
    """Middle of that cut as shares of the slice: the spine lies behind the middle."""
    dlc_rounds: int = 1
    """Times that the detection network is trained again on what it has labelled itself."""
    dlc_confident: float = 0.9
    """A slice extends the detector's training if it is so sure of each of its levels."""
    dlc_detector_per_level: int = 4
    dlc_detector_epochs: int = 2
    dlc_detector_lr: float = 5e-4
    dlc_nets: int = 1
    """Networks of an ensemble."""
    dlc_per_level: int = 6
    """Slices of each level, and of none, that a study offers to training."""
    dlc_per_study: int = 10
    """Slices that an epoch looks at, per training study: those of broken levels come first."""
    dlc_epochs: int = 9
    dlc_batch: int = 32
    dlc_lr: float = 8e-4
    dlc_ema: float | None = None
    dlc_fracture_weight: float = 2.0
    dlc_visible_weight: float = 1.0
    """Weights of the two BCE terms in the sum."""
    dlc_pitch_mm: float = 3.4
    """Largest distance between the slices that are looked at in prediction."""
    dlc_forest_rounds: int = 3
    dlc_trees: int = 60
    dlc_leaf: int = 20
    """Fewest rows in a leaf of a forest."""
    # U-Nets that name the levels: the whole study as a cube, or the cache's small slices.
    seg_px: int = 64
    seg_epochs: int = 60
    seg_batch: int = 2
    seg_lr: float = 1e-2
    seg25d_per_level: int = 6
    seg25d_epochs: int = 12
    seg25d_batch: int = 16
    seg25d_lr: float = 3e-3
    vertebra_frames: int = 0
    """At most so many images of a segmented vertebra; 0: as many as the recipe says."""
    study_batch: int = 2
    """Studies per step, for networks that read all levels of one."""
    study_epochs: int = 6
    # The whole neck as a sequence of slices in three windows.
    neck_frames: int = 48
    neck_px: int = 96
    neck_epochs: int = 5
    neck_lr: float = 3e-4
    workers: int = 2

    def resized(self, *, train: int, test: int) -> Profile:
        """The same profile with other phantom study counts."""
        if self.phantom is None:
            raise CspineError(f"profile {self.name!r} has no phantom")
        return replace(self, phantom=replace(self.phantom, train=train, test=test))


_WINNERS = ("seg_", "seg25d_", "vertebra_", "study_", "neck_")
_STAGE2 = ("crop_", "classifier_", "frames")
NOT_FOR = {
    "two_stage": ("cube_", "slice_", "dlc_", *_WINNERS),
    "slices": ("cube_", "dlc_", *_STAGE2, *_WINNERS),
    "cnn3d": ("slice_", "slices_", "localiser_", "backbone", "dlc_", *_STAGE2, *_WINNERS),
    "cnn3d_spine": ("slice_", "classifier_", "cube_px", "dlc_", *_WINNERS),
    "dlc": (
        *("cube_", "slice_per_level", "slice_epochs", "slice_batch", "slice_lr", "slice_ema"),
        *_STAGE2,
        *_WINNERS,
    ),
    "segmented": ("cube_", "slice_", "slices_", "frames", "neck_", "dlc_"),
    "neck_sequence": (
        *("cube_", "slice_", "slices_", "seg", "vertebra_", "study_epochs", "dlc_"),
        *_STAGE2,
    ),
}
"""Kind of a recipe → beginnings of the settings that it does not look at."""


def settings_of(profile: Profile, kind: str) -> dict[str, Any]:
    """What of a profile may decide a training of this kind.

    A run's folder is told by these, so that a new setting of one method leaves the finished
    runs of another as they are.
    """
    return {
        name: value for name, value in asdict(profile).items() if not name.startswith(NOT_FOR[kind])
    }
