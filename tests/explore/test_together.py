"""Joint counts against chance: by hand, and where independence holds."""

import numpy as np
import pytest

from cspine_lib import metrics
from cspine_lib.explore.together import joint_counts, neighbour_ratio, ratio_by_distance


def test_counts_by_hand():
    y = np.zeros((10, 7), dtype=int)
    y[:4, 4], y[2:5, 5] = 1, 1  # C5 in four studies, C6 in three, both in two
    observed, expected = joint_counts(y)
    assert observed[4, 5] == observed[5, 4] == 2
    assert expected[4, 5] == pytest.approx(4 * 3 / 10)
    assert np.isnan(np.diag(observed)).all() and np.isnan(np.diag(expected)).all()
    table = ratio_by_distance(y, n=200)
    assert table.index.tolist() == [1, 2, 3, 4, 5, 6]
    assert table["pairs"].tolist() == [6, 5, 4, 3, 2, 1]
    assert table.loc[1, "ratio"].value == pytest.approx(2 / 1.2)
    assert np.isnan(table.loc[6, "ratio"].value)


def test_independent_levels_break_together_as_often_as_by_chance():
    y = np.random.default_rng(0).random((4000, 7)) < 0.25
    for interval in ratio_by_distance(y, n=400)["ratio"]:
        assert interval.value == pytest.approx(1, abs=0.15)
        assert interval.low - 0.05 < 1 < interval.high + 0.05


def test_the_interval_is_the_bootstraps():
    y = metrics.pattern_labels()[::6, 1:]  # they are sorted by pattern

    def ratio(sample):
        observed, expected = joint_counts(sample)
        pairs = [(i, i + 1) for i in range(6)]
        return sum(observed[p] for p in pairs) / sum(expected[p] for p in pairs)

    slow = metrics.bootstrap_ci(ratio, y, n=400, seed=3)
    fast = ratio_by_distance(y, n=2000)["ratio"].iloc[0]
    assert fast.value == pytest.approx(slow.value)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), rel=0.1)


def test_neighbours_of_rsna_break_together_three_times_as_often():
    y = metrics.pattern_labels()[:, 1:]
    near = neighbour_ratio(y)
    assert 2.9 < near.low < near.value < near.high < 3.5
    far = ratio_by_distance(y)["ratio"]
    assert far[5].high < 1 and far[3].low < 1 < far[3].high
