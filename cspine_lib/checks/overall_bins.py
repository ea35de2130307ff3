"""Grader of notebook 10: predictions sorted into bins of equal width.

The oracle is a loop over studies in plain Python, and uses nothing of ``metrics``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis, wrong

Array = npt.NDArray[Any]


def reliability_bins(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(y, p, bins)``: labels and probabilities (N,) → (bins, 3) n, mean p, share (10)."""
    for note, y, p, bins in _bin_cases():
        got, failure = answer(fn, y, p, bins)
        if failure is not None:
            return failure
        want = _bins_by_hand(y, p, bins)
        if not agrees(got, want):
            return _bin_verdict(got, want, (y, p, bins), note)
    return Verdict(True, "edges, empty bins and a probability of 1 are where they belong.")


def _bin_verdict(got: Array, want: Array, args: tuple[Any, ...], note: str) -> Verdict:
    bins = args[2]
    if got.shape == (3, bins) and bins != 3:
        return wrong("rows and columns are swapped: one row for each bin.")
    if got.ndim == 2 and got.shape[1] == 3:
        if len(got) == bins + 1:
            return wrong(
                f"{note}you have one bin too many: p = 1 belongs to the last of the {bins} bins."
            )
        full = want[:, 0] > 0
        if len(got) == full.sum() < bins:
            return wrong(f"{note}a bin without a study is a row too: 0, NaN, NaN.")
    return diagnosis(got, want, _BIN_MISTAKES, args, note=note)


def _bin_cases() -> list[tuple[str, Array, Array, int]]:
    rng = np.random.default_rng(102)
    p = rng.beta(0.8, 1.2, size=80)
    y = (rng.uniform(size=80) < p).astype(int)
    edges = rng.permutation(np.concatenate([np.arange(5) / 4, rng.uniform(0.05, 0.95, 15)]))
    gap = np.where(rng.uniform(size=30) < 0.5, rng.uniform(0.01, 0.2, 30), 0.9)
    return [
        ("", y, p, 5),
        ("for 8 bins: ", y, p, 8),
        ("where some p lie on an edge, 0 and 1 included: ", y[:20], edges, 4),
        ("where bins are empty: ", y[:30], gap, 10),
        ("for a single study: ", y[:1], p[:1], 4),
        ("for one bin: ", y[:9], p[:9], 1),
    ]


def _bins_by_hand(y: Array, p: Array, bins: int) -> Array:
    members: list[list[tuple[float, int]]] = [[] for _ in range(bins)]
    for truth, said in zip(y.tolist(), p.tolist(), strict=True):
        place = next((i for i in range(bins) if said < (i + 1) / bins), bins - 1)
        members[place].append((said, truth))
    rows = []
    for found in members:
        n = len(found)
        empty = float("nan")
        said = sum(s for s, _ in found) / n if n else empty
        rows.append([n, said, sum(t for _, t in found) / n if n else empty])
    return np.array(rows, dtype=np.float64)


def _binned(
    y: Array, p: Array, bins: int, which: Array | None = None, empty: float = np.nan
) -> Array:
    """The table of a given assignment ``which`` of studies to bins."""
    if which is None:
        which = np.minimum((p * bins).astype(int), bins - 1)
    rows = []
    for i in range(bins):
        here = which == i
        rest = (p[here].mean(), y[here].mean()) if here.any() else (empty, empty)
        rows.append([here.sum(), *rest])
    return np.array(rows, dtype=np.float64)


def _centres(y: Array, p: Array, bins: int) -> Array:
    table = _binned(y, p, bins)
    table[:, 1] = (np.arange(bins) + 0.5) / bins
    return table


def _centres_of_full(y: Array, p: Array, bins: int) -> Array:
    table = _centres(y, p, bins)
    table[table[:, 0] == 0, 1] = np.nan
    return table


def _equal_counts(y: Array, p: Array, bins: int) -> Array:
    which = np.empty(len(p), dtype=int)
    for i, part in enumerate(np.array_split(np.argsort(p, kind="stable"), bins)):
        which[part] = i
    return _binned(y, p, bins, which)


def _scaled(column: int, by_all: bool) -> Callable[..., Array]:
    def compute(y: Array, p: Array, bins: int) -> Array:
        table = _binned(y, p, bins)
        table[:, column] *= (1 if column == 0 else table[:, 0]) / (len(p) if by_all else 1)
        return table

    return compute


_ONE_LOST = (
    "a probability of exactly 1 falls out of your bins: i/bins ≤ p < (i + 1)/bins has no room "
    "for it, so put it into the last bin."
)
_RIGHT_CLOSED = (
    "a p on an edge belongs to the bin above it, i/bins ≤ p < (i + 1)/bins; "
    "yours puts it into the bin below."
)

_BIN_MISTAKES: Mistakes = [
    (
        lambda y, p, bins: _binned(y, p, bins, empty=0.0),
        "an empty bin has no mean: 0 would be read as “nothing there is ever broken”; use NaN.",
    ),
    (lambda y, p, bins: _binned(y, p, bins, (p * bins).astype(int)), _ONE_LOST),
    (lambda y, p, bins: _binned(y, p, bins, (p * bins).astype(int), 0.0), _ONE_LOST),
    (lambda y, p, bins: _binned(y, p, bins, np.ceil(p * bins).astype(int) - 1), _RIGHT_CLOSED),
    (
        lambda y, p, bins: _binned(y, p, bins, np.maximum(np.ceil(p * bins).astype(int) - 1, 0)),
        _RIGHT_CLOSED,
    ),
    (
        lambda y, p, bins: _binned(y, p, bins, np.round(p * (bins - 1)).astype(int)),
        "you round to the nearest of the bins, which makes the first and the last half as wide; "
        "bin i holds i/bins ≤ p < (i + 1)/bins.",
    ),
    (_equal_counts, "your bins hold equally many studies; here they are to be equally wide."),
    (_centres, "you give the middle of the bin; what is asked is the mean of the p in it."),
    (_centres_of_full, "you give the middle of the bin; what is asked is the mean of the p in it."),
    (
        lambda y, p, bins: _binned(y, p, bins)[:, [0, 2, 1]],
        "the last two columns are swapped: the mean prediction comes before the share of broken.",
    ),
    (
        lambda y, p, bins: _binned(y, p, bins)[:, [1, 2, 0]],
        "the columns are n, mean p, share of broken, in this order.",
    ),
    (
        lambda y, p, bins: _binned(y, p, bins)[::-1],
        "your rows run from high to low; the first bin is the one that starts at 0.",
    ),
    (_scaled(0, True), "the first column is the number of studies, not their share."),
    (_scaled(2, True), "you divide by all studies; divide by those of the bin."),
    (_scaled(2, False), "the last column is the number of broken ones; divide by the bin's n."),
]
