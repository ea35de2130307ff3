"""Graders of notebook 01: right answers pass, each usual mistake is called by its name."""

import numpy as np
import pytest

from cspine_lib import checks

# --- right answers, each in two styles --------------------------------------------------------


def order_by_normal(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    if normal[2] < 0:
        normal = -normal
    return np.argsort(-(positions @ normal))


def order_in_a_loop(positions, orientation):
    a, b = orientation[:3], orientation[3:]
    n = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    sign = 1 if n[2] > 0 else -1
    height = [sign * sum(p * q for p, q in zip(row, n, strict=True)) for row in positions]
    return sorted(range(len(height)), key=lambda i: height[i], reverse=True)


def hu_by_float(raw, signed, slope, intercept):
    stored = np.frombuffer(raw, "<i2" if signed else "<u2").astype(float)
    return np.rint(stored * slope + intercept).astype(np.int16)


def hu_by_struct(raw, signed, slope, intercept):
    import struct

    stored = struct.unpack(f"<{len(raw) // 2}{'h' if signed else 'H'}", raw)
    return np.array([round(v * slope + intercept) for v in stored], dtype=np.int16)


def slice_by_list(number, file_numbers, feet_first):
    return sorted(file_numbers, reverse=feet_first).index(number)


def slice_by_counting(number, file_numbers, feet_first):
    before = (n > number if feet_first else n < number for n in file_numbers)
    return np.int64(sum(before))


def chance_by_rates(levels, i, j):
    return len(levels) * levels[:, i].mean() * levels[:, j].mean()


def chance_by_counts(levels, i, j):
    return sum(levels[:, i]) * sum(levels[:, j]) / len(levels)


RIGHT = [
    (checks.slice_order, order_by_normal),
    (checks.slice_order, order_in_a_loop),
    (checks.to_hu, hu_by_float),
    (checks.to_hu, hu_by_struct),
    (checks.box_slice, slice_by_list),
    (checks.box_slice, slice_by_counting),
    (checks.expected_together, chance_by_rates),
    (checks.expected_together, chance_by_counts),
]
GRADERS = [checks.slice_order, checks.to_hu, checks.box_slice, checks.expected_together]


@pytest.mark.parametrize(("grader", "solution"), RIGHT)
def test_right_answers_pass(grader, solution):
    verdict = grader(solution)
    assert verdict, verdict
    assert repr(verdict).startswith("Right: ")


# --- wrong answers ----------------------------------------------------------------------------


def rank(p, o):
    return np.argsort(order_by_normal(p, o))


def lost_twin(p, o):
    order = order_by_normal(p, o)
    height = (p @ np.cross(o[:3], o[3:]))[order].round(6)
    return order[np.r_[True, np.diff(height) != 0]]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda p, o: np.argsort(p[:, 2]), "feet to head"),
        (lambda p, o: order_by_normal(p, o)[::-1], "feet to head"),
        (lambda p, o: np.argsort(-p[:, 2]), "tilted slice"),
        (lambda p, o: sorted(range(len(p)), key=lambda i: -p[i, 2]), "tilted slice"),
        (lambda p, o: np.argsort(-(p @ np.cross(o[:3], o[3:]))), "sign is wrong"),
        (lambda p, o: np.argsort(p @ np.cross(o[3:], o[:3])), "sign is wrong"),
        (rank, "rank"),
        (lambda p, o: np.arange(len(p)), "names"),
        (lambda p, o: np.argsort(p[:, 0]), "sorted by x"),
        (lambda p, o: np.argsort(p[:, 1]), "sorted by y"),
        (lambda p, o: np.argsort(-np.abs(p[:, 2])), "without its sign"),
        (lambda p, o: np.argsort(-np.linalg.norm(p, axis=1)), "scanner's origin"),
        (lambda p, o: p[order_by_normal(p, o)], "returned the positions"),
        (lambda p, o: order_by_normal(p, o) + 1, "start at 1"),
        (lambda p, o: np.zeros(len(p), int), "comes twice"),
        (lambda p, o: order_by_normal(p, o)[:-1], "shape"),
        (lambda p, o: order_by_normal(p, o)[np.unique(p[:, 2]).size - 1], "shape"),
        (lost_twin, "shape"),
        (lambda p, o: [float("nan")] * len(p), "must come once"),
        (lambda p, o: np.roll(order_by_normal(p, o), 1), "it should be"),
    ],
)
def test_mistakes_of_the_order_are_named(wrong, words):
    verdict = checks.slice_order(wrong)
    assert not verdict
    assert words in verdict.message


def stored(raw, signed):
    return np.frombuffer(raw, "<i2" if signed else "<u2")


def wrapped(raw, signed, slope, intercept):
    """What numpy does where the intercept is an array's number: no widening, no error."""
    values = stored(raw, signed)
    if signed:
        return hu_by_float(raw, signed, slope, intercept)
    return values - np.uint16(-intercept)


