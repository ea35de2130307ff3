"""Deck A's classifier: its loss, a level from slices, and a training that goes on after a kill."""

import numpy as np
import pytest
import torch
from fake_studies import FakeDataset

from cspine_lib import trainer
from cspine_lib.cache import build_cache
from cspine_lib.config import get_profile
from cspine_lib.dlc_method import (
    WeightedLoss,
    build_dlc_net,
    fracture_term,
    level_logits,
    load_dlc_net,
    study_outputs,
    train_dlc_net,
    visible_term,
)
from cspine_lib.dlc_slices import OneStudy
from cspine_lib.slice_method import study_levels
from cspine_lib.slice_stacks import SliceStacks

PROFILE = get_profile("ci")


def _target(fracture, visible, offset=0.0):
    return {
        "fracture": torch.tensor([fracture]),
        "visible": torch.tensor([visible]),
        "offset": torch.full((7,), offset),
    }


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_a_level_by_hand():
    """Three slices; C1 is seen in two of them, surely and half, C2 in none."""
    visible, fracture = np.zeros((3, 7)), np.full((3, 7), 0.2)
    visible[:2, 0], fracture[:2, 0] = [1.0, 0.5], [0.9, 0.3]
    levels = _sigmoid(level_logits(fracture, visible))
    assert levels[0] == pytest.approx((1.0 * 0.9 + 0.5 * 0.3) / 1.5)
    assert levels[1] < 1e-3
    plain = _sigmoid(level_logits(fracture, None))
    assert plain[0] == pytest.approx((0.9 + 0.3 + 0.2) / 3) and plain[1] == pytest.approx(0.2)


def test_weighted_by_visibility_it_is_the_multi_head_models_rule():
    visible, fracture = np.random.default_rng(0).uniform(size=(2, 9, 7))
    assert np.allclose(level_logits(fracture, visible), study_levels(visible, fracture))


def test_the_loss_is_the_weighted_sum_of_both_terms():
    torch.manual_seed(0)
    out = {"fracture": torch.randn(1, 7), "visible": torch.randn(1, 7)}
    target = _target([0, 1.0, 0, 0, 0, 0, 0], [0, 0.9, 0.4, 0, 0, 0, 0])
    both = WeightedLoss(3.0, 0.5)(out, target)
    assert both == pytest.approx(3 * fracture_term(out, target) + 0.5 * visible_term(out, target))
    alone = WeightedLoss(1.0, 0.0)(out, target)
    assert alone == pytest.approx(fracture_term(out, target))


def test_a_fracture_is_asked_about_where_the_detector_sees_its_level():
    out = {"fracture": torch.full((1, 7), -20.0), "visible": torch.zeros(1, 7)}
    assert fracture_term(out, _target([0, 1.0, 0, 0, 0, 0, 0], [0.0] * 7)) == 0
    seen = _target([0, 1.0, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0, 0])
    assert fracture_term(out, seen) == pytest.approx(20)
    shared = _target([0, 1.0, 0, 0, 0, 0, 0], [0, 1.0, 1.0, 0, 0, 0, 0])
    assert fracture_term(out, shared) == pytest.approx(10)


def test_the_offset_is_the_losss_own():
    out = {"fracture": torch.full((1, 7), -1.5), "visible": torch.zeros(1, 7)}
    target = _target([0.0] * 7, [1.0] * 7, offset=1.5)
    assert fracture_term(out, target) == pytest.approx(np.log(2))


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    data, place = FakeDataset(), tmp_path_factory.mktemp("dlc-method")
    cache = build_cache(data, place / "c", data.ids, low_px=PROFILE.localiser_px)
    made = SliceStacks(cache, place / "s", PROFILE.slice_px)
    made.build(cache.ids)
    return made


def _train(stacks, folder, located=True, seed=3):
    ids = stacks.cache.ids
    labels = {uid: np.eye(7)[i] for i, uid in enumerate(ids)}
    tables = {uid: np.full((len(stacks.z_index(uid)), 7), 0.7) for uid in ids} if located else None
    return train_dlc_net(
        stacks, labels, tables, ids[:3], ids[3:], PROFILE, folder, seed=seed, progress=False
    )


def test_a_killed_training_goes_on_and_ends_in_the_same_network(stacks, tmp_path, monkeypatch):
    _train(stacks, tmp_path / "whole")
    real = trainer.Run._one_epoch

    def killed(self, epoch, result):
        if epoch == 1:
            raise KeyboardInterrupt
        real(self, epoch, result)

    monkeypatch.setattr(trainer.Run, "_one_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        _train(stacks, tmp_path / "cut")
    assert not (tmp_path / "cut" / "fit.json").exists()
    monkeypatch.setattr(trainer.Run, "_one_epoch", real)
    _, fit = _train(stacks, tmp_path / "cut")
    assert [entry["epoch"] for entry in fit.history] == [1, 2]
    a, b = (load_dlc_net(tmp_path / name, PROFILE).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_history_has_the_curves_of_both_terms(stacks, tmp_path):
    _, fit = _train(stacks, tmp_path / "located")
    assert {"train_loss", "val_loss", "val_fracture_loss", "val_visible_loss"} <= set(
        fit.history[0]
    )
    _train(stacks, tmp_path / "single", located=False)


def test_an_ensemble_says_the_mean_of_its_networks(stacks):
    torch.manual_seed(1)
    nets = [build_dlc_net(PROFILE, "random").eval() for _ in range(2)]
    study = OneStudy.of_stacks(stacks, stacks.cache.ids[0])
    both = study_outputs(nets, study, PROFILE)
    one, two = (study_outputs([net], study, PROFILE) for net in nets)
    assert np.allclose(both.fracture, (one.fracture + two.fracture) / 2, atol=1e-6)
    assert np.allclose(both.features, one.features, atol=1e-5)
    assert both.visible.shape == (len(both.z), 7)
