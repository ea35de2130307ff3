"""The experiment on the leak of second order: who was trained on what, and what it finds."""

import numpy as np
import pytest

from cspine_lib import metrics, overall_lab, overall_rules
from cspine_lib.errors import CspineError


def test_level_models_learn_from_the_training_studies_only():
    y = metrics.pattern_labels()[::20]
    x = overall_lab.simulated_features(y, seed=0)
    train = np.arange(len(y)) % 2 == 0
    p = overall_lab.level_models(x, y, train)
    changed = y.copy()
    changed[~train] = 1 - changed[~train]
    assert np.array_equal(p, overall_lab.level_models(x, changed, train))
    assert p.shape == (len(y), 7) and ((p > 0) & (p < 1)).all()
    assert metrics.auroc(y[~train, 1:].ravel(), p[~train].ravel()) > 0.6


def test_a_level_that_never_breaks_gets_a_small_constant():
    y = np.zeros((30, 8), dtype=np.int64)
    x = overall_lab.simulated_features(y, seed=0)
    p = overall_lab.level_models(x, y, np.ones(30, bool))
    assert np.allclose(p, 0.5 / 31)


@pytest.mark.parametrize("protocol", ["usual", "strict", "control"])
def test_each_protocol_uses_the_models_it_says(protocol):
    fold = np.arange(40) % 4
    one = [np.full((40, 7), 0.1 * (k + 1)) for k in range(4)]
    two = {
        frozenset((a, b)): np.full((40, 7), 0.01 * (10 * a + b + 1))
        for a in range(4)
        for b in range(a + 1, 4)
    }
    seen = []

    def spy(y, levels):
        seen.append(levels[:, 0].round(3))
        return lambda new: new[:, 0]

    y = np.zeros((40, 8), dtype=np.int64)
    out = overall_lab._predict(protocol, spy, y, fold, one, two)
    assert out[:, 0] == pytest.approx(0.1 * (fold + 1))  # always applied to the usual models
    for k, levels in enumerate(seen):
        others = fold[fold != k]
        for j in set(others.tolist()):
            (value,) = set(levels[others == j].tolist())
            pairs = {round(p[0, 0], 3): pair for pair, p in two.items()}
            if protocol == "usual":
                assert value == pytest.approx(0.1 * (j + 1))
            elif protocol == "strict":
                assert pairs[value] == {j, k}
            else:
                assert j in pairs[value] and k not in pairs[value]


def test_the_experiment_gives_the_same_each_time():
    one, again = (
        overall_lab.second_order_leak(overall_rules.platt(), repeats=1, studies=80, folds=3)
        for _ in range(2)
    )
    assert set(one) == {"usual", "strict", "control"}
    for name, losses in one.items():
        assert losses.shape == (1,) and 0.2 < losses[0] < 1
        assert np.array_equal(losses, again[name])


def test_three_folds_are_needed():
    with pytest.raises(CspineError, match="three folds"):
        overall_lab.second_order_leak(overall_rules.platt(), folds=2)
