"""Ways to make labels from masks, set against what is known to be true (notebook 03).

``studies`` finds the masked studies and what is known of their fractures, ``flips`` reads
masks as solvers with fixed flips do, ``strays`` plants and removes small pieces, ``scores``
says how far labels are from the truth.  The pipeline uses none of it.
"""

from cspine_lib.mask_lab.flips import as_stored, fixed_flip, stretched
from cspine_lib.mask_lab.scores import (
    box_scores,
    dice,
    label_errors,
    level_shift_mm,
    mean_ci,
    rule_scores,
    slice_boxes,
)
from cspine_lib.mask_lab.strays import cleaned, pieces, planted
from cspine_lib.mask_lab.studies import (
    MaskedStudy,
    area_profile,
    broken_without_mask,
    known_fractures,
    masked_studies,
    redrawn,
)

__all__ = [
    "MaskedStudy",
    "area_profile",
    "as_stored",
    "box_scores",
    "broken_without_mask",
    "cleaned",
    "dice",
    "fixed_flip",
    "known_fractures",
    "label_errors",
    "level_shift_mm",
    "masked_studies",
    "mean_ci",
    "pieces",
    "planted",
    "redrawn",
    "rule_scores",
    "slice_boxes",
    "stretched",
]
