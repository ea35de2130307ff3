"""Graders of the notebooks' exercises: they say what is wrong, not only that it is.

A grader takes the reader's function, tries it on random and on edge inputs against an oracle
that is not the library's own code, and returns a ``Verdict``.  It knows the mistakes that are
usually made and names the one it recognises.
"""

from cspine_lib.checks.base import Verdict
from cspine_lib.checks.beyond import may_judge, on_front
from cspine_lib.checks.beyond_fit import metric_platt
from cspine_lib.checks.cnn3d import cube_voxel_mm, head_weights, turn_in_mm
from cspine_lib.checks.data import slice_order, to_hu
from cspine_lib.checks.data_counts import box_slice, expected_together
from cspine_lib.checks.dlc import choice_offset, sure_slices, unseen_forest
from cspine_lib.checks.localise import centre_errors_mm, overlap
from cspine_lib.checks.localise_order import ordered_centres
from cspine_lib.checks.mask_labels import level_box, spread_frames
from cspine_lib.checks.mask_pieces import largest_piece
from cspine_lib.checks.masks import align_mask
from cspine_lib.checks.metric import competition_loss
from cspine_lib.checks.metric_constants import global_shift, per_exam_constants
from cspine_lib.checks.metric_interval import study_interval
from cspine_lib.checks.overall import nested_n, overall_shift
from cspine_lib.checks.overall_bins import reliability_bins
from cspine_lib.checks.pseudo_labels import wrong_mm
from cspine_lib.checks.pseudo_leaks import honest_models, leaking
from cspine_lib.checks.results import by_study_interval
from cspine_lib.checks.results_points import hours_after, sensitivity_at
from cspine_lib.checks.scan_gaps import slices_missing
from cspine_lib.checks.sequence import masked_attention, top_n_overall
from cspine_lib.checks.sequence_frames import stack_frames
from cspine_lib.checks.slices2d import level_from_slices, slice_targets, undo_pos_weight
from cspine_lib.checks.slices2d_heads import any_bounds, level_aurocs, two_part_loss
from cspine_lib.checks.start import level_volumes_ml, voxel_to_mm, window_hu
from cspine_lib.checks.submission import begun_in_time, submission_rows
from cspine_lib.checks.winners import dice_per_level, outlined_stack
from cspine_lib.checks.winners_order import order_within_neck

__all__ = [
    "Verdict",
    "align_mask",
    "any_bounds",
    "begun_in_time",
    "box_slice",
    "by_study_interval",
    "centre_errors_mm",
    "choice_offset",
    "competition_loss",
    "cube_voxel_mm",
    "dice_per_level",
    "expected_together",
    "global_shift",
    "head_weights",
    "honest_models",
    "hours_after",
    "largest_piece",
    "leaking",
    "level_aurocs",
    "level_box",
    "level_from_slices",
    "level_volumes_ml",
    "masked_attention",
    "may_judge",
    "metric_platt",
    "nested_n",
    "on_front",
    "order_within_neck",
    "ordered_centres",
    "outlined_stack",
    "overall_shift",
    "overlap",
    "per_exam_constants",
    "reliability_bins",
    "sensitivity_at",
    "slice_order",
    "slice_targets",
    "slices_missing",
    "spread_frames",
    "stack_frames",
    "study_interval",
    "submission_rows",
    "sure_slices",
    "to_hu",
    "top_n_overall",
    "turn_in_mm",
    "two_part_loss",
    "undo_pos_weight",
    "unseen_forest",
    "voxel_to_mm",
    "window_hu",
    "wrong_mm",
]
