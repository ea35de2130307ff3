"""Graders of notebook 10: right answers in several styles pass, each usual slip is named."""

import warnings

import numpy as np
import pandas as pd
import pytest

from cspine_lib import checks, metrics
from cspine_lib.checks import overall

# --- right answers -------------------------------------------------------------------------------


def right_n(loss, fold):
    chosen = np.empty(len(fold), dtype=int)
    for k in np.unique(fold):
        chosen[fold == k] = 1 + loss[fold != k].mean(axis=0).argmin()
    return chosen


def n_by_sums(loss, fold):
    total = loss.sum(axis=0)
    return [int(np.argmin(total - loss[fold == k].sum(axis=0))) + 1.0 for k in fold]


def n_with_pandas(loss, fold):
    table = pd.DataFrame(loss, columns=range(1, 8))
    best = {k: table[fold != k].mean().idxmin() for k in set(fold.tolist())}
    return pd.Series(fold).map(best)


def right_bins(y, p, bins):
    which = np.minimum((p * bins).astype(int), bins - 1)
    table = np.full((bins, 3), np.nan)
    for b in range(bins):
        here = which == b
        table[b, 0] = here.sum()
        if here.any():
            table[b, 1:] = p[here].mean(), y[here].mean()
    return table


def bins_by_histogram(y, p, bins):
    n, said, true = (
        np.histogram(p, bins=bins, range=(0, 1), weights=w)[0] for w in (np.ones(len(p)), p, y)
    )
    return np.column_stack([n, said / n, true / n])


def bins_with_pandas(y, p, bins):
    which = np.clip(np.digitize(p, np.linspace(0, 1, bins + 1)) - 1, 0, bins - 1)
    table = pd.DataFrame({"p": p, "y": y}).groupby(which).agg(n=("p", "size"), p=("p", "mean"))
    table["y"] = pd.Series(y).groupby(which).mean()
    table = table.reindex(range(bins))
    return table.assign(n=table["n"].fillna(0))


def right_shift(q, k):
    broken, whole = 14 / (21 + k) * q, 7 / 14 * (1 - q)
    return broken / (broken + whole)


def shift_in_a_loop(q, k):
    factors = [28 / (21 + count) for count in k]
    return [f * c / (1 + (f - 1) * c) for f, c in zip(factors, q, strict=True)]


@pytest.mark.parametrize(
    ("grader", "fn"),
    [
        (checks.nested_n, right_n),
        (checks.nested_n, n_by_sums),
        (checks.nested_n, n_with_pandas),
        (checks.reliability_bins, right_bins),
        (checks.reliability_bins, bins_by_histogram),
        (checks.reliability_bins, bins_with_pandas),
        (checks.overall_shift, right_shift),
        (checks.overall_shift, shift_in_a_loop),
    ],
)
def test_right_answers_pass(grader, fn):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verdict = grader(fn)
    assert verdict, verdict


def test_the_shift_of_the_oracle_is_the_librarys_for_the_neck():
    """A study with one suspicious level: patient_overall is that level's, and k is 1."""
    q = np.linspace(0.05, 0.95, 7)
    p = np.zeros((7, 8))
    p[:, 0] = p[:, 3] = q
    want = metrics.submission_shift(p)[:, 0]
    assert overall._shift_by_hand(q, np.ones(7)) == pytest.approx(want)


# --- N by nested folds ---------------------------------------------------------------------------


def _chosen(pick):
    return lambda loss, fold: np.array([pick(loss, fold, k) for k in fold])


def _mean_low(rows):
    return 1 + rows.mean(axis=0).argmin()


def _named_by_position(loss, fold):
    chosen = np.zeros(len(fold), dtype=int)
    for k in range(len(np.unique(fold))):
        chosen[fold == k] = _mean_low(loss[fold != k])
    return chosen


def _last_of_equals(loss, fold):
    return _chosen(lambda x, f, k: 7 - x[f != k].mean(axis=0)[::-1].argmin())(loss, fold)


def _fold_means(loss, fold, k):
    table = pd.DataFrame(loss).groupby(fold).mean()
    return 1 + int(table.drop(index=k).mean().to_numpy().argmin())


N_SLIPS = [
    (_chosen(lambda x, f, k: _mean_low(x[f == k])), "the very fold"),
    (_chosen(lambda x, f, k: _mean_low(x)), "on all studies"),
    (lambda loss, fold: loss.argmin(axis=1) + 1, "beforehand"),
    (_chosen(lambda x, f, k: x[f != k].mean(axis=0).argmin()), "starts at 0"),
    (_chosen(lambda x, f, k: 1 + x[f != k].mean(axis=0).argmax()), "largest loss"),
    (_chosen(lambda x, f, k: 1 + np.median(x[f != k], axis=0).argmin()), "median"),
    (_chosen(_fold_means), "folds' means"),
    (_last_of_equals, "smallest of them"),
    (_named_by_position, "need not be called 0, 1, 2"),
    (lambda loss, fold: [_mean_low(loss[fold != k]) for k in np.unique(fold)], "for each study"),
    (lambda loss, fold: _mean_low(loss), "one N for all"),
    (lambda loss, fold: np.full(len(fold), 7), "it should be"),
    (lambda loss, fold: right_n(loss, fold)[:, None], "has shape"),
]


