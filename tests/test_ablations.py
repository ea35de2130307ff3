"""Ablations: one stage 1 for all, what is done is not done again, the file says what it is."""

import json

import numpy as np
import pytest

from cspine_lib import ablations
from cspine_lib.ablations import FULL, VARIANTS, run_ablations, tune_set
from cspine_lib.anatomy import TARGETS
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.metrics import loss_ci
from cspine_lib.recipes import get_recipe
from cspine_lib.results import load_records, read_predictions
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import read_json

PROFILE = get_profile("ci")
CHOSEN = [v for v in VARIANTS if v.name in (FULL, "crop_bilstm-seed2023", "crop_bilstm_whole")]


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def done(dataset, tmp_path_factory):
    out, place = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("results")
    report = run_ablations(
        dataset, PROFILE, place, out=out, variants=CHOSEN, epochs=1, data="a set", progress=False
    )
    return out, place, report


def test_the_file_says_what_it_is_and_is_no_run_record(done):
    _, place, report = done
    stored = json.loads((place / "ablations-ci.json").read_text())
    assert stored == json.loads(json.dumps(report))
    assert stored["note"] == "ablation: one fold, one epoch, a set"
    assert (stored["fold"], stored["folds"], stored["epochs"]) == (0, PROFILE.folds, 1)
    assert load_records(place) == []


def test_rows_are_scored_on_the_held_out_fold_and_paired(done, dataset):
    out, _, report = done
    tables = [read_predictions(out / "fold0" / v.name / "predictions.csv") for v in CHOSEN]
    assert all(table.index.equals(tables[0].index) for table in tables)
    ids = tables[0].index
    levels = np.array([dataset.labels(uid) for uid in ids])
    y = np.column_stack([levels.any(axis=1), levels])
    full, luck, whole = (table[list(TARGETS)].to_numpy() for table in tables)
    rows = {row["name"]: row for row in report["variants"]}
    assert list(rows) == [v.name for v in CHOSEN] and "loss_minus_full" not in rows[FULL]
    assert rows[FULL]["loss"] == pytest.approx(loss_ci(y, full).value, abs=1e-4)
    difference = loss_ci(y, whole, minus=full)
    assert rows["crop_bilstm_whole"]["loss_minus_full"] == pytest.approx(difference.value, abs=1e-4)
    assert not np.allclose(full, luck) and not np.allclose(full, whole)
    assert report["n_studies"] == len(ids) and report["broken_levels"] == levels.sum()


def test_stage_1_is_trained_once_and_has_not_seen_the_fold(done):
    out, _, _ = done
    assert not list(out.glob("fold0/*/two_stage/localiser-*"))
    shared = out / "stage1-fold0"
    crops = sorted(p.name for p in shared.glob("crops*"))
    assert crops == ["crops", "crops-whole"]
    note = read_json(out / "fold0" / "crop_bilstm_whole" / "two_stage" / "run.json")
    held_out = {p.stem for p in (shared / "held_out_levels").glob("*.json")}
    assert held_out and all(
        not held_out & set(part["train"] + part["val"]) for part in note["parts"]
    )


def test_what_is_done_is_not_done_again(done, dataset, monkeypatch):
    out, place, report = done
    monkeypatch.setattr(ablations, "train_method", None)
    again = run_ablations(
        dataset, PROFILE, place, out=out, variants=CHOSEN, epochs=1, data="a set", progress=False
    )
    assert again["variants"] == report["variants"]


def test_the_full_model_comes_first_and_folds_exist(dataset, tmp_path):
    with pytest.raises(CspineError, match="first variant"):
        run_ablations(dataset, PROFILE, tmp_path, variants=CHOSEN[1:], progress=False)
    with pytest.raises(CspineError, match="folds 0 to 1"):
        run_ablations(dataset, PROFILE, tmp_path, fold=2, progress=False)


def test_each_variant_changes_what_it_says():
    full = get_recipe(FULL).sequence
    changed = {v.name: get_recipe(v.method).sequence != full or v.seed != 2022 for v in VARIANTS}
    assert not changed.pop(FULL) and all(changed.values())
    assert len({v.name for v in VARIANTS}) == len(VARIANTS)


def test_the_tune_set_is_another_phantom(monkeypatch, tmp_path):
    monkeypatch.setenv("CSPINE_HOME", str(tmp_path))
    small = PROFILE.resized(train=7, test=3)
    dataset = tune_set(small, quiet=True)
    assert dataset.root == tmp_path / "data" / "phantom-ci-tune"
    assert dataset.name.endswith("seed 1") and len(dataset.train_ids) == 7 and not dataset.test_ids
