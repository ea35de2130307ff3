"""The winners' methods as calls that can be timed: volume → eight probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import LEVELS
from cspine_lib.config import Profile, device_name
from cspine_lib.cost import Clock
from cspine_lib.label_maps import LabelMap
from cspine_lib.labels import LevelBox
from cspine_lib.metrics import overall_noisy_or
from cspine_lib.neck_windows import NeckSequenceNet, build_neck_net, neck_logit, window_stack
from cspine_lib.recipes import Recipe
from cspine_lib.segment import Segmenter
from cspine_lib.vertebra_crops import cut_vertebrae
from cspine_lib.vertebra_fit import build_vertebra_net, vertebra_logits, view_of
from cspine_lib.vertebra_net import VertebraNet
from cspine_lib.volume import Volume

FloatArray = npt.NDArray[np.floating]
Judge = Callable[[FloatArray], FloatArray]
"""Logits of one study, (members, 7) with NaN for levels not found → (8,)."""


@dataclass(frozen=True, eq=False)
class SegmentedPredictor:
    """U-Net, crops of vertebrae, sequence nets, verdict.

    Args:
        stand_in: where networks have learned nothing, classify these places and not what the
            U-Net claims (which still takes its time).
    """

    segmenter: Segmenter
    nets: Sequence[VertebraNet]
    verdict: Judge
    recipe: Recipe
    profile: Profile
    stand_in: Callable[[Volume], LabelMap] | None = None

    def __call__(self, volume: Volume, clock: Clock) -> FloatArray:
        """(8,) in the order of ``anatomy.TARGETS``."""
        return self.judge(volume, clock)[0]

    def judge(self, volume: Volume, clock: Clock) -> tuple[FloatArray, Mapping[str, LevelBox]]:
        """(8,), and the levels that the U-Net found."""
        assert self.recipe.vertebra is not None
        view = view_of(self.recipe.vertebra, self.profile)
        with clock.step("localise"):
            found = self.segmenter.segment(volume)
        if self.stand_in is not None:
            found = self.stand_in(volume)
        with clock.step("crop"):
            crops = cut_vertebrae(volume, found, view)
        with clock.step("classify"):
            z = np.stack([vertebra_logits(net, crops, view)[0] for net in self.nets])
        return self.verdict(z), crops.levels


@dataclass(frozen=True, eq=False)
class NeckSequencePredictor:
    """Windows, sequence net, verdict (a call of one logit)."""

    net: NeckSequenceNet
    verdict: Callable[[float], FloatArray]
    profile: Profile

    def __call__(self, volume: Volume, clock: Clock) -> FloatArray:
        """(8,) in the order of ``anatomy.TARGETS``."""
        with clock.step("crop"):
            stack = window_stack(volume, self.profile.neck_frames, self.profile.neck_px)
        with clock.step("classify"):
            z = neck_logit(self.net, stack)
        return self.verdict(z)

    def judge(self, volume: Volume, clock: Clock) -> tuple[FloatArray, Mapping[str, LevelBox]]:
        """(8,), and no levels: it looks for none."""
        return self(volume, clock), {}


def untrained_segmented(recipe: Recipe, profile: Profile) -> SegmentedPredictor:
    """With random weights, as large and as slow as the trained method."""
    assert recipe.segmenter is not None and recipe.vertebra is not None
    part, device = recipe.vertebra, device_name()
    nets = [
        build_vertebra_net(part, profile, "random").to(device).eval() for _ in range(recipe.members)
    ]
    segmenter = Segmenter.untrained(recipe.segmenter, profile)
    return SegmentedPredictor(segmenter, nets, _plain, recipe, profile, _even_map)


def untrained_neck_sequence(profile: Profile) -> NeckSequencePredictor:
    """With random weights, as large and as slow as the trained method."""
    net = build_neck_net(profile, "random").to(device_name()).eval()
    return NeckSequencePredictor(net, lambda z: np.full(8, 1 / (1 + np.exp(-z))), profile)


def _plain(z: FloatArray) -> FloatArray:
    levels = np.nan_to_num(1 / (1 + np.exp(-z.mean(axis=0))), nan=0.1)
    return np.concatenate([overall_noisy_or(levels[None]), levels])


def _even_map(volume: Volume) -> LabelMap:
    """Seven blocks of a vertebra's size down the middle: a place to crop where none is known."""
    z, y, x = volume.shape_zyx
    _, dy, dx = volume.spacing_zyx_mm
    cells = np.zeros((4 * len(LEVELS), 32, 32), dtype=np.uint8)
    high, wide = (max(1, round(27.5 / (n * d) * 32)) for n, d in ((y, dy), (x, dx)))
    rows, columns = (slice(max(16 - n, 0), 16 + n) for n in (high, wide))
    for k in range(len(LEVELS)):
        cells[4 * k : 4 * k + 4, rows, columns] = k + 1
    return LabelMap(cells, (z / len(cells), y / 32, x / 32), z)
