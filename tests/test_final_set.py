"""The set ``final``: studies of their own, the very models of the folds, their mean, no leak."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from cspine_lib.anatomy import TARGETS
from cspine_lib.cli import app
from cspine_lib.config import DEFAULT_SEED, get_profile
from cspine_lib.errors import CspineError
from cspine_lib.experiment import fold_task, run_method
from cspine_lib.final_set import FINAL_SEED, final_dataset, judge_studies, score_on_final
from cspine_lib.leakage import check_leakage
from cspine_lib.results import load_records, read_predictions
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import read_json

PROFILE = get_profile("ci")
METHODS = ["cnn3d", "single_head", "crop_bilstm"]
"""One of each kind."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("final-home")


@pytest.fixture(autouse=True)
def _home(home, monkeypatch):
    monkeypatch.setenv("CSPINE_HOME", str(home))


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def out(ci_folds):
    return ci_folds


def test_the_set_is_another_phantom_with_labels_and_without_masks(dataset):
    final = final_dataset(PROFILE, quiet=True)
    assert FINAL_SEED not in (DEFAULT_SEED, 1)
    assert (
        final.name.endswith(f"seed {FINAL_SEED}") and final.fingerprint() != dataset.fingerprint()
    )
    assert len(final.train_ids) == PROFILE.phantom.test and final.masked_ids == []
    assert not set(final.train_ids) & {*dataset.train_ids, *dataset.test_ids}
    assert final.train[list(TARGETS)].to_numpy().any()


@pytest.mark.parametrize("name", METHODS)
def test_a_folds_model_is_found_again_with_its_calibration(dataset, out, name):
    """On the held-out studies it says to the digit what the run has written down."""
    run_method(name, dataset, PROFILE, out, progress=False)
    task = fold_task(name, dataset, PROFILE, 1, out, progress=False)
    p, seconds = judge_studies(task, task.cache, task.test)
    written = read_predictions(out / name / "fold1.csv").loc[task.test, list(TARGETS)]
    assert np.allclose(p, written, rtol=2e-5, atol=1e-6) and seconds > 0


@pytest.mark.parametrize("name", METHODS)
def test_the_ensemble_is_scored_where_no_part_has_been(dataset, out, tmp_path, name):
    run_method(name, dataset, PROFILE, out, progress=False)
    record = score_on_final(name, dataset, PROFILE, out, record_in=tmp_path, progress=False)
    final = final_dataset(PROFILE, quiet=True)
    assert sorted(record.scored) == sorted(final.train_ids) and "final" in record.data
    assert check_leakage(record) == []
    smuggled = replace(record.parts[0], train=[*record.parts[0].train, record.scored[0]])
    leaks = check_leakage(replace(record, parts=[smuggled, *record.parts[1:]]))
    assert {leak.code for leak in leaks} == {"trained_on_test"}, "the proof can fail"
    (found,) = load_records(tmp_path)
    assert found.predictions == f"{name}-ci-final.csv" and found.scored == record.scored
    mean = np.mean(
        [
            read_predictions(out / "final" / name / f"fold{k}.csv")[list(TARGETS)].to_numpy()
            for k in range(PROFILE.folds)
        ],
        axis=0,
    )
    table = read_predictions(tmp_path / found.predictions)
    assert np.allclose(table[list(TARGETS)], mean, atol=1e-5)
    truth = final.train.set_index("StudyInstanceUID").loc[table.index, "C2"]
    assert (table["true_C2"].to_numpy() == truth.to_numpy()).all()
    scores = found.scores
    assert len(scores["loss_of_single_models"]) == PROFILE.folds
    assert scores["seconds_per_study"] == pytest.approx(sum(scores["seconds_per_model"]))


def test_what_a_model_has_said_is_not_asked_again_unless_it_is_another_model(dataset, out):
    run_method("cnn3d", dataset, PROFILE, out, progress=False)
    score_on_final("cnn3d", dataset, PROFILE, out, progress=False)
    about = out / "final" / "cnn3d" / "fold0.json"
    before = about.stat().st_mtime_ns
    score_on_final("cnn3d", dataset, PROFILE, out, progress=False)
    assert about.stat().st_mtime_ns == before
    about.write_text(about.read_text().replace(read_json(about)["request"], "of another model"))
    score_on_final("cnn3d", dataset, PROFILE, out, progress=False)
    assert read_json(about)["request"] != "of another model"


def test_missing_folds_other_settings_and_profiles_without_a_phantom_are_named(
    dataset, out, tmp_path
):
    with pytest.raises(CspineError, match="cspine run --methods multi_head"):
        score_on_final("multi_head", dataset, PROFILE, tmp_path, progress=False)
    run_method("cnn3d", dataset, PROFILE, out, progress=False)
    with pytest.raises(CspineError, match="other settings"):
        score_on_final("cnn3d", dataset, PROFILE, out, seed=7, progress=False)
    with pytest.raises(CspineError, match="no final set"):
        final_dataset(get_profile("rsna"))


def test_the_command_scores_and_says_on_what(ci_phantom, dataset, out, home):
    run_method("cnn3d", dataset, PROFILE, out, progress=False)
    options = ["--profile", "ci", "--data", str(ci_phantom), "--out", str(out), "-q", "--record"]
    result = CliRunner().invoke(app, ["final", "--methods", "cnn3d", *options])
    assert result.exit_code == 0, result.output
    assert "cnn3d" in result.output and f"seed {FINAL_SEED}, final" in result.output
    assert (home / "results" / "cnn3d-ci-final.json").exists()
