"""Trained folds as one call, and `cspine predict` with them."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cspine_lib.anatomy import TARGETS
from cspine_lib.cli import app
from cspine_lib.config import get_profile
from cspine_lib.cost import Clock
from cspine_lib.errors import CspineError
from cspine_lib.experiment import fold_task, run_method
from cspine_lib.fold_predictors import FoldEnsemble, fold_predictor
from cspine_lib.predict import predict_folder
from cspine_lib.recipes import get_recipe
from cspine_lib.results import read_predictions
from cspine_lib.rsna import open_dataset

PROFILE = get_profile("ci")
METHODS = ["cnn3d", "cnn3d_spine", "multi_head", "crop_bilstm"]
"""One of each way to be loaded."""


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.mark.parametrize("name", METHODS)
def test_a_fold_says_of_a_volume_what_it_said_in_the_run(dataset, ci_folds, name):
    run_method(name, dataset, PROFILE, ci_folds, folds=[0], progress=False)
    task = fold_task(name, dataset, PROFILE, 0, ci_folds, progress=False)
    predict, clock = fold_predictor(get_recipe(name), PROFILE, ci_folds, 0), Clock()
    some = task.test[:3]
    p = np.stack([predict(task.cache.volume(uid), clock) for uid in some])
    written = read_predictions(ci_folds / name / "fold0.csv").loc[some, list(TARGETS)]
    assert np.allclose(p, written, rtol=2e-5, atol=2e-6)
    assert clock.seconds["classify"] > 0
    located = predict.judge(task.cache.volume(some[0]), clock)[1]
    assert bool(located) <= (name in ("cnn3d_spine", "crop_bilstm"))


def test_all_folds_are_averaged_and_know_what_taught_them(dataset, ci_folds):
    run_method("cnn3d", dataset, PROFILE, ci_folds, progress=False)
    model = FoldEnsemble.load(ci_folds, "cnn3d")
    volume = dataset.read_study(dataset.train_ids[0]).volume
    p, levels = model.judge_volume(volume)
    alone = [
        fold_predictor(get_recipe("cnn3d"), PROFILE, ci_folds, k)(volume, Clock())
        for k in range(PROFILE.folds)
    ]
    assert np.allclose([p[t] for t in TARGETS], np.mean(alone, axis=0)) and levels == {}
    assert len(alone) == len(model.members) and model.trained_on == dataset.name
    rate = dataset.train[list(TARGETS)].mean()
    assert all(abs(model.prior[t] - rate[t]) < 0.15 for t in TARGETS)


def test_predict_takes_a_method_of_a_run(ci_phantom, dataset, ci_folds, tmp_path):
    run_method("multi_head", dataset, PROFILE, ci_folds, progress=False)
    command = ["predict", str(ci_folds), str(ci_phantom), "--out", str(tmp_path), "-q"]
    done = CliRunner().invoke(app, [*command, "--method", "multi_head", "--overviews", "1"])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "submission.csv")
    assert table["row_id"].tolist() == dataset.test["row_id"].tolist()
    assert table["fractured"].between(0, 1, inclusive="neither").all()
    said = json.loads((tmp_path / f"{dataset.test_ids[0]}.json").read_text())
    assert said["trained_on"] == dataset.name and "simulated scans alone" in said["note"]
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_what_is_missing_is_named(dataset, ci_folds, tmp_path):
    with pytest.raises(CspineError, match="cspine run --methods cnn3d"):
        FoldEnsemble.load(tmp_path, "cnn3d")
    with pytest.raises(CspineError, match="known methods"):
        FoldEnsemble.load(ci_folds, "u_net")
    (tmp_path / "multi_head").mkdir()
    run_method("cnn3d", dataset, PROFILE, ci_folds, progress=False)
    for path in (ci_folds / "cnn3d").glob("fold*.json"):
        target = tmp_path / "cnn3d" / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    with pytest.raises(CspineError, match="keeps no validation logits"):
        FoldEnsemble.load(tmp_path, "cnn3d")


def test_folds_of_other_settings_are_not_taken_for_those_of_today(dataset, ci_folds, tmp_path):
    run_method("cnn3d", dataset, PROFILE, ci_folds, progress=False)
    shutil.copytree(ci_folds / "cnn3d", tmp_path / "cnn3d")
    note = tmp_path / "cnn3d" / "fold1.json"
    content = json.loads(note.read_text())
    note.write_text(json.dumps({k: v for k, v in content.items() if k != "settings"}))
    assert len(FoldEnsemble.load(tmp_path, "cnn3d").members) == PROFILE.folds  # of an older kit
    note.write_text(json.dumps({**content, "settings": "0" * 20}))
    with pytest.raises(CspineError, match="trained with other settings than cnn3d has"):
        FoldEnsemble.load(tmp_path, "cnn3d")


def test_an_unreadable_study_gets_the_folds_rates(ci_phantom, dataset, ci_folds, tmp_path):
    run_method("cnn3d", dataset, PROFILE, ci_folds, progress=False)
    model = FoldEnsemble.load(ci_folds, "cnn3d")
    root = tmp_path / "data"
    (root / "test_images").mkdir(parents=True)
    shutil.copy(ci_phantom / "train.csv", root / "train.csv")
    rows = [("gone_C1", "C1", "gone")]
    pd.DataFrame(rows, columns=["row_id", "prediction_type", "StudyInstanceUID"]).to_csv(
        root / "test.csv", index=False
    )
    [result] = predict_folder(model, root, tmp_path / "out", progress=False)
    assert result.error and dict(result.probability) == model.prior
