"""Graders of notebook 14: which network may judge which study, and what is worth its seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis

Array = npt.NDArray[Any]

SEED = 71


# --- which member may judge which study ----------------------------------------------------------


def may_judge(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(patient, part, members)``: (N,), (N,), a number → bool (members, N) (14).

    Network m was trained on all studies whose part is not m.  It may judge a study when it was
    trained on no study of the same patient.
    """
    rng = np.random.default_rng(SEED)
    cases = []
    for n, patients, members in ((12, 30, 3), (16, 7, 2), (25, 15, 4)):
        patient = rng.choice(rng.permutation(900)[:patients], size=n)
        cases.append((patient, rng.integers(members, size=n), members, ""))
    alone = np.array([5, 3, 8, 1])
    cases.append((alone, np.array([0, 1, 2, 0]), 3, "every patient has one study: "))
    cases.append((alone, np.array([0, 1, 1, 0]), 3, "nobody is in the last part: "))
    cases.append((np.array([4, 4, 4]), np.array([0, 1, 0]), 2, "one patient is in both parts: "))
    for patient, part, members, note in cases:
        got, failure = answer(fn, patient, part, members)
        if failure is not None:
            return failure
        want = _judges(patient, part, members)
        if not agrees(got, want):
            return diagnosis(got, want, _JUDGE_MISTAKES, (patient, part, members), note=note)
    return Verdict(True, "no study is judged by a network that knows its patient.")


def _judges(patient: Array, part: Array, members: int) -> Array:
    """Network by network, study by study, from the list of whom it was trained on."""
    out = np.zeros((members, len(part)), dtype=bool)
    for m in range(members):
        knows = {p for p, k in zip(patient.tolist(), part.tolist(), strict=True) if k != m}
        for i, p in enumerate(patient.tolist()):
            out[m, i] = p not in knows
    return out


def _plain(patient: Array, part: Array, members: int) -> Array:
    return np.arange(members)[:, None] == part[None]


def _some(patient: Array, part: Array, members: int) -> Array:
    """Any study of the patient is in the part."""
    same = patient[:, None] == patient[None]
    return np.array([(same & (part == m)[None]).any(axis=1) for m in range(members)])


_JUDGE_MISTAKES: Mistakes = [
    (
        _plain,
        "you look at the study alone; a network that was trained on another study of the same "
        "patient knows this neck as well.",
    ),
    (
        lambda p, k, m: ~_plain(p, k, m),
        "this is who was trained on the study: a network may judge what it has not seen.",
    ),
    (
        lambda p, k, m: ~_judges(p, k, m),
        "this is the reverse: True stands for a network that may judge.",
    ),
    (
        _some,
        "one study of the patient in the network's own part is not enough: if another one is "
        "elsewhere, the network was trained on it.",
    ),
    (
        lambda p, k, m: _judges(p, k, m).T,
        "turn your table: a row is a network, a column is a study.",
    ),
    (
        lambda p, k, m: _judges(p, (k + 1) % m, m),
        "your networks are counted off by one: network 0 was trained without part 0.",
    ),
    (
        lambda p, k, m: _judges(p, k - 1, m),
        "your networks are counted off by one: network 0 was trained without part 0.",
    ),
    (
        lambda p, k, m: _judges(np.arange(len(p)), p, m),
        "the first argument says whose study it is, the second one which part it is in.",
    ),
    (
        lambda p, k, m: _judges(p, k, m).any(axis=0),
        "say it network by network: a table (members, studies).",
    ),
    (lambda p, k, m: np.ones((m, len(k))), "not everybody may judge everything."),
]


# --- what is worth its seconds -------------------------------------------------------------------


