"""Graders of notebook 15: the rows of a submission, and which studies the time allows for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import LEVELS, OVERALL, TARGETS
from cspine_lib.checks.base import Mistakes, Verdict
from cspine_lib.checks.consistent import graded

Array = npt.NDArray[np.float64]
Said = Mapping[tuple[str, str], float]
LEAST = 1e-6


# --- rows ----------------------------------------------------------------------------------------


def submission_rows(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(row_ids, said, prior)``: N names, (study, target) → p, target → p → (N,) (15).

    Values in the order of the names, the prior where nothing (or NaN) was said, at least 1e-6 away
    from 0 and from 1.
    """
    praise = "every row has its value, in the order asked, strictly between 0 and 1."
    return graded(fn, _row_cases(), _rows, _ROW_MISTAKES, praise, atol=1e-12)


def _row_cases() -> list[tuple[str, tuple[list[str], Said, dict[str, float]]]]:
    rng = np.random.default_rng(151)
    prior = {t: float(p) for t, p in zip(TARGETS, rng.uniform(0.05, 0.5, 8), strict=True)}
    uids = [f"1.2.826.{i}" for i in rng.permutation(900)[:5]]
    names = [f"{uid}_{t}" for uid in uids for t in TARGETS]
    mixed = [names[i] for i in rng.permutation(len(names))]
    said = {(uid, t): float(rng.uniform(0.02, 0.9)) for uid in uids for t in TARGETS}
    some = {key: p for key, p in said.items() if key[0] != uids[1]}
    holes = {**some, (uids[2], "C4"): float("nan"), (uids[3], OVERALL): float("nan")}
    edges = {**said, (uids[0], "C2"): 0.0, (uids[4], OVERALL): 1.0, (uids[3], "C7"): 1e-9}
    low = ["a_b_c", "x_patient"]
    odd = {(uid, t): float(rng.uniform(0.1, 0.9)) for uid in low for t in TARGETS}
    odd_names = [f"{uid}_{t}" for t in TARGETS for uid in low]
    return [
        ("", (names, said, prior)),
        ("rows in another order: ", (mixed, said, prior)),
        ("a study of which nothing was said: ", (mixed, some, prior)),
        ("with NaN among the values: ", (mixed, holes, prior)),
        ("values of 0, 1 and 1e-9: ", (names, edges, prior)),
        ("study names that hold an underscore: ", (odd_names, odd, prior)),
        ("only some rows are asked for: ", (mixed[:7], said, prior)),
    ]


def _split(name: str) -> tuple[str, str]:
    target = next(t for t in TARGETS if name.endswith("_" + t))
    return name[: -len(target) - 1], target


def _rows(
    row_ids: list[str],
    said: Said,
    prior: Mapping[str, float],
    *,
    clip: float = LEAST,
    fallback: Callable[[Mapping[str, float], str], float] = lambda prior, t: prior[t],
    keep_nan: bool = False,
) -> Array:
    """One row after the other."""
    out = []
    for name in row_ids:
        study, target = _split(name)
        p = said.get((study, target), np.nan)
        if np.isnan(p) and not (keep_nan and (study, target) in said):
            p = fallback(prior, target)
        out.append(min(max(p, clip), 1 - clip) if p == p else p)
    return np.array(out)


def _unclipped(r: list[str], s: Said, p: Mapping[str, float]) -> Array:
    return _rows(r, s, p, clip=0.0)


def _as_said(r: list[str], s: Said, p: Mapping[str, float]) -> Array:
    """In the order of the predictions."""
    value = dict(zip(r, _rows(r, s, p), strict=True))
    order = [f"{uid}_{t}" for uid, t in s]
    return np.array([value[name] for name in order if name in value])


def _from_last_underscore(r: list[str], s: Said, p: Mapping[str, float]) -> Array:
    """``rsplit('_', 1)``: patient_overall becomes study …_patient and target overall."""
    out = []
    for name in r:
        study, target = name.rsplit("_", 1)
        value = s.get((study, target), np.nan)
        fallback = p.get(target, p[OVERALL])
        out.append(fallback if np.isnan(value) else value)
    return np.clip(np.array(out), LEAST, 1 - LEAST)


_ROW_MISTAKES: Mistakes = [
    (
        _unclipped,
        "a value is 0, 1, or so near that six digits make it so: the log loss of such a row can "
        "be infinite. Keep 1e-6 away from both ends.",
    ),
    (
        lambda r, s, p: _rows(r, s, p, keep_nan=True),
        "NaN was left in: it is in the dictionary, but it is no answer; give the prior.",
    ),
    (
        lambda r, s, p: _rows(r, s, p, fallback=lambda prior, t: 0.5),
        "what is missing got 0.5; the prior of its target is a much better guess.",
    ),
    (
        lambda r, s, p: _rows(r, s, p, fallback=lambda prior, t: 0.0),
        "what is missing got 0: if that bone is broken, the row costs as much as all others.",
    ),
    (
        lambda r, s, p: _rows(r, s, p, fallback=lambda prior, t: prior[OVERALL]),
        "what is missing got patient_overall's prior; each target has a prior of its own.",
    ),
    (
        lambda r, s, p: _rows(
            r, s, p, fallback=lambda prior, t: float(np.mean([prior[k] for k in LEVELS]))
        ),
        "what is missing got the mean of the levels' priors; each target has its own.",
    ),
    (_as_said, "the rows are in the order of your predictions; test.csv's order is asked."),
    (
        lambda r, s, p: _rows(sorted(r), s, p),
        "the rows were sorted; leave them in the order that is asked.",
    ),
    (
        _from_last_underscore,
        "the last underscore does not split patient_overall rightly, which has one itself: look "
        "for the target at the end of the name.",
    ),
    (
        lambda r, s, p: _rows(r, {}, p),
        "every row got its prior: the keys of said are pairs (study, target).",
    ),
    (
        lambda r, s, p: 1 - _rows(r, s, p),
        "these are probabilities of a whole bone: one minus what is asked.",
    ),
]


