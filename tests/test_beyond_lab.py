"""The deck's future work: one change each, one U-Net for all, pairs, what cannot run says so."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from cspine_lib import beyond_lab
from cspine_lib.anatomy import TARGETS
from cspine_lib.beyond_lab import run_beyond
from cspine_lib.beyond_variants import REFERENCE, VARIANTS, chosen_variants
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.metrics import loss_ci
from cspine_lib.recipes import RECIPES, get_recipe
from cspine_lib.results import load_records, read_predictions
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import read_json

PROFILE = get_profile("ci")
CHOSEN = chosen_variants("seed,study,frames_24,no_outline,resnet18d")
SETTINGS = {"data": "a set", "epochs": 1, "variants": CHOSEN, "progress": False}


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def done(dataset, tmp_path_factory):
    out, place = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("results") / "beyond"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beyond_lab, "has_imagenet", lambda name: False)
        report = run_beyond(dataset, PROFILE, place, out=out, **SETTINGS)
    return out, place, report


def test_the_file_says_what_it_is_and_is_no_run_record(done):
    _, place, report = done
    assert json.loads((place / "ci.json").read_text()) == json.loads(json.dumps(report))
    assert (report["kind"], report["note"]) == ("beyond", "ablation: one fold, one epoch, a set")
    assert load_records(place.parent) == []


def test_rows_are_paired_on_the_held_out_fold_and_can_be_computed_again(done, dataset):
    _, place, report = done
    rows = {row["name"]: row for row in report["variants"]}
    assert list(rows) == [v.name for v in CHOSEN if not v.backbone]
    tables = {name: read_predictions(place / row["predictions"]) for name, row in rows.items()}
    ids = tables[REFERENCE].index
    assert all(table.index.equals(ids) for table in tables.values())
    levels = np.array([dataset.labels(uid) for uid in ids])
    y = np.column_stack([levels.any(axis=1), levels])
    assert np.array_equal(tables["seed"][[f"true_{t}" for t in TARGETS]].to_numpy(), y)
    p = {name: table[list(TARGETS)].to_numpy() for name, table in tables.items()}
    assert "loss_minus_full" not in rows[REFERENCE]
    for name in rows:
        assert rows[name]["loss"] == pytest.approx(loss_ci(y, p[name]).value, abs=1e-4)
        if name != REFERENCE:
            paired = loss_ci(y, p[name], minus=p[REFERENCE])
            assert rows[name]["loss_minus_full"] == pytest.approx(paired.value, abs=1e-4)
            assert not np.allclose(p[name], p[REFERENCE])
    assert report["n_studies"] == len(ids)


def test_all_have_the_folds_unet_which_has_not_seen_the_held_out(done):
    out, _, report = done
    assert [p.name for p in (out / "shared" / "fold0").glob("segmenter*")] == ["segmenter3d"]
    # The same view twice (reference, seed, study), one of five images, one without outline.
    assert len(list((out / "shared" / "fold0").glob("vertebrae-*"))) == 3
    held_out = set(read_predictions(out / REFERENCE / "fold0.csv").index)
    for row in report["variants"]:
        parts = read_json(out / row["method"] / "fold0.json")["parts"]
        assert parts[0]["name"] == "segmenter3d/fold0"
        assert not any(held_out & set(part["train"] + part["val"]) for part in parts)


def test_cost_follows_the_images(done):
    rows = {row["name"]: row for row in done[2]["variants"]}
    full, more = rows[REFERENCE], rows["frames_24"]
    assert (full["frames"], more["frames"]) == (3, 5) and more["images"] == 35
    assert more["multiply_adds"] > 1.5 * full["multiply_adds"]
    for row in rows.values():
        steps = sum(row[f"seconds_{s}"] for s in ("localise", "crop", "classify"))
        assert row["seconds_per_study"] == pytest.approx(steps, abs=1e-3) and steps > 0
        assert row["seconds_training"] > 0


def test_a_backbone_without_weights_is_not_run_and_not_replaced(done):
    out, _, report = done
    assert not (out / "first_place-resnet18d").exists()
    why = {row["name"]: row["why"] for row in report["not_run"]}
    assert why["resnet18d"] == "no weights" and why["gru"] == "not trained yet"


def test_what_is_done_is_not_done_again(done, dataset, monkeypatch):
    out, place, report = done
    for name in ("segmented_from", "segmented_crops", "_cost"):
        monkeypatch.setattr(beyond_lab, name, None)
    monkeypatch.setattr(beyond_lab, "has_imagenet", lambda name: False)
    again = run_beyond(dataset, PROFILE, place, out=out, **SETTINGS)
    assert again["variants"] == report["variants"]
    # A call that asks for less still reports what is there.
    less = run_beyond(dataset, PROFILE, place, out=out, **SETTINGS | {"variants": CHOSEN[:1]})
    assert less["variants"] == report["variants"]


def test_other_settings_are_refused_before_a_training(done, dataset, tmp_path, monkeypatch):
    out, place, _ = done
    monkeypatch.setattr(beyond_lab, "segmented_from", None)
    other = SETTINGS | {"epochs": 2}
    with pytest.raises(CspineError, match="other settings or data") as record:
        run_beyond(dataset, PROFILE, place, out=tmp_path, **other)
    with pytest.raises(CspineError, match="other settings or data") as run:
        run_beyond(dataset, PROFILE, tmp_path, out=out, **other)
    assert "\n" not in str(record.value) + str(run.value)


def test_each_variant_changes_one_thing_and_is_no_method_of_the_table():
    full = get_recipe(REFERENCE)
    assert VARIANTS[0].recipe == full and len({v.name for v in VARIANTS}) == len(VARIANTS)
    for variant in VARIANTS[1:]:
        changes = len(variant.change) + bool(variant.backbone) + (variant.seed != 2022)
        assert changes == 1 and variant.recipe.name not in RECIPES
        assert (variant.recipe.vertebra != full.vertebra) == bool(variant.change)
        assert variant.recipe.segmenter == full.segmenter


def test_names_are_checked():
    assert [v.name for v in chosen_variants("gru")] == [REFERENCE, "gru"]
    assert chosen_variants("all") == list(VARIANTS)
    with pytest.raises(CspineError, match="unknown variant 'lstm'; known variants: first_place"):
        chosen_variants("lstm")
    with pytest.raises(CspineError, match="first variant"):
        run_beyond(None, PROFILE, None, variants=VARIANTS[1:])


def test_a_mistake_is_one_line_and_status_2():
    import typer

    app = typer.Typer()
    app.command()(beyond_lab._main)
    done = CliRunner().invoke(app, ["--profile", "ci", "--variants", "lstm"])
    assert done.exit_code == 2 and "unknown variant 'lstm'" in done.output
