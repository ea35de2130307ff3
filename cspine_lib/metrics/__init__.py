"""Scores: competition loss, patient-overall rules, AUROC, calibration, intervals by study.

Arrays ``y`` and ``p`` are (N, 8) in the column order of ``anatomy.TARGETS``.
"""

from cspine_lib.metrics.calibration import (
    apply_platt,
    brier,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    logit,
    reliability_table,
)
from cspine_lib.metrics.intervals import (
    Interval,
    bootstrap_ci,
    percentile_interval,
    ratio_ci,
    resample_counts,
)
from cspine_lib.metrics.loss import (
    CLIP,
    NORMALISATIONS,
    Normalisation,
    best_constants,
    level_losses,
    log_loss_terms,
    loss_by_target,
    loss_ci,
    pattern_labels,
    per_exam_loss,
    row_weights,
    submission_shift,
    weighted_log_loss,
    weights,
)
from cspine_lib.metrics.overall import overall_max, overall_noisy_or
from cspine_lib.metrics.ranking import (
    MIN_POSITIVES,
    auroc,
    auroc_ci,
    average_precision,
    macro_auroc,
    macro_auroc_ci,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)

__all__ = [
    "CLIP",
    "MIN_POSITIVES",
    "NORMALISATIONS",
    "Interval",
    "Normalisation",
    "apply_platt",
    "auroc",
    "auroc_ci",
    "average_precision",
    "best_constants",
    "bootstrap_ci",
    "brier",
    "expected_calibration_error",
    "fit_platt",
    "fit_temperature",
    "level_losses",
    "log_loss_terms",
    "logit",
    "loss_by_target",
    "loss_ci",
    "macro_auroc",
    "macro_auroc_ci",
    "overall_max",
    "overall_noisy_or",
    "pattern_labels",
    "per_exam_loss",
    "percentile_interval",
    "ratio_ci",
    "reliability_table",
    "resample_counts",
    "row_weights",
    "sensitivity_at_specificity",
    "specificity_at_sensitivity",
    "submission_shift",
    "weighted_log_loss",
    "weights",
]
