"""Grader of notebook 15: how many slices a folder lacks, from where its slices lie."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Mistakes, Verdict
from cspine_lib.checks.consistent import graded

Array = npt.NDArray[np.float64]
SAME_MM = 1e-3


def slices_missing(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(z_mm)``: heights (N,) of a folder's slices, in any order → how many lack (15).

    Heights may occur twice, and are rounded.  The usual distance is the median of the gaps; a gap
    that is k times as wide lacks k − 1 slices.
    """
    cases = [(note, (z_mm,)) for note, z_mm in _cases()]
    return graded(fn, cases, _missing, _MISTAKES, "order, doubles and rounding do not mislead it.")


def _cases() -> list[tuple[str, Array]]:
    rng = np.random.default_rng(153)
    cases = []
    for n, step, lost in ((60, 1.25, (20, 21, 22, 40)), (48, 3.5, (7,)), (90, 0.625, (30, 31, 60))):
        z = 210.0 - step * np.delete(np.arange(n), lost)
        cases.append(("", z.copy()))
        cases.append(("slices in any order: ", rng.permutation(z)))
        twice = np.concatenate([z, z[5:16]])
        cases.append(("some slices come twice: ", rng.permutation(twice)))
        many = np.concatenate([z, z, z[::2]])
        cases.append(("most slices come twice: ", rng.permutation(many)))
        cases.append(("heights are rounded: ", np.round(z + 0.004 * rng.normal(size=len(z)), 3)))
    whole = -2.0 * np.arange(30)
    wide = np.delete(5.0 * np.arange(40), np.arange(12, 24))
    rough = 2.5 * np.arange(90) + rng.uniform(-0.06, 0.06, 90)
    rough = np.delete(rough, np.arange(40, 64)).round(1).astype(np.float64)
    return [
        *cases,
        ("nothing is missing: ", whole),
        ("nothing is missing, feet first: ", whole[::-1].copy()),
        ("one wide hole: ", wide),
        ("heights are rounded to 0.1 mm, and the hole is wide: ", rough),
        ("two slices only: ", np.array([3.0, 8.0])),
    ]


def _missing(z_mm: Array) -> float:
    """By walking from slice to slice."""
    heights = sorted(z_mm.tolist())
    gaps = [b - a for a, b in pairwise(heights) if b - a > SAME_MM * 20]
    usual = float(np.median(gaps))
    return float(sum(round(gap / usual) - 1 for gap in gaps))


def _gaps(z_mm: Array) -> Array:
    """Between different heights, sorted."""
    gaps: Array = np.diff(np.sort(z_mm))
    return gaps[gaps > SAME_MM * 20]


def _with_doubles(z_mm: Array) -> float:
    gaps = np.diff(np.sort(z_mm))
    usual = np.median(gaps)
    return float((np.round(gaps / usual) - 1).sum())


def _without_negatives(z_mm: Array) -> float:
    gaps = np.diff(np.sort(z_mm))
    usual = np.median(gaps)
    return float(np.maximum(np.round(gaps / usual) - 1, 0).sum())


def _as_they_come(z_mm: Array) -> float:
    gaps = np.abs(np.diff(z_mm))
    return float((np.round(gaps / np.median(gaps)) - 1).sum())


def _signed(z_mm: Array) -> float:
    gaps = np.diff(z_mm)
    return float((np.round(gaps / np.median(gaps)) - 1).sum())


def _by_range(z_mm: Array) -> float:
    """From end to end, minus all files, doubles included."""
    usual = np.median(_gaps(z_mm))
    return float(np.round(np.ptp(z_mm) / usual) + 1 - len(z_mm))


def _by_mean(z_mm: Array) -> float:
    gaps = _gaps(z_mm)
    return float((np.round(gaps / gaps.mean()) - 1).sum())


def _by_smallest(z_mm: Array) -> float:
    gaps = np.diff(np.unique(z_mm))
    return float((np.round(gaps / gaps.min()) - 1).sum())


def _holes(z_mm: Array) -> float:
    gaps = _gaps(z_mm)
    return float((gaps > 1.5 * np.median(gaps)).sum())


def _one_more(z_mm: Array) -> float:
    gaps = _gaps(z_mm)
    k = np.round(gaps / np.median(gaps))
    return float(k[k > 1].sum())


def _unrounded(z_mm: Array) -> float:
    gaps = _gaps(z_mm)
    return float((gaps / np.median(gaps) - 1).sum())


def _floored(z_mm: Array) -> float:
    gaps = _gaps(z_mm)
    return float((np.floor(gaps / np.median(gaps)) - 1).sum())


def _all_of_them(z_mm: Array) -> float:
    return float(np.round(np.ptp(z_mm) / np.median(_gaps(z_mm))) + 1)


_MISTAKES: Mistakes = [
    (_signed, "you take the slices as they come: sort them first, files are in any order."),
    (_as_they_come, "you take the slices as they come: sort them first, files are in any order."),
    (
        _by_range,
        "you count from end to end and take away all files, those that come twice included.",
    ),
    (
        _without_negatives,
        "slices that come twice make gaps of 0, and with enough of them the median is 0: take "
        "different heights only.",
    ),
    (_with_doubles, "slices that come twice make gaps of 0, which count −1: leave them out."),
    (_holes, "you count the holes; in a wide hole more than one slice is missing."),
    (_one_more, "a gap three times as wide lacks two slices, not three: one less than its width."),
    (
        _by_smallest,
        "heights are rounded, so the smallest gap is too small; take the median of the gaps.",
    ),
    (_by_mean, "holes widen the mean gap; take the median."),
    (_unrounded, "heights are rounded, so the ratio of gaps is nearly whole: round it."),
    (_floored, "rounding down loses a slice where a gap is a little too narrow: round to nearest."),
    (_all_of_them, "these are the slices that there should be; how many of them are missing?"),
]
