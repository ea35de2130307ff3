"""What the chapter on the patient-overall rule prints: rules beside each other, with intervals.

Arrays ``levels`` are (N, 7), C1 first; ``y`` and ``p`` are (N, 8), ``patient_overall`` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cspine_lib import metrics
from cspine_lib.anatomy import LEVELS
from cspine_lib.errors import CspineError
from cspine_lib.metrics import Interval, Normalisation
from cspine_lib.overall_rules import sweep

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.floating]


def fine(interval: Interval) -> str:
    """A difference with its sign and four digits: neighbours differ in the third."""
    value, low, high = (f"{x:+z.4f}" for x in interval)
    return f"{value} [{low}, {high}]"


def sweep_table(
    y: npt.ArrayLike, levels: npt.ArrayLike, normalisation: Normalisation = "per_exam"
) -> pd.DataFrame:
    """The deck's table for these predictions, N = 1 … 7, each N paired with the one before."""
    import pandas as pd

    labels, predictions = np.asarray(y), sweep(levels)
    rows = []
    for n, p in predictions.items():
        before = predictions.get(n - 1)
        change = None
        if before is not None:
            change = metrics.loss_ci(labels, p, normalisation, minus=before)
        rows.append(
            {
                "N": n,
                "said, mean": f"{p[:, 0].mean():.3f}",
                "loss [95%]": str(metrics.loss_ci(labels, p, normalisation)),
                "minus N − 1 [95%]": "" if change is None else fine(change),
            }
        )
    return pd.DataFrame(rows).set_index("N")


def rule_table(
    y: npt.ArrayLike,
    predictions: Mapping[str, Array],
    reference: str,
    normalisation: Normalisation = "per_exam",
) -> pd.DataFrame:
    """Rules (name → (N, 8)) beside each other: loss, paired difference, calibration of the neck."""
    import pandas as pd

    labels, rows = np.asarray(y), []
    neck = labels[:, 0]
    for name, p in predictions.items():
        change = metrics.loss_ci(labels, p, normalisation, minus=predictions[reference])
        rows.append(
            {
                "rule": name,
                "said, mean": f"{p[:, 0].mean():.3f}",
                "Brier": f"{metrics.brier(neck, p[:, 0]):.4f}",
                "calibration error": f"{metrics.expected_calibration_error(neck, p[:, 0]):.3f}",
                "AUROC": f"{metrics.auroc(neck, p[:, 0]):.3f}",
                "loss [95%]": str(metrics.loss_ci(labels, p, normalisation)),
                f"minus {reference} [95%]": "0" if name == reference else fine(change),
            }
        )
    return pd.DataFrame(rows).set_index("rule")


def by_fate(
    y: npt.ArrayLike, p: Array, minus: Array, normalisation: Normalisation = "per_exam"
) -> dict[str, Interval]:
    """What broken and what whole necks add to a difference of loss; the two sum to the third."""
    labels = np.asarray(y)
    weight = metrics.weights(labels)
    change = (
        weight * (metrics.log_loss_terms(labels, p) - metrics.log_loss_terms(labels, minus))
    ).sum(axis=1)
    total = weight.sum(axis=1)
    if normalisation == "per_exam":
        change, total = change / total, np.ones(len(change))
    broken = labels[:, 0] == 1
    parts = {"broken necks": broken, "whole necks": ~broken, "all": np.ones(len(change), bool)}
    return {name: metrics.ratio_ci(change * chosen, total) for name, chosen in parts.items()}


def company(
    y: npt.ArrayLike, levels: npt.ArrayLike, distance: int = 1
) -> dict[str, float | Interval]:
    """Pairs of levels so far apart that are broken together: counted, and if independent.

    *Independent* means given the predictions, Σ pⱼ·pₖ: what is above that is dependence which
    the model has not explained (or levels that it underestimates).

    Returns:
        ``found``, ``independent`` and their ratio with its interval over studies.
    """
    labels, p = np.asarray(y)[:, 1:], np.asarray(levels, dtype=np.float64)
    if not 1 <= distance < len(LEVELS):
        raise CspineError(f"levels are 1 to {len(LEVELS) - 1} apart, got {distance}")
    found = (labels[:, :-distance] * labels[:, distance:]).sum(axis=1)
    expected = (p[:, :-distance] * p[:, distance:]).sum(axis=1)
    return {
        "found": float(found.sum()),
        "independent": float(expected.sum()),
        "ratio": metrics.ratio_ci(found, expected),
    }
