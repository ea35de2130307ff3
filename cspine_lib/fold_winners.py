"""The challenge's winners on one outer fold: U-Net, crops of vertebrae, sequence nets.

``members`` of a recipe is how many sequence nets a fold has.  One is trained and calibrated
as any other method is.  Several are cross-fitted: each is trained without a part of the
fold's training studies and says what it thinks of that part, and from what all say of
studies that they have not seen the rules for levels in context and for the neck are learned.
There may be more ``parts`` than networks: all networks learn from the rest of them.
The fold's own held-out studies reach none of this.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import LEVELS, N_LEVELS, TARGETS
from cspine_lib.context_rules import Rules, fit_rules
from cspine_lib.engine import FitResult
from cspine_lib.errors import CspineError
from cspine_lib.fold_task import (
    VALIDATION_SHARE,
    FloatArray,
    FoldResult,
    FoldTask,
    calibration_part,
)
from cspine_lib.jobs import save_json
from cspine_lib.ranks import is_main
from cspine_lib.recipes import Recipe
from cspine_lib.runs import Part, read_json
from cspine_lib.segment import Segmenter, train_segmenter
from cspine_lib.splits import inner_split, patient_folds
from cspine_lib.stage2 import calibration, training_rates
from cspine_lib.two_stage import probabilities
from cspine_lib.vertebra_crops import VertebraStore, build_vertebrae
from cspine_lib.vertebra_fit import store_logits, train_vertebra_net, view_of

VERDICT = "verdict.json"
FEWEST_MASKED = 3
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Verdict:
    """How logits of a study become probabilities.

    Args:
        rates: training rate of each level, for those that are not found.
        scale, bias: Platt's, of one network; or
        rules: learned ones, of several.
        top_n: of the noisy-or, where there are no rules.
    """

    rates: dict[str, float]
    scale: float = 1.0
    bias: float = 0.0
    rules: Rules | None = None
    top_n: int = N_LEVELS

    def __call__(self, logits: FloatArray) -> FloatArray:
        """Logits of one study (members, 7), NaN for levels not found → (8,)."""
        z = np.asarray(logits, float).mean(axis=0)
        if self.rules is not None:
            return self.rules(z[None])[0]
        said = probabilities(z, self.scale, self.bias, self.rates, self.top_n)
        return np.array([said[target] for target in TARGETS])

    def write(self, folder: Path) -> None:
        """Keep it beside the fold's weights."""
        content: dict[str, Any] = {"rates": self.rates, "scale": self.scale, "bias": self.bias}
        content |= {"top_n": self.top_n, "rules": self.rules and self.rules.to_dict()}
        save_json(folder / VERDICT, content)

    @classmethod
    def read(cls, folder: Path) -> Verdict:
        """What :meth:`write` has kept.

        Raises:
            CspineError: there is none.
        """
        content = read_json(folder / VERDICT)
        rules = content.pop("rules")
        return cls(**content, rules=rules and Rules.from_dict(rules))


def segmenter_folder(shared: Path, recipe: Recipe) -> Path:
    """Where the U-Net of a fold lies: methods with the same one share it."""
    assert recipe.segmenter is not None
    return shared / f"segmenter{recipe.segmenter.dims}d"


def segmented(task: FoldTask) -> FoldResult:
    """A winner's method on one fold (chapters 13 and 14).

    Raises:
        CspineError: too few masked studies outside the fold.
    """
    return segmented_from(task, *segmented_crops(task))


def segmented_from(task: FoldTask, before: Part, store: VertebraStore) -> FoldResult:
    """The same from given crops.

    Args:
        before: the part that they come from.
    """
    if task.recipe.members > 1:
        return _cross_fitted(task, before, store)
    train, val = task.inner()
    net, fitted = _train(task, store, train, val, 0)
    if not is_main():
        return FoldResult.of_the_first()
    labels = task.labels
    platt = calibration(store_logits(net, store, val), val, labels)
    rates, top_n = training_rates(labels, train), task.recipe.overall_top_n
    verdict = Verdict(rates, platt["scale"], platt["bias"], top_n=top_n)
    verdict.write(task.folder)
    name = f"{task.recipe.name}/fold{task.fold}"
    own = _part(task, name, train, val, before, net.encoder.weights_kind, fitted)
    return FoldResult(
        judged(verdict, [store_logits(net, store, task.test)]),
        [before, own, calibration_part(task, val, [name])],
        net.encoder.weights_kind,
        before.seconds + fitted.seconds,
    )


