"""Single-head and multi-head losses, and how slices become a study."""

import numpy as np
import pytest
import torch

from cspine_lib.config import get_profile
from cspine_lib.slice_method import (
    build_slice_classifier,
    multi_head_loss,
    single_head_loss,
    study_levels,
)


def _target(fracture, visible):
    return {"fracture": torch.tensor([fracture]), "visible": torch.tensor([visible])}


SURE = {"visible": torch.full((1, 7), -20.0), "fracture": torch.full((1, 7), -20.0)}


def test_one_head_must_say_whole_where_the_level_is_not_seen():
    """The study's C2 is broken, this slice does not show it."""
    target = _target([0, 1.0, 0, 0, 0, 0, 0], [0.0] * 7)
    assert single_head_loss(SURE, target) == pytest.approx(0, abs=1e-6)


def test_two_heads_are_not_asked_about_what_is_not_seen():
    target = _target([0, 1.0, 0, 0, 0, 0, 0], [0.0] * 7)
    out = {**SURE, "fracture": torch.randn(1, 7)}
    assert multi_head_loss(out, target) == pytest.approx(0, abs=1e-6)
    seen = _target([0, 1.0, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0, 0])
    assert multi_head_loss(SURE, seen) > 10


def test_losses_fall_towards_the_truth():
    target = _target([0, 1.0, 0, 0, 0, 0, 0], [0, 1.0, 1.0, 0, 0, 0, 0])
    right = {
        "visible": torch.tensor([[-9.0, 9, 9, -9, -9, -9, -9]]),
        "fracture": torch.tensor([[-9.0, 9, -9, -9, -9, -9, -9]]),
    }
    wrong = {name: -value for name, value in right.items()}
    for loss in (single_head_loss, multi_head_loss):
        assert loss(right, target) < 0.01 < loss(wrong, target)


def test_a_level_is_the_mean_of_the_slices_that_show_it():
    visible, fracture = np.zeros((10, 7)), np.full((10, 7), 0.9)
    visible[2:4, 0], fracture[2:4, 0] = 1.0, [0.2, 0.4]
    p = 1 / (1 + np.exp(-study_levels(visible, fracture)))
    assert p[0] == pytest.approx(0.3)
    assert np.isfinite(p).all()


@pytest.mark.parametrize("heads", [1, 2])
def test_both_nets_give_visibility_and_fracture(heads):
    net = build_slice_classifier(get_profile("ci"), heads, "random").eval()
    out = net(torch.rand(2, 3, 48, 48))
    assert {name: tuple(v.shape) for name, v in out.items()} == {
        "visible": (2, 7),
        "fracture": (2, 7),
    }
    with pytest.raises(ValueError, match="one head or two"):
        build_slice_classifier(get_profile("ci"), 3, "random")
