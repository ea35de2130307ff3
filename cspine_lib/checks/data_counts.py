"""Graders of notebook 01: from a box to its slice, and what chance would give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import (
    Mistakes,
    Verdict,
    agrees,
    answer,
    call,
    diagnosis,
    number,
    wrong,
)

Array = npt.NDArray[Any]

# --- from a box to its slice -------------------------------------------------------------------


def box_slice(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(number, file_numbers, feet_first)``: the box's slice, 0 at the head.

    ``file_numbers`` are the numbers in the files' names, in the order of the names as text;
    ``feet_first`` says that numbers grow from the feet to the head.
    """
    whole = range(1, 26)
    gapped = [n for n in range(37, 64) if n not in (40, 41, 55)]
    for note, numbers, feet_first in (
        ("", whole, False),
        ("numbering starts at 18: ", range(18, 40), False),
        ("numbers 5 and 9 are missing: ", [n for n in whole if n not in (5, 9)], False),
        ("numbered feet to head: ", range(1, 24), True),
        ("feet to head, late start, numbers missing: ", gapped, True),
    ):
        listed = sorted(numbers, key=str)
        ordered = sorted(numbers, reverse=feet_first)
        replies = []
        for asked in listed:
            got, failure = _whole_number(fn, asked, listed, feet_first)
            if failure is not None:
                return failure
            replies.append(got)
        want = [ordered.index(asked) for asked in listed]
        if replies != want:
            args = (np.array(listed), feet_first)
            return diagnosis(np.array(replies), np.array(want), _BOX_MISTAKES, args, note=note)
    return Verdict(True, "late starts, gaps and studies numbered from the feet are all right.")


def _whole_number(fn: Callable[..., Any], *args: Any) -> tuple[float, Verdict | None]:
    got, failure = call(fn, *args)
    if failure is None and isinstance(got, (bool, str)):
        failure = wrong(f"your function returns a {type(got).__name__}, no slice index.")
    if failure is not None:
        return 0, failure
    try:
        value = float(np.asarray(got).item())
    except Exception:  # an object can raise anything when it is asked for its number
        return 0, wrong(f"your function returns a {type(got).__name__}; one index is asked for.")
    if not value.is_integer():  # also NaN and infinity
        return 0, wrong(f"your function returns {number(value)}, which is no slice index.")
    return value, None


def _rank(listed: Array) -> Array:
    return np.argsort(np.argsort(listed))


def _rank_head_first(listed: Array, feet_first: bool) -> Array:
    return len(listed) - 1 - _rank(listed) if feet_first else _rank(listed)


_BOX_MISTAKES: Mistakes = [
    (
        lambda listed, feet: np.arange(len(listed)),
        "you looked the number up in the order of the names as text (1, 10, 11, …, 2): "
        "sort the numbers first.",
    ),
    (
        lambda listed, feet: listed,
        "you took the number for the index, or count from 1; the first slice has index 0.",
    ),
    (
        lambda listed, feet: _rank_head_first(listed, feet) + 1,
        "off by one: the first slice has index 0.",
    ),
    (
        lambda listed, feet: _rank(listed),
        "this study is numbered from the feet, and you counted from the feet; "
        "index 0 is at the head.",
    ),
    (
        lambda listed, feet: _rank_head_first(listed, not feet),
        "head and feet are swapped: with feet_first the highest number lies at the head.",
    ),
    (
        lambda listed, feet: len(listed) - 1 - _rank(listed),
        "you turn every study around; do it only where feet_first is true.",
    ),
    (
        lambda listed, feet: listed - listed.min(),
        "number − smallest number forgets that numbers can be missing; "
        "count the files that are there.",
    ),
    (
        lambda listed, feet: listed - 1,
        "number − 1 is right only where numbering starts at 1, skips nothing and runs from "
        "head to feet; count the files that come before.",
    ),
    (
        lambda listed, feet: listed.max() - listed if feet else listed - listed.min(),
        "the difference of two numbers forgets that numbers can be missing; "
        "count the files that are there.",
    ),
    (
        lambda listed, feet: len(listed) - listed if feet else listed - 1,
        "len − number is right only where numbering starts at 1 and skips nothing.",
    ),
    (
        lambda listed, feet: len(listed) - _rank(listed) if feet else _rank(listed),
        "off by one where numbers run from the feet: the last of n has index n − 1.",
    ),
]

