"""Label patterns: RSNA's rates where the set is large enough, every level broken where not."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from cspine_lib.facts import pattern_counts
from cspine_lib.phantom import patterns


def _drawn(n: int, seed: int = 0) -> Counter:
    flags = patterns.draw_patterns(n, np.random.default_rng(seed))
    assert flags.shape == (n, 7)
    return Counter("".join(str(int(b)) for b in row) for row in flags)


def test_rsna_itself_comes_back():
    assert _drawn(2019) == pattern_counts()


@pytest.mark.parametrize("n", [200, 213, 480, 1000, 5000])
def test_large_sets_are_the_largest_remainder(n: int):
    drawn, counts = _drawn(n), pattern_counts()
    assert sum(drawn.values()) == n
    exact = {pattern: Fraction(count * n, 2019) for pattern, count in counts.items()}
    rest = {pattern: drawn[pattern] - int(share) for pattern, share in exact.items()}
    assert set(rest.values()) <= {0, 1}
    up = [exact[p] % 1 for p, more in rest.items() if more]
    down = [exact[p] % 1 for p, more in rest.items() if not more]
    assert len(up) == n - sum(int(share) for share in exact.values())
    assert min(up, default=1) >= max(down)


def test_largest_remainder_by_hand():
    # Hamilton's method: 10 seats, quotas 4.6, 3.2, 2.2 → 5, 3, 2.
    assert patterns.largest_remainder([46, 32, 22], 10).tolist() == [5, 3, 2]
    assert patterns.largest_remainder([1, 1, 1], 2).tolist() == [1, 1, 0]
    assert patterns.largest_remainder([3, 5], 0).tolist() == [0, 0]


@pytest.mark.parametrize("n", [8, 12, 20, 60, 120, 160, 199])
def test_small_sets_have_every_level_broken_twice(n: int):
    flags = patterns.draw_patterns(n, np.random.default_rng(1))
    assert flags.sum(axis=0).min() >= patterns.MIN_PER_LEVEL
    assert abs(flags.any(axis=1).sum() - n * 961 / 2019) <= 1
    assert {"".join(str(int(b)) for b in row) for row in flags} <= pattern_counts().keys()


@pytest.mark.parametrize("n", [120, 160])
def test_small_sets_stay_near_rsna(n: int):
    here = patterns.rates(patterns.draw_patterns(n, np.random.default_rng(0)))
    there = patterns.rsna_rates()
    assert max(abs(here[t] - there[t]) for t in there) < 0.02


def test_hopelessly_small_sets_do_not_hang():
    for n in range(5):
        assert len(patterns.draw_patterns(n, np.random.default_rng(0))) == n


def test_order_alone_is_random():
    one, other = (patterns.draw_patterns(300, np.random.default_rng(s)) for s in (1, 2))
    again = patterns.draw_patterns(300, np.random.default_rng(1))
    assert (one == again).all() and (one != other).any()
    assert _drawn(300, 1) == _drawn(300, 2)


def test_rates():
    flags = np.zeros((4, 7), dtype=bool)
    flags[0, 0] = flags[1, [0, 6]] = True
    rates = patterns.rates(flags)
    assert rates["patient_overall"] == rates["C1"] == 0.5
    assert rates["C7"] == 0.25 and rates["C3"] == 0
    assert patterns.rsna_rates()["patient_overall"] == pytest.approx(961 / 2019, abs=1e-4)
