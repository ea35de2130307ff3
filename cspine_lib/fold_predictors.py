"""A fold that ``cspine run`` has trained, as one call: volume → calibrated probabilities.

Every method is applied to a new study in this one way: on the final set, by
``cspine predict`` and on the clock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from cspine_lib.anatomy import TARGETS
from cspine_lib.checkpoint import load_weights
from cspine_lib.config import Profile, device_name, get_profile
from cspine_lib.cost import Clock, Predictor
from cspine_lib.dlc_predictors import load_dlc
from cspine_lib.errors import CspineError
from cspine_lib.fold_neck import load_neck, neck_probabilities
from cspine_lib.fold_task import FloatArray, Validation, settings_digest
from cspine_lib.fold_winners import Verdict, segmenter_folder
from cspine_lib.labels import LevelBox
from cspine_lib.models3d import NeckCNN3D
from cspine_lib.predictors import CubePredictor, SlicePredictor, TwoStagePredictor
from cspine_lib.recipes import Recipe, get_recipe
from cspine_lib.runs import read_json
from cspine_lib.segment import Segmenter
from cspine_lib.slice_method import load_slice_classifier
from cspine_lib.stage1 import load_localisers
from cspine_lib.study_result import Judged
from cspine_lib.two_stage import TwoStageModel
from cspine_lib.vertebra_fit import load_vertebra_net
from cspine_lib.volume import Volume
from cspine_lib.winner_predictors import NeckSequencePredictor, SegmentedPredictor


class FoldModel(Predictor, Protocol):
    """A fold's model: a method that can be timed, and tells the levels that it has found."""

    def judge(self, volume: Volume, clock: Clock) -> tuple[FloatArray, Mapping[str, LevelBox]]:
        """Probabilities (8,), and the levels found on the way to them, which may be none."""
        ...


def fold_predictor(recipe: Recipe, profile: Profile, out: Path, fold: int) -> FoldModel:
    """A finished fold's model.

    Args:
        out: folder of the experiment, as ``cspine run --out`` has it.

    Raises:
        CspineError: the fold lacks a part.
    """
    return _LOADERS[recipe.kind](recipe, profile, out, fold)


@dataclass(frozen=True, eq=False)
class FoldEnsemble:
    """The models of all finished folds of a method, as ``predict.predict_folder`` needs them."""

    members: Sequence[FoldModel]
    prior: dict[str, float]
    """What a study gets of which nothing can be seen."""
    trained_on: str
    identity: str
    about: dict[str, str] = field(default_factory=dict)
    """What a report says of the models."""

    @classmethod
    def load(cls, out: str | Path, method: str) -> FoldEnsemble:
        """The folds that lie in the folder of an experiment.

        Raises:
            CspineError: no such method, no finished fold of it, a fold that lacks a part or was
                trained with settings that the method no longer has.
        """
        try:
            return cls._load(Path(out), method)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CspineError(
                f"a record of {method} in {out} is damaged ({type(error).__name__}: {error}): "
                "run the fold again"
            ) from error

    @classmethod
    def _load(cls, out: Path, method: str) -> FoldEnsemble:
        recipe = get_recipe(method)
        paths = sorted((out / method).glob("fold*.json"))
        notes = {int(path.stem[4:]): read_json(path) for path in paths}
        if not notes:
            raise CspineError(
                f"no finished fold of {method} in {out}: train with 'cspine run --methods {method}'"
            )
        first = next(iter(notes.values()))
        about = first["profile"]
        profile = replace(get_profile(about["name"]), backbone=about["backbone"])
        digest = settings_digest(recipe, profile)
        if any(note.get("settings", digest) != digest for note in notes.values()):
            raise CspineError(
                f"{out / method} was trained with other settings than {method} has today: "
                "use the version of the kit that trained it, or train anew"
            )
        members = [fold_predictor(recipe, profile, out, k) for k in notes]
        rates = {t: float(np.mean([n["rates"][t] for n in notes.values()])) for t in TARGETS}
        content = json.dumps([method, notes], sort_keys=True).encode()
        learned = {uid for note in notes.values() for p in note["parts"] for uid in p["train"]}
        return cls(
            members,
            rates,
            first["data"],
            hashlib.sha256(content).hexdigest()[:16],
            {
                "method": f"{method}: {recipe.title}",
                "models": _how_many(len(members)),
                "profile": profile.name,
                "weights before training": first["weights"],
                "training studies": str(len(learned)),
            },
        )

    def judge_volume(self, volume: Volume) -> tuple[dict[str, float], Mapping[str, LevelBox]]:
        """Probabilities of the eight targets, averaged, and the levels of the first model."""
        said = self.explain(volume)
        return dict(said.probability), said.levels

    def explain(self, volume: Volume) -> Judged:
        """As ``judge_volume``, with the frames of the first model, where it has any."""
        said = [_explained(member, volume) for member in self.members]
        p = {t: float(np.mean([one.probability[t] for one in said])) for t in TARGETS}
        first, n = said[0], len(said)
        remark = f"Levels and slices are those of the first of {n} models."
        return Judged(p, first.levels, first.frames, remark if first.levels and n > 1 else "")


