"""Grader of notebook 05: how many mm from a level's end its wrong slices lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Array, Mistakes, Verdict, agrees, answer, diagnosis, wrong

Bools = npt.NDArray[np.bool_]


def wrong_mm(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(shows, p, dz_mm)`` → (W,) mm from each wrong slice to the level's end (05)."""
    cases, answers = _level_cases(), []
    for case in cases:
        got, failure = answer(fn, *case)
        if failure is not None:
            return failure
        answers.append(got)
    wants = [_wrong_mm(*case) for case in cases]
    if all(map(agrees, answers, wants)):
        return Verdict(True, "missed and claimed slices, in mm, from the level's true ends.")
    for compute, words in _WRONG_MISTAKES:
        if all(agrees(got, compute(*case)) for got, case in zip(answers, cases, strict=True)):
            return wrong(words)
    i = next(i for i, want in enumerate(wants) if not agrees(answers[i], want))
    note = f"for a level in slices {_words(cases[i][0])} of {len(cases[i][0])}, "
    return diagnosis(answers[i], wants[i], [], (), note=f"{note}{len(wants[i])} of them wrong: ")


def _words(shows: Bools) -> str:
    where = np.flatnonzero(shows)
    return f"{where[0]} to {where[-1]}"


def _level_cases() -> list[tuple[Bools, Array, float]]:
    """Plain ones, a level cut by the first or the last slice, none wrong, p of just 0.5."""
    rng = np.random.default_rng(55)
    cases = []
    for first, last, n, dz in [(6, 13, 24, 2.0), (0, 5, 17, 1.5), (12, 18, 19, 0.7), (9, 9, 15, 3)]:
        shows = np.zeros(n, dtype=bool)
        shows[first : last + 1] = True
        p = np.where(rng.random(n) < 0.35, 1.0 - shows, shows) * 0.8 + 0.1
        cases.append((shows, p, float(dz)))
        if n == 24:
            half = p.copy()
            half[[2, 10]] = 0.5
            cases += [(shows, half, 2.0), (shows, shows * 0.98 + 0.01, 2.0)]
    return cases


def _ends(shows: Bools) -> list[float]:
    """By walking down: half-way between two slices that differ."""
    return [z + 0.5 for z in range(len(shows) - 1) if bool(shows[z]) != bool(shows[z + 1])]


def _wrong(shows: Bools, p: Array) -> list[int]:
    return [z for z in range(len(p)) if (p[z] >= 0.5) != shows[z]]


def _wrong_mm(shows: Bools, p: Array, dz: float) -> Array:
    ends = _ends(shows)
    return np.array([min(abs(z - end) for end in ends) * dz for z in _wrong(shows, p)], dtype=float)


def _to(points: Any, where: Any, dz: float) -> Array:
    """mm from each slice to the nearest of some points."""
    return np.array([min(abs(z - point) for point in points) * dz for z in where], dtype=float)


def _run(shows: Bools) -> tuple[int, int]:
    where = np.flatnonzero(shows)
    return int(where[0]), int(where[-1])


_WRONG_MISTAKES: Mistakes = [
    (
        lambda s, p, dz: _wrong_mm(s, p, 1.0),
        "these are distances in slices; times dz_mm they are mm.",
    ),
    (
        lambda s, p, dz: _to(_ends(s), range(len(p)), dz),
        "you return every slice; only the wrong ones are asked for.",
    ),
    (
        lambda s, p, dz: _to(_ends(s), [z for z in range(len(p)) if z not in _wrong(s, p)], dz),
        "these are the slices that are right; the wrong ones are asked for.",
    ),
    (
        lambda s, p, dz: _to(_ends(s), [z for z in range(len(p)) if (p[z] > 0.5) != s[z]], dz),
        "a probability of just 0.5 counts as showing the level: compare with >=.",
    ),
    (
        lambda s, p, dz: _to(_ends(s), [z for z in _wrong(s, p) if s[z]], dz),
        "you count only slices that were missed; those that were wrongly claimed are wrong too.",
    ),
    (
        lambda s, p, dz: _to(_ends(s), [z for z in _wrong(s, p) if not s[z]], dz),
        "you count only slices that were wrongly claimed; those that were missed are wrong too.",
    ),
    (
        lambda s, p, dz: _to(_run(s), _wrong(s, p), dz),
        "you measure to the middle of the level's first or last slice; its end lies half a slice "
        "further, between that slice and its neighbour.",
    ),
    (
        lambda s, p, dz: _to((_run(s)[0] - 0.5, _run(s)[1] + 0.5), _wrong(s, p), dz),
        "where the scan stops within the level, the scan's edge is no end of the level: "
        "an end needs a slice that shows it beside one that does not.",
    ),
    (
        lambda s, p, dz: _to([sum(_run(s)) / 2], _wrong(s, p), dz),
        "you measure to the middle of the level; asked is its nearest end.",
    ),
    (
        lambda s, p, dz: _to(_ends(s)[:1], _wrong(s, p), dz),
        "you measure to the upper end alone; take the nearer of both.",
    ),
    (
        lambda s, p, dz: _to(_ends(s)[-1:], _wrong(s, p), dz),
        "you measure to the lower end alone; take the nearer of both.",
    ),
    (
        lambda s, p, dz: _to(_ends(p >= 0.5) or [np.inf], _wrong(s, p), dz),
        "you measure to the ends that the model claims; asked are the true ones.",
    ),
    (
        lambda s, p, dz: _to(np.flatnonzero(s), _wrong(s, p), dz),
        "you measure to the nearest slice of the level, which is 0 for every missed slice; "
        "asked is its nearest end.",
    ),
    (
        lambda s, p, dz: np.sort(_wrong_mm(s, p, dz)),
        "the distances are right but sorted; keep the order of the slices.",
    ),
    (
        lambda s, p, dz: np.array(_wrong(s, p), dtype=float),
        "these are the numbers of the wrong slices, not how far they are from an end.",
    ),
]
