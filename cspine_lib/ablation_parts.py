"""What every table of ablations is made of: its head, and paired scores of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib import metrics
from cspine_lib.config import device_name
from cspine_lib.fold_task import FoldTask
from cspine_lib.metrics import Interval

Array = npt.NDArray[np.float64]


def held_out_labels(task: FoldTask) -> Array:
    """(N, 8) of the studies of a fold, in the order of ``task.test``."""
    levels = np.array([task.dataset.labels(uid) for uid in task.test])
    return np.column_stack([levels.any(axis=1), levels]).astype(np.float64)


def report_head(task: FoldTask, y: Array, data: str) -> dict[str, Any]:
    """What all variants have in common: the fold, its studies, what knows no image is worth.

    Args:
        y: (N, 8) of the held-out studies.
        data: what the set is called in the mark.
    """
    epochs, profile = task.profile.classifier_epochs, task.profile
    rates = np.mean([task.dataset.labels(uid) for uid in task.train], axis=0)
    habit = np.tile(rates, (len(y), 1))
    return {
        "kind": "ablations",
        "note": f"ablation: one fold, {_epochs(epochs)}, {data}",
        "profile": profile.name,
        "data": task.dataset.name,
        "fingerprint": task.dataset.fingerprint(),
        "fold": task.fold,
        "folds": profile.folds,
        "epochs": epochs,
        "n_train": len(task.train),
        "n_studies": len(task.test),
        "broken_levels": int(y[:, 1:].sum()),
        "device": device_name(),
        **_pair("constant_loss", metrics.loss_ci(y, metrics.best_constants(y))),
        "auroc_of_level_rates": round(metrics.auroc(y[:, 1:].ravel(), habit.ravel()), 5),
    }


def scored(y: Array, p: Array, full: Array | None) -> dict[str, Any]:
    """Loss and AUROC over all levels with 95% intervals; differences paired, study by study.

    Args:
        y, p: (N, 8).
        full: (N, 8) of what the variant is compared with; None: it is that itself.
    """
    best = metrics.best_constants(y)
    row = {
        **_pair("loss", metrics.loss_ci(y, p)),
        **_pair("loss_minus_constant", metrics.loss_ci(y, p, minus=best)),
        **_pair("auroc", metrics.bootstrap_ci(_auroc, y, p)),
    }
    if full is not None:
        row |= _pair("loss_minus_full", metrics.loss_ci(y, p, minus=full))
        row |= _pair("auroc_minus_full", metrics.bootstrap_ci(_auroc_difference, y, p, full))
    return row


def _auroc(y: Array, p: Array) -> float:
    """Over all levels at once: (N, 8), (N, 8)."""
    return metrics.auroc(y[:, 1:].ravel(), p[:, 1:].ravel())


def _auroc_difference(y: Array, p: Array, q: Array) -> float:
    return _auroc(y, p) - _auroc(y, q)


def _pair(name: str, interval: Interval) -> dict[str, Any]:
    """A value and its interval, for JSON."""
    value, low, high = (round(v, 5) for v in interval)
    return {name: value, f"{name}_ci95": [low, high]}


def _epochs(n: int) -> str:
    return "one epoch" if n == 1 else f"{'two' if n == 2 else n} epochs"
