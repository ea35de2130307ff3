"""The grid of normalisations and backbones: honest cells, resumable, one file."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_studies import FakeDataset
from typer.testing import CliRunner

from cspine_lib import norm_grid
from cspine_lib.cache import build_cache
from cspine_lib.config import get_profile
from cspine_lib.dlc_slices import OneStudy
from cspine_lib.errors import CspineError
from cspine_lib.norm_grid import NO_WEIGHTS, Cell, NormalisedSlices, cells_of, normalised, run_grid
from cspine_lib.results import load_records
from cspine_lib.rsna import open_dataset
from cspine_lib.volume import window

CI = get_profile("ci")


def test_normalisations_by_hand():
    hu = np.array([[[-1000, 500], [3000, 0]], [[0, 100], [50, 50]]], dtype=np.int16)
    each = normalised(hu, "minmax")
    assert each[0, 0, 0] == 0 and each[0, 1, 0] == 255
    assert each[1].tolist() == [[0, 255], [127.5, 127.5]], "each slice by itself"
    assert np.allclose(normalised(hu, "window"), window(hu, "bone"), atol=0.51)
    linear = normalised(hu, "hu")
    assert linear[0, 0, 1] == pytest.approx(255 * (500 + 1024) / 4095, rel=1e-5)
    assert np.ptp(linear[1]) < 10, "soft parts are a few grey values"
    flat = normalised(np.full((1, 2, 2), 7, dtype=np.int16), "minmax")
    assert np.isfinite(flat).all()


@pytest.mark.parametrize("px", [64, 24])
def test_slices_are_normalised_when_they_are_read(tmp_path, px):
    data = FakeDataset()
    cache = build_cache(data, tmp_path / "c", data.ids, low_px=16)
    made = NormalisedSlices(cache, tmp_path, px, "window")
    uid = cache.ids[0]
    stack, images = made.stack(uid), made.images(uid, [0, 9])
    assert stack.shape == (42, px, px) and images.shape == (2, 3, px, px)
    assert np.array_equal(images[1, 1], stack[9]) and np.array_equal(images[0, 0], stack[0])
    study = OneStudy.of_stacks(made, uid)
    assert np.array_equal(study.images([0, 9]), images)
    if px == 64:
        assert np.allclose(stack, window(cache.volume(uid).hu_zyx, "bone"), atol=0.51)
    other = NormalisedSlices(cache, tmp_path, px, "hu")
    assert other.folder != made.folder, "trainings on other grey values are other trainings"


def test_the_grid_is_whole():
    cells = cells_of(get_profile("laptop"))
    assert len(cells) == len(set(cells)) == 3 * 2 * 3
    assert cells[0] == Cell("tf_efficientnet_lite0", "imagenet", "window")
    assert {c.backbone.split("_")[0] for c in cells} == {"tf", "resnet18d", "convnext"}
    with pytest.raises(CspineError, match="no grid"):
        cells_of(get_profile("rsna"))


@pytest.fixture(scope="module")
def done(ci_phantom, tmp_path_factory):
    place = tmp_path_factory.mktemp("grid")
    dataset = open_dataset(ci_phantom)
    cells = [c for c in cells_of(CI) if "convnext" not in c.backbone and c.normalisation != "hu"]
    report = run_grid(
        dataset, CI, place / "results", out=place / "out", cells=cells, progress=False
    )
    return dataset, place, cells, report


def test_a_cell_without_weights_stays_empty_and_is_not_filled_by_another(done):
    _, place, cells, report = done
    rows = {(r["backbone"], r["weights"], r["normalisation"]): r for r in report["cells"]}
    assert len(rows) == len(cells)
    for (_, weights, _), row in rows.items():
        if weights == "imagenet":  # the small test nets never have any
            assert row["status"] == NO_WEIGHTS and "auroc" not in row and "seconds" not in row
        else:
            assert row["status"] == "trained" and row["weights_used"] == "random"
    assert not list((place / "out" / "norm_grid").glob("*imagenet*"))


def test_a_trained_cell_has_its_interval_and_its_difference_to_the_first(done):
    _, place, _, report = done
    written = json.loads((place / "results" / "ci.json").read_text())
    assert written["cells"] == report["cells"] and written["kind"] == "norm_grid"
    trained = [row for row in report["cells"] if row["status"] == "trained"]
    assert "auroc_minus_first" not in trained[0] and "auroc_minus_first" in trained[1]
    for row in trained:
        low, high = row["auroc_ci95"]
        assert 0 <= low <= row["auroc"] <= high <= 1
        assert np.array(row["z"]).shape == (report["n_studies"], 7)
    assert trained[0]["images"] == trained[-1]["images"], "the same budget for all"
    assert len({json.dumps(row["z"]) for row in trained}) == len(trained)


def test_what_is_done_is_not_trained_again(done, monkeypatch):
    dataset, place, cells, report = done
    monkeypatch.setattr(norm_grid, "train_dlc_net", None)
    again = run_grid(dataset, CI, place / "results", out=place / "out", cells=cells, progress=False)
    assert again["cells"] == report["cells"]
    lost = place / "out" / "norm_grid" / cells[-1].name / "note.json"
    lost.rename(lost.with_suffix(".aside"))
    with pytest.raises(TypeError):
        run_grid(dataset, CI, place / "results", out=place / "out", cells=cells, progress=False)
    lost.with_suffix(".aside").rename(lost)


def test_no_held_out_study_is_trained_on(done):
    dataset, place, cells, _ = done
    held_out = set(norm_grid.fold_task("dlc", dataset, CI, 0, place / "out", progress=False).test)
    fit = json.loads(
        (place / "out" / "norm_grid" / cells[-1].name / "net" / "fit.json").read_text()
    )
    used = fit["request"]["fingerprint"]
    assert held_out and not held_out & {*used["train"], *used["val"]}


def test_the_files_of_the_grid_are_no_run_records(done):
    _, place, _, _ = done
    (place / "home" / "norm_grid").mkdir(parents=True)
    (place / "home" / "norm_grid" / "ci.json").write_text("{}")
    assert load_records(place / "home") == []


def test_the_command_names_what_is_wrong(tmp_path, monkeypatch):
    import typer

    monkeypatch.setenv("CSPINE_HOME", str(tmp_path))
    app = typer.Typer()
    app.command()(norm_grid._main)
    said = CliRunner().invoke(app, ["--profile", "rsna", "--data", str(tmp_path)])
    assert said.exit_code == 2 and "error:" in said.output


def test_a_cache_without_volumes_is_refused(tmp_path):
    data = FakeDataset()
    cache = build_cache(data, tmp_path / "c", data.ids, mode="low", low_px=16)
    with pytest.raises(CspineError, match="whole volumes"):
        NormalisedSlices(cache, tmp_path, replace(CI, slice_px=16).slice_px, "hu")
