"""Salehinejad et al. (arXiv 2010.13336): slices in three CT windows, an LSTM over the study.

Trained with one label a study, broken or not: the network is never told which level, nor
which slices show one.  What it says of a level is what the neck's probability leaves to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from cspine_lib.batches import set_seed
from cspine_lib.cache import VolumeCache
from cspine_lib.config import Profile, Weights, device_name
from cspine_lib.engine import FitResult, FitSettings, fit
from cspine_lib.jobs import for_each, load_array, only_builder, save_array
from cspine_lib.labels import evenly_spaced
from cspine_lib.metrics import auroc
from cspine_lib.models import bce
from cspine_lib.study_files import StudyReader
from cspine_lib.vertebra_net import VertebraViews
from cspine_lib.volume import Volume, window
from cspine_lib.weights import Encoder, create_encoder

CHANNELS = ("narrow", "middle", "bone")
"""Windows (300/80, 650/400, 1800/500 HU), a channel each."""
HIDDEN = 128
SEEDS = 6000


class NeckSequenceNet(nn.Module):
    """Encoder per slice, bidirectional LSTM over the study, the mean of a logit per slice."""

    def __init__(self, encoder: Encoder, dropout: float = 0.3) -> None:
        super().__init__()
        self.encoder = encoder
        self.project = nn.Sequential(nn.Linear(encoder.out_features, 2 * HIDDEN), nn.GELU())
        self.lstm = nn.LSTM(2 * HIDDEN, HIDDEN, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * HIDDEN, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Slices (B, T, 3, P, P) in 0..1 → logits (B,) of a broken neck."""
        batch, n = frames.shape[:2]
        features = self.project(self.encoder(frames.flatten(0, 1)))  # (B·T, F)
        line, _ = self.lstm(self.dropout(features.unflatten(0, (batch, n))))  # (B, T, 2H)
        return self.head(self.dropout(line)).squeeze(2).mean(dim=1)


def build_neck_net(profile: Profile, weights: Weights = "imagenet") -> NeckSequenceNet:
    """The untrained network of a profile."""
    return NeckSequenceNet(create_encoder(profile.backbone, weights))


def window_stack(volume: Volume, frames: int, px: int) -> npt.NDArray[np.uint8]:
    """Evenly spaced slices through three windows: uint8 (frames, 3, px, px).

    A slice that is not square is filled up with air on the right or at the bottom.
    """
    z, y, x = volume.shape_zyx
    side = max(y, x)
    out = np.empty((frames, len(CHANNELS), px, px), dtype=np.uint8)
    square = np.zeros((side, side), dtype=np.uint8)
    for i, k in enumerate(evenly_spaced(z, frames)):
        for c, name in enumerate(CHANNELS):
            square[:y, :x] = window(volume.hu_zyx[k], name)
            image = Image.fromarray(square)
            out[i, c] = np.asarray(image.resize((px, px), Image.Resampling.BILINEAR))
    return out


class WindowStacks:
    """Window stacks of cached studies on disk, made once.

    Args:
        folder: where they are kept.
        dataset: needed where the cache keeps no volumes.
    """

    def __init__(
        self, cache: VolumeCache, dataset: StudyReader, folder: Path, profile: Profile
    ) -> None:
        self.source: VolumeCache | StudyReader = cache if cache.mode == "volume" else dataset
        self.frames, self.px = profile.neck_frames, profile.neck_px
        self.folder = Path(folder) / f"{cache.folder.name}-windows-{self.frames}x{self.px}"

    def build(self, ids: Sequence[str], *, workers: int = 1, progress: bool = False) -> None:
        """Make the stacks that are not there yet."""
        with only_builder(self.folder):
            todo = [uid for uid in ids if not (self.folder / f"{uid}.npy").exists()]
            work = partial(_store_stack, self.source, self.folder, self.frames, self.px)
            for_each(work, todo, workers=workers, progress=progress, what="windowing slices")

    def __getitem__(self, uid: str) -> npt.NDArray[np.uint8]:
        """uint8 (frames, 3, px, px)."""
        return load_array(self.folder / f"{uid}.npy")


def _store_stack(
    source: VolumeCache | StudyReader, folder: Path, frames: int, px: int, uid: str
) -> None:
    volume = (
        source.volume(uid) if isinstance(source, VolumeCache) else source.read_study(uid).volume
    )
    save_array(folder / f"{uid}.npy", window_stack(volume, frames, px))


class NeckSequences(Dataset[tuple[tuple[Tensor], Tensor]]):
    """Items ``((frames,), label)``: uint8 (T, 3, P, P), and 1 for a broken neck.

    Args:
        labels: study → whether the neck is broken.
    """

    def __init__(self, stacks: WindowStacks, ids: Sequence[str], labels: Mapping[str, int]) -> None:
        self.stacks, self.ids, self.labels = stacks, list(ids), labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> tuple[tuple[Tensor], Tensor]:
        uid = self.ids[i]
        label = torch.tensor(float(self.labels[uid]))
        return (torch.from_numpy(self.stacks[uid]),), label


def train_neck_net(
    stacks: WindowStacks,
    labels: Mapping[str, int],
    train: Sequence[str],
    val: Sequence[str],
    profile: Profile,
    folder: Path,
    *,
    seed: int,
    progress: bool = True,
    label: str = "neck sequence",
) -> tuple[NeckSequenceNet, FitResult]:
    """Train the net; the epoch with the lowest validation loss is kept."""
    set_seed(seed, SEEDS)
    model = build_neck_net(profile)
    result = fit(
        model,
        NeckSequences(stacks, train, labels),
        NeckSequences(stacks, val, labels),
        loss=bce,
        settings=FitSettings(
            epochs=profile.neck_epochs,
            batch_size=profile.study_batch,
            lr=profile.neck_lr,
            seed=seed,
        ),
        out_dir=folder,
        batch_transform=VertebraViews(profile.neck_px, outline=False),
        evaluate=lambda z, y: {"val_auroc": auroc(y, z)},
        fingerprint={"train": list(train), "val": list(val), "stacks": stacks.folder.name},
        progress=progress,
        label=label,
    )
    return model, result


@torch.inference_mode()
def neck_logit(model: NeckSequenceNet, stack: npt.NDArray[np.uint8]) -> float:
    """Logit of one study, the mean over it and its mirror image."""
    frames = torch.from_numpy(stack).to(device_name())[None].float() / 255.0
    return float(torch.stack([model(frames), model(frames.flip(-1))]).mean())