# --- time ----------------------------------------------------------------------------------------


def begun_in_time(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(seconds, done, limit)``: (N,), (N,) bool, s → (N,) bool: which have a result (15).

    In their order: a study that is done has its result at no cost; another one is begun only if
    the time used so far plus the longest of those judged in this call is within the limit.
    """
    praise = "nothing is begun that could end too late, and nothing finished is lost."
    return graded(fn, _time_cases(), _in_time, _TIME_MISTAKES, praise)


def _time_cases() -> list[tuple[str, tuple[Array, npt.NDArray[np.bool_], float]]]:
    rng = np.random.default_rng(152)
    cases = []
    for n, limit in ((12, 40.0), (15, 55.0), (20, 30.0)):
        seconds = rng.uniform(2, 11, n).round(1)
        cases.append(("", (seconds, np.zeros(n, dtype=bool), limit)))
        cases.append(("some are done already: ", (seconds, rng.random(n) < 0.4, limit)))
    none, ones = np.zeros(6, dtype=bool), np.ones(6)
    fourth = np.arange(6) == 3
    late = np.array([False, False, False, False, True, True])
    # The limit comes before the finished ones do; a short study follows a long one.
    return [
        *cases,
        ("finished studies at the end: ", (np.full(6, 10.0), late, 25.0)),
        ("a long study in the middle: ", (np.array([2.0, 2, 30, 2, 2, 2]), none, 45.0)),
        ("a long study that is done already: ", (np.array([2.0, 2, 2, 50, 2, 2]), fourth, 9.0)),
        ("everything is done: ", (ones * 9, ~none, 1.0)),
        ("time for all: ", (ones, none, 1000.0)),
        ("time to the very second: ", (ones, none, 6.0)),
    ]


def _in_time(
    seconds: Array,
    done: npt.NDArray[np.bool_],
    limit: float,
    *,
    margin: Callable[[list[float], float], float] = lambda past, own: max(past, default=0.0),
    free: bool = True,
    stop: bool = False,
    seen: bool = True,
) -> Array:
    """Study by study."""
    used, over = 0.0, False
    past: list[float] = []
    out: list[bool] = []
    for own, ready in zip(seconds.tolist(), done.tolist(), strict=True):
        if ready:
            used += 0.0 if free else own
            out.append(seen and not (stop and over))
            continue
        over = over or used + margin(past, own) > limit
        begin = used + margin(past, own) <= limit and not (stop and over)
        if begin:
            used += own
            past.append(own)
        out.append(begin)
    return np.array(out, dtype=np.float64)


def _mean(past: list[float], own: float) -> float:
    return float(np.mean(past)) if past else 0.0


def _within_sum(s: Array, d: npt.NDArray[np.bool_], limit: float) -> Array:
    cost = np.where(d, 0, s)
    return ((np.cumsum(cost) <= limit) | d).astype(np.float64)


_TIME_MISTAKES: Mistakes = [
    (
        lambda s, d, m: _in_time(s, d, m, margin=lambda past, own: 0.0),
        "you begin as long as time is left: the last study then ends too late. Leave room for one "
        "as long as the longest so far.",
    ),
    (
        lambda s, d, m: _in_time(s, d, m, margin=_mean),
        "you leave room for a study of mean length; half of them are longer. Take the longest.",
    ),
    (
        lambda s, d, m: _in_time(s, d, m, margin=lambda past, own: past[-1] if past else 0.0),
        "you leave room for one as long as the last; take the longest so far.",
    ),
    (
        lambda s, d, m: _in_time(s, d, m, margin=lambda past, own: own),
        "you look at a study's seconds before it was run: nobody knows them then.",
    ),
    (
        _within_sum,
        "you compare sums that hold the seconds of the study itself, before it was run: nobody "
        "knows them then.",
    ),
    (
        lambda s, d, m: _in_time(s, d, m, margin=lambda past, own: float(s.max())),
        "you leave room for the longest of all studies, those to come included: nobody knows them.",
    ),
    (
        lambda s, d, m: _in_time(s, d, m, free=False),
        "a study that is done costs nothing: it is read from its file.",
    ),
    (
        lambda s, d, m: _in_time(s, d, m, stop=True),
        "you stop at the first study that has no time; finished ones behind it have results.",
    ),
    (
        lambda s, d, m: _in_time(s, d, m, seen=False),
        "a study that is done has a result as well: it is true for it.",
    ),
    (
        lambda s, d, m: 1 - _in_time(s, d, m),
        "it is the wrong way round: true means that a study has a result.",
    ),
]
