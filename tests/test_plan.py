"""The plan of a run: counts that agree with what is trained, and refusal of what does not fit."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from cspine_lib import plan as planning
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.experiment import DECK_B, fold_task
from cspine_lib.facts import facts
from cspine_lib.fold_jobs import run_methods
from cspine_lib.plan import make_plan, plan_before_data, refuse_what_cannot_be_held
from cspine_lib.plan_counts import census_of, census_of_profile, stages_of
from cspine_lib.recipes import RECIPES, get_recipe
from cspine_lib.rsna import open_dataset

CI = get_profile("ci")


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


def test_the_census_counts_the_set(dataset):
    census = census_of(dataset)
    files = [len(os.listdir(dataset.study_folder(uid))) for uid in dataset.train_ids]
    assert census.slices == pytest.approx(sum(files) / len(files))
    assert (census.studies, census.masked) == (len(files), len(dataset.masked_ids))


def test_without_data_rsna_is_planned_from_its_counts():
    census = census_of_profile(get_profile("rsna"))
    assert census.studies == facts("labels")["studies"] and census.masked == 87
    assert "not in place" in census.name
    assert census_of_profile(CI).studies == CI.phantom.train


@pytest.mark.parametrize("method", DECK_B)
def test_samples_agree_with_what_a_fold_trains_on(dataset, tmp_path, method):
    """Within a third: levels differ in height and share slices, folds differ in size."""
    from cspine_lib.datasets import SliceDataset

    stages = {s.network: s for s in stages_of(get_recipe(method), CI, census_of(dataset))}
    task = fold_task(method, dataset, CI, 0, tmp_path, progress=False)
    train, _ = task.inner()
    if method == "cnn3d":
        assert stages["cube"].samples == pytest.approx(len(train), abs=1)
    elif method == "crop_bilstm":
        assert stages["sequence"].samples == pytest.approx(7 * len(train), rel=0.1)
    else:
        masked = [uid for uid in task.train if uid in task.cache.masked_ids]
        items = len(SliceDataset(task.cache, masked, CI.slices_per_level)) * 0.85
        assert stages["visibility"].samples == pytest.approx(items, rel=0.33)


@pytest.mark.parametrize("name", RECIPES)
def test_every_method_has_a_plan(dataset, tmp_path, name):
    plan = make_plan([get_recipe(name)], CI, census_of(dataset), tmp_path, timed=False)
    assert plan.memory_bytes > 1e9 and plan.disk_bytes > 1e6
    assert not plan.problems() and "not measured" in plan.text()


def test_rsna_does_not_fit_everywhere_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "_free_disk", lambda out: 1e9)
    monkeypatch.setattr(planning, "_free_memory", lambda: 1e9)
    profile = get_profile("rsna")
    plan = make_plan(
        [get_recipe("cnn3d")], profile, census_of_profile(profile), tmp_path, timed=False
    )
    with pytest.raises(CspineError, match=r"of disk.*--out.*of memory.*smaller profile"):
        refuse_what_cannot_be_held(plan)


def test_a_run_that_does_not_fit_does_not_start(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "_free_disk", lambda out: 1e3)
    with pytest.raises(CspineError, match="of disk"):
        run_methods(["cnn3d"], dataset, CI, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_memory_grows_with_the_cube(dataset, tmp_path):
    census = census_of(dataset)
    needs = [
        make_plan([get_recipe("cnn3d")], replace(CI, cube_px=px), census, tmp_path, timed=False)
        for px in (64, 128)
    ]
    a, b = (plan.memory_bytes - planning.PROCESS_BYTES for plan in needs)
    assert 6 < b / a < 9


def test_finished_folds_and_shared_labels_are_not_counted_twice(dataset, tmp_path):
    (tmp_path / "cnn3d").mkdir()
    (tmp_path / "cnn3d" / "fold0.json").write_text("{}")
    recipes = [get_recipe(name) for name in ("cnn3d", "single_head", "multi_head")]
    plan = make_plan(recipes, CI, census_of(dataset), tmp_path, timed=False)
    folds = [(need.stage.network, need.folds) for need in plan.needs]
    assert folds == [("cube", 1), ("visibility", 2), ("slices1", 2), ("slices2", 2)]


def test_a_plan_of_finished_folds_says_that_nothing_is_left(dataset, tmp_path):
    (tmp_path / "cnn3d").mkdir()
    for k in range(CI.folds):
        (tmp_path / "cnn3d" / f"fold{k}.json").write_text("{}")
    plan = make_plan([get_recipe("cnn3d")], CI, census_of(dataset), tmp_path, timed=False)
    assert not plan.needs and "nothing is left to train" in plan.text()


def test_a_dry_run_makes_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("CSPINE_HOME", str(tmp_path))
    monkeypatch.delenv("CSPINE_DATA", raising=False)
    plan = plan_before_data(["cnn3d", "crop_bilstm"], CI, None, None)
    assert not list(tmp_path.iterdir())
    assert plan.hours > 0 and "not made yet" in plan.text()


def test_time_is_that_of_samples_and_passes(monkeypatch):
    cost = SimpleNamespace(train_s=2.0, infer_s=0.5, step_bytes=lambda batch: 10.0 * batch,
                           weight_bytes=1.0)  # fmt: skip
    stage = stages_of(get_recipe("cnn3d"), CI, census_of_profile(CI))[0]
    need = planning._need(get_recipe("cnn3d"), stage, 3, cost, census_of_profile(CI))
    judged = stage.samples * stage.epochs * 0.15 / 0.85 + stage.passes
    assert need.seconds == pytest.approx(3 * (stage.samples * stage.epochs * 2 + judged / 2))
