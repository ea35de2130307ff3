"""Learned rules: levels in context, the neck from its levels."""

import json

import numpy as np
import pytest

from cspine_lib import metrics
from cspine_lib.context_rules import Rules, fit_rules, level_features, neck_features
from cspine_lib.errors import CspineError


def _studies(n, seed):
    """Fractures come in neighbouring pairs; what is said of each level is noisy."""
    rng = np.random.default_rng(seed)
    y = np.zeros((n, 7), dtype=int)
    for row in y[: n // 2]:
        k = rng.integers(6)
        row[k : k + 2] = 1
    z = -2 + 2.2 * y + rng.normal(0, 1.6, y.shape)
    return z, y


@pytest.fixture(scope="module")
def rules():
    return fit_rules(*_studies(240, 0))


def _loss(y, p8):
    return metrics.weighted_log_loss(np.column_stack([y.any(axis=1).astype(int), y]), p8)


def test_where_neighbours_matter_rules_beat_a_scale_and_a_bias(rules):
    z, y = _studies(240, 0)
    new_z, new_y = _studies(400, 1)
    scale, bias = metrics.fit_platt(z, y)
    levels = 1 / (1 + np.exp(-(scale * new_z + bias)))
    platt = np.column_stack([metrics.overall_noisy_or(levels), levels])
    assert _loss(new_y, rules(new_z)) < _loss(new_y, platt) - 0.02
    beside = rules.levels.weight[1]
    assert beside > 0.1, "the neighbour is listened to"


def test_rules_fit_the_competitions_own_loss(rules):
    """Weighed as the loss weighs them: no shift of all logits makes unseen studies better."""
    new_z, new_y = _studies(2000, 2)
    p = rules(new_z)
    z = metrics.logit(p)
    best = _loss(new_y, p)
    for shift in (-0.5, 0.5):
        assert _loss(new_y, 1 / (1 + np.exp(-(z + shift)))) > best


def test_probabilities_lie_between_and_missing_levels_count_as_their_rate(rules):
    z = np.array([[np.nan] * 7, [8.0] * 7, [-8.0] * 7, [0, np.nan, 1, 2, np.nan, 4, 5]])
    p = rules(z)
    assert p.shape == (4, 8) and ((p > 0) & (p < 1)).all()
    prior = metrics.logit(np.array(rules.rates))
    filled = np.where(np.isfinite(z), z, prior)
    assert np.allclose(p, rules(filled))
    assert p[1, 0] > p[0, 0] > p[2, 0]


def test_features_by_hand():
    z = np.array([[0.0, 1, 2, 3, 4, 5, -6]])
    rates = np.full(7, 0.2)
    x = level_features(z, rates)
    assert x.shape == (1, 7, 4)
    assert x[0, :, 0].tolist() == z[0].tolist()
    assert x[0, :, 1].tolist() == [1, 2, 3, 4, 5, 4, 5]
    assert x[0, :, 2].tolist() == [5, 5, 5, 5, 5, 4, 5]
    assert np.allclose(x[0, :, 3], np.log(0.25))
    p = np.array([[0.5, 0.1, 0.1, 0.3, 0.1, 0.1, 0.1]])
    neck = neck_features(p)[0]
    none = 0.5 * 0.7 * 0.9**5
    assert np.allclose(neck, metrics.logit(np.array([1 - none, 0.5, 0.3])))
    with pytest.raises(CspineError, match="must be"):
        level_features(z[:, :5], rates)


def test_rules_are_kept_as_json(rules):
    again = Rules.from_dict(json.loads(json.dumps(rules.to_dict())))
    assert again == rules
    z = _studies(20, 3)[0]
    assert np.array_equal(again(z), rules(z))


def test_the_order_of_studies_does_not_matter_much(rules):
    z, y = _studies(240, 0)
    order = np.random.default_rng(0).permutation(len(z))
    other = fit_rules(z[order], y[order])
    new_z = _studies(50, 4)[0]
    assert np.allclose(other(new_z), rules(new_z), atol=0.06)


@pytest.mark.parametrize("broken", [3, 57])
def test_too_few_of_a_kind_are_refused(broken):
    y = np.zeros((60, 7), dtype=int)
    y[:broken, 3] = 1
    with pytest.raises(CspineError, match="5 broken and 5 whole"):
        fit_rules(np.zeros((60, 7)), y)


def test_a_feature_that_never_changes_does_no_harm():
    z, y = _studies(60, 5)
    y[:, 1:] = np.roll(y[:, 1:], 1, axis=1)
    z[:, 6] = np.nan
    assert np.isfinite(fit_rules(z, y)(z)).all()
