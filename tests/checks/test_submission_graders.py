"""Graders of notebook 15: right answers in two styles pass, each usual slip is named."""

import math

import numpy as np
import pandas as pd
import pytest

from cspine_lib import checks
from cspine_lib.anatomy import LEVELS, OVERALL, TARGETS

LEAST = 1e-6

# --- rows ------------------------------------------------------------------------------------


def split(name):
    target = next(t for t in TARGETS if name.endswith(t))
    return name[: -len(target) - 1], target


def by_loop(row_ids, said, prior, low=LEAST, missing=None):
    out = []
    for name in row_ids:
        study, target = split(name)
        p = said.get((study, target), math.nan)
        if math.isnan(p):
            p = prior[target] if missing is None else missing
        out.append(min(max(p, low), 1 - low))
    return out


def by_pandas(row_ids, said, prior):
    keys = pd.DataFrame([split(n) for n in row_ids], columns=["study", "target"])
    p = pd.Series([said.get(key) for key in keys.itertuples(index=False, name=None)], dtype=float)
    return p.fillna(keys["target"].map(prior)).clip(LEAST, 1 - LEAST).to_numpy()


def last_underscore(row_ids, said, prior):
    out = []
    for name in row_ids:
        study, target = name.rsplit("_", 1)
        p = said.get((study, target), math.nan)
        out.append(prior.get(target, prior[OVERALL]) if math.isnan(p) else p)
    return np.clip(out, LEAST, 1 - LEAST)


def nan_left(row_ids, said, prior):
    out = [said.get(split(n), prior[split(n)[1]]) for n in row_ids]
    return np.clip(out, LEAST, 1 - LEAST)


def in_said_order(row_ids, said, prior):
    asked = dict(zip(row_ids, by_loop(row_ids, said, prior), strict=True))
    return [asked[f"{u}_{t}"] for u, t in said if f"{u}_{t}" in asked]


@pytest.mark.parametrize("fn", [by_loop, by_pandas])
def test_right_rows_pass(fn):
    assert checks.submission_rows(fn), checks.submission_rows(fn)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda r, s, p: by_loop(r, s, p, low=0.0), "1e-6 away"),
        (nan_left, "NaN was left in"),
        (lambda r, s, p: by_loop(r, s, p, missing=0.5), "0.5"),
        (lambda r, s, p: by_loop(r, s, p, missing=0.0), "what is missing got 0:"),
        (lambda r, s, p: by_loop(r, s, p, missing=p[OVERALL]), "patient_overall's prior"),
        (
            lambda r, s, p: by_loop(r, s, p, missing=np.mean([p[k] for k in LEVELS])),
            "mean of the levels",
        ),
        (in_said_order, "order of your predictions"),
        (lambda r, s, p: by_loop(sorted(r), s, p), "sorted"),
        (last_underscore, "last underscore"),
        (lambda r, s, p: by_loop(r, {f"{u}_{t}": v for (u, t), v in s.items()}, p), "pairs"),
        (lambda r, s, p: 1 - np.array(by_loop(r, s, p)), "one minus"),
        (lambda r, s, p: by_loop(r, s, p)[:-1], "shape"),
        (lambda r, s, p: [s[split(n)] for n in r], "KeyError"),
    ],
)
def test_wrong_rows_are_told_why(fn, words):
    verdict = checks.submission_rows(fn)
    assert not verdict and words in verdict.message, verdict


# --- time ------------------------------------------------------------------------------------


def by_clock(seconds, done, limit, room=lambda past: max(past, default=0.0)):
    used, past, out = 0.0, [], []
    for own, ready in zip(seconds, done, strict=True):
        begin = not ready and used + room(past) <= limit
        if begin:
            used += own
            past.append(own)
        out.append(bool(ready or begin))
    return out


def by_arrays(seconds, done, limit):
    got = np.array(done, dtype=bool).copy()
    for i in np.flatnonzero(~got):
        before = np.flatnonzero(got & ~np.array(done))
        past = seconds[before]
        got[i] = past.sum() + (past.max() if len(past) else 0) <= limit
    return got


def look_ahead(seconds, done, limit):
    used, out = 0.0, []
    for own, ready in zip(seconds, done, strict=True):
        begin = not ready and used + own <= limit
        used += own if begin else 0
        out.append(ready or begin)
    return out


