"""Graders of notebook 12: which slices join, what a choice of slices does, which forest speaks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.checks.base import Mistakes, Verdict
from cspine_lib.checks.slices2d import Case, grade

Array = npt.NDArray[np.float64]


# --- slices that the network is sure of --------------------------------------------------------


def sure_slices(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(p, sure)``: (N, 7), number → (N, 7) of 0, 1, and NaN for slices not taken (12)."""
    rng = np.random.default_rng(121)

    def table(n: int, spread: float) -> Array:
        """Every other slice is sure of all, one of nothing."""
        z = rng.normal(0, spread, size=(n, N_LEVELS)) - 2
        z[::2], z[1] = np.where(z[::2] > -1, 5.0, -5.0), np.linspace(-0.4, 0.4, N_LEVELS)
        return np.asarray((1 / (1 + np.exp(-z))).round(3))

    on_the_line = np.full((4, N_LEVELS), 0.02)
    on_the_line[0, 2], on_the_line[1, 3], on_the_line[2, 4] = 0.9, 0.1, 0.89
    nothing = np.full((3, N_LEVELS), 0.03)
    cases: list[Case] = [
        ("", (table(24, 3.5), 0.9)),
        ("for sure = 0.7: ", (table(16, 2.5), 0.7)),
        ("for probabilities of exactly 0.9 and 0.1: ", (on_the_line, 0.9)),
        ("for slices that surely show no level: ", (nothing, 0.9)),
        ("for a network that is sure of nothing: ", (np.full((3, N_LEVELS), 0.5), 0.9)),
    ]
    return grade(
        fn,
        cases,
        _sure,
        _SURE_MISTAKES,
        "a slice joins with all seven answers or not at all, and a sure no is as good as a sure "
        "yes.",
    )


def _sure(p: Array, sure: float) -> Array:
    rows = []
    for row in p.tolist():
        far = all(max(x, 1 - x) >= sure - 1e-12 for x in row)
        rows.append([float(x >= 0.5) if far else math.nan for x in row])
    return np.array(rows)


def _masked_rows(p: Any, keep: Any, values: Any = None) -> Array:
    hard = (np.asarray(p) >= 0.5).astype(float) if values is None else np.asarray(values, float)
    return np.where(np.broadcast_to(keep, hard.shape), hard, np.nan)


def _far(p: Array, sure: float) -> npt.NDArray[np.bool_]:
    return np.asarray(np.maximum(p, 1 - p) >= sure - 1e-12)


_SURE_MISTAKES: Mistakes = [
    (
        lambda p, s: _masked_rows(p, _far(p, s).any(axis=1, keepdims=True)),
        "a slice was taken for one sure answer, and its six doubtful ones came along as truth: "
        "all seven must be sure, all(axis=1).",
    ),
    (
        lambda p, s: _masked_rows(p, _far(p, s)),
        "doubtful answers were left out one by one; the training asks a slice about all seven, so "
        "the whole row is taken or left.",
    ),
    (
        lambda p, s: _masked_rows(p, (p >= s).all(axis=1, keepdims=True)),
        "only a sure yes counts as sure here; no slice shows seven levels. A probability near 0 "
        "is a sure no.",
    ),
    (
        lambda p, s: _masked_rows(p, (p.max(axis=1, keepdims=True) >= s)),
        "a slice was taken because its largest probability is sure: one that surely shows no "
        "level is left out, and one with a doubtful second level is let in.",
    ),
    (
        lambda p, s: _masked_rows(p, _far(p, s).all(axis=1, keepdims=True), p),
        "the probabilities were kept; what joins the masks is an answer, 0 or 1.",
    ),
    (
        lambda p, s: _masked_rows(p, _far(p, s).all(axis=1, keepdims=True), p < 0.5),
        "0 and 1 are swapped: 1 means that the slice shows the level.",
    ),
    (
        lambda p, s: _masked_rows(p, (np.maximum(p, 1 - p) > s + 1e-12).all(1, keepdims=True)),
        "exactly `sure` is sure enough: >=.",
    ),
    (
        lambda p, s: _masked_rows(p, (~_far(p, s)).any(axis=1, keepdims=True)),
        "you took the slices that the network doubts, and left the sure ones.",
    ),
    (
        lambda p, s: np.where(_far(p, s).all(axis=1, keepdims=True), p >= 0.5, 0.0),
        "slices that are not taken became zeros, which says that they show no level: NaN.",
    ),
    (
        lambda p, s: _masked_rows(p, (np.maximum(p, 1 - p).mean(axis=1, keepdims=True) >= s)),
        "a mean over the seven answers hides the one that is in doubt: each must be sure.",
    ),
    (
        lambda p, s: (p >= 0.5).astype(float),
        "every slice was taken, whatever the network doubts: rows with a doubt become NaN.",
    ),
    (
        lambda p, s: _masked_rows(p, _far(p, s).all(axis=1, keepdims=True))[_far(p, s).all(axis=1)],
        "the rows that are not taken are gone; leave them in place, as NaN, so that rows still "
        "belong to slices.",
    ),
]