def _how_many(n: int) -> str:
    return "1, of one fold" if n == 1 else f"{n}, one of each fold; probabilities are averaged"


def _explained(member: FoldModel, volume: Volume) -> Judged:
    """What one fold's model says, with its frames if it looks at frames."""
    if isinstance(member, TwoStagePredictor):
        return member.explain(volume, Clock())
    p, levels = member.judge(volume, Clock())
    return Judged(dict(zip(TARGETS, p.tolist(), strict=True)), levels)


def _cube(recipe: Recipe, profile: Profile, out: Path, fold: int) -> FoldModel:
    folder = out / recipe.name / f"fold{fold}"
    judged, net = Validation.read(folder), NeckCNN3D()
    load_weights(net, folder / "cnn3d")
    localisers = []
    if recipe.cube == "spine":
        stage1 = out / "shared" / f"fold{fold}" / "stage1"
        parts = range(recipe.localiser.parts)
        localisers = load_localisers([stage1 / f"localiser-{i}" for i in parts], profile)
    return CubePredictor(net.to(device_name()).eval(), recipe, profile, judged, localisers)


def _slices(recipe: Recipe, profile: Profile, out: Path, fold: int) -> FoldModel:
    assert recipe.slices is not None
    folder = out / recipe.name / f"fold{fold}"
    net = load_slice_classifier(folder / "classifier", profile, recipe.slices.heads)
    return SlicePredictor(net, recipe, profile, Validation.read(folder))


def _segmented(recipe: Recipe, profile: Profile, out: Path, fold: int) -> FoldModel:
    assert recipe.segmenter is not None and recipe.vertebra is not None
    folder, part = out / recipe.name / f"fold{fold}", recipe.vertebra
    where = segmenter_folder(out / "shared" / f"fold{fold}", recipe)
    segmenter = Segmenter.load(recipe.segmenter, profile, where)
    members = range(recipe.members)
    nets = [load_vertebra_net(part, profile, folder / f"member{i}") for i in members]
    return SegmentedPredictor(segmenter, nets, Verdict.read(folder), recipe, profile)


def _neck_sequence(recipe: Recipe, profile: Profile, out: Path, fold: int) -> FoldModel:
    net, judged, share = load_neck(profile, out / recipe.name / f"fold{fold}")
    return NeckSequencePredictor(
        net, lambda z: neck_probabilities(np.array([[z]]), judged, share)[0], profile
    )


def _two_stage(recipe: Recipe, profile: Profile, out: Path, fold: int) -> FoldModel:
    return TwoStagePredictor(TwoStageModel.load(out / recipe.name / f"fold{fold}" / "two_stage"))


_LOADERS: dict[str, Callable[[Recipe, Profile, Path, int], FoldModel]] = {
    "cnn3d": _cube,
    "dlc": load_dlc,
    "slices": _slices,
    "two_stage": _two_stage,
    "segmented": _segmented,
    "neck_sequence": _neck_sequence,
}
"""Kind of a recipe → how its folds are loaded."""
