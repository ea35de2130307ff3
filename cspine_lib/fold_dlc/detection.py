"""Deck A's detection network, trained again on slices that it has labelled itself.

It starts as the network of the pseudo-labels (``visibility``): trained on the slices of the
masked studies, whose masks say which levels a slice shows.  It labels the training studies
without a mask; slices that it is sure of join the masked ones, and it is trained again.  No
held-out study is looked at, and nothing but masks and the network's own words is learned
from: fracture labels play no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import ConcatDataset, Dataset

from cspine_lib.augment import SliceTransform
from cspine_lib.batches import set_seed
from cspine_lib.cache import VolumeCache
from cspine_lib.datasets import SliceDataset, training_slices
from cspine_lib.dlc_predictors import DlcFolder, load_detector
from cspine_lib.engine import FitSettings, fit
from cspine_lib.fold_task import FoldTask
from cspine_lib.jobs import save_json
from cspine_lib.models import bce
from cspine_lib.runs import Part, read_json
from cspine_lib.slices import neighbour_step, stack_25d
from cspine_lib.stage1 import VIEWS
from cspine_lib.visibility import pseudo_labels

FloatArray = npt.NDArray[np.floating]
Tables = Mapping[str, FloatArray]
"""Study → (Z, 7), how surely each native slice shows each level."""


class ConfidentSlices(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Slices of studies without a mask that the network is sure of, with its words as truth.

    Items are as ``datasets.SliceDataset`` gives them, without a box.

    Args:
        said: per study (Z, 7).
        confident: a slice is taken if each level's probability is at least so near to 0 or 1.
        per_level: slices of each level, and of none.

    Attributes:
        share: of all slices looked at, those that were sure.
    """

    def __init__(
        self,
        cache: VolumeCache,
        ids: Sequence[str],
        said: Tables,
        confident: float,
        per_level: int,
    ) -> None:
        self.cache = cache
        self.rows: list[tuple[str, int]] = []
        self._step: dict[str, int] = {}
        levels, sure_slices, all_slices = [], 0, 0
        for uid in ids:
            z_index = cache.z_index(uid)
            table = said[uid][z_index]
            sure = np.flatnonzero((np.maximum(table, 1 - table) >= confident).all(axis=1))
            sure_slices, all_slices = sure_slices + len(sure), all_slices + len(table)
            if not len(sure):
                continue
            chosen = sure[training_slices(table[sure] >= 0.5, per_level)]
            self.rows += [(uid, int(i)) for i in chosen]
            levels.append(table[chosen] >= 0.5)
            self._step[uid] = neighbour_step(z_index, cache.spacing_zyx_mm(uid)[0])
        self.share = sure_slices / max(all_slices, 1)
        joined = np.concatenate(levels) if levels else np.zeros((0, 7))
        self._levels = torch.from_numpy(joined.astype(np.float32))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        uid, position = self.rows[i]
        image = stack_25d(self.cache.slices(uid), position, self._step[uid])
        target = {
            "levels": self._levels[i],
            "box": torch.zeros(4),
            "has_box": torch.tensor(0.0),
        }
        return torch.from_numpy(image), target


def iterate_detection(
    task: FoldTask, said: Tables, labelled: Part
) -> tuple[dict[str, FloatArray], list[Part]]:
    """All rounds of a fold; resumes.

    Args:
        said: what the first network says of the training studies.
        labelled: whom that network was trained and stopped on.

    Returns:
        Per training study what the last network says (Z, 7), and all networks as parts.
    """
    where = DlcFolder(task.folder, task.shared)
    found = {uid: said[uid] for uid in task.train}
    parts = [labelled]
    for r in range(1, task.profile.dlc_rounds + 1):
        found, part = _one_round(task, where, r, found, parts[-1])
        parts.append(part)
    return found, parts


