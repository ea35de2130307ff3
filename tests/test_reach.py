"""Which backbone a profile gets, with and without a hub."""

import pytest

from cspine_lib import weights
from cspine_lib.config import get_profile
from cspine_lib.reach import ALWAYS_HERE, profile_in_reach


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch):
    monkeypatch.delenv("CSPINE_BACKBONE", raising=False)


@pytest.mark.parametrize("name", ["ci", "laptop"])
def test_small_profiles_ask_nobody(monkeypatch, name):
    monkeypatch.setattr(weights, "has_imagenet", lambda backbone: pytest.fail("asked"))
    assert profile_in_reach(name) == get_profile(name)


@pytest.mark.parametrize(
    ("known", "backbone"),
    [
        ({"tf_efficientnetv2_s", ALWAYS_HERE}, "tf_efficientnetv2_s"),
        ({ALWAYS_HERE}, ALWAYS_HERE),
        (set(), "tf_efficientnetv2_s"),
    ],
)
def test_without_a_hub_all_networks_are_the_one_whose_weights_are_here(
    monkeypatch, capsys, known, backbone
):
    monkeypatch.setattr(weights, "has_imagenet", known.__contains__)
    assert profile_in_reach("gpu").backbone == backbone
    assert ("CSPINE_BACKBONE" in capsys.readouterr().out) == (known == {ALWAYS_HERE})


def test_a_named_backbone_is_taken_as_it_is(monkeypatch):
    monkeypatch.setenv("CSPINE_BACKBONE", "convnext_tiny")
    assert profile_in_reach("laptop").backbone == "convnext_tiny"


def test_weights_are_found_without_a_hub_or_not_at_all(monkeypatch):
    monkeypatch.setattr(weights, "hub_file", lambda repo: None)
    assert weights.has_imagenet(ALWAYS_HERE) == (weights.lite0_state() is not None)
    assert not weights.has_imagenet("tf_efficientnetv2_s")
    assert not weights.has_imagenet("test_efficientnet.r160_in1k")
    monkeypatch.setattr(weights, "hub_file", lambda repo: "file")
    assert weights.has_imagenet("tf_efficientnetv2_s")
