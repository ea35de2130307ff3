"""Does a method tell the levels of one neck apart?  And which methods are recorded at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cspine_lib.comparison import Group
from cspine_lib.metrics import Interval, ratio_ci


def pairs_within(y: npt.ArrayLike, p: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Of each neck's pairs of a broken and a whole level: how many are in the right order.

    Args:
        y: (N, 7) labels of C1–C7.
        p: (N, 7) probabilities, or anything that grows with them.

    Returns:
        (N, 2): pairs won (a tie is half of one), and pairs.  A neck without a broken level, or
        without a whole one, has none.
    """
    label, said = np.asarray(y).astype(bool), np.asarray(p, dtype=float)
    out = np.zeros((len(label), 2))
    for row, (broken, value) in enumerate(zip(label, said, strict=True)):
        gap = value[broken][:, None] - value[~broken]
        out[row] = (gap > 0).sum() + 0.5 * (gap == 0).sum(), gap.size
    return out


def order_ci(y: npt.ArrayLike, p: npt.ArrayLike) -> Interval:
    """Share of pairs within necks that are in the right order, with its 95% interval.

    0.5 is a coin; necks are drawn, not pairs.
    """
    won, pairs = pairs_within(y, p).T
    return ratio_ci(won, pairs)


def missing_methods(group: Group, wanted: Sequence[str]) -> list[str]:
    """Those of the methods that the group has no predictions of."""
    return [method for method in wanted if method not in group.p]


def only(group: Group, wanted: Sequence[str]) -> Group:
    """The group with some of its methods only."""
    records = tuple(record for record in group.records if record.method in wanted)
    return replace(group, records=records, p={m: group.p[m] for m in group.p if m in wanted})