def _one_round(
    task: FoldTask, where: DlcFolder, r: int, before: Tables, last: Part
) -> tuple[dict[str, FloatArray], Part]:
    """Extend, train again, label again."""
    profile, cache, masked = task.profile, task.cache, set(task.cache.masked_ids)
    teachers = [uid for uid in last.train if uid in masked]
    others = [uid for uid in task.train if uid not in masked]
    sure = ConfidentSlices(
        cache, others, before, profile.dlc_confident, profile.dlc_detector_per_level
    )
    own = SliceDataset(cache, teachers, profile.dlc_detector_per_level)
    set_seed(task.seed, 2000 + r)
    model = load_detector(where.detector(r - 1), profile)
    result = fit(
        model,
        ConcatDataset([own, sure]) if len(sure) else own,
        SliceDataset(cache, last.val, profile.slices_per_level),
        loss=_loss,
        settings=FitSettings(
            epochs=profile.dlc_detector_epochs,
            batch_size=profile.localiser_batch,
            lr=profile.dlc_detector_lr,
            seed=task.seed + r,
        ),
        out_dir=where.detector(r),
        batch_transform=SliceTransform(VIEWS),
        evaluate=_scores,
        fingerprint={"round": r, "train": teachers, "extended": others, "val": list(last.val)},
        progress=task.progress,
        label=f"detection again, fold {task.fold}",
    )
    net = load_detector(where.detector(r), profile)
    folder = where.shared / f"detector{r}_labels"
    after = pseudo_labels([net], cache, task.train, folder, profile.localiser_pitch_mm)
    report = {
        "round": r,
        "extended_studies": len({uid for uid, _ in sure.rows}),
        "extended_slices": len(sure),
        "masked_slices": len(own),
        "confident_share": round(sure.share, 4),
        "changed_share": round(changed_share(before, after, others), 5),
        "masks": {
            "studies": len(last.val),
            "before": agreement(cache, before, last.val),
            "after": agreement(cache, after, last.val),
        },
    }
    save_json(_report(where.shared, r), report)
    return after, Part(
        f"detector{r}/fold{task.fold}",
        [*teachers, *others],
        list(last.val),
        uses=[last.name],
        kind="pseudo_labels",
        fold=task.fold,
        weights=last.weights,
        seconds=result.seconds,
    )


def _loss(logits: Tensor, target: dict[str, Tensor]) -> Tensor:
    return bce(logits, target["levels"])


def _scores(logits: npt.NDArray[Any], target: dict[str, npt.NDArray[Any]]) -> dict[str, float]:
    return {"val_accuracy": float(((logits > 0) == (target["levels"] > 0.5)).mean())}


# --- what a round has changed --------------------------------------------------------------------


def changed_share(before: Tables, after: Tables, ids: Sequence[str]) -> float:
    """Share of all answers "shows it" or "does not" that are another one now; NaN for no study."""
    flips = [((before[uid] >= 0.5) != (after[uid] >= 0.5)).ravel() for uid in ids]
    return float(np.concatenate(flips).mean()) if flips else float("nan")


def agreement(cache: VolumeCache, said: Tables, ids: Sequence[str]) -> dict[str, float]:
    """Accuracy and mean log loss (nats per slice and level) against masks of studies."""
    truth = np.concatenate([cache.visible_levels(uid) for uid in ids]).astype(np.float64)
    p = np.clip(np.concatenate([said[uid] for uid in ids]), 1e-6, 1 - 1e-6)
    loss = functional.binary_cross_entropy(torch.from_numpy(p), torch.from_numpy(truth))
    return {
        "accuracy": round(float(((p >= 0.5) == (truth > 0)).mean()), 5),
        "log_loss": round(float(loss), 5),
    }


def _report(shared: Path, r: int) -> Path:
    return shared / f"detector{r}_report.json"


def read_reports(shared: Path) -> list[dict[str, Any]]:
    """What each round of a fold has changed, in order; empty before the first."""
    found = [read_json(path) for path in shared.glob("detector*_report.json")]
    return sorted(found, key=lambda one: int(one["round"]))
