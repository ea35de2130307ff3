"""Ways to make labels from masks, set against what is known to be true (notebook 03).

``studies`` finds the masked studies and what is known of their fractures, ``flips`` reads
masks as solvers with fixed flips do, ``strays`` plants and removes small pieces, ``scores``
says how far labels are from the truth, ``figures`` draws it.  The pipeline uses none of it.
"""

from cspine_lib.components import cleaned
from cspine_lib.mask_lab.figures import area_figure, boxes_figure, cut, frames_figure, middle_x
from cspine_lib.mask_lab.flips import as_stored, fixed_flip, stretched
from cspine_lib.mask_lab.scores import (
    box_scores,
    dice,
    label_errors,
    level_shift_mm,
    mean_ci,
    rule_scores,
    share_ci,
    slice_boxes,
    summary,
    thoracic_scores,
)
from cspine_lib.mask_lab.strays import pieces, planted
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
    "area_figure",
    "area_profile",
    "as_stored",
    "box_scores",
    "boxes_figure",
    "broken_without_mask",
    "cleaned",
    "cut",
    "dice",
    "fixed_flip",
    "frames_figure",
    "known_fractures",
    "label_errors",
    "level_shift_mm",
    "masked_studies",
    "mean_ci",
    "middle_x",
    "pieces",
    "planted",
    "redrawn",
    "rule_scores",
    "share_ci",
    "slice_boxes",
    "stretched",
    "summary",
    "thoracic_scores",
]
