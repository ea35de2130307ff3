"""Deck A's methods as calls that can be timed: volume → eight probabilities, steps on a clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.augment import to_float
from cspine_lib.config import Profile, device_name
from cspine_lib.cost import Clock
from cspine_lib.dlc_forests import PARTS, ForestChain, train_chain
from cspine_lib.dlc_method import build_dlc_net, level_logits, load_dlc_net, study_outputs
from cspine_lib.dlc_slices import OneStudy, Outputs
from cspine_lib.errors import CspineError
from cspine_lib.fold_task import Validation, calibrated
from cspine_lib.labels import LevelBox
from cspine_lib.metrics import overall_noisy_or
from cspine_lib.recipes import DlcRecipe, Recipe
from cspine_lib.slice_models import SliceClassifier, VisibilityNet
from cspine_lib.slices import low_stack, neighbour_step, stack_25d
from cspine_lib.volume import Volume
from cspine_lib.weights import create_encoder

FloatArray = npt.NDArray[np.floating]
BATCH = 64


@dataclass(frozen=True)
class DlcFolder:
    """Where a fold keeps the parts of deck A's methods.

    Args:
        own: of the method and fold.
        shared: of the fold.
    """

    own: Path
    shared: Path

    @classmethod
    def of(cls, out: Path, method: str, fold: int) -> DlcFolder:
        """In the folder of an experiment."""
        return cls(out / method / f"fold{fold}", out / "shared" / f"fold{fold}")

    def detector(self, rounds: int) -> Path:
        """The detection network after so many iterations; its start is the pseudo-labels' net."""
        return self.shared / (f"detector{rounds}" if rounds else "visibility")

    def net(self, i: int, located: bool) -> Path:
        """A network of an ensemble; single classifiers serve two methods."""
        return self.own / f"net{i}" if located else self.shared / "single" / f"net{i}"

    @property
    def forests(self) -> Path:
        """The forests' arrays."""
        return self.own / "forests.npz"


def members(recipe: DlcRecipe, profile: Profile) -> int:
    """Networks that a method asks: forests stand on the first single classifier alone."""
    return 1 if recipe.forests else profile.dlc_nets


def dlc_probabilities(z: FloatArray, judged: Validation) -> FloatArray:
    """Levels' logits (N, 7) → calibrated probabilities (N, 8), the neck's by noisy-or."""
    levels = calibrated(z, judged.z, judged.y)
    return np.column_stack([overall_noisy_or(levels), levels])


@torch.inference_mode()
def seen_levels(
    net: VisibilityNet, volume: Volume, profile: Profile, z: npt.NDArray[np.int64]
) -> FloatArray:
    """What the detection network says (K, 7) of native slices ``z`` of a volume.

    As ``visibility.visible_probability`` of a cached study: looked at every
    ``localiser_pitch_mm``, interpolated between.
    """
    pitch = None if profile.cache == "volume" else profile.localiser_pitch_mm
    stack, z_all = low_stack(volume, profile.localiser_px, pitch)
    dz = volume.spacing_zyx_mm[0]
    between = float(z_all[1] - z_all[0]) * dz if len(z_all) > 1 else dz
    step = max(1, int(profile.localiser_pitch_mm / between + 1e-6))
    at = np.arange(0, len(z_all), step)
    device = next(net.parameters()).device
    images = stack_25d(stack, at, neighbour_step(z_all, dz))
    parts = []
    for start in range(0, len(at), BATCH):
        batch = to_float(torch.from_numpy(images[start : start + BATCH]).to(device))
        parts.append(net(batch).sigmoid().float().cpu())
    seen = torch.cat(parts).double().numpy()
    return np.stack([np.interp(z, z_all[at], seen[:, k]) for k in range(N_LEVELS)], axis=1)


@dataclass(frozen=True, eq=False)
class DlcPredictor:
    """The localised classifier, the single one, or the single one with forests.

    Args:
        judged: what the probabilities are calibrated on; None: they are the networks' own.
        detector, chain: of the forests.
    """

    nets: Sequence[SliceClassifier]
    recipe: DlcRecipe
    profile: Profile
    judged: Validation | None = None
    detector: VisibilityNet | None = None
    chain: ForestChain | None = None

    def __call__(self, volume: Volume, clock: Clock) -> FloatArray:
        """(8,) in the order of ``anatomy.TARGETS``."""
        with clock.step("crop"):
            study = OneStudy.of_volume(volume, self.profile)
        with clock.step("classify"):
            out = study_outputs(self.nets, study, self.profile)
        if self.chain is not None and self.detector is not None:
            with clock.step("localise"):
                seen = seen_levels(self.detector, volume, self.profile, out.z)
            with clock.step("classify"):
                logits = self.chain.logits(out, seen)
        else:
            logits = level_logits(out.fracture, out.visible if self.recipe.located else None)
        if self.judged is not None:
            return dlc_probabilities(logits[None], self.judged)[0]
        levels = 1 / (1 + np.exp(-logits))
        return np.concatenate([[overall_noisy_or(levels)], levels])

    def judge(self, volume: Volume, clock: Clock) -> tuple[FloatArray, Mapping[str, LevelBox]]:
        """(8,), and no levels: it knows them by slice, without a box."""
        return self(volume, clock), {}


def load_detector(folder: Path, profile: Profile) -> VisibilityNet:
    """A trained detection network, ready to predict."""
    from cspine_lib.checkpoint import load_weights

    net = VisibilityNet(create_encoder(profile.backbone, "random"))
    load_weights(net, folder)
    return net.to(device_name()).eval()


def load_dlc(recipe: Recipe, profile: Profile, out: Path, fold: int) -> DlcPredictor:
    """A finished fold of one of deck A's methods.

    Raises:
        CspineError: the fold lacks a part.
    """
    if recipe.dlc is None:
        raise CspineError(f"{recipe.name} is none of deck A's methods")
    where, dlc = DlcFolder.of(out, recipe.name, fold), recipe.dlc
    nets = [load_dlc_net(where.net(i, dlc.located), profile) for i in range(members(dlc, profile))]
    judged = Validation.read(where.own)
    if not dlc.forests:
        return DlcPredictor(nets, dlc, profile, judged)
    detector = load_detector(where.detector(profile.dlc_rounds), profile)
    return DlcPredictor(nets, dlc, profile, judged, detector, ForestChain.load(where.forests))


def untrained_dlc(recipe: DlcRecipe, profile: Profile) -> DlcPredictor:
    """A method with random weights, and forests grown on random numbers."""
    device = device_name()
    nets = [
        build_dlc_net(profile, "random").to(device).eval() for _ in range(members(recipe, profile))
    ]
    if not recipe.forests:
        return DlcPredictor(nets, recipe, profile)
    detector = VisibilityNet(create_encoder(profile.backbone, "random")).to(device).eval()
    chain = _random_chain(nets[0].encoder.out_features, profile)
    return DlcPredictor(nets, recipe, profile, None, detector, chain)


def _random_chain(width: int, profile: Profile) -> ForestChain:
    """Forests as large as trained ones are at most, of noise."""
    rng, n = np.random.default_rng(0), 24
    ids = [str(i) for i in range(4 * PARTS)]
    made = {}
    for uid in ids:
        visible, fracture = rng.uniform(0.05, 0.95, (2, n, N_LEVELS))
        features = rng.normal(size=(n, width))
        made[uid] = Outputs(np.arange(n), visible, fracture, features)
    labels = {uid: rng.integers(0, 2, N_LEVELS) for uid in ids}
    seen = {uid: out.visible for uid, out in made.items()}
    return train_chain(made, seen, labels, ids, profile, seed=0)[0]
