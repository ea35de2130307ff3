"""One outer fold of a method, trained live in a notebook, or found where it was trained before.

The folder is that of ``cspine run``: a fold that a notebook has trained is not trained again
by the five-fold run, and the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import TARGETS
from cspine_lib.config import DEFAULT_SEED, Profile
from cspine_lib.experiment import cv_folder, fold_task, run_method
from cspine_lib.fold_methods import FoldTask
from cspine_lib.results import read_predictions
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import Part, read_json


@dataclass(frozen=True)
class LiveFold:
    """A trained fold and what it said of its held-out studies.

    Attributes:
        task: recipe, profile, data, cache, and which studies are whose.
        ids: the held-out studies.
        y, p: (N, 8), labels and probabilities, in the order of ``anatomy.TARGETS``.
        parts: who was trained on what.
        seconds: that training took, when it was done.
    """

    task: FoldTask
    ids: list[str]
    y: npt.NDArray[np.int64]
    p: npt.NDArray[np.float64]
    parts: list[Part]
    seconds: float

    def part(self, start: str) -> Part:
        """The part whose name begins so."""
        return next(part for part in self.parts if part.name.startswith(start))


def train_fold(
    method: str,
    dataset: RsnaDataset,
    profile: Profile,
    fold: int = 0,
    *,
    out: Path | None = None,
    seed: int = DEFAULT_SEED,
    progress: bool = True,
) -> LiveFold:
    """Train one fold of a method, or take what is there.

    Raises:
        CspineError: no such method; ``out`` holds a run with other settings.
    """
    out = out or cv_folder(dataset, profile)
    task = fold_task(method, dataset, profile, fold, out, seed=seed, progress=progress)
    run_method(method, dataset, profile, out, folds=[fold], seed=seed, progress=progress)
    note = read_json(out / method / f"fold{fold}.json")
    table = read_predictions(out / method / f"fold{fold}.csv")
    ids = table.index.tolist()
    levels = np.array([dataset.labels(uid) for uid in ids])
    y = np.column_stack([levels.any(axis=1), levels]).astype(np.int64)
    parts = [Part(**content) for content in note["parts"]]
    return LiveFold(task, ids, y, table[list(TARGETS)].to_numpy(), parts, note["seconds"])


def fit_history(folder: Path) -> pd.DataFrame:
    """Epoch by epoch, what a finished training in ``folder`` has noted."""
    return pd.DataFrame(read_json(Path(folder) / "fit.json")["result"]["history"])