# --- what chance would give --------------------------------------------------------------------


def expected_together(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(levels, i, j)``: studies expected to have both broken, were they independent.

    ``levels`` is (N, 7), 0 or 1; ``i`` and ``j`` are columns.
    """
    rng = np.random.default_rng(3)
    many = (rng.random((240, 7)) < [0.1, 0.3, 0.04, 0.2, 0.25, 0.35, 0.4]).astype(int)
    many[:, 6] |= many[:, 5]  # C6 and C7 break together far more often than by chance
    never = many[:50].copy()
    never[:, 2] = 0
    for note, levels, i, j in (
        ("", many, 5, 6),
        ("", many, 1, 3),
        ("another number of studies: ", many[:77], 4, 6),
        ("a level that is never broken: ", never, 2, 3),
        ("labels of True and False: ", many > 0, 0, 5),
    ):
        got, failure = answer(fn, levels, i, j)
        if failure is not None:
            return failure
        single = [int(np.count_nonzero(levels[:, k])) for k in (i, j)]
        want = np.array(single[0] * single[1] / len(levels))
        if got.shape not in ((), (1,)):
            return wrong(f"{note}the result has shape {got.shape}; one number is asked for.")
        got = got.reshape(())
        if not agrees(got, want):
            return diagnosis(got, want, _CHANCE_MISTAKES, (levels.astype(float), i, j), note=note)
    return Verdict(True, "it is N · P(i) · P(j), and it does not look at the joint counts.")


_CHANCE_MISTAKES: Mistakes = [
    (
        lambda y, i, j: (y[:, i] * y[:, j]).sum(),
        "this is how often both are broken in fact; asked is how often they would be by chance.",
    ),
    (
        lambda y, i, j: y[:, i].mean() * y[:, j].mean(),
        "this is the probability P(i) · P(j); times the number of studies it is a count.",
    ),
    (
        lambda y, i, j: (y[:, i] * y[:, j]).mean(),
        "this is the share of studies in which both are broken in fact, not by chance.",
    ),
    (
        lambda y, i, j: y[:, i].sum() * y[:, j].sum(),
        "this is n_i · n_j; divide by the number of studies.",
    ),
    (
        lambda y, i, j: y[:, i].sum() * y[:, j].sum() / y.any(axis=1).sum(),
        "you divide by the studies with a fracture; chance runs over all studies, whole ones too.",
    ),
    (
        lambda y, i, j: y[:, i].sum() * y[:, j].sum() / y.sum(),
        "you divide by the number of broken levels; divide by the number of studies.",
    ),
    (
        lambda y, i, j: y[:, i].sum() * y[:, j].sum() / y.size,
        "you divide by all cells of the table, N × 7; divide by the number of studies, its rows.",
    ),
    (
        lambda y, i, j: (y[:, i] + y[:, j] > 0).sum(),
        "this counts studies with one or the other; both is a product of probabilities.",
    ),
    (
        lambda y, i, j: y[:, i].sum() + y[:, j].sum(),
        "you add the counts; two independent things happen together with the product P(i) · P(j).",
    ),
    (
        lambda y, i, j: len(y) * (y[:, i].mean() + y[:, j].mean()) / 2,
        "you average the rates; two independent things happen together with their product.",
    ),
    (
        lambda y, i, j: y[:, i].sum() * y[:, j].sum() / (len(y) - 1),
        "you divide by N − 1; this is no variance, divide by N.",
    ),
]
