"""What all graders share: nothing that a reader's function does gets out of them."""

import warnings

import numpy as np
import pytest

from cspine_lib.checks.base import agrees, answer, call, diagnosis, wrong


def _raises(x):
    raise RuntimeError("first line\nsecond line")


def _in_place(x):
    x.sort()
    return x


def _noisy(x):
    warnings.warn("look here", stacklevel=1)
    return np.log(x * 0)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (_raises, "raised RuntimeError: first line"),
        (lambda x, y: x, "raised TypeError"),
        (lambda x: None, "returns None"),
        (_in_place, "changes the array"),
        (lambda x: "three", "no array of numbers"),
        (lambda x: [[1], [1, 2]], "no array of numbers"),
        (lambda x: {"a": 1}, "no array of numbers"),
        (lambda x: x + 1j, "no array of numbers"),
        ("no function", "raised TypeError"),
    ],
)
def test_whatever_it_does_is_put_in_words(fn, words):
    _, verdict = answer(fn, np.array([3.0, 1.0, 2.0]))
    assert verdict is not None and not verdict
    assert words in verdict.message and "second line" not in verdict.message


def test_an_empty_body_is_no_failure_of_the_reader():
    def unsolved(x):
        raise NotImplementedError

    _, verdict = call(unsolved, 1)
    assert verdict is not None and "nothing to check" in verdict.message


def test_its_warnings_stay_out_of_the_notebook():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got, verdict = answer(_noisy, np.ones(2))
    assert verdict is None and np.isneginf(got).all()


def test_the_graders_own_input_is_out_of_reach():
    x = np.array([3.0, 1.0])
    call(_in_place, x)
    assert list(x) == [3.0, 1.0]


def test_a_known_mistake_is_named_before_a_number():
    x, want = np.arange(3.0), np.arange(3.0) * 2
    mistakes = [(lambda x: -2 * x, "the sign"), (lambda x: 2 * x[1:], "one short")]
    assert diagnosis(-want, want, mistakes, (x,)).message == "the sign"
    assert diagnosis(want[1:], want, mistakes, (x,), note="for x: ").message == "for x: one short"
    assert "shape (2,), it should have (3,)" in diagnosis(want[:2], want, mistakes, (x,)).message
    assert (
        "entry 2 is 5, it should be 4"
        in diagnosis(np.array([0, 2, 5]), want, mistakes, (x,)).message
    )
    assert (
        "entry (1, 0) is nan"
        in diagnosis(np.array([[0.0], [np.nan]]), np.zeros((2, 1)), [], ()).message
    )
    assert "the result is 1, it should be 2" in diagnosis(np.float64(1), 2.0, [], ()).message


def test_agreement_needs_the_shape_too():
    assert agrees([1, 2], [1, 2 + 1e-12])
    assert agrees([np.nan], [np.nan])
    assert not agrees([[1, 2]], [1, 2])
    assert repr(wrong("no.")) == "Not yet: no."