def segmented_crops(task: FoldTask) -> tuple[Part, VertebraStore]:
    """Crops of all studies of a fold, from a U-Net that has not seen the held-out ones.

    Raises:
        CspineError: too few masked studies outside the fold.
    """
    recipe, folder = task.recipe, segmenter_folder(task.shared, task.recipe)
    assert recipe.segmenter is not None and recipe.vertebra is not None
    masked = set(task.cache.masked_ids)
    ids = [uid for uid in task.train if uid in masked]
    if len(ids) < FEWEST_MASKED:
        raise CspineError(
            f"a U-Net needs masks of at least {FEWEST_MASKED} training studies, found {len(ids)}: "
            "add segmentations, or make a phantom with more (--masked)"
        )
    train, val = inner_split(ids, np.ones((len(ids), 1)), VALIDATION_SHARE, task.seed)
    result = train_segmenter(
        recipe.segmenter,
        task.cache,
        task.dataset,
        train,
        val,
        task.profile,
        folder,
        cubes_in=task.shared.parent,
        seed=task.seed,
        progress=task.progress,
        label=f"{recipe.segmenter.dims}D U-Net, fold {task.fold}",
    )
    view = view_of(recipe.vertebra, task.profile)
    net = Segmenter.load(recipe.segmenter, task.profile, folder)
    store = build_vertebrae(
        task.volume,
        net.segment,
        [*task.train, *task.test],
        task.shared / f"vertebrae-{recipe.segmenter.dims}d-{view.digest[:8]}",
        view,
        by=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        progress=task.progress,
    )
    name = f"segmenter{recipe.segmenter.dims}d/fold{task.fold}"
    weights = "random" if recipe.segmenter.dims == 3 else _weights_of(task)
    part = Part(name, train, val, fold=task.fold, weights=weights, seconds=result.seconds)
    return part, store


def _weights_of(task: FoldTask) -> str:
    """Kind of weights that the profile's backbone starts from."""
    from cspine_lib.weights import has_imagenet

    return "imagenet" if has_imagenet(task.profile.backbone) else "random"


def _train(
    task: FoldTask, store: VertebraStore, train: list[str], val: list[str], member: int
) -> tuple[Any, FitResult]:
    assert task.recipe.vertebra is not None
    return train_vertebra_net(
        store,
        task.labels,
        train,
        val,
        task.recipe.vertebra,
        task.profile,
        task.folder / f"member{member}",
        seed=task.seed + member,
        progress=task.progress,
        label=f"{task.recipe.name}, fold {task.fold}, net {member + 1}/{task.recipe.members}",
    )


def _part(
    task: FoldTask,
    name: str,
    train: list[str],
    val: list[str],
    before: Part,
    weights: str,
    fitted: FitResult,
) -> Part:
    return Part(
        name,
        train,
        val,
        uses=[before.name],
        fold=task.fold,
        weights=weights,
        seconds=fitted.seconds,
    )


def member_parts(task: FoldTask) -> npt.NDArray[np.int64]:
    """Part of each training study, (len(task.train),).

    Member m is trained without part m; parts from ``recipe.members`` on teach all of them.
    """
    labels, parts = task.labels8, task.recipe.parts_among(len(task.train))
    return patient_folds(task.train, [labels[uid] for uid in task.train], parts, task.seed)


def _kept_back(task: FoldTask, ids: list[str]) -> tuple[list[str], list[str]]:
    """Studies that a member learns from, and those that choose its epoch, if any do."""
    if not task.recipe.early_stop:
        return ids, []
    rows = [task.labels8[uid] for uid in ids]
    return inner_split(ids, rows, VALIDATION_SHARE, task.seed)


def _cross_fitted(task: FoldTask, before: Part, store: VertebraStore) -> FoldResult:
    part_of, labels = member_parts(task), task.labels
    unseen, taught = [], []  # of the parts that are left out, one after the other
    said, parts, weights = [], [before], "random"
    for member in range(task.recipe.members):
        left_out = [uid for uid, own in zip(task.train, part_of, strict=True) if own == member]
        rest = [uid for uid, own in zip(task.train, part_of, strict=True) if own != member]
        train, val = _kept_back(task, rest)
        net, fitted = _train(task, store, train, val, member)
        unseen.append(store_logits(net, store, left_out))
        taught += left_out
        said.append(store_logits(net, store, task.test))
        weights = net.encoder.weights_kind
        name = f"{task.recipe.name}/member{member}/fold{task.fold}"
        parts.append(_part(task, name, train, val, before, weights, fitted))
    if not is_main():
        return FoldResult.of_the_first()
    rules = fit_rules(np.concatenate(unseen), np.stack([labels[u] for u in taught]), task.seed)
    verdict = Verdict(dict(zip(LEVELS, rules.rates, strict=True)), rules=rules)
    verdict.write(task.folder)
    names = [part.name for part in parts[1:]]
    last = replace(calibration_part(task, taught, names), name=f"rules/fold{task.fold}")
    seconds = sum(part.seconds for part in parts)
    return FoldResult(judged(verdict, said), [*parts, last], weights, seconds)


def judged(verdict: Verdict, logits: list[npt.NDArray[np.float64]]) -> FloatArray:
    """What each member says of N studies, (N, 7) each → (N, 8)."""
    return np.stack([verdict(study) for study in np.stack(logits, axis=1)])
