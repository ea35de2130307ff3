"""Profiles, folders, seed: what differs between a smoke run and the real experiment.

A profile is data.  ``CSPINE_PROFILE`` names one, ``CSPINE_DATA`` names a data
folder, ``CSPINE_RUNS`` and ``CSPINE_HOME`` move what is written.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
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
NOT_FOR = {
    "two_stage": ("cube_", "slice_", *_WINNERS),
    "slices": ("cube_", "crop_", "classifier_", "frames", *_WINNERS),
    "cnn3d": (
        "slice_",
        "slices_",
        "localiser_",
        "crop_",
        "classifier_",
        "frames",
        "backbone",
        *_WINNERS,
    ),
    "cnn3d_spine": ("slice_", "classifier_", "cube_px", *_WINNERS),
    "segmented": ("cube_", "slice_", "slices_", "frames", "neck_"),
    "neck_sequence": (
        "cube_",
        "slice_",
        "slices_",
        "crop_",
        "classifier_",
        "frames",
        "seg",
        "vertebra_",
        "study_epochs",
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


PROFILES: dict[str, Profile] = {
    "ci": Profile(
        name="ci",
        phantom=PhantomSize(20, 8, (48, 80, 80), (168.0, 144.0), masked=12),
        backbone="test_efficientnet.r160_in1k",
        folds=2,
        slices_per_level=6,
        localiser_px=48,
        localiser_epochs=2,
        localiser_pitch_mm=4.0,
        frames=2,
        crop_px=32,
        classifier_epochs=2,
        cube_px=24,
        cube_epochs=2,
        slice_px=48,
        slice_per_level=2,
        slice_epochs=2,
        seg_px=24,
        seg_epochs=30,
        seg25d_per_level=3,
        seg25d_epochs=8,
        seg25d_lr=1e-2,
        vertebra_frames=3,
        study_epochs=2,
        neck_frames=6,
        neck_px=32,
        neck_epochs=2,
    ),
    "laptop": Profile(
        name="laptop",
        phantom=PhantomSize(200, 110, (104, 160, 160), (168.0, 144.0), masked=40),
        backbone="tf_efficientnet_lite0",
        localiser_px=64,
        localiser_epochs=4,
        crop_px=80,
        classifier_epochs=8,
        classifier_ema=0.97,
        classifier_lr=1e-3,
        classifier_whole_share=0.25,
        slice_px=160,  # 0.84 mm a pixel, as 224 of 512 pixels are on RSNA's scans
        slice_per_level=3,
        slice_epochs=4,
        slice_lr=7e-4,
        slice_ema=0.97,
        seg_epochs=40,
    ),
    "gpu": Profile(
        name="gpu",
        phantom=PhantomSize(480, 160, (160, 256, 256), (176.0, 160.0), masked=60),
        backbone="tf_efficientnetv2_s",
        localiser_px=192,
        localiser_batch=64,
        localiser_epochs=8,
        localiser_pitch_mm=1.0,
        crop_px=128,
        classifier_epochs=12,
        classifier_batch=32,
        cube_px=128,
        cube_epochs=20,
        slice_px=192,
        slice_per_level=8,
        slice_epochs=8,
        slice_batch=64,
        seg_px=96,
        seg25d_per_level=12,
        study_batch=8,
        study_epochs=12,
        neck_frames=96,
        neck_px=192,
        neck_epochs=12,
        workers=12,
    ),
    "rsna": Profile(
        name="rsna",
        phantom=None,
        backbone="tf_efficientnetv2_s",
        cache="low",
        localiser_px=256,
        localiser_batch=64,
        localiser_epochs=15,
        localiser_pitch_mm=1.0,
        crop_px=224,
        classifier_epochs=15,
        classifier_batch=16,
        classifier_lr=2e-4,
        cube_px=224,
        cube_epochs=20,
        slice_px=224,
        slice_per_level=24,
        slice_epochs=10,
        slice_batch=64,
        slice_lr=2e-4,
        seg_px=128,
        seg_epochs=100,
        seg25d_per_level=24,
        seg25d_lr=1e-3,
        study_batch=4,
        study_epochs=15,
        neck_frames=128,
        neck_px=224,
        neck_epochs=10,
        neck_lr=1e-4,
        workers=4,
    ),
}

DEFAULT_PROFILE = "laptop"
DEFAULT_SEED = 2022


def get_profile(name: str | None = None) -> Profile:
    """The named profile, else the one in ``CSPINE_PROFILE``, else ``laptop``.

    Raises:
        CspineError: no profile of that name.
    """
    name = name or os.environ.get("CSPINE_PROFILE") or DEFAULT_PROFILE
    if name not in PROFILES:
        raise CspineError(f"unknown profile {name!r}; known profiles: {', '.join(PROFILES)}")
    return PROFILES[name]


def home() -> Path:
    """Folder that holds ``data/`` and ``runs/``: ``CSPINE_HOME``, else the checkout, else here."""
    if os.environ.get("CSPINE_HOME"):
        return Path(os.environ["CSPINE_HOME"])
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


def data_home() -> Path:
    """Folder under which data sets are made and looked for."""
    return home() / "data"


def runs_home() -> Path:
    """Folder under which training leaves its runs: ``CSPINE_RUNS``, else ``runs/``."""
    return Path(os.environ["CSPINE_RUNS"]) if os.environ.get("CSPINE_RUNS") else home() / "runs"


def experiment_folder(profile: Profile, fingerprint: str) -> Path:
    """Folder of the five-fold runs of a data set under a profile."""
    return runs_home() / f"cv-{profile.name}-{fingerprint[:8]}"


def device_name() -> str:
    """``cuda``, ``mps`` or ``cpu``: the best that torch finds, or ``CSPINE_DEVICE``."""
    if os.environ.get("CSPINE_DEVICE"):
        return os.environ["CSPINE_DEVICE"]
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
