"""What the networks of a cross-fitted fold say, each by itself: the chapter on our own system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.context_rules import Rules, fit_rules
from cspine_lib.errors import CspineError
from cspine_lib.fold_task import FloatArray, FoldTask
from cspine_lib.fold_winners import Verdict, judged, member_parts, segmented_crops
from cspine_lib.runs import atomic_path
from cspine_lib.stage2 import calibration, training_rates
from cspine_lib.vertebra_crops import VertebraStore
from cspine_lib.vertebra_fit import load_vertebra_net, store_logits
from cspine_lib.vertebra_net import VertebraNet

FILE = "members.npz"


@dataclass(frozen=True, eq=False)
class Members:
    """Logits of a fold's networks, NaN for levels that were not found.

    Attributes:
        ids: the fold's training studies that a network was trained without.
        y: (N, 7) their labels.
        unseen: (N, 7), of each by the network that was not trained on it.
        seen: (N, 7), of each by the next network, whose training it was part of.
        test: (members, M, 7), of the held-out studies.
        plain: the same without the mirror image.
    """

    ids: list[str]
    y: npt.NDArray[np.int64]
    unseen: FloatArray
    seen: FloatArray
    test: FloatArray
    plain: FloatArray

    def rules(self, seed: int, *, leaky: bool = False) -> Rules:
        """Rules learned as the method learns them, or from what was said of seen studies."""
        return fit_rules(self.seen if leaky else self.unseen, self.y, seed)


def members_of(task: FoldTask) -> Members:
    """Logits of a trained fold, computed once and kept beside its weights.

    Raises:
        CspineError: the fold is not trained, or has one network only.
    """
    count = task.recipe.members
    if count < 2:
        raise CspineError(
            f"{task.recipe.name} has one network a fold: only cross-fitted ones are compared here"
        )
    ids, labels = left_out(task)[0], task.labels
    y = np.stack([labels[uid] for uid in ids])
    path = task.folder / FILE
    if not path.exists():
        said = _said(task)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **said)
    with np.load(path, allow_pickle=False) as kept:
        return Members(ids, y, **{name: kept[name] for name in ("unseen", "seen", "test", "plain")})


def left_out(task: FoldTask) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Training studies that a network was trained without, and (N,) which one.

    Network by network, as the fold's own rules had them: their order decides how the rules
    are cross-fitted.
    """
    part_of = member_parts(task)
    order = np.argsort(part_of, kind="stable")
    judged = order[part_of[order] < task.recipe.members]
    return [task.train[i] for i in judged], part_of[judged]


def _said(task: FoldTask) -> dict[str, Any]:
    assert task.recipe.vertebra is not None
    _, store = segmented_crops(replace(task, progress=False))  # all cut already
    count, (ids, stranger) = task.recipe.members, left_out(task)
    nets = [
        load_vertebra_net(task.recipe.vertebra, task.profile, task.folder / f"member{i}")
        for i in range(count)
    ]
    return {
        "unseen": _each(nets, store, ids, stranger),
        "seen": _each(nets, store, ids, (stranger + 1) % count),
        "test": np.stack([store_logits(net, store, task.test) for net in nets]),
        "plain": np.stack([store_logits(net, store, task.test, mirror=False) for net in nets]),
    }


def _each(
    nets: Sequence[VertebraNet],
    store: VertebraStore,
    ids: Sequence[str],
    by: npt.NDArray[np.int64],
) -> FloatArray:
    """Logits (N, 7), of each study by one of the networks."""
    rows = [store_logits(nets[m], store, [uid])[0] for uid, m in zip(ids, by, strict=True)]
    return np.stack(rows)


def plain_verdict(task: FoldTask, members: Members) -> Verdict:
    """No rules: Platt's scale and bias on the same unseen logits, and the noisy-or."""
    platt = calibration(np.asarray(members.unseen, dtype=np.float64), members.ids, task.labels)
    rates = training_rates(task.labels, task.train)
    top_n = task.recipe.overall_top_n
    return Verdict(rates, platt["scale"], platt["bias"], top_n=top_n)


def pieces(task: FoldTask, members: Members) -> dict[str, tuple[FloatArray, int]]:
    """The system with pieces taken away: name → held-out probabilities (M, 8), and how often a
    network looks at a study (networks times views)."""
    rules = members.rules(task.seed)
    whole = Verdict({}, rules=rules)
    count = len(members.test)
    out = {f"all {count} networks, rules": (judged(whole, list(members.test)), 2 * count)}
    for n in range(count - 1, 0, -1):
        name = "1 network" if n == 1 else f"{n} networks"
        out[f"{name}, rules"] = (judged(whole, list(members.test[:n])), 2 * n)
    out[f"all {count}, no mirror image"] = (judged(whole, list(members.plain)), count)
    plain = plain_verdict(task, members)
    out[f"all {count}, no rules: Platt, noisy-or"] = (judged(plain, list(members.test)), 2 * count)
    return out


def rule_weights(rules: Rules) -> dict[str, dict[str, float]]:
    """Weights of the standardised features, and the penalty's inverse strength."""
    names = {
        "levels": ("own logit", "higher neighbour", "highest other", "the level's rate"),
        "neck": ("noisy-or", "highest level", "second highest"),
    }
    out = {}
    for rule, features in names.items():
        content = asdict(getattr(rules, rule))
        row = dict(zip(features, content["weight"], strict=True))
        out[rule] = row | {"bias": content["bias"], "strength": content["strength"]}
    return out
