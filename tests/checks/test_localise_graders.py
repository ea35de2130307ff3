"""Graders of notebook 08: right solutions pass, usual mistakes are named."""

import itertools

import numpy as np
import pytest

from cspine_lib import checks
from cspine_lib.checks import localise_order


def _rejected(verdict, words):
    assert not verdict
    assert words in verdict.message, verdict


# --- overlap


def sides(a, b):
    return np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])


def size(a):
    return np.prod(a[1] - a[0])


def common(a, b):
    return np.prod(np.clip(sides(a, b), 0, None))


def by_arrays(a, b):
    c = common(a, b)
    return c / (size(a) + size(b) - c)


def by_loops(a, b):
    if any(a[1][i] <= b[0][i] or b[1][i] <= a[0][i] for i in range(len(a[0]))):
        return 0
    c = 1
    for i in range(len(a[0])):
        c *= sorted([a[0][i], a[1][i], b[0][i], b[1][i]])[2] - max(a[0][i], b[0][i])
    return c / (size(a) + size(b) - c)


@pytest.mark.parametrize("right", [by_arrays, by_loops])
def test_a_right_overlap_passes(right):
    verdict = checks.overlap(right)
    assert verdict, verdict


def of_common(fn):
    return lambda a, b: fn(common(a, b), size(a), size(b))


def with_common(c, a, b):
    return c / (size(a) + size(b) - c)


def axis_by_axis(a, b):
    return np.array([by_arrays(a[:, i : i + 1], b[:, i : i + 1]) for i in range(a.shape[1])])


def of_hull(a, b):
    return common(a, b) / np.prod(np.maximum(a[1], b[1]) - np.minimum(a[0], b[0]))


def generalised(a, b):
    hull = np.prod(np.maximum(a[1], b[1]) - np.minimum(a[0], b[0]))
    union = size(a) + size(b) - common(a, b)
    return by_arrays(a, b) - (hull - union) / hull


def of_pixels(a, b):
    c = np.prod(np.clip(sides(a, b) + 1, 0, None))
    return c / (np.prod(a[1] - a[0] + 1) + np.prod(b[1] - b[0] + 1) - c)


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (of_common(lambda c, a, b: c / (a + b)), "counts the common part twice"),
        (of_common(lambda c, a, b: 2 * c / (a + b)), "Dice"),
        (of_common(lambda c, a, b: c / min(a, b)), "smaller box"),
        (of_common(lambda c, a, b: c / max(a, b)), "larger box"),
        (of_common(lambda c, a, b: c / a), "first"),
        (of_common(lambda c, a, b: c / b), "second"),
        (of_common(lambda c, a, b: 1 - c / (a + b - c)), "the loss"),
        (of_common(lambda c, a, b: c), "it should be"),
        (lambda a, b: np.prod(axis_by_axis(a, b)), "a product of one IoU per axis"),
        (lambda a, b: np.mean(axis_by_axis(a, b)), "mean of one IoU per axis"),
        (lambda a, b: with_common(np.prod(sides(a, b)), a, b), "Cut at 0 side by side"),
        (lambda a, b: with_common(max(np.prod(sides(a, b)), 0), a, b), "too late"),
        (lambda a, b: with_common(np.prod(np.abs(sides(a, b))), a, b), "abs"),
        (of_hull, "hull"),
        (generalised, "GIoU"),
        (of_pixels, "+ 1"),
        (lambda a, b: axis_by_axis(a, b), "shape"),
        (lambda a, b: by_arrays(a[:, :2], b[:, :2]), "it should be"),
        (lambda a, b: by_arrays(a.T, b.T), "raised IndexError"),
        (lambda a, b: round(by_arrays(a, b), 2), "it should be"),
    ],
)
def test_mistakes_of_the_overlap_are_named(mutant, words):
    _rejected(checks.overlap(mutant), words)


# --- centre errors


def in_one_line(claimed, true, dz):
    return dz * (claimed.mean(axis=1) - true.mean(axis=1))


def row_by_row(claimed, true, dz):
    return [float((c[0] - t[0] + c[1] - t[1]) * dz / 2) for c, t in zip(claimed, true, strict=True)]


@pytest.mark.parametrize("right", [in_one_line, row_by_row])
def test_right_centre_errors_pass(right):
    verdict = checks.centre_errors_mm(right)
    assert verdict, verdict


