"""Graders: a right answer passes, each usual mistake is called by its name."""

import numpy as np
import pytest

from cspine_lib import checks
from cspine_lib.checks.start import _window
from cspine_lib.metrics import overall_noisy_or
from cspine_lib.volume import window


def right_top_n(p, n):
    return 1 - np.prod(1 - np.sort(p, axis=1)[:, -n:], axis=1)


def right_window(hu, width, level):
    grey = (hu - (level - width / 2)) / width * 255
    return np.clip(np.round(grey), 0, 255).astype(np.uint8)


def test_right_answers_pass():
    assert checks.top_n_overall(right_top_n)
    assert checks.top_n_overall(overall_noisy_or)
    assert checks.window_hu(right_window)
    assert repr(checks.window_hu(right_window)).startswith("Right: ")


def test_rounding_down_is_as_good():
    def down(hu, width, level):
        grey = (hu - (level - width / 2)) / width * 255
        return np.clip(grey, 0, 255).astype(np.uint8)

    assert checks.window_hu(down)


def test_the_graders_window_is_the_librarys():
    hu = np.arange(-1024, 3072, 7).astype(np.int16)
    assert np.abs(_window(hu, 1800.0, 500.0).astype(int) - window(hu, "bone")).max() <= 1


def _unsorted(p, n):
    return 1 - np.prod(1 - p[:, :n], axis=1)


def _in_place(p, n):
    p.sort(axis=1)
    return 1 - np.prod(1 - p[:, -n:], axis=1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda p, n: np.sort(p, axis=1)[:, -1], "largest probability"),
        (lambda p, n: 1 - right_top_n(p, n), "complement"),
        (lambda p, n: np.prod(np.sort(p, axis=1)[:, -n:], axis=1), "broken at once"),
        (_unsorted, "first n levels"),
        (lambda p, n: 1 - np.prod(1 - np.sort(p, axis=1)[:, :n], axis=1), "ascending"),
        (lambda p, n: 1 - np.prod(1 - np.sort(p, axis=0)[:, -n:], axis=1), "mixes patients"),
        (lambda p, n: right_top_n(p, 7), "whatever n is"),
        (lambda p, n: np.sort(p, axis=1)[:, -n:].sum(axis=1), "do not add up"),
        (_in_place, "in place"),
        (lambda p, n: right_top_n(p, n)[:, None], "shape (6, 1)"),
        (lambda p, n: None, "None"),
        (lambda p, n: p.no_such_thing, "AttributeError"),
        (lambda p, n: right_top_n(p, n) + 0.1, "it should be"),
    ],
)
def test_mistakes_of_top_n_are_named(wrong, words):
    verdict = checks.top_n_overall(wrong)
    assert not verdict
    assert words in verdict.message
    assert repr(verdict).startswith("Not yet: ")


def _wrapping(hu, width, level):
    return ((hu - (level - width / 2)) / width * 255).astype(np.int64).astype(np.uint8)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (_wrapping, "wrap around"),
        (lambda hu, w, c: right_window(hu, w, c + w / 2), "lower edge"),
        (lambda hu, w, c: right_window(hu, 2 * w, c), "twice as wide"),
        (lambda hu, w, c: right_window(hu, w, c).astype(float), "np.uint8"),
        (lambda hu, w, c: right_window(hu, w, c) // 255, "0 to 1"),
        (lambda hu, w, c: 255 - right_window(hu, w, c), "swapped"),
        (lambda hu, w, c: right_window(hu, w, 0.0), "it should be"),
        (lambda hu, w, c: right_window(hu, w, c)[1:], "shape"),
    ],
)
def test_mistakes_of_the_window_are_named(wrong, words):
    verdict = checks.window_hu(wrong)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize("grader", [checks.top_n_overall, checks.window_hu])
def test_an_unsolved_exercise_is_no_error(grader):
    def unsolved(*args):
        raise NotImplementedError

    verdict = grader(unsolved)
    assert not verdict
    assert "nothing to check" in verdict.message
