"""Helpers of the notebooks: what set-up prints, where runs go, what tables say."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cspine_lib import metrics, notebook
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import RunRecord

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


def test_set_up_names_profile_device_and_data(ci_phantom, capsys):
    profile, dataset = notebook.set_up("ci", ci_phantom)
    lines = capsys.readouterr().out.splitlines()
    assert profile.name == "ci" and dataset.root == ci_phantom
    assert [line.split()[0] for line in lines] == ["profile", "device", "data"]
    assert "smoke run, not a result" in lines[0]
    assert "not patients" in lines[2] and dataset.name in lines[2]
    assert str(ci_phantom) not in "".join(lines)
    assert re.match(r"\d+ s since", notebook.cost())


def test_chapters_are_those_of_the_readme(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| \[?(\d\d_\w+)", text, flags=re.M)
    assert names == [chapter.name for chapter in notebook.CHAPTERS]
    (tmp_path / "04_cnn3d.ipynb").touch()
    shown = notebook.course_map(tmp_path)[""]
    assert shown["04_cnn3d"] == "here"
    assert (shown == "to come").sum() == 15


def test_another_training_gets_another_folder(dataset):
    profile, ids = get_profile("ci"), dataset.train_ids
    folder = notebook.run_folder("crop_bilstm", dataset, profile, ids)
    assert folder == notebook.run_folder("crop_bilstm", dataset, profile, ids[::-1])
    others = [
        notebook.run_folder("crop_attention", dataset, profile, ids),
        notebook.run_folder("crop_bilstm", dataset, replace(profile, crop_px=40), ids),
        notebook.run_folder("crop_bilstm", dataset, profile, ids[1:]),
        notebook.run_folder("crop_bilstm", dataset, profile, ids, seed=1),
    ]
    assert len({folder, *others}) == 5


def test_dataset_table_counts(dataset):
    table = notebook.dataset_table(dataset)
    mine, rsna = table[dataset.name], table["RSNA 2022, all"]
    assert mine["training studies"] == str(len(dataset.train_ids))
    assert mine["with a mask"].startswith(f"{len(dataset.masked_ids)} ")
    assert rsna["with a fracture"] == "961 (48%)"
    assert rsna["with several broken levels"] == "338 (17%)"


def test_rows_say_on_what_they_were_measured():
    y = metrics.pattern_labels()[::40]
    best = metrics.best_constants(y)
    rows = [
        notebook.scored_row("coin", "made up", y, np.full(8, 0.5)),
        notebook.scored_row("best", "made up", y, best),
        notebook.slide_row("slide", 0.3691, "RSNA 2022"),
    ]
    table = notebook.result_table(rows)
    assert table.loc["coin", "loss [95%]"].startswith("0.693 ")
    assert table.loc["coin", "minus best constant [95%]"].startswith("0.1")
    assert table.loc["best", "minus best constant [95%]"] == "0"
    assert list(table["measured on"]) == ["made up", "made up", "RSNA 2022"]
    with pytest.raises(CspineError, match="which data"):
        notebook.result_table([notebook.slide_row("slide", 0.3691, "")])


def test_recorded_runs_come_from_results(tmp_path, monkeypatch):
    monkeypatch.setenv("CSPINE_HOME", str(tmp_path))
    assert notebook.recorded_rows("crop_bilstm") == []
    scores = {"loss": 0.4, "ci95": [0.3, 0.5], "constant_loss": 0.55, "constant_ci95": [0.5, 0.6]}
    scores |= {"loss_minus_constant": -0.15, "loss_minus_constant_ci95": [-0.2, -0.1]}
    for method in ("crop_bilstm", "crop_attention"):
        record = RunRecord(method, "laptop", 1, "phantom v9", "f", "imagenet", "cpu")
        record.scores = {**scores, "n_studies": 120}
        record.write(tmp_path / "results" / f"{method}.json")
    (row,) = notebook.recorded_rows("crop_bilstm")
    assert row["measured on"] == "phantom v9" and row["studies"] == "120"
    assert row["what"] == "recorded, profile laptop, one model, held out"
    assert row["loss [95%]"] == "0.400 [0.300, 0.500]"
    assert row["minus best constant [95%]"].startswith("−0.150")


@pytest.mark.parametrize(
    ("data", "folds", "n", "says"),
    [
        ("phantom", [0, 1], 2, "2 folds, out of fold"),
        ("phantom, difficulty 0.65", [0], 2, "fold 0 held out"),
        ("phantom, final", [], 2, "2 folds' models, averaged"),
        ("phantom", [], 1, "one model, held out"),
    ],
)
def test_a_recorded_row_says_which_models_said_it(tmp_path, monkeypatch, data, folds, n, says):
    monkeypatch.setenv("CSPINE_HOME", str(tmp_path))
    record = RunRecord("cnn3d", "laptop", 1, data, "f", "random", "cpu", n_folds=n)
    record.config = {"folds": folds} if folds else {}
    record.scores = {"loss": 0.4, "ci95": [0.3, 0.5], "n_studies": 9}
    record.write(tmp_path / "results" / "one.json")
    (row,) = notebook.recorded_rows("cnn3d")
    assert row["what"] == f"recorded, profile laptop, {says}"
