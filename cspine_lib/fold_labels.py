"""Pseudo-labels of all outer folds, the deck's mean of them, and what having seen a mask does.

For outer fold k every label, of training and held-out studies alike, comes from the
visibility model that has not seen fold k: n passes over all studies.  The deck makes one
label per study, the mean of what all n models say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.config import DEFAULT_SEED, Profile
from cspine_lib.experiment import cv_folder, fold_task
from cspine_lib.fold_methods import FoldTask, fold_pseudo_labels
from cspine_lib.label_scores import in_words, mean_ci, study_accuracy, study_loss
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import Part

FloatArray = npt.NDArray[np.floating]
Truth = Mapping[str, npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class FoldLabels:
    """Pseudo-labels of every study, from the model that has not seen one outer fold.

    Attributes:
        task: the fold; ``task.test`` are its studies.
        labels: study → (Z, 7).
        part: whom the model was trained and stopped on.
    """

    task: FoldTask
    labels: dict[str, FloatArray]
    part: Part

    @property
    def known(self) -> set[str]:
        """Studies whose masks the model has met, in training or for its stop."""
        return {*self.part.train, *self.part.val}


def labels_of_folds(
    dataset: RsnaDataset,
    profile: Profile,
    out: Path | None = None,
    *,
    method: str = "multi_head",
    seed: int = DEFAULT_SEED,
    progress: bool = True,
) -> list[FoldLabels]:
    """The n passes: for each outer fold all labels from a model that has not seen it.

    What ``cspine run`` has made of them is found, the rest is made and found by it later.
    """
    out = out or cv_folder(dataset, profile)
    found = []
    for k in range(profile.folds):
        task = fold_task(method, dataset, profile, k, out, seed=seed, progress=progress)
        found.append(FoldLabels(task, *fold_pseudo_labels(task)))
    return found


def deck_average(found: Sequence[FoldLabels]) -> dict[str, FloatArray]:
    """The deck's labels: for every study the mean of what all models say of it."""
    return {uid: np.mean([one.labels[uid] for one in found], axis=0) for uid in found[0].labels}


def average_parts(found: Sequence[FoldLabels]) -> list[Part]:
    """The models and their mean, as a record has to name them."""
    models = [one.part for one in found]
    mean = Part(
        "visibility/average", train=[], uses=[part.name for part in models], kind="pseudo_labels"
    )
    return [*models, mean]


# --- what it does to a label that its model has seen the mask -----------------------------------

SOURCES = {
    "honest": "the model that has not seen the fold",
    "one other": "one of the other models (mean over them)",
    "deck": "the deck's mean of all models",
}
"""Whose label of a study; of a masked study every other model has seen the mask."""


def label_effect(found: Sequence[FoldLabels], truth: Truth) -> pd.DataFrame:
    """Each study whose levels are known, labelled by each of ``SOURCES``: one row per both.

    A study without a mask has taught none of the models: there the deck's mean is an
    ensemble and nothing else.  On a masked study it is an ensemble that has seen the answer.

    Returns:
        Columns ``study``, ``fold``, ``masked`` (whether the other models have met its mask),
        ``source``, ``loss`` (nats per slice and level), ``accuracy``.
    """
    mean, n = deck_average(found), len(found)
    rows = []
    for k, one in enumerate(found):
        others = [found[(k + step) % n] for step in range(1, n)]
        labels = {"honest": [one.labels], "one other": [o.labels for o in others], "deck": [mean]}
        ids = [uid for uid in one.task.test if uid in truth]
        for source, tables in labels.items():
            if not ids or not tables:
                continue
            loss = np.mean([study_loss(truth, table, ids) for table in tables], axis=0)
            accuracy = np.mean([study_accuracy(truth, table, ids) for table in tables], axis=0)
            for uid, x, a in zip(ids, loss, accuracy, strict=True):
                masked = any(uid in other.known for other in others)
                rows.append((uid, k, masked, source, x, a))
    return pd.DataFrame(rows, columns=["study", "fold", "masked", "source", "loss", "accuracy"])


def effect_table(effect: pd.DataFrame) -> pd.DataFrame:
    """``label_effect`` in words: means over studies, paired differences, 95% intervals."""
    rows = []
    for masked in (True, False):
        group = effect[effect["masked"] == masked]
        wide = group.pivot(index="study", columns="source", values=["loss", "accuracy"])
        for source in [name for name in SOURCES if len(wide)]:
            loss, accuracy = wide["loss"][source], wide["accuracy"][source]
            less = mean_ci(loss - wide["loss"]["honest"])
            rows.append(
                {
                    "held-out studies": f"{len(wide)} {'with' if masked else 'without'} a mask",
                    "labelled by": SOURCES[source],
                    "log loss [95%]": in_words(mean_ci(loss)),
                    "minus honest [95%]": "0" if source == "honest" else in_words(less),
                    "accuracy [95%]": in_words(mean_ci(accuracy)),
                }
            )
    return pd.DataFrame(rows).set_index(["held-out studies", "labelled by"])


def deck_gain(effect: pd.DataFrame, masked: bool) -> pd.Series:
    """Loss of the deck's labels minus that of the honest ones, study by study."""
    wide = effect[effect["masked"] == masked].pivot(index="study", columns="source", values="loss")
    return wide["deck"] - wide["honest"] if len(wide) else pd.Series(dtype=float)
