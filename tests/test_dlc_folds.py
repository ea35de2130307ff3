"""Deck A's methods under ci, from `cspine run` to `cspine predict`: no leak, nothing lost."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cspine_lib.anatomy import TARGETS
from cspine_lib.cli import app
from cspine_lib.config import get_profile
from cspine_lib.cost import Clock
from cspine_lib.errors import CspineError
from cspine_lib.experiment import fold_task
from cspine_lib.fold_dlc import ConfidentSlices, iterate_detection, read_reports
from cspine_lib.fold_dlc.detection import changed_share
from cspine_lib.fold_jobs import _shares
from cspine_lib.fold_methods import fold_pseudo_labels
from cspine_lib.fold_predictors import fold_predictor
from cspine_lib.leakage import check_leakage
from cspine_lib.plan import make_plan
from cspine_lib.plan_counts import census_of, stages_of
from cspine_lib.predictors import untrained
from cspine_lib.recipes import get_recipe
from cspine_lib.results import read_predictions
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import RunRecord, read_json

PROFILE = get_profile("ci")
METHODS = ["dlc", "single_classifier", "forest_classifier"]


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def out(ci_phantom, ci_folds):
    """All three methods on all folds, by the command."""
    options = ["--profile", "ci", "--data", str(ci_phantom), "--out", str(ci_folds), "-q"]
    done = CliRunner().invoke(app, ["run", "--methods", ",".join(METHODS), *options])
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in METHODS)
    return ci_folds


@pytest.mark.parametrize("name", METHODS)
def test_every_study_is_judged_by_models_that_have_not_seen_it(dataset, out, name):
    record = RunRecord.read(out / f"{name}-ci-cv.json")
    assert check_leakage(record) == [] and sorted(record.scored) == sorted(dataset.train_ids)
    p = np.concatenate(
        [read_predictions(out / name / f"fold{k}.csv")[list(TARGETS)].to_numpy() for k in (0, 1)]
    )
    assert ((p > 0) & (p < 1)).all()
    assert np.allclose(p[:, 0], 1 - np.prod(1 - p[:, 1:], axis=1), atol=1e-4)
    names = {part.name for part in record.parts}
    assert ("detector1/fold0" in names) == (name != "single_classifier")


@pytest.mark.parametrize("name", METHODS)
def test_a_study_smuggled_into_any_part_is_found(out, name):
    record = RunRecord.read(out / f"{name}-ci-cv.json")
    held_out = next(part.test for part in record.parts if part.name == "calibration/fold0")
    for i, part in enumerate(record.parts):
        if part.fold != 0 or not part.train:
            continue
        parts = list(record.parts)
        parts[i] = replace(part, train=[*part.train, held_out[0]])
        leaks = check_leakage(replace(record, parts=parts))
        assert "trained_on_test" in {leak.code for leak in leaks}, part.name


@pytest.mark.parametrize("name", METHODS)
def test_a_fold_says_of_a_volume_what_it_said_in_the_run(dataset, out, name):
    task = fold_task(name, dataset, PROFILE, 0, out, progress=False)
    predict, clock = fold_predictor(get_recipe(name), PROFILE, out, 0), Clock()
    some = task.test[:3]
    p = np.stack([predict(task.cache.volume(uid), clock) for uid in some])
    written = read_predictions(out / name / "fold0.csv").loc[some, list(TARGETS)]
    assert np.allclose(p, written, rtol=2e-5, atol=2e-6)
    assert clock.seconds["classify"] > 0
    assert (clock.seconds["localise"] > 0) == (name == "forest_classifier")


def test_networks_are_trained_once_for_all_that_use_them(out):
    notes = {name: read_json(out / name / "fold0.json") for name in METHODS}
    parts = {name: {p["name"]: p["seconds"] for p in note["parts"]} for name, note in notes.items()}
    for shared, a, b in (
        ("detector1/fold0", "dlc", "forest_classifier"),
        ("single0/fold0", "single_classifier", "forest_classifier"),
    ):
        assert parts[a][shared] == parts[b][shared], "the same training, not another one"
    assert (out / "shared" / "fold0" / "single" / "net0" / "model.safetensors").exists()
    assert not list((out / "single_classifier" / "fold0").glob("net*"))


def test_the_command_final_scores_the_ensembles(ci_phantom, out, tmp_path, monkeypatch):
    monkeypatch.setenv("CSPINE_HOME", str(tmp_path))
    options = ["--profile", "ci", "--data", str(ci_phantom), "--out", str(out), "-q"]
    done = CliRunner().invoke(app, ["final", "--methods", ",".join(METHODS), *options])
    assert done.exit_code == 0, done.output
    for name in METHODS:
        record = RunRecord.read(out / "final" / f"{name}-ci-final.json")
        assert check_leakage(record) == [] and len(record.scored) == PROFILE.phantom.test


@pytest.mark.parametrize("name", METHODS)
def test_the_command_predict_takes_them(ci_phantom, dataset, out, tmp_path, name):
    command = ["predict", str(out), str(ci_phantom), "--out", str(tmp_path), "-q"]
    done = CliRunner().invoke(app, [*command, "--method", name, "--overviews", "0"])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "submission.csv")
    assert table["fractured"].between(0, 1, inclusive="neither").all()
    assert table["row_id"].tolist() == dataset.test["row_id"].tolist()


@pytest.mark.parametrize("name", METHODS)
def test_untrained_ones_can_be_timed(dataset, name):
    volume, clock = dataset.read_study(dataset.train_ids[0]).volume, Clock()
    p = untrained(name, PROFILE)(volume, clock)
    assert p.shape == (8,) and ((p >= 0) & (p <= 1)).all() and clock.seconds["classify"] > 0


def test_a_fold_that_lacks_a_part_says_so(out, tmp_path):
    for name in METHODS:
        with pytest.raises(CspineError):
            fold_predictor(get_recipe(name), PROFILE, tmp_path, 0)


# --- the detection network, again ---------------------------------------------------------------


def _detect(dataset, out, **settings):
    profile = replace(PROFILE, **settings)
    task = fold_task("dlc", dataset, profile, 0, out, progress=False)
    return task, fold_pseudo_labels(task)


def test_iterating_never_looks_at_held_out_studies(dataset, tmp_path, monkeypatch):
    """Whatever of the fold is read after the first network is no held-out study."""
    task, (said, labelled) = _detect(dataset, tmp_path, dlc_confident=0.5, dlc_rounds=2)
    held_out, asked = set(task.test), set()
    cache = type(task.cache)
    real = cache._entry

    def entry(self, uid):
        asked.add(uid)
        assert uid not in held_out
        return real(self, uid)

    monkeypatch.setattr(cache, "_entry", entry)
    only = {uid: said[uid] for uid in task.train}
    found, parts = iterate_detection(task, only, labelled)
    assert set(found) == set(task.train) and asked
    assert [part.name for part in parts] == [
        "visibility/fold0",
        "detector1/fold0",
        "detector2/fold0",
    ]
    assert not held_out & {uid for part in parts for uid in [*part.train, *part.val]}
    reports = read_reports(task.shared)
    assert [one["round"] for one in reports] == [1, 2]
    unmasked = [uid for uid in task.train if uid not in task.cache.masked_ids]
    assert reports[0]["extended_studies"] == len(unmasked) > 0
    assert reports[0]["masks"]["after"] == reports[1]["masks"]["before"]
    assert any(not np.array_equal(found[uid], said[uid]) for uid in task.train)


def test_only_slices_that_the_network_is_sure_of_are_taken(dataset, tmp_path):
    task, _ = _detect(dataset, tmp_path)
    uid = task.train[0]
    table = np.full((task.cache.shape_zyx(uid)[0], 7), 0.02)
    table[5:9, 2], table[9, 3] = 0.97, 0.7
    data = ConfidentSlices(task.cache, [uid], {uid: table}, 0.9, per_level=50)
    positions = {z for _, z in data.rows}
    assert 9 not in positions and {5, 6, 7, 8} <= positions
    assert data.share == pytest.approx(1 - 1 / len(table))
    shown = [i for i, (_, z) in enumerate(data.rows) if z in range(5, 9)]
    _, target = data[shown[0]]
    assert target["levels"].tolist() == [0, 0, 1, 0, 0, 0, 0] and target["has_box"] == 0
    nothing = ConfidentSlices(task.cache, [uid], {uid: np.full_like(table, 0.5)}, 0.9, 4)
    assert len(nothing) == 0 and nothing.share == 0


def test_changed_answers_are_counted():
    a = {"s": np.array([[0.1, 0.9], [0.4, 0.6]])}
    b = {"s": np.array([[0.2, 0.8], [0.6, 0.6]])}
    assert changed_share(a, b, ["s"]) == pytest.approx(0.25)
    assert np.isnan(changed_share(a, b, []))


# --- the plan -------------------------------------------------------------------------------------


def test_what_is_shared_is_planned_once(dataset, tmp_path):
    recipes = [get_recipe(name) for name in ("multi_head", *METHODS)]
    plan = make_plan(recipes, PROFILE, census_of(dataset), tmp_path, timed=False)
    networks = [need.stage.network for need in plan.needs]
    assert networks == ["visibility", "slices2", "detector", "dlc", "dlc_single"]


def test_the_plan_counts_what_an_epoch_looks_at(dataset, tmp_path):
    task = fold_task("dlc", dataset, PROFILE, 0, tmp_path, progress=False)
    stages = {s.network: s for s in stages_of(get_recipe("dlc"), PROFILE, census_of(dataset))}
    train, _ = task.inner()
    assert stages["dlc"].samples == pytest.approx(PROFILE.dlc_per_study * len(train), rel=0.2)


def test_methods_that_share_networks_are_one_share_of_a_fold():
    names = ["dlc", "cnn3d", "single_head", "single_classifier", "multi_head", "forest_classifier"]
    assert [group for _, group in _shares(names, [0])] == [
        ("single_head", "multi_head"),
        ("dlc", "single_classifier", "forest_classifier"),
        ("cnn3d",),
    ]
