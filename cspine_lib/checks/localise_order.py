"""Grader of notebook 08: levels placed in order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from cspine_lib.checks.base import Array, Mistakes, Verdict, agrees, answer, diagnosis, wrong


def ordered_centres(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(score)``: (N, K) → K slices, strictly ascending, of the largest total (08)."""
    for score in _score_cases():
        want = _best_by_trying(score)
        got, failure = answer(fn, score)
        if failure is not None:
            return failure
        verdict = _judge_order(got, want, score)
        if verdict is not None:
            return verdict
    return Verdict(True, "in order, and no other order has a larger total (every one was tried).")


def _score_cases() -> list[Array]:
    """Peaks out of order and in one place, one level, as many slices as levels, all below zero."""
    rng = np.random.default_rng(88)
    n = 16
    crossed = rng.normal(0, 0.3, (n, 4))
    for k, z in enumerate((3, 9, 6, 13)):
        crossed[z, k] += 4 - k
    early = rng.normal(0, 0.3, (n, 4))  # the first level shines most where no room is left
    early[13, 0], early[2, 0], early[5, 1], early[8, 2], early[11, 3] = 5, 4.5, 5, 5, 5
    late = rng.normal(0, 0.3, (n, 4))  # the last one does so near the head
    late[3, 3], late[14, 3], late[4, 0], late[7, 1], late[10, 2] = 5, 4.5, 5, 5, 5
    same = rng.normal(0, 0.3, (n, 3))
    same[7] += 3
    cases = [crossed, early, late, same, rng.normal(size=(9, 1)), rng.normal(size=(5, 5))]
    cases += [
        rng.normal(-8, 1, (int(m), int(k))) for m, k in rng.integers((8, 2), (17, 6), (12, 2))
    ]
    return cases


def _best_by_trying(score: Array) -> Array:
    n, k = score.shape
    ways = np.array(list(itertools.combinations(range(n), k)))
    return ways[score[ways, np.arange(k)].sum(axis=1).argmax()]


def _judge_order(got: Array, want: Array, score: Array) -> Verdict | None:
    """None when the answer is right."""
    n, k = score.shape
    note = f"for {n} slices and {k} level{'s' if k > 1 else ''}: "
    if got.shape == want.shape and got.dtype.kind in "iu" and agrees(got, want):
        return None
    if got.shape == want.shape and agrees(got, want):
        return wrong(f"{note}the result is {got.dtype}; slices are whole numbers: convert.")
    verdict = diagnosis(got, want, _ORDER_MISTAKES, (score,), note=note)
    if got.shape == want.shape and "it should be" in verdict.message:
        if not (np.isfinite(got).all() and (got >= 0).all() and (got < n).all()):
            return wrong(f"{note}a slice must lie between 0 and {n - 1}.")
        if (np.diff(got) <= 0).any():
            return wrong(f"{note}{got.astype(int).tolist()} is not strictly ascending.")
        index = np.arange(k)
        mine, best = (score[z.astype(int), index].sum() for z in (got, want))
        return wrong(
            f"{note}{got.astype(int).tolist()} is in order, but its total is {mine:.2f}; "
            f"{want.tolist()} has {best:.2f}."
        )
    return verdict


def _downwards(score: Array) -> Array:
    """Level after level, each the best below the one before; at the end what room is left."""
    out: list[int] = []
    for k in range(score.shape[1]):
        start = min(out[-1] + 1 if out else 0, len(score) - 1)
        out.append(start + int(score[start:, k].argmax()))
    return np.array(out)


def _upwards(score: Array) -> Array:
    return len(score) - 1 - _downwards(score[::-1, ::-1])[::-1]


def _downwards_with_room(score: Array) -> Array:
    out: list[int] = []
    n, levels = score.shape
    for k in range(levels):
        start = out[-1] + 1 if out else 0
        out.append(start + int(score[start : n - levels + k + 1, k].argmax()))
    return np.array(out)


def _sharing(score: Array) -> Array:
    """The best order in which levels may share a slice."""
    n, k = score.shape
    ways = np.array(list(itertools.combinations_with_replacement(range(n), k)))
    return ways[score[ways, np.arange(k)].sum(axis=1).argmax()]


_GREEDY = (
    "each level takes the best of what is left, and the first one takes the best place of all, "
    "even where that leaves bad ones for the others. Compare totals, not single scores."
)
_ORDER_MISTAKES: Mistakes = [
    (
        lambda s: s.argmax(axis=0),
        "each level has its own best slice, whatever the others do; the order is what is asked.",
    ),
    (
        lambda s: np.sort(s.argmax(axis=0)),
        "sorting the levels' best slices puts them in order, but a level may then stand on the "
        "slice of another.",
    ),
    (lambda s: _downwards(s), _GREEDY),
    (lambda s: _downwards_with_room(s), _GREEDY),
    (lambda s: _upwards(s), "from the feet upwards " + _GREEDY),
    (
        lambda s: _sharing(s),
        "two levels share a slice; each must lie strictly below the one before.",
    ),
    (
        lambda s: _best_by_trying(s[:, ::-1])[::-1],
        "the order runs from feet to head; slice 0 is nearest to the head, C1 comes first.",
    ),
    (
        lambda s: _best_by_trying(-s),
        "this is the order of the smallest total; a score is to be made large.",
    ),
    (
        lambda s: s[_best_by_trying(s), np.arange(s.shape[1])].sum(),
        "this is the largest total; asked is which slices have it.",
    ),
    (
        lambda s: s[_best_by_trying(s), np.arange(s.shape[1])],
        "these are the scores; asked is in which slices they are.",
    ),
    (
        lambda s: _best_by_trying(s)[::-1],
        "right slices, listed from the last level to the first: turn the list round.",
    ),
    (
        lambda s: _best_by_trying(s) + 1,
        "you count slices from 1; the first one is 0.",
    ),
]
