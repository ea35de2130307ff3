"""The plan of the winners' runs: counts beside what a fold trains on, sizes beside its nets."""

import math

import pytest

from cspine_lib.config import get_profile
from cspine_lib.experiment import fold_task
from cspine_lib.plan_counts import census_of, stages_of, stored_bytes
from cspine_lib.plan_probe import cost_of
from cspine_lib.recipes import get_recipe
from cspine_lib.rsna import open_dataset
from cspine_lib.segment_data import MaskedSlices
from cspine_lib.vertebra_fit import build_vertebra_net

CI = get_profile("ci")


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


def _stages(name, dataset):
    return {s.network: s for s in stages_of(get_recipe(name), CI, census_of(dataset))}


def test_samples_agree_with_what_a_fold_trains_on(dataset, tmp_path):
    task = fold_task("first_place", dataset, CI, 0, tmp_path, progress=False)
    train, _ = task.inner()
    masked = [uid for uid in task.train if uid in task.cache.masked_ids]
    first, study = _stages("first_place", dataset), _stages("first_place_study", dataset)
    assert first["unet3d"].samples == pytest.approx(0.85 * len(masked), abs=1)
    assert first["vertebrae"].samples == pytest.approx(7 * len(train), rel=0.12)
    assert study["vertebrae"].samples == pytest.approx(len(train), abs=1)
    assert _stages("salehinejad", dataset)["neck_sequence"].samples == pytest.approx(
        len(train), abs=1
    )
    slices = len(MaskedSlices(task.cache, dataset, masked, CI.seg25d_per_level)) * 0.85
    assert _stages("second_place", dataset)["unet25d"].samples == pytest.approx(slices, rel=0.33)


def test_each_member_is_counted_without_its_own_part(dataset):
    one, three = _stages("first_place", dataset), _stages("beyond", dataset)
    assert (one["vertebrae"].fits, three["vertebrae"].fits) == (1, 3)
    whole = one["vertebrae"].samples / 0.85  # none is kept back to choose an epoch
    assert three["vertebrae"].samples == pytest.approx(whole * 2 / 3, abs=2)
    assert three["vertebrae"].passes > one["vertebrae"].passes


def test_a_probe_weighs_the_net_that_is_trained():
    recipe = get_recipe("first_place")
    cost = cost_of("vertebrae", recipe, CI, timed=False)
    net = build_vertebra_net(recipe.vertebra, CI, "random")
    assert cost.weight_bytes == sum(4 * p.numel() for p in net.parameters())
    study = cost_of("vertebrae", get_recipe("first_place_study"), CI, timed=False)
    assert study.sample_bytes == pytest.approx(7 * cost.sample_bytes, rel=0.1)
    assert math.isnan(cost.train_s)


@pytest.mark.parametrize(
    ("network", "name"),
    [("unet3d", "first_place"), ("unet25d", "second_place"), ("neck_sequence", "salehinejad")],
)
def test_every_network_can_be_probed_and_timed(network, name):
    cost = cost_of(network, get_recipe(name), CI)
    assert cost.train_s > 0 and cost.infer_s > 0 and cost.sample_bytes > 1e4
    assert cost.step_bytes(4) > cost.step_bytes(1)


def test_crops_on_disk_are_counted(dataset):
    census = census_of(dataset)
    names = ("first_place", "second_place", "salehinejad")
    found = stored_bytes([get_recipe(name) for name in names], CI, census)
    outlined, plain = found["crops of first_place"], found["crops of second_place"]
    assert outlined > 1.5 * plain > 0
    assert found["windowed slices"] == census.studies * CI.neck_frames * 3 * CI.neck_px**2
