"""Every grader: no answer, whatever it is, gets out of it as an error or a warning."""

import warnings

import numpy as np
import pytest

from cspine_lib import checks
from cspine_lib.checks import Verdict

GRADERS = [name for name in checks.__all__ if name != "Verdict"]


class Stubborn:
    """An object that answers every question with an error."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("no")

    def __len__(self):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None

    def __repr__(self):
        raise RuntimeError("no")


def _deep(*args):
    return _deep(*args)


NONSENSE = {
    "nothing": lambda *a: None,
    "words": lambda *a: "three",
    "no function": "three",
    "an exception": lambda *a: 1 / 0,
    "no end": _deep,
    "wrong arguments": lambda: 1,
    "a number": lambda *a: 7,
    "NaN": lambda *a: float("nan"),
    "infinity": lambda *a: np.full(3, np.inf),
    "nothing in it": lambda *a: [],
    "a cube": lambda *a: np.zeros((2, 2, 2)),
    "complex": lambda *a: np.ones(7) * 1j,
    "ragged": lambda *a: [[1], [1, 2]],
    "objects": lambda *a: np.array([None, "a"], dtype=object),
    "what came in": lambda *a: a[0],
    "a generator": lambda *a: (i for i in range(3)),
    "huge": lambda *a: 10**400,
    "truth": lambda *a: True,
    "an interval": lambda *a: (1.0, 0.0),
    "stubborn": lambda *a: Stubborn(),
}


@pytest.mark.parametrize("fn", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("grader", GRADERS)
def test_nonsense_is_answered_in_words(grader, fn, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verdict = getattr(checks, grader)(fn)
    assert isinstance(verdict, Verdict) and not verdict
    assert len(verdict.message) > 15 and "\n" not in verdict.message
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("grader", GRADERS)
def test_what_a_grader_gives_is_random_but_the_same_each_time(grader):
    """A verdict must not depend on luck: the same function is given the same inputs."""

    def inputs():
        seen = []

        def look(*args):
            seen.append(repr(args))
            raise ValueError("looked")

        getattr(checks, grader)(look)
        return seen

    assert inputs() == inputs() != []