# --- what an epoch's choice of slices does -----------------------------------------------------


def choice_offset(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(visible, label, chance)``: (N, 7), (N, 7), (N,) → (7,) log-odds (12)."""
    rng = np.random.default_rng(122)
    cases: list[Case] = []
    for n, low in ((30, 0.2), (45, 0.05)):
        visible = rng.uniform(size=(n, N_LEVELS)).round(3)
        label = (rng.uniform(size=(n, N_LEVELS)) < 0.25).astype(float)
        chance = np.where(rng.uniform(size=n) < 0.3, 1.0, low)
        cases.append(("", (visible, label, chance)))
    visible, label, _ = cases[0][1]
    absent = visible.copy()
    absent[:, 4] = 0.0
    cases += [
        ("where every slice is in every epoch: ", (visible, label, np.ones(len(visible)))),
        ("where no slice shows C5: ", (absent, label, cases[0][1][2])),
        ("where nothing is broken: ", (visible, np.zeros_like(label), cases[0][1][2])),
    ]
    return grade(
        fn,
        cases,
        _offset,
        _OFFSET_MISTAKES,
        "minus the log of the share of whole slices that an epoch still sees, each slice "
        "counting as much as it shows of the level.",
    )


def _offset(visible: Array, label: Array, chance: Array) -> Array:
    out = []
    for k in range(visible.shape[1]):
        whole = [v * (1 - y) for v, y in zip(visible[:, k], label[:, k], strict=True)]
        seen = sum(c * w for c, w in zip(chance.tolist(), whole, strict=True))
        out.append(-math.log(seen / sum(whole)) if sum(whole) > 0 else 0.0)
    return np.array(out)


def _minus_log(top: Any, bottom: Any) -> Array:
    share = np.divide(top, bottom, out=np.ones_like(np.asarray(top, float)), where=bottom > 0)
    return -np.log(share)


_OFFSET_MISTAKES: Mistakes = [
    (
        lambda v, y, c: -_minus_log((c[:, None] * v * (1 - y)).sum(0), (v * (1 - y)).sum(0)),
        "the sign is turned round: with whole slices left out, broken ones look more likely than "
        "they are, so the offset that explains it is positive.",
    ),
    (
        lambda v, y, c: _minus_log((c[:, None] * (1 - y)).sum(0), (1 - y).sum(0)),
        "every slice counts alike, also those that do not show the level: weigh by visible.",
    ),
    (
        lambda v, y, c: _minus_log((c[:, None] * v).sum(0), v.sum(0)),
        "broken slices are among those that you count; it is the whole ones that are left out: "
        "weigh by 1 − label.",
    ),
    (
        lambda v, y, c: _minus_log((c[:, None] * v * y).sum(0), (v * y).sum(0)),
        "these are the broken slices; the whole ones are left out.",
    ),
    (
        lambda v, y, c: np.full(v.shape[1], -np.log(c.mean())),
        "one number for all levels; the share differs between them, for slices come together "
        "with the broken level beside them.",
    ),
    (
        lambda v, y, c: np.full(v.shape[1], -np.log(c.min())),
        "a whole slice beside a broken level is in every epoch too: take the share of all whole "
        "slices that are seen, not the smallest chance.",
    ),
    (
        lambda v, y, c: -np.log((c[:, None] * v * (1 - y)).sum(0) / (v * (1 - y)).sum(0)),
        "0 / 0 is not a number: a level that no slice shows has the offset 0.",
    ),
    (
        lambda v, y, c: (c[:, None] * v * (1 - y)).sum(0) / (v * (1 - y)).sum(0),
        "this is the share that is seen; the offset is minus its logarithm.",
    ),
    (
        lambda v, y, c: 1 - (c[:, None] * v * (1 - y)).sum(0) / (v * (1 - y)).sum(0),
        "this is the share that is left out; the offset is minus the logarithm of what is seen.",
    ),
    (
        lambda v, y, c: -np.log(c)[:, None] * np.ones(v.shape[1]),
        "one number a slice; the network's odds are of a level, over all slices: sum first.",
    ),
    (
        lambda v, y, c: _minus_log(
            (c[:, None] * (v >= 0.5) * (1 - y)).sum(0), ((v >= 0.5) * (1 - y)).sum(0)
        ),
        "visibility was cut at 0.5: use it as the weight that it is.",
    ),
]


# --- which forest may speak ---------------------------------------------------------------------


def unseen_forest(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(said, part)``: (P, N), (N,) → (N,), what a row may be told (12)."""
    rng = np.random.default_rng(123)
    cases: list[Case] = []
    for parts, n in ((3, 12), (4, 9), (3, 7)):
        said = rng.uniform(size=(parts, n)).round(3)
        part = rng.permutation(np.arange(n) % (parts + 1) - 1)
        cases.append(("", (said, part)))
    said, part = cases[0][1]
    cases += [
        ("for training studies alone: ", (said, np.arange(len(part)) % 3)),
        ("for new studies alone: ", (said, np.full(len(part), -1))),
    ]
    return grade(
        fn,
        cases,
        _told,
        _FOREST_MISTAKES,
        "a training row hears the one forest that has not seen it, a new one hears them all.",
    )


def _told(said: Array, part: npt.NDArray[np.integer]) -> Array:
    out = []
    for i, p in enumerate(part.tolist()):
        heard = [row[i] for row in said.tolist()]
        out.append(heard[p] if p >= 0 else sum(heard) / len(heard))
    return np.array(out)


def _own(said: Array, part: npt.NDArray[np.integer]) -> Array:
    return np.asarray(said[part, np.arange(said.shape[1])])


def _others(said: Array, part: npt.NDArray[np.integer]) -> Array:
    return np.asarray((said.sum(axis=0) - _own(said, part)) / (len(said) - 1))


_FOREST_MISTAKES: Mistakes = [
    (
        lambda s, p: s.mean(axis=0),
        "every row hears the mean of all forests, and all but one of these were grown on it: the "
        "next round would learn to trust a training fit.",
    ),
    (
        lambda s, p: np.where(p < 0, s.mean(axis=0), _others(s, p)),
        "you took the mean of the forests that have seen the row, and left out the honest one.",
    ),
    (
        _own,
        "part −1 took the last forest: Python counts −1 from the end. A new study hears the mean "
        "of all.",
    ),
    (
        lambda s, p: np.where(p < 0, np.nan, _own(s, p)),
        "a new study was told nothing; no forest has seen it, so it hears the mean of all.",
    ),
    (
        lambda s, p: np.where(p < 0, 0.0, _own(s, p)),
        "a new study was told 0, which is an answer: it hears the mean of all forests.",
    ),
    (
        lambda s, p: np.where(p < 0, s.mean(axis=0), _own(s, (p + 1) % len(s))),
        "off by one: forest p was grown without part p.",
    ),
    (
        lambda s, p: np.where(p < 0, s.mean(axis=0), s[0]),
        "every training row hears the first forest; each has its own, said[part, row].",
    ),
    (
        lambda s, p: np.where(p < 0, s.mean(axis=0), s.max(axis=0)),
        "the most suspicious forest is one that has seen the row, most of the time.",
    ),
    (
        lambda s, p: np.where(p < 0, s.max(axis=0), _own(s, p)),
        "a new study hears the mean of all forests, not the maximum.",
    ),
    (
        lambda s, p: np.where(p < 0, np.median(s, axis=0), _own(s, p)),
        "a new study hears the mean of all forests, not the median.",
    ),
    (
        lambda s, p: np.where(p < 0, s[0], _own(s, p)),
        "a new study hears the mean of all forests, not the first one.",
    ),
    (
        lambda s, p: s[p],
        "said[part] gives a whole row of said for each row: said[part, np.arange(N)] takes one "
        "number each.",
    ),
]