def found_only(claimed, true, dz):
    keep = np.isfinite(claimed).all(axis=1)
    return in_one_line(claimed[keep], true[keep], dz)


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (lambda c, t, dz: in_one_line(t, c, dz), "turned round"),
        (lambda c, t, dz: np.abs(in_one_line(c, t, dz)), "sign is gone"),
        (lambda c, t, dz: in_one_line(c, t, 1), "in slices"),
        (lambda c, t, dz: in_one_line(c, t, 1) / dz, "divide by the distance"),
        (lambda c, t, dz: dz * (c[:, 0] - t[:, 0]), "first slices"),
        (lambda c, t, dz: dz * (c[:, 1] - t[:, 1]), "last slices"),
        (lambda c, t, dz: dz * (c - t).sum(axis=1), "twice too large"),
        (lambda c, t, dz: dz * (c.sum(axis=1) // 2 - t.sum(axis=1) // 2), "cuts off halves"),
        (lambda c, t, dz: np.nan_to_num(in_one_line(c, t, dz)), "perfect hit"),
        (found_only, "keep a row per level"),
        (lambda c, t, dz: in_one_line(c, t, dz).mean(), "one error per level"),
        (lambda c, t, dz: np.abs(in_one_line(c, t, dz)).mean(), "one signed error"),
        (lambda c, t, dz: in_one_line(c, t, dz).round(1), "it should be"),
        (lambda c, t, dz: dz * (c.mean() - t.mean(axis=1)), "it should be"),
    ],
)
def test_mistakes_of_the_centre_are_named(mutant, words):
    _rejected(checks.centre_errors_mm(mutant), words)


# --- in order


def by_dynamic_programme(score):
    n, k = score.shape
    best, came = score[:, 0].copy(), []
    for level in range(1, k):
        above = np.array([best[: z + 1].argmax() for z in range(n)])
        came.append(above)
        best = score[:, level] + np.append(-np.inf, best[above][:-1])
    z = [int(best.argmax())]
    for above in reversed(came):
        z.append(int(above[z[-1] - 1]))
    return np.array(z[::-1])


def by_trying_all(score):
    n, k = score.shape
    return max(
        itertools.combinations(range(n), k),
        key=lambda way: sum(score[z, level] for level, z in enumerate(way)),
    )


@pytest.mark.parametrize("right", [by_dynamic_programme, by_trying_all])
def test_right_orders_pass(right):
    verdict = checks.ordered_centres(right)
    assert verdict, verdict


def greedy(score, room=0):
    out = []
    for k in range(score.shape[1]):
        start = out[-1] + 1 if out else 0
        stop = len(score) - (score.shape[1] - 1 - k if room else 0)
        start = min(start, len(score) - 1)
        out.append(start + int(score[start:stop, k].argmax()))
    return np.array(out)


def surest_first(score):
    """Places the surest level first, the others around it."""
    n, k = score.shape
    place = {}
    for level in np.argsort(-score.max(axis=0)):
        low = max([place[j] + (level - j) for j in place if j < level], default=level)
        high = min([place[j] - (j - level) for j in place if j > level], default=n - k + level)
        place[level] = low + int(score[low : max(high, low) + 1, level].argmax())
    return np.array([place[j] for j in range(k)])


def sharing(score):
    best, came = score[:, 0].copy(), []
    for level in range(1, score.shape[1]):
        above = np.array([best[: z + 1].argmax() for z in range(len(score))])
        came.append(above)
        best = score[:, level] + best[above]
    z = [int(best.argmax())]
    for above in reversed(came):
        z.append(int(above[z[-1]]))
    return np.array(z[::-1])


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (lambda s: s.argmax(axis=0), "its own best slice"),
        (lambda s: np.sort(s.argmax(axis=0)), "sorting"),
        (greedy, "Compare totals"),
        (lambda s: greedy(s, room=1), "Compare totals"),
        (lambda s: len(s) - 1 - greedy(s[::-1, ::-1])[::-1], "from the feet upwards"),
        (surest_first, "is in order, but its total"),
        (sharing, "share a slice"),
        (lambda s: by_dynamic_programme(s[:, ::-1])[::-1], "feet to head"),
        (lambda s: by_dynamic_programme(-s), "smallest total"),
        (lambda s: max(s[list(w), range(s.shape[1])].sum() for w in
                       itertools.combinations(range(len(s)), s.shape[1])), "asked is which"),
        (lambda s: s[by_dynamic_programme(s), np.arange(s.shape[1])], "these are the scores"),
        (lambda s: by_dynamic_programme(s)[::-1], "turn the list round"),
        (lambda s: by_dynamic_programme(s) + 1, "count slices from 1"),
        (lambda s: by_dynamic_programme(s).astype(float), "whole numbers"),
        (lambda s: s.argmax(axis=1), "shape"),
        (lambda s: np.full(s.shape[1], np.nan), "between 0 and"),
        (lambda s: np.linspace(0, len(s) - 1, s.shape[1]).astype(int), "but its total"),
        (lambda s: np.full(s.shape[1], 99), "between 0 and"),
        (lambda s: np.zeros(s.shape[1], dtype=int), "not strictly ascending"),
    ],
)  # fmt: skip
def test_mistakes_of_the_order_are_named(mutant, words):
    _rejected(checks.ordered_centres(mutant), words)


def test_what_is_tried_has_one_best_order():
    for score in localise_order._score_cases():
        n, k = score.shape
        totals = sorted(
            score[list(way), range(k)].sum() for way in itertools.combinations(range(n), k)
        )
        assert len(totals) == 1 or totals[-1] - totals[-2] > 1e-6


@pytest.mark.parametrize("name", ["overlap", "centre_errors_mm", "ordered_centres"])
def test_an_unsolved_exercise_is_no_error(name):
    def unsolved(*args):
        raise NotImplementedError

    assert "nothing to check" in getattr(checks, name)(unsolved).message
