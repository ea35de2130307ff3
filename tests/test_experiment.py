"""Methods on the same folds, end to end under ci: no leak, nothing twice, nothing lost."""

from types import SimpleNamespace

import numpy as np
import pytest

from cspine_lib import fold_jobs, fold_methods
from cspine_lib.anatomy import TARGETS
from cspine_lib.config import get_profile, settings_of
from cspine_lib.errors import CspineError
from cspine_lib.experiment import chosen_methods, out_of_fold, outer_folds, run_method
from cspine_lib.fold_jobs import _shares, jobs_of, run_methods
from cspine_lib.leakage import check_leakage
from cspine_lib.methods import train_method
from cspine_lib.results import load_records, read_predictions
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import read_json

PROFILE = get_profile("ci")


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("cv")


def test_folds_are_the_same_for_all_and_share_masks_evenly(dataset):
    ids = dataset.train_ids
    fold = outer_folds(dataset, ids, 2)
    assert np.array_equal(fold, outer_folds(dataset, ids, 2))
    masked = [sum(ids[i] in dataset.masked_ids for i in np.flatnonzero(fold == k)) for k in (0, 1)]
    assert abs(masked[0] - masked[1]) <= 1


def test_names_of_methods():
    assert chosen_methods("all") == ["cnn3d", "single_head", "multi_head", "crop_bilstm"]
    assert chosen_methods("cnn3d, crop_attention") == ["cnn3d", "crop_attention"]
    assert chosen_methods("deck-a,dlc") == ["single_classifier", "forest_classifier", "dlc"]
    everything = chosen_methods("systems")
    assert len(everything) == len(set(everything)) == 12 and everything[-1] == "beyond"
    with pytest.raises(CspineError, match="known methods"):
        chosen_methods("u_net")


@pytest.mark.parametrize("name", ["cnn3d", "single_head", "multi_head"])
def test_a_method_predicts_every_study_from_a_model_that_has_not_seen_it(dataset, out, name):
    assert run_method(name, dataset, PROFILE, out, folds=[0], progress=False) is None
    record = run_method(name, dataset, PROFILE, out, progress=False)
    assert record is not None and check_leakage(record) == []
    ids, p = out_of_fold(out, name, PROFILE.folds)
    assert sorted(record.scored) == ids and len(ids) == record.scores["n_studies"]
    assert ((p > 0) & (p < 1)).all()
    tests = [set(part.test) for part in record.parts if part.test]
    assert set.union(*tests) == set(ids) and sum(map(len, tests)) == len(ids)
    if name == "single_head":
        order, largest = np.argsort(p[:, 0]), p[:, 1:].max(axis=1)
        for k in range(PROFILE.folds):  # calibrated by fold, so only the order is the maximum's
            fold = [i for i in order if ids[i] in tests[k]]
            assert (np.diff(largest[fold]) >= -1e-5).all()
    if name == "multi_head":
        assert np.allclose(p[:, 0], 1 - np.prod(1 - p[:, 1:], axis=1), atol=1e-4)


def test_pseudo_labels_of_a_fold_come_from_outside_it(dataset, out):
    run_method("single_head", dataset, PROFILE, out, progress=False)
    for k in range(PROFILE.folds):
        note = read_json(out / "single_head" / f"fold{k}.json")
        parts = {part["name"]: part for part in note["parts"]}
        labels = parts[f"visibility/fold{k}"]
        held_out = set(parts[f"calibration/fold{k}"]["test"])
        assert labels["kind"] == "pseudo_labels"
        assert not held_out & set(labels["train"] + labels["val"])
        assert f"visibility/fold{k}" in parts[f"single_head/fold{k}"]["uses"]


def test_the_weights_of_a_record_are_those_that_training_started_from(
    dataset, tmp_path, monkeypatch
):
    def train(*args, **options):
        model, fit = real(*args, **options)
        model.encoder.weights_used = "imagenet (of a test)"
        return model, fit

    real = fold_methods.train_slice_classifier
    monkeypatch.setattr(fold_methods, "train_slice_classifier", train)
    run_method("multi_head", dataset, PROFILE, tmp_path, folds=[0], progress=False)
    note = read_json(tmp_path / "multi_head" / "fold0.json")
    assert note["weights"] == note["parts"][1]["weights"] == "imagenet (of a test)"


def test_what_is_done_is_not_done_again(dataset, out):
    run_method("cnn3d", dataset, PROFILE, out, progress=False)
    note = out / "cnn3d" / "fold0.json"
    before = note.stat().st_mtime_ns
    run_method("cnn3d", dataset, PROFILE, out, progress=False)
    assert note.stat().st_mtime_ns == before
    with pytest.raises(CspineError, match="other settings or data"):
        run_method("cnn3d", dataset, PROFILE, out, seed=5, progress=False)


