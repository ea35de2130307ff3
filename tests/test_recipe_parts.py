"""The winners as recipes: what their descriptions say, and what decides a run."""

from dataclasses import replace

import pytest

from cspine_lib.config import get_profile, settings_of
from cspine_lib.recipe_parts import VertebraRecipe
from cspine_lib.recipes import get_recipe, settings_of_recipe


def test_first_place_is_as_described():
    recipe = get_recipe("first_place")
    part = recipe.vertebra
    assert recipe.segmenter.dims == 3
    assert (part.frames, part.channels, part.outline) == (15, 5, True)
    assert (part.recurrent, part.layers, part.pooling) == ("lstm", 2, "slices")
    assert (part.positive_weight, part.scope) == (2.0, "level")
    study = get_recipe("first_place_study")
    assert study.vertebra == replace(part, scope="study") and study.segmenter == recipe.segmenter


def test_second_place_is_as_described():
    recipe = get_recipe("second_place")
    part = recipe.vertebra
    assert recipe.segmenter.dims == 2 and recipe.overall_top_n == 7
    assert (part.frames, part.outline, part.recurrent) == (24, False, "gru")
    assert (part.layers, part.pooling) == (2, "attention") and part.spatial_dropout > 0


def test_a_smoke_run_has_few_images_and_no_profile_more_than_the_recipe():
    ci, laptop = get_profile("ci"), get_profile("laptop")
    assert VertebraRecipe(frames=15).frames_of(ci) == ci.vertebra_frames < 15
    assert VertebraRecipe(frames=2).frames_of(ci) == 2
    assert VertebraRecipe(frames=24).frames_of(laptop) == 24


@pytest.mark.parametrize(("scale", "px"), [(1.0, 80), (1.4, 112), (0.5, 40), (1.06, 88)])
def test_the_side_is_a_multiple_of_eight(scale, px):
    assert VertebraRecipe(crop_scale=scale).px_of(get_profile("laptop")) == px


@pytest.mark.parametrize(
    ("name", "part"),
    [("first_place", "vertebra"), ("second_place", "segmenter"), ("beyond", "members")],
)
def test_what_decides_a_winner_is_in_its_settings(name, part):
    assert part in settings_of_recipe(get_recipe(name))
    assert part not in settings_of_recipe(get_recipe("crop_bilstm"))
    assert part not in settings_of_recipe(get_recipe("salehinejad"))


def test_new_settings_leave_finished_runs_of_older_methods_as_they_are():
    profile = get_profile("laptop")
    other = replace(profile, seg_px=99, seg25d_lr=1.0, neck_px=99, vertebra_frames=9, study_batch=9)
    for kind in ("two_stage", "slices", "cnn3d", "cnn3d_spine"):
        assert settings_of(profile, kind) == settings_of(other, kind)
    for kind in ("segmented", "neck_sequence"):
        assert settings_of(profile, kind) != settings_of(other, kind)
    whole = replace(profile, seg_px=99, vertebra_frames=9, classifier_epochs=99)
    assert settings_of(profile, "neck_sequence") == settings_of(whole, "neck_sequence")
