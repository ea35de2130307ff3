"""Graders of notebook 02: right answers in several styles pass, each usual slip is named."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from cspine_lib import checks, metrics
from cspine_lib.checks import metric, metric_constants

WEIGHT = np.array([7] + 7 * [1])


# --- right answers -------------------------------------------------------------------------------


def right_loss(y, p):
    q = np.clip(p, 1e-6, 1 - 1e-6)
    w = np.where(y == 1, 2, 1) * WEIGHT
    bce = -(y * np.log(q) + (1 - y) * np.log(1 - q))
    return ((w * bce).sum(axis=1) / w.sum(axis=1)).mean()


def loss_in_a_loop(y, p):
    exams = []
    for truth, said in zip(y, p, strict=True):
        w = [(14 if t else 7) if j == 0 else (2 if t else 1) for j, t in enumerate(truth)]
        said = [min(max(s, 1e-6), 1 - 1e-6) for s in said]
        terms = [-np.log(s if t else 1 - s) for t, s in zip(truth, said, strict=True)]
        exams.append(np.dot(w, terms) / sum(w))
    return sum(exams) / len(exams)


def loss_of_sklearn(y, p):
    w = metrics.weights(y)
    share = w / w.sum(axis=1, keepdims=True)
    q = np.clip(p, 1e-6, 1 - 1e-6)
    return log_loss(y.ravel(), q.ravel(), sample_weight=share.ravel(), labels=[0, 1])


def loss_with_a_little_added(y, p, eps=1e-6):
    w = np.where(y == 1, 2, 1) * WEIGHT
    bce = -(y * np.log(p + eps) + (1 - y) * np.log(1 - p + eps))
    return [((w * bce).sum(axis=1) / w.sum(axis=1)).mean()]


def right_constants(y):
    w = np.where(y == 1, 2, 1) * WEIGHT
    v = w / w.sum(axis=1, keepdims=True)
    return (v * y).sum(axis=0) / v.sum(axis=0)


def constants_in_a_loop(y):
    best = []
    total = metrics.weights(y).sum(axis=1)
    for j in range(8):
        broken = sum(2 * WEIGHT[j] / t for t, label in zip(total, y[:, j], strict=True) if label)
        whole = sum(WEIGHT[j] / t for t, label in zip(total, y[:, j], strict=True) if not label)
        best.append(broken / (broken + whole))
    return best


def right_shift(q):
    return 2 * q / (1 + q)


def shift_of_odds(q):
    return 1 - (1 - q) / (1 + q)


def right_interval(a, b, n=1000, seed=0):
    difference = (a - b).sum(axis=1)
    draws = np.random.default_rng(seed).integers(len(a), size=(n, len(a)))
    return np.quantile(difference[draws].mean(axis=1), [0.025, 0.975])


def interval_in_a_loop(a, b):
    rng, means = np.random.default_rng(3), []
    for _ in range(800):
        draw = rng.choice(len(a), len(a))
        means.append(a[draw].sum(axis=1).mean() - b[draw].sum(axis=1).mean())
    return tuple(np.percentile(means, (2.5, 97.5)))


def normal_interval(a, b):
    d = (a - b).sum(axis=1)
    half = 1.96 * d.std(ddof=1) / np.sqrt(len(d))
    return d.mean() - half, d.mean() + half


@pytest.mark.parametrize(
    ("grader", "fn"),
    [
        (checks.competition_loss, right_loss),
        (checks.competition_loss, loss_in_a_loop),
        (checks.competition_loss, loss_of_sklearn),
        (checks.competition_loss, loss_with_a_little_added),
        (checks.competition_loss, metrics.weighted_log_loss),
        (checks.per_exam_constants, right_constants),
        (checks.per_exam_constants, constants_in_a_loop),
        (checks.per_exam_constants, metrics.best_constants),
        (checks.global_shift, right_shift),
        (checks.global_shift, shift_of_odds),
        (checks.global_shift, lambda q: metrics.submission_shift(q, "global")),
        (checks.study_interval, right_interval),
        (checks.study_interval, interval_in_a_loop),
        (checks.study_interval, normal_interval),
        (
            checks.study_interval,
            lambda a, b: metrics.bootstrap_ci(lambda x, y: (x - y).sum(axis=1).mean(), a, b)[1:],
        ),
    ],
)
def test_right_answers_pass(grader, fn):
    verdict = grader(fn)
    assert verdict, verdict


def test_right_intervals_pass_whatever_the_draw():
    for seed in range(60):
        verdict = checks.study_interval(lambda a, b, s=seed: right_interval(a, b, seed=s))
        assert verdict, (seed, verdict)


def test_the_oracles_agree_with_the_library():
    y = metrics.pattern_labels()[::10]
    p = np.random.default_rng(0).uniform(size=y.shape)
    assert metric._loss_by_hand(y, p) == pytest.approx(metrics.weighted_log_loss(y, p))
    assert metric._loss_by_hand(y, p, average="global") == pytest.approx(
        metrics.weighted_log_loss(y, p, "global")
    )
    assert metric_constants._constants_by_hand(y) == pytest.approx(metrics.best_constants(y))


# --- the loss ------------------------------------------------------------------------------------


def _loss(y, p, *, w=None, clip=1e-6, log=np.log, average="exam"):
    """``right_loss`` with something to get wrong."""
    q = np.clip(p, clip, 1 - clip) if clip else p
    w = np.where(y == 1, 2, 1) * WEIGHT if w is None else w
    cost = -w * (y * log(q) + (1 - y) * log(1 - q))
    if average == "global":
        return cost.sum() / w.sum()
    exams = cost.sum(axis=1) / (1 if average == "rows" else w.sum(axis=1))
    return exams.sum() if average == "sum" else exams.mean() / (8 if average == "rows" else 1)


def _one_term(y, p, truth):
    w = np.where(y == 1, 2, 1) * WEIGHT
    q = np.clip(p, 1e-6, 1 - 1e-6)
    term = y * np.log(q) if truth else (1 - y) * np.log(1 - q)
    return -((w * term).sum(axis=1) / w.sum(axis=1)).mean()


def _unclipped_choice(y, p):
    w = np.where(y == 1, 2, 1) * WEIGHT
    return ((w * -np.log(np.where(y == 1, p, 1 - p))).sum(axis=1) / w.sum(axis=1)).mean()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda y, p: -right_loss(y, p), "sign is wrong"),
        (lambda y, p: _loss(y, p, average="rows"), "N · 8"),
        (lambda y, p: _loss(y, p, average="global"), "global normalisation"),
        (lambda y, p: _loss(y, p, average="global") / len(y), "twice"),
        (lambda y, p: _loss(y, p, average="sum"), "add the exams up"),
        (lambda y, p: _loss(y, p, average="rows") * 8 / 14, "whole neck only"),
        (lambda y, p: _loss(y, p, w=np.ones(y.shape)), "all rows weigh the same"),
        (lambda y, p: _loss(y, p, w=WEIGHT + 0 * y), "weigh double"),
        (lambda y, p: _loss(y, p, w=np.where(y == 1, 2, 1)), "seven times"),
        (lambda y, p: _loss(y, p, w=np.where(y == 1, 1, 2) * WEIGHT), "swapped"),
        (
            lambda y, p: _loss(y, p, w=np.where(y == 1, [7] + [2] * 7, [14] + [1] * 7)),
            "14 and 7 are swapped",
        ),
        (lambda y, p: _loss(y, p, w=np.where(y == 1, 2, 1) * WEIGHT[::-1]), "last column"),
        (lambda y, p: _loss(y, p, log=np.log2), "not log2"),
        (lambda y, p: _loss(y, p, log=np.log10), "not log10"),
        (lambda y, p: _one_term(y, p, True), "(1 − y) · ln(1 − p) is missing"),
        (lambda y, p: _one_term(y, p, False), "y · ln p is missing"),
        (lambda y, p: _loss(y, 1 - p), "a right answer costs"),
        (lambda y, p: _loss(y, p, clip=0), "NaN"),
        (_unclipped_choice, "logarithm of 0 is infinite"),
        (lambda y, p: _loss(y, p, clip=1e-15), "you clip at 1e-15"),
        (lambda y, p: _loss(y, p, clip=1e-2), "you clip at 0.01"),
        (lambda y, p: [right_loss(a[None], b[None]) for a, b in zip(y, p, strict=True)], "mean"),
        (lambda y, p: metrics.log_loss_terms(y, p), "shape"),
        (lambda y, p: _loss(y, p) * 1.01, "it should be"),
    ],
)
def test_mistakes_of_the_loss_are_named(wrong, words):
    verdict = checks.competition_loss(wrong)
    assert not verdict
    assert words in verdict.message


# --- constants and shift -------------------------------------------------------------------------


def _constants(y, w=None, divide=True):
    w = np.where(y == 1, 2, 1) * WEIGHT if w is None else w
    v = w / w.sum(axis=1, keepdims=True) if divide else w
    return (v * y).sum(axis=0), v.sum(axis=0), (v * (1 - y)).sum(axis=0)


def _fraction(parts):
    return parts[0] / parts[1]


def _without_sum(y):
    w = np.where(y == 1, 2, 1) * WEIGHT
    v = w / np.where(y[:, :1] == 1, 21, 14)
    return (v * y).sum(axis=0) / v.sum(axis=0)


def _single(y):
    w = metrics.weights(y)
    v = np.where(y == 1, w / 2, w) / w.sum(axis=1, keepdims=True)
    return (v * y).sum(axis=0) / v.sum(axis=0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda y: y.mean(axis=0), "plain means"),
        (lambda y: _fraction(_constants(y, divide=False)), "global normalisation"),
        (lambda y: 2 * y.mean(axis=0) / (1 + y.mean(axis=0)), "global normalisation"),
        (lambda y: _fraction(_constants(y, w=WEIGHT + 0 * y)), "plain means"),
        (_single, "not doubled"),
        (_without_sum, "21 + k"),
        (lambda y: right_shift(right_constants(y)), "once more"),
        (lambda y: _constants(y)[0] / _constants(y)[2], "odds"),
        (lambda y: 1 - right_constants(y), "whole level"),
        (lambda y: _constants(y)[0] / _constants(y)[1].sum(), "the top of the fraction"),
        (lambda y: _constants(y)[0] / len(y), "the top of the fraction"),
        (
            lambda y: _fraction(_constants(y, w=np.where(y == 1, 2, 1) * WEIGHT[::-1])),
            "last column",
        ),
        (lambda y: right_constants(y).mean(), "shape"),
        (lambda y: np.tile(right_constants(y), (len(y), 1)), "shape"),
        (lambda y: np.clip(right_constants(y), 0.05, 0.95), "it should be"),
        (lambda y: np.nan * right_constants(y), "entry"),
    ],
)
def test_mistakes_of_the_constants_are_named(wrong, words):
    verdict = checks.per_exam_constants(wrong)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda q: q / (2 - q), "halve the odds"),
        (lambda q: 1 * q, "nothing is shifted"),
        (lambda q: 2 * q, "passes 1"),
        (lambda q: np.minimum(2 * q, 1), "sure answer"),
        (lambda q: 2 * q / (1 + 2 * q), "took q for the odds"),
        (lambda q: q / (1 + q), "did not double"),
        (lambda q: 2 * q / (1 - q), "these are the odds"),
        (lambda q: 14 * q / (14 * q + 1 - q), "14 to 1"),
        (lambda q: 1 - right_shift(q), "whole row"),
        (lambda q: 2 * q / (1 - q) / (1 + 2 * q / (1 - q)), "division by zero"),
        (lambda q: np.clip(right_shift(q), 1e-3, 0.999), "you clip"),
        (lambda q: right_shift(q).ravel(), "shape"),
        (lambda q: np.sqrt(q), "it should be"),
    ],
)
def test_mistakes_of_the_shift_are_named(wrong, words):
    verdict = checks.global_shift(wrong)
    assert not verdict
    assert words in verdict.message


# --- the interval --------------------------------------------------------------------------------


def _interval(x, n=2000, levels=(0.025, 0.975), statistic=np.mean):
    draws = np.random.default_rng(1).integers(len(x), size=(n, len(x)))
    return np.quantile(statistic(x[draws], axis=1), levels)


def _unpaired(a, b):
    rng = np.random.default_rng(2)
    means = [
        a[rng.integers(len(a), size=len(a))].sum(axis=1).mean()
        - b[rng.integers(len(b), size=len(b))].sum(axis=1).mean()
        for _ in range(1000)
    ]
    return np.quantile(means, [0.025, 0.975])


def _not_replaced(a, b):
    rng = np.random.default_rng(2)
    d = (a - b).sum(axis=1)
    return np.quantile([rng.permutation(d).mean() for _ in range(300)], [0.025, 0.975])


def _spread(a, b):
    d = (a - b).sum(axis=1)
    return d.mean() - 1.96 * d.std(), d.mean() + 1.96 * d.std()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (_unpaired, "apart"),
        (lambda a, b: 8 * _interval((a - b).ravel(), 400), "resample rows"),
        (_not_replaced, "with replacement"),
        (_spread, "spread of single studies"),
        (lambda a, b: right_interval(b, a), "the sign is wrong"),
        (lambda a, b: right_interval(a, b)[::-1], "swapped"),
        (lambda a, b: _interval(a.sum(axis=1)), "of a alone"),
        (lambda a, b: _interval(b.sum(axis=1)), "of b alone"),
        (lambda a, b: _interval((a - b).mean(axis=1)), "average over the eight rows"),
        (lambda a, b: _interval((a - b).sum(axis=1), statistic=np.sum), "add the studies up"),
        (lambda a, b: _interval((a - b).sum(axis=1), levels=(0.05, 0.95)), "90%"),
        (lambda a, b: _interval((a - b).sum(axis=1), levels=(0.005, 0.995)), "99%"),
        (lambda a, b: _interval((a - b).sum(axis=1), levels=(0.16, 0.84)), "68%"),
        (lambda a, b: right_interval(a, b) - (a - b).sum(axis=1).mean(), "around 0"),
        (lambda a, b: (a - b).sum(axis=1).mean(), "two numbers"),
        (lambda a, b: right_interval(a, b) * np.nan, "NaN"),
        (lambda a, b: right_interval(a[:75], b[:75]), ""),
    ],
)
def test_mistakes_of_the_interval_are_named(wrong, words):
    verdict = checks.study_interval(wrong)
    assert not verdict
    assert words in verdict.message


# --- nonsense ------------------------------------------------------------------------------------

GRADERS = (
    checks.competition_loss,
    checks.per_exam_constants,
    checks.global_shift,
    checks.study_interval,
)


def _unsolved(*args):
    raise NotImplementedError


def _raises(*args):
    raise ZeroDivisionError("oh")


@pytest.mark.parametrize("grader", GRADERS)
@pytest.mark.parametrize(
    "nonsense",
    [
        lambda *args: None,
        lambda *args: "0.5",
        lambda *args: "loss",
        lambda *args: [],
        lambda *args: np.full(2, np.nan),
        lambda *args: float("inf"),
        lambda *args: np.zeros((2, 2, 2)),
        lambda *args: [[1], [1, 2]],
        lambda *args: {"low": 0, "high": 1},
        _raises,
        lambda: 0,
        None,
        3,
    ],
)
def test_nonsense_is_refused_in_words(grader, nonsense):
    verdict = grader(nonsense)
    assert not verdict
    assert len(verdict.message) > 10


@pytest.mark.parametrize("grader", GRADERS)
def test_an_unsolved_exercise_is_no_error(grader):
    verdict = grader(_unsolved)
    assert not verdict
    assert "nothing to check" in verdict.message
