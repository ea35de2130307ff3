"""Graders of notebook 14: right answers in two styles pass, each usual slip is named."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from cspine_lib import checks, metrics


def _told(grader, fn, words):
    verdict = grader(fn)
    assert not verdict and words in verdict.message, verdict


# --- which member may judge which study ----------------------------------------------------------


def by_sets(patient, part, members):
    out = np.zeros((members, len(part)), bool)
    for m in range(members):
        out[m] = ~np.isin(patient, patient[part != m])
    return out


def by_tables(patient, part, members):
    same = patient[:, None] == patient[None]
    return np.stack([~(same & (part != m)[None]).any(axis=1) for m in range(members)]).astype(int)


def by_study(patient, part, members):
    return np.arange(members)[:, None] == part


@pytest.mark.parametrize("fn", [by_sets, by_tables])
def test_right_tables_pass(fn):
    assert checks.may_judge(fn), checks.may_judge(fn)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (by_study, "another study of the same patient"),
        (lambda p, k, m: ~by_study(p, k, m), "has not seen"),
        (lambda p, k, m: ~by_sets(p, k, m), "reverse"),
        (lambda p, k, m: [np.isin(p, p[k == i]) for i in range(m)], "is not enough"),
        (lambda p, k, m: by_sets(p, k, m).T, "turn your table"),
        (lambda p, k, m: by_sets(p, k - 1, m), "off by one"),
        (lambda p, k, m: by_sets(p, (k + 1) % m, m), "off by one"),
        (lambda p, k, m: by_sets(p, k, m).any(axis=0), "network by network"),
        (lambda p, k, m: np.ones((m, len(k)), bool), "not everybody"),
        (lambda p, k, m: by_sets(p, k, m + 1), "shape"),
        (lambda p, k, m: k.sort() or by_sets(p, k, m), "changes the array"),
    ],
)
def test_wrong_tables_are_told_why(fn, words):
    _told(checks.may_judge, fn, words)


# --- a rule fitted to the metric -----------------------------------------------------------------


def shares(y):
    w = metrics.weights(y)
    return w / w.sum(axis=1, keepdims=True)


def by_sklearn(z, y, w=None, strength=np.inf):
    rows = shares(y) if w is None else w
    model = LogisticRegression(C=strength, max_iter=1000)
    rows = rows / rows.mean()
    model.fit(z.reshape(-1, 1), y.ravel(), sample_weight=rows.ravel())
    return model.coef_[0, 0], model.intercept_[0]


def by_the_loss(z, y):
    def loss(at):
        return metrics.weighted_log_loss(y, 1 / (1 + np.exp(-(at[0] * z + at[1]))))

    return minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-5}).x


def scale_alone(z, y):
    def loss(at):
        return metrics.weighted_log_loss(y, 1 / (1 + np.exp(-at[0] * z)))

    return minimize(loss, [1.0], method="Nelder-Mead").x[0], 0.0


def bias_alone(z, y):
    def loss(at):
        return metrics.weighted_log_loss(y, 1 / (1 + np.exp(-(z + at[0]))))

    return 1.0, minimize(loss, [0.0], method="Nelder-Mead").x[0]


@pytest.mark.parametrize("fn", [by_sklearn, by_the_loss])
def test_right_fits_pass(fn):
    assert checks.metric_platt(fn), checks.metric_platt(fn)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda z, y: by_sklearn(z, y, np.ones(y.shape)), "counts the same"),
        (lambda z, y: by_sklearn(z, y, metrics.weights(y)), "sum to one"),
        (lambda z, y: by_sklearn(z, y, 1.0 + y), "seven times what a level"),
        (lambda z, y: by_sklearn(z, y, np.where(np.arange(8), 1.0, 7.0) + 0 * y), "weigh twice"),
        (lambda z, y: by_sklearn(z, y, 1 / shares(y)), "divide by the weights"),
        (lambda z, y: by_sklearn(z, y, shares(y) ** 2), "come in twice"),
        (lambda z, y: by_sklearn(z, y)[::-1], "scale first"),
        (bias_alone, "scale is 1"),
        (scale_alone, "bias is 0"),
        (lambda z, y: by_sklearn(z, 1 - y, shares(y)), "upside down"),
        (lambda z, y: by_sklearn(z[:, :1], y[:, :1], np.ones((len(y), 1))), "neck alone"),
        (lambda z, y: by_sklearn(z[:, 1:], y[:, 1:], shares(y)[:, 1:]), "levels alone"),
        (lambda z, y: (1.0, 0.0), "as they are"),
        (lambda z, y: by_sklearn(z, y)[0], "shape"),
        (lambda z, y: by_sklearn(z, y, strength=1e-3), "should be"),
    ],
)
def test_wrong_fits_are_told_why(fn, words):
    _told(checks.metric_platt, fn, words)


# --- what is worth its seconds -------------------------------------------------------------------


def by_pairs(seconds, loss):
    faster, better = seconds[None] <= seconds[:, None], loss[None] <= loss[:, None]
    strictly = (seconds[None] < seconds[:, None]) | (loss[None] < loss[:, None])
    return ~(faster & better & strictly).any(axis=1)


def by_sorting(seconds, loss):
    best, out = np.inf, np.zeros(len(loss), bool)
    for s in np.unique(seconds):
        here = seconds == s
        lowest = loss[here].min()
        if lowest < best:
            out |= here & (loss == lowest)
            best = lowest
    return out


def one_by_one(seconds, loss):
    order = np.argsort(seconds, kind="stable")
    out = np.ones(len(loss), bool)
    out[order[1:]] = loss[order[1:]] < loss[order[:-1]]
    return out


def hull(seconds, loss):
    keep, front = np.zeros(len(loss), bool), np.flatnonzero(by_pairs(seconds, loss))
    for i in front:
        keep[i] = all(
            loss[i] <= np.interp(seconds[i], [seconds[j], seconds[k]], [loss[j], loss[k]])
            for j in front
            for k in front
            if seconds[j] < seconds[i] < seconds[k]
        )
    return keep


@pytest.mark.parametrize("fn", [by_pairs, by_sorting])
def test_right_fronts_pass(fn):
    assert checks.on_front(fn), checks.on_front(fn)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda s, v: ~by_pairs(s, v), "reverse"),
        (lambda s, v: by_pairs(s, -v), "lower loss"),
        (lambda s, v: by_pairs(-s, v), "fewer seconds"),
        (lambda s, v: np.flatnonzero(by_pairs(s, v)), "for each method"),
        (lambda s, v: by_pairs(s, v)[np.argsort(s)], "order given"),
        (one_by_one, "next faster"),
        (hull, "line between"),
        (lambda s, v: ~((s < s[:, None]) & (v < v[:, None])).any(axis=1), "not both"),
        (lambda s, v: ~((s <= s[:, None]) & (v <= v[:, None])).any(axis=1), "beat itself"),
        (lambda s, v: v == v.min(), "only the best"),
        (lambda s, v: s == s.min(), "only the fastest"),
        (lambda s, v: (s == s.min()) | (v == v.min()), "between"),
        (lambda s, v: s * v == (s * v).min(), "exchange rate"),
        (lambda s, v: s.sort() or by_pairs(s, v), "changes the array"),
    ],
)
def test_wrong_fronts_are_told_why(fn, words):
    _told(checks.on_front, fn, words)