def on_front(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(seconds, loss)``: (M,), (M,) → bool (M,): methods that no other one beats (14).

    Another one beats a method when it is at most as slow and at most as bad, and in one of the
    two better.
    """
    rng = np.random.default_rng(SEED + 9)
    cases = [
        (np.round(rng.uniform(2, 6, n), 3), np.round(rng.uniform(0.2, 0.8, n), 4), "")
        for n in (6, 9, 14)
    ]
    line = np.array([1.0, 2.0, 3.0, 4.0])
    bent = np.array([0.60, 0.56, 0.50, 0.40])
    cases.append((line[[2, 0, 3, 1]], bent[[2, 0, 3, 1]], "each is slower and better: "))
    cases.append((np.array([1.0, 1.0, 2.0]), np.array([0.5, 0.4, 0.45]), "two take the same: "))
    cases.append((np.array([1.0, 3.0, 2.0]), np.array([0.5, 0.4, 0.4]), "two are as good: "))
    cases.append((np.array([2.0, 2.0, 1.0]), np.array([0.4, 0.4, 0.5]), "two are equal in both: "))
    cases.append((np.array([1.5]), np.array([0.5]), "there is one method: "))
    for seconds, loss, note in cases:
        got, failure = answer(fn, seconds, loss)
        if failure is not None:
            return failure
        want = _front(seconds, loss)
        if not agrees(got, want):
            return diagnosis(got, want, _FRONT_MISTAKES, (seconds, loss), note=note)
    return Verdict(True, "what is left is worth a thought, all else is not.")


def _front(seconds: Array, loss: Array) -> Array:
    """Everybody against everybody."""
    pairs = list(zip(seconds.tolist(), loss.tolist(), strict=True))
    beaten = [any(a <= s and b <= v and (a < s or b < v) for a, b in pairs) for s, v in pairs]
    return ~np.array(beaten)


def _strict(seconds: Array, loss: Array) -> Array:
    """Beaten only by what is better in both."""
    faster, better = seconds[None] < seconds[:, None], loss[None] < loss[:, None]
    return np.asarray(~(faster & better).any(axis=1))


def _without_equals(seconds: Array, loss: Array) -> Array:
    """Of equal ones only the first."""
    front = _front(seconds, loss)
    pairs = list(zip(seconds.tolist(), loss.tolist(), strict=True))
    return front & np.array([pairs.index(pair) == i for i, pair in enumerate(pairs)])


def _by_order(seconds: Array, loss: Array) -> Array:
    """The right marks, in the order of the seconds."""
    return _front(seconds, loss)[np.argsort(seconds, kind="stable")]


def _all_losses(seconds: Array, loss: Array) -> Array:
    """Better than the next faster one, not than all faster ones."""
    order = np.argsort(seconds, kind="stable")
    out = np.ones(len(loss), dtype=bool)
    out[order[1:]] = loss[order[1:]] < loss[order[:-1]]
    return out


def _hull(seconds: Array, loss: Array) -> Array:
    """Only methods that no straight line between two others passes below."""
    front = np.flatnonzero(_front(seconds, loss))
    out = np.zeros(len(loss), dtype=bool)
    for i in front:
        left = [j for j in front if seconds[j] < seconds[i]]
        right = [j for j in front if seconds[j] > seconds[i]]
        out[i] = all(
            loss[i]
            <= loss[j] + (loss[k] - loss[j]) * (seconds[i] - seconds[j]) / (seconds[k] - seconds[j])
            for j in left
            for k in right
        )
    return out


def _bars(values: Array) -> Array:
    return values == values.min()


_FRONT_MISTAKES: Mistakes = [
    (lambda s, v: ~_front(s, v), "this is the reverse: True stands for a method that stays."),
    (lambda s, v: _front(s, -v), "a lower loss is the better one."),
    (lambda s, v: _front(-s, v), "fewer seconds are the better ones."),
    (lambda s, v: np.flatnonzero(_front(s, v)), "return a True or False for each method, (M,)."),
    (_by_order, "your marks are in the order of the seconds: return them in the order given."),
    (
        _strict,
        "a method that is as fast as another and worse (or as good and slower) is beaten too: it "
        "takes one of the two to be better, not both.",
    ),
    (
        _all_losses,
        "you compare with the next faster method only; one of the others that are faster may be "
        "better still.",
    ),
    (_hull, "a method above the line between two others stays: no method lies on that line."),
    (_without_equals, "two that are equal in both do not beat each other: both stay."),
    (lambda s, v: _bars(v), "this is only the best; what is worse and faster may be worth it."),
    (lambda s, v: _bars(s), "this is only the fastest; what is slower and better may be worth it."),
    (lambda s, v: _bars(s) | _bars(v), "there may be methods between the fastest and the best."),
    (
        lambda s, v: _bars(s * v),
        "loss times seconds is an exchange rate that nobody gave.",
    ),
    (
        lambda s, v: np.zeros(len(s)),
        "nothing is left: a method does not beat itself; one of the two must be strictly better.",
    ),
]