def cut_slope(raw, signed, slope, intercept):
    return (stored(raw, signed) * float(int(slope)) + intercept).astype(np.int16)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda r, s, a, b: (stored(r, s) * a).astype(np.int16), "intercept is missing"),
        (lambda r, s, a, b: (stored(r, s) + b).astype(np.int16), "slope is missing"),
        (lambda r, s, a, b: np.maximum(hu_by_float(r, s, a, b), 0), "clip at 0"),
        (wrapped, "wraps around"),
        (lambda r, s, a, b: ((stored(r, s) + b) * a).astype(np.int16), "before you multiply"),
        (lambda r, s, a, b: (stored(r, s) * a - b).astype(np.int16), "wrong sign: it is added"),
        (lambda r, s, a, b: hu_by_float(r, True, a, b), "PixelRepresentation"),
        (lambda r, s, a, b: hu_by_float(r, False, a, b), "PixelRepresentation"),
        (lambda r, s, a, b: np.frombuffer(r, ">i2" if s else ">u2") * a + b, "swapped"),
        (cut_slope, "whole number"),
        (lambda r, s, a, b: (stored(r, s) * a + b).astype(np.int16), "cut off"),
        (lambda r, s, a, b: np.floor(stored(r, s) * a + b).astype(np.int16), "rounded down"),
        (lambda r, s, a, b: hu_by_float(r, s, a, b).astype(float), "np.int16"),
        (lambda r, s, a, b: stored(r, s) * a + b, "np.int16"),
        (lambda r, s, a, b: np.frombuffer(r, np.uint8), "two of them"),
        (lambda r, s, a, b: hu_by_float(r, s, a, b)[1:], "shape"),
        (lambda r, s, a, b: hu_by_float(r, s, a, b) + np.int16(3), "it should be"),
        (lambda r, s, a, b: np.full(42, np.nan), "it should be"),
    ],
)
def test_mistakes_of_hu_are_named(wrong, words):
    verdict = checks.to_hu(wrong)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda n, f, r: n - 1, "count the files that come before"),
        (lambda n, f, r: n, "took the number"),
        (lambda n, f, r: f.index(n), "names as text"),
        (lambda n, f, r: sorted(f).index(n), "counted from the feet"),
        (lambda n, f, r: n - min(f), "can be missing"),
        (lambda n, f, r: max(f) - n if r else n - min(f), "can be missing"),
        (lambda n, f, r: slice_by_list(n, f, r) + 1, "index 0"),
        (lambda n, f, r: slice_by_list(n, f, not r), "swapped"),
        (lambda n, f, r: sorted(f, reverse=True).index(n), "swapped"),
        (lambda n, f, r: len(f) - sorted(f).index(n) if r else sorted(f).index(n), "off by one"),
        (lambda n, f, r: len(f) - n if r else sorted(f).index(n), "starts at 1 and skips"),
        (lambda n, f, r: slice_by_list(n, f, r) + 0.5, "no slice index"),
        (lambda n, f, r: float("nan"), "no slice index"),
        (lambda n, f, r: [0, 1], "one index"),
        (lambda n, f, r: True, "bool"),
    ],
)
def test_mistakes_of_the_boxes_slice_are_named(wrong, words):
    verdict = checks.box_slice(wrong)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda y, i, j: (y[:, i] * y[:, j]).sum(), "in fact"),
        (lambda y, i, j: (y[:, i] & y[:, j]).mean(), "share of studies"),
        (lambda y, i, j: y[:, i].mean() * y[:, j].mean(), "it is a count"),
        (lambda y, i, j: y[:, i].sum() * y[:, j].sum(), "divide by the number of studies"),
        (
            lambda y, i, j: y[:, i].sum() * y[:, j].sum() / y.any(axis=1).sum(),
            "studies with a fracture",
        ),
        (lambda y, i, j: y[:, i].sum() * y[:, j].sum() / y.size, "N × 7"),
        (lambda y, i, j: y[:, i].sum() * y[:, j].sum() / y.sum(), "number of broken levels"),
        (lambda y, i, j: y[:, i].sum() * y[:, j].sum() / (len(y) - 1), "N − 1"),
        (lambda y, i, j: y[:, i].sum() + y[:, j].sum(), "add the counts"),
        (lambda y, i, j: (y[:, i] | y[:, j]).sum(), "one or the other"),
        (lambda y, i, j: round(chance_by_rates(y, i, j)), "it should be"),
        (lambda y, i, j: y[:, i] * y[:, j].mean(), "shape"),
        (lambda y, i, j: float("nan"), "it should be"),
    ],
)
def test_mistakes_of_chance_are_named(wrong, words):
    verdict = checks.expected_together(wrong)
    assert not verdict
    assert words in verdict.message


# --- nonsense ---------------------------------------------------------------------------------


def unsolved(*args):
    raise NotImplementedError


@pytest.mark.parametrize("grader", GRADERS)
@pytest.mark.parametrize(
    ("nonsense", "words"),
    [
        (unsolved, "nothing to check"),
        (lambda *a: None, "None"),
        (lambda *a: "head", ""),
        (lambda *a: {}, ""),
        (lambda *a: [], ""),
        (lambda *a: [[1], [2, 3]], ""),
        (lambda *a: np.full((3, 3), np.inf), ""),
        (lambda *a: 1 / 0, "ZeroDivisionError"),
        (lambda a: a, "TypeError"),
    ],
)
def test_nonsense_is_no_error(grader, nonsense, words):
    verdict = grader(nonsense)
    assert not verdict
    assert words in verdict.message and verdict.message
