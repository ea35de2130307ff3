"""Graders of notebook 11: right answers in two styles pass, each usual slip is named."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_curve

from cspine_lib import checks
from cspine_lib.checks import results_points

DRAWS = 600


# --- an interval by study ------------------------------------------------------------------------


def by_sums(study, difference, level=0.95, n=DRAWS):
    _, place = np.unique(study, return_inverse=True)
    total, rows = np.bincount(place, difference), np.bincount(place)
    draws = np.random.default_rng(0).integers(len(rows), size=(n, len(rows)))
    values = total[draws].sum(axis=1) / rows[draws].sum(axis=1)
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2])


def by_pandas(study, difference):
    table = pd.DataFrame({"study": study, "d": difference}).groupby("study")["d"]
    sums = table.agg(["sum", "count"])
    values = []
    for seed in range(DRAWS):
        drawn = sums.sample(len(sums), replace=True, random_state=seed)
        values.append(drawn["sum"].sum() / drawn["count"].sum())
    return tuple(np.percentile(values, [2.5, 97.5]))


def by_row(study, difference):
    draws = np.random.default_rng(0).integers(len(study), size=(DRAWS, len(study)))
    return np.quantile(difference[draws].mean(axis=1), [0.025, 0.975])


def of_means(study, difference):
    _, place = np.unique(study, return_inverse=True)
    mean = np.bincount(place, difference) / np.bincount(place)
    return by_row(np.arange(len(mean)), mean)


def of_sums(study, difference):
    _, place = np.unique(study, return_inverse=True)
    total = np.bincount(place, difference)
    return by_row(np.arange(len(total)), total)


def without_replacement(study, difference):
    return np.array([difference.mean(), difference.mean()])


def single_rows(study, difference):
    return np.quantile(difference, [0.025, 0.975])


@pytest.mark.parametrize("fn", [by_sums, by_pandas])
def test_right_intervals_pass(fn):
    assert checks.by_study_interval(fn), checks.by_study_interval(fn)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (by_row, "resample rows"),
        (of_means, "studies' means"),
        (of_sums, "divide by the rows"),
        (without_replacement, "with replacement"),
        (lambda s, d: by_sums(s, d, level=0.9), "90%"),
        (lambda s, d: by_sums(s, d, level=0.8), "80%"),
        (lambda s, d: by_sums(s, d)[::-1], "swapped"),
        (lambda s, d: -by_sums(s, d)[::-1], "sign"),
        (lambda s, d: by_sums(s, d - d.mean()), "around 0"),
        (single_rows, "single rows"),
        (lambda s, d: by_sums(s, d).mean(), "two numbers"),
        (lambda s, d: by_sums(s, d) * np.nan, "NaN"),
        (lambda s, d: by_sums(s, d) + 1.0, "should be near"),
        (lambda s, d: d.sort() or by_sums(s, d), "changes the array"),
    ],
)
def test_wrong_intervals_are_told_why(fn, words):
    verdict = checks.by_study_interval(fn)
    assert not verdict and words in verdict.message, verdict


# --- sensitivity at a specificity ----------------------------------------------------------------


def by_thresholds(y, score, specificity):
    best = 0.0
    for t in [*np.unique(score), np.inf]:
        if (score[y == 0] < t).mean() >= specificity:
            best = max(best, (score[y == 1] >= t).mean())
    return best


def by_sklearn(y, score, specificity):
    false, true, _ = roc_curve(y, score, drop_intermediate=False)
    return true[1 - false >= specificity - 1e-12].max()


def by_quantile(y, score, specificity):
    return (score[y == 1] >= np.quantile(score[y == 0], specificity)).mean()


def interpolated(y, score, specificity):
    false, true, _ = roc_curve(y, score, drop_intermediate=False)
    return np.interp(1 - specificity, false, true)


def precise(y, score, specificity):
    found = [
        y[score >= t].mean() for t in np.unique(score) if (score[y == 0] < t).mean() >= specificity
    ]
    return max(found, default=0.0)


def nearest(y, score, specificity):
    at = np.unique(score)
    gap = [abs((score[y == 0] < t).mean() - specificity) for t in at]
    return (score[y == 1] >= at[np.argmin(gap)]).mean()


@pytest.mark.parametrize("fn", [by_thresholds, by_sklearn])
def test_right_sensitivities_pass(fn):
    assert checks.sensitivity_at(fn), checks.sensitivity_at(fn)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda y, s, w: by_thresholds(1 - y, -s, w), "swapped"),
        (lambda y, s, w: by_thresholds(1 - y, s, w), "whole necks as the broken"),
        (lambda y, s, w: by_thresholds(y, -s, w), "wrong way round"),
        (lambda y, s, w: (s[y == 1] >= 0.5).mean(), "threshold 0.5"),
        (by_quantile, "quantile"),
        (interpolated, "interpolate"),
        (precise, "precision"),
        (lambda y, s, w: (s[y == 1] >= s.max()).mean(), "strictest"),
        (nearest, "nearest"),
        (lambda y, s, w: 1 - by_thresholds(y, s, w), "missed"),
        (lambda y, s, w: by_thresholds(y, s, 0.9), "at specificity 50%"),
        (lambda y, s, w: np.full(2, by_thresholds(y, s, w)), "shape"),
        (lambda y, s, w: np.nan, "nan"),
    ],
)
def test_wrong_sensitivities_are_told_why(fn, words):
    verdict = checks.sensitivity_at(fn)
    assert not verdict and words in verdict.message, verdict


def test_never_calling_anything_broken_is_a_threshold_too():
    """Without it, equal scores have no threshold that is specific enough."""

    def forgets(y, score, specificity):
        found = [
            (score[y == 1] >= t).mean()
            for t in np.unique(score)
            if (score[y == 0] < t).mean() >= specificity
        ]
        return max(found, default=np.nan)

    assert not checks.sensitivity_at(forgets)


def test_the_oracle_agrees_with_the_library():
    from cspine_lib.metrics import sensitivity_at_specificity

    rng = np.random.default_rng(3)
    for _ in range(20):
        y = np.r_[0, 1, rng.integers(0, 2, 20)]
        score = rng.random(22).round(1)
        want = sensitivity_at_specificity(y, score, 0.8)
        assert results_points._points(y, score, 0.8) == pytest.approx(want)


# --- hours ---------------------------------------------------------------------------------------


def amdahl(seconds, factor, n):
    after = (seconds / factor).sum()
    return n * after / 3600, seconds.sum() / after


def amdahl_by_shares(seconds, factor, n):
    share = seconds / seconds.sum()
    speed_up = 1 / (share / factor).sum()
    return np.array([n * seconds.sum() / speed_up / 3600, speed_up])


@pytest.mark.parametrize("fn", [amdahl, amdahl_by_shares])
def test_right_hours_pass(fn):
    assert checks.hours_after(fn), checks.hours_after(fn)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda s, f, n: amdahl(s, f, n)[::-1], "order"),
        (lambda s, f, n: amdahl(s, f, n)[0], "two numbers"),
        (lambda s, f, n: (3600 * amdahl(s, f, n)[0], amdahl(s, f, n)[1]), "seconds, not hours"),
        (lambda s, f, n: (60 * amdahl(s, f, n)[0], amdahl(s, f, n)[1]), "minutes"),
        (lambda s, f, n: amdahl(s, f, 1), "multiply by n"),
        (lambda s, f, n: (n * s.sum() / f.mean() / 3600, f.mean()), "mean factor"),
        (lambda s, f, n: (n * s.sum() / f.prod() / 3600, f.prod()), "do not multiply"),
        (lambda s, f, n: amdahl(s, 1 / f, n), "half the time"),
        (lambda s, f, n: (n * (s / f).max() / 3600, s.sum() / (s / f).max()), "add up"),
        (lambda s, f, n: (amdahl(s, f, n)[0], 1 / amdahl(s, f, n)[1]), "upside down"),
        (lambda s, f, n: (amdahl(s, f, n)[0], f.mean()), "not the mean factor"),
        (lambda s, f, n: (n * s.sum() / 3600, amdahl(s, f, n)[1]), "before the change"),
        (lambda s, f, n: (1.0, 1.0), "should be"),
    ],
)
def test_wrong_hours_are_told_why(fn, words):
    verdict = checks.hours_after(fn)
    assert not verdict and words in verdict.message, verdict
