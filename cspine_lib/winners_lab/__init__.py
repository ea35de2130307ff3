"""The winning solutions looked at from the inside (notebook 13).

``masks`` lays what a U-Net says beside the truth, before and after the clean-up; ``looks`` asks
trained sequence nets about held-out studies, whole or with a channel changed; ``ranks`` asks
whether a method tells the levels of one neck apart; ``figures`` draws it.  The pipeline uses
none of it.
"""

from cspine_lib.winners_lab.figures import (
    dice_figure,
    ladder_figure,
    maps_figure,
    ranks_figure,
    sequence_figure,
    span_figure,
)
from cspine_lib.winners_lab.looks import Vertebra, ask, changed, vertebra_of
from cspine_lib.winners_lab.masks import (
    Laid,
    dice_table,
    gain_ci,
    lay,
    planted,
    truth_on,
    worst_strays,
)
from cspine_lib.winners_lab.ranks import missing_methods, only, order_ci, pairs_within

__all__ = [
    "Laid",
    "Vertebra",
    "ask",
    "changed",
    "dice_figure",
    "dice_table",
    "gain_ci",
    "ladder_figure",
    "lay",
    "maps_figure",
    "missing_methods",
    "only",
    "order_ci",
    "pairs_within",
    "planted",
    "ranks_figure",
    "sequence_figure",
    "span_figure",
    "truth_on",
    "vertebra_of",
    "worst_strays",
]
