"""Profiles and recipes are found by name, and say so when they are not."""

import dataclasses

import pytest

from cspine_lib import config
from cspine_lib.errors import CspineError
from cspine_lib.recipes import RECIPES, get_recipe


def test_profile_from_environment(monkeypatch):
    monkeypatch.setenv("CSPINE_PROFILE", "ci")
    assert config.get_profile().name == "ci"
    assert config.get_profile("gpu").name == "gpu"
    monkeypatch.delenv("CSPINE_PROFILE")
    assert config.get_profile().name == "laptop"


def test_unknown_names_list_the_known_ones():
    with pytest.raises(CspineError, match="ci, laptop, gpu, rsna"):
        config.get_profile("huge")
    with pytest.raises(CspineError, match="crop_bilstm"):
        get_recipe("magic")


def test_profiles_are_frozen_and_consistent():
    for name, profile in config.PROFILES.items():
        assert profile.name == name
        assert profile.slices_per_level == 3 * profile.frames
        assert profile.phantom is None or profile.phantom.masked <= profile.phantom.train
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.get_profile("ci").folds = 3  # type: ignore[misc]


def test_resized_needs_a_phantom():
    assert config.get_profile("ci").resized(train=4, test=2).phantom.train == 4
    with pytest.raises(CspineError, match="no phantom"):
        config.get_profile("rsna").resized(train=4, test=2)


def test_folders_follow_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CSPINE_HOME", str(tmp_path))
    monkeypatch.delenv("CSPINE_RUNS", raising=False)
    assert config.data_home() == tmp_path / "data"
    assert config.runs_home() == tmp_path / "runs"
    monkeypatch.setenv("CSPINE_RUNS", str(tmp_path / "elsewhere"))
    assert config.runs_home() == tmp_path / "elsewhere"


def test_every_recipe_is_found_under_its_own_name():
    assert all(get_recipe(name).name == name for name in RECIPES)