@pytest.mark.parametrize(("fn", "words"), N_SLIPS, ids=[words for _, words in N_SLIPS])
def test_slips_in_choosing_n(fn, words):
    verdict = checks.nested_n(fn)
    assert not verdict and words in verdict.message, verdict


# --- bins ----------------------------------------------------------------------------------------


def _bins(which=None, *, empty=np.nan, columns=(0, 1, 2)):
    def fn(y, p, bins):
        place = which(p, bins) if which else np.minimum((p * bins).astype(int), bins - 1)
        rows = []
        for b in range(bins):
            here = place == b
            means = (p[here].mean(), y[here].mean()) if here.any() else (empty, empty)
            rows.append((here.sum(), *means))
        return np.array(rows)[:, list(columns)]

    return fn


def _one_bin_more(y, p, bins):
    return np.vstack([right_bins(y, p, bins), [0, np.nan, np.nan]])


def _without_empty(y, p, bins):
    table = right_bins(y, p, bins)
    return table[table[:, 0] > 0]


def _equal_counts(y, p, bins):
    parts = np.array_split(np.argsort(p, kind="stable"), bins)
    with np.errstate(all="ignore"):
        return np.array([(len(i), p[i].mean(), y[i].mean()) for i in parts])


def _centres(y, p, bins):
    table = right_bins(y, p, bins)
    table[:, 1] = (np.arange(bins) + 0.5) / bins
    return table


def _times(column, factor):
    def fn(y, p, bins):
        table = right_bins(y, p, bins)
        table[:, column] *= factor(table, y)
        return table

    return fn


BIN_SLIPS = [
    (_bins(lambda p, b: (p * b).astype(int)), "exactly 1"),
    (_bins(lambda p, b: np.digitize(p, np.linspace(0, 1, b + 1)) - 1), "exactly 1"),
    (_bins(lambda p, b: np.ceil(p * b).astype(int) - 1), "on an edge"),
    (_bins(lambda p, b: np.maximum(np.ceil(p * b).astype(int) - 1, 0)), "on an edge"),
    (_bins(lambda p, b: np.round(p * (b - 1)).astype(int)), "round to the nearest"),
    (_bins(empty=0.0), "has no mean"),
    (_bins(columns=(0, 2, 1)), "swapped"),
    (_bins(columns=(1, 2, 0)), "in this order"),
    (_one_bin_more, "one bin too many"),
    (_without_empty, "is a row too"),
    (_equal_counts, "equally wide"),
    (_centres, "middle of the bin"),
    (_times(0, lambda t, y: 1 / len(y)), "not their share"),
    (_times(2, lambda t, y: t[:, 0]), "number of broken ones"),
    (_times(2, lambda t, y: t[:, 0] / len(y)), "divide by those of the bin"),
    (lambda y, p, bins: right_bins(y, p, bins).T, "rows and columns"),
    (lambda y, p, bins: right_bins(y, p, bins)[::-1], "high to low"),
    (lambda y, p, bins: right_bins(y, p, 10), "has shape"),
]


@pytest.mark.parametrize(("fn", "words"), BIN_SLIPS, ids=[f"{i}" for i in range(len(BIN_SLIPS))])
def test_slips_in_binning(fn, words):
    verdict = checks.reliability_bins(fn)
    assert not verdict and words in verdict.message, verdict


# --- the shift -----------------------------------------------------------------------------------


def _times_odds(factor):
    def fn(q, k):
        f = factor(k) * np.ones_like(q)
        return f * q / (f * q + 1 - q)

    return fn


def _through_odds(q, k):
    odds = q / (1 - q) * 28 / (21 + k)
    return odds / (1 + odds)


def _logit_plus_factor(q, k):
    return 1 / (1 + np.exp(-(np.log(q / (1 - q)) + 28 / (21 + k))))


SHIFT_SLIPS = [
    (lambda q, k: q.copy(), "nothing was shifted"),
    (lambda q, k: 2 * q / (1 + q), "global normalisation"),
    (lambda q, k: right_shift(q, k) / (1 - right_shift(q, k)), "these are the odds"),
    (lambda q, k: q * 28 / (21 + k), "multiply the probability"),
    (lambda q, k: np.clip(q * 28 / (21 + k), 0, 1), "multiply the probability"),
    (_times_odds(lambda k: (21 + k) / 28), "wrong way"),
    (_times_odds(lambda k: 14 / (21 + k)), "7 / 14"),
    (_times_odds(lambda k: 28 / (14 + k)), "left the levels out"),
    (_times_odds(lambda k: 28 / (21 + 2 * k)), "W grows by k"),
    (_times_odds(lambda k: 28 / 21), "missing in W"),
    (_times_odds(lambda k: 28 / 22), "k = 1 for everybody"),
    (_times_odds(lambda k: 42 / (21 + k)), "sum to 7 + 7"),
    (_logit_plus_factor, "as a logarithm"),
    (_through_odds, "divide by zero"),
    (lambda q, k: right_shift(q, k)[0], "has shape"),
    (lambda q, k: right_shift(q, np.round(k)), "it should be"),
]


@pytest.mark.parametrize(
    ("fn", "words"), SHIFT_SLIPS, ids=[f"{i}" for i in range(len(SHIFT_SLIPS))]
)
def test_slips_in_the_shift(fn, words):
    verdict = checks.overall_shift(fn)
    assert not verdict and words in verdict.message, verdict