def finished_cost(seconds, done, limit):
    used, past, out = 0.0, [], []
    for own, ready in zip(seconds, done, strict=True):
        begin = not ready and used + max(past, default=0.0) <= limit
        if begin:
            past.append(own)
        used += own if begin or ready else 0
        out.append(ready or begin)
    return out


def stops(seconds, done, limit):
    used, past, out, over = 0.0, [], [], False
    for own, ready in zip(seconds, done, strict=True):
        over = over or (not ready and used + max(past, default=0.0) > limit)
        if over:
            out.append(False)
            continue
        if not ready:
            used += own
            past.append(own)
        out.append(True)
    return out


@pytest.mark.parametrize("fn", [by_clock, by_arrays])
def test_right_times_pass(fn):
    assert checks.begun_in_time(fn), checks.begun_in_time(fn)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda s, d, m: by_clock(s, d, m, room=lambda past: 0.0), "ends too late"),
        (lambda s, d, m: by_clock(s, d, m, room=lambda p: np.mean(p) if p else 0), "mean length"),
        (lambda s, d, m: by_clock(s, d, m, room=lambda p: p[-1] if p else 0), "as the last"),
        (lambda s, d, m: by_clock(s, d, m, room=lambda p: max(s)), "those to come included"),
        (look_ahead, "before it was run"),
        (lambda s, d, m: (np.cumsum(np.where(d, 0, s)) <= m) | d, "before it was run"),
        (finished_cost, "costs nothing"),
        (stops, "finished ones behind it"),
        (lambda s, d, m: by_clock(s, d, m) & ~np.array(d), "has a result as well"),
        (lambda s, d, m: ~np.array(by_clock(s, d, m)), "wrong way round"),
        (lambda s, d, m: sum(by_clock(s, d, m)), "has shape ()"),
        (lambda s, d, m: np.zeros(len(s)), "should be 1"),
    ],
)
def test_wrong_times_are_told_why(fn, words):
    verdict = checks.begun_in_time(fn)
    assert not verdict and words in verdict.message, verdict


# --- slices ----------------------------------------------------------------------------------


def by_unique(z_mm):
    gaps = np.diff(np.unique(z_mm))
    return int((np.round(gaps / np.median(gaps)) - 1).sum())


def by_series(z_mm):
    gaps = pd.Series(z_mm).drop_duplicates().sort_values().diff().dropna()
    return sum(round(g / gaps.median()) - 1 for g in gaps)


def ratios(z_mm, usual=np.median, unique=True):
    gaps = np.diff(np.unique(z_mm) if unique else np.sort(z_mm))
    return gaps / usual(gaps)


@pytest.mark.parametrize("fn", [by_unique, by_series])
def test_right_counts_pass(fn):
    assert checks.slices_missing(fn), checks.slices_missing(fn)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda z: (np.round(np.diff(z) / np.median(np.diff(z))) - 1).sum(), "sort them first"),
        (
            lambda z: (np.round(np.abs(np.diff(z)) / np.median(np.abs(np.diff(z)))) - 1).sum(),
            "sort them first",
        ),
        (lambda z: (np.round(ratios(z, unique=False)) - 1).sum(), "leave them out"),
        (
            lambda z: np.maximum(np.round(ratios(z, unique=False)) - 1, 0).sum(),
            "the median is 0",
        ),
        (lambda z: (ratios(z) > 1.5).sum(), "count the holes"),
        (lambda z: np.round(ratios(z))[np.round(ratios(z)) > 1].sum(), "one less"),
        (lambda z: (np.round(ratios(z, np.min)) - 1).sum(), "smallest gap"),
        (lambda z: (np.round(ratios(z, np.mean)) - 1).sum(), "mean gap"),
        (lambda z: (ratios(z) - 1).sum(), "round it"),
        (lambda z: (np.floor(ratios(z)) - 1).sum(), "round to nearest"),
        (
            lambda z: np.round(np.ptp(z) / np.median(np.diff(np.unique(z)))) + 1 - len(z),
            "from end to end",
        ),
        (
            lambda z: np.round(np.ptp(z) / np.median(np.diff(np.unique(z)))) + 1,
            "how many of them are missing",
        ),
        (lambda z: -by_unique(z), "should be"),
        (lambda z: z.sort() or by_unique(z), "changes the array"),
    ],
)
def test_wrong_counts_are_told_why(fn, words):
    verdict = checks.slices_missing(fn)
    assert not verdict and words in verdict.message, verdict