def test_a_finished_method_is_recorded_with_its_predictions(dataset, out, tmp_path):
    (record,) = run_methods(["cnn3d"], dataset, PROFILE, out, record_in=tmp_path, progress=False)
    (found,) = load_records(tmp_path)
    assert (found.method, found.scored, found.parts) == ("cnn3d", record.scored, record.parts)
    table = read_predictions(tmp_path / record.predictions)
    ids, p = out_of_fold(out, "cnn3d", PROFILE.folds)
    assert table.index.tolist() == ids and set(table["fold"]) == {0, 1}
    assert np.allclose(table[list(TARGETS)], p, atol=1e-5)
    truth = dataset.train.set_index("StudyInstanceUID").loc[ids]
    assert (table["true_C7"].to_numpy() == truth["C7"].to_numpy()).all()


def test_folds_that_do_not_exist_are_refused(dataset, tmp_path):
    for text in ("5", "one", "-1"):
        with pytest.raises(CspineError, match="folds"):
            run_methods(["cnn3d"], dataset, PROFILE, tmp_path, folds=text, progress=False)


def test_settings_of_one_kind_do_not_touch_runs_of_another():
    whole, stages = settings_of(PROFILE, "cnn3d"), settings_of(PROFILE, "two_stage")
    assert "cube_px" in whole and "crop_px" not in whole
    assert "crop_px" in stages and "slices_per_level" in stages
    assert not [name for name in stages if name.startswith(("cube_", "slice_"))]


def test_train_names_the_command_for_other_kinds(dataset, tmp_path):
    with pytest.raises(CspineError, match="cspine run --methods cnn3d"):
        train_method("cnn3d", dataset, PROFILE, tmp_path, progress=False)


def test_another_tag_may_be_of_one_fold_and_says_so(dataset, out, tmp_path):
    [record] = run_methods(
        ["cnn3d"], dataset, PROFILE, out, folds="1", record_in=tmp_path, tag="one", progress=False
    )
    table = read_predictions(tmp_path / "cnn3d-ci-one.csv")
    assert sorted(record.scored) == table.index.tolist() and set(table["fold"]) == {1}
    assert record.config["folds"] == [1] and len(record.scored) < len(dataset.train_ids)


def test_two_folds_at_once_say_what_they_say_one_by_one(dataset, out, tmp_path):
    [one] = run_methods(["cnn3d"], dataset, PROFILE, out, jobs=1, progress=False)
    [two] = run_methods(["cnn3d"], dataset, PROFILE, tmp_path, jobs=2, progress=False)
    assert two.scored == one.scored and two.parts != []
    assert two.scores["loss"] == pytest.approx(one.scores["loss"], abs=0.02)
    assert (tmp_path / "cnn3d-ci-cv.json").exists() and check_leakage(two) == []


def test_methods_that_share_a_part_of_a_fold_stay_together():
    names = ["cnn3d", "single_head", "multi_head", "crop_bilstm"]
    assert _shares(names, [0, 1])[:3] == [
        (0, ("single_head", "multi_head")),
        (0, ("cnn3d",)),
        (0, ("crop_bilstm",)),
    ]
    assert _shares(["cnn3d"], [1]) == [(1, ("cnn3d",))]


def _plan(name, free, device="cpu", needs=(1,)):
    profile = SimpleNamespace(name=name)
    return SimpleNamespace(
        needs=needs, free_memory=free, memory_bytes=2e9, device=device, profile=profile
    )


def test_as_many_at_once_as_cores_and_memory_allow(monkeypatch):
    monkeypatch.setattr(fold_jobs, "usable_cores", lambda: 8)
    assert jobs_of(_plan("laptop", 100e9), None) == 8
    assert jobs_of(_plan("laptop", 7e9), None) == 3
    assert jobs_of(_plan("laptop", 7e9), 2) == 2
    assert jobs_of(_plan("laptop", 100e9, device="cuda"), None) == 1
    assert jobs_of(_plan("ci", 100e9), None) == 1
    assert jobs_of(_plan("laptop", 100e9, needs=()), 4) == 1
    for wrong in (0, 4):
        with pytest.raises(CspineError, match="memory holds 3"):
            jobs_of(_plan("laptop", 7e9), wrong)


def test_a_record_of_other_data_is_not_written_over(dataset, out, tmp_path):
    run_methods(["cnn3d"], dataset, PROFILE, out, record_in=tmp_path, progress=False)
    path = tmp_path / "cnn3d-ci-cv.json"
    path.write_text(path.read_text().replace(dataset.fingerprint(), "0" * 16))
    before = path.read_bytes()
    with pytest.raises(CspineError, match="--tag"):
        run_methods(["cnn3d"], dataset, PROFILE, out, record_in=tmp_path, progress=False)
    assert path.read_bytes() == before
