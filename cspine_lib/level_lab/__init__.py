"""Stage 1 looked at from the inside, and what its errors do to stage 2 (notebook 08).

``looks`` keeps what the localisers say of every slice, and the truth where it is known;
``measures`` says how far the one is from the other; ``shifts`` puts boxes off on purpose;
``figures`` draws it.  The pipeline uses none of it.
"""

from cspine_lib.level_lab.figures import (
    answers_figure,
    boxes_figure,
    chosen_figure,
    crops_figure,
    errors_figure,
    pitch_figure,
    shift_figure,
    who_is_it_figure,
)
from cspine_lib.level_lab.looks import Looked, Truth, look, truth_of, upside_down
from cspine_lib.level_lab.measures import (
    at_pitch,
    by_level,
    difference,
    level_errors,
    over_all,
    share_ci,
    slice_answers,
    value_ci,
)
from cspine_lib.level_lab.shifts import SHIFTS, Shift, fracture_in_view, put_off

__all__ = [
    "SHIFTS",
    "Looked",
    "Shift",
    "Truth",
    "answers_figure",
    "at_pitch",
    "boxes_figure",
    "by_level",
    "chosen_figure",
    "crops_figure",
    "difference",
    "errors_figure",
    "fracture_in_view",
    "level_errors",
    "look",
    "over_all",
    "pitch_figure",
    "put_off",
    "share_ci",
    "shift_figure",
    "slice_answers",
    "truth_of",
    "upside_down",
    "value_ci",
    "who_is_it_figure",
]
