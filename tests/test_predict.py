"""``predict``: tables, JSON and pictures of a data set, of one folder, of bad folders."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cspine_lib.anatomy import TARGETS
from cspine_lib.errors import CspineError
from cspine_lib.predict import predict_folder, safe_name
from cspine_lib.rsna import open_dataset
from cspine_lib.scoring import score_submission


@pytest.fixture(scope="module")
def predicted(ci_run, ci_phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("predicted")
    predict_folder(ci_run, ci_phantom, out, overviews=1, progress=False)
    return out


def test_submission_has_exactly_the_rows_of_test_csv(predicted, ci_phantom):
    submission = pd.read_csv(predicted / "submission.csv")
    wanted = pd.read_csv(ci_phantom / "test.csv")
    assert list(submission.columns) == ["row_id", "fractured"]
    assert submission.row_id.tolist() == wanted.row_id.tolist()
    assert submission.fractured.between(0, 1, inclusive="neither").all()


def test_submission_scores_against_the_answers(predicted, ci_phantom):
    score = score_submission(predicted / "submission.csv", ci_phantom / "phantom_test_truth.csv")
    table = pd.read_csv(predicted / "predictions.csv")
    assert len(table) == len(open_dataset(ci_phantom).test_ids)
    assert "per exam" in score.text() and "global" in score.text()


def test_json_holds_the_same_box_in_px_and_mm(predicted, ci_phantom):
    dataset = open_dataset(ci_phantom)
    uid = next(
        u for u in dataset.test_ids if json.loads((predicted / f"{u}.json").read_text())["levels"]
    )
    content = json.loads((predicted / f"{uid}.json").read_text())
    volume = dataset.read_study(uid).volume
    assert set(content["probability"]) == set(TARGETS)
    for entry in content["levels"].values():
        box = entry["box_px"]
        low, high = (volume.to_index(c) for c in entry["corners_mm_lps"])
        assert low == pytest.approx([box["z0"] - 0.5, box["y0"] - 0.5, box["x0"] - 0.5], abs=0.05)
        assert high == pytest.approx([box["z1"] + 0.5, box["y1"] - 0.5, box["x1"] - 0.5], abs=0.05)
    assert "not for clinical use" in content["note"] and "simulated" in content["note"]


def test_picture_is_drawn_for_as_many_as_asked(predicted):
    pictures = list(predicted.glob("*.png"))
    assert len(pictures) == 1
    pixels = np.asarray(Image.open(pictures[0]).convert("L"))
    assert pixels.shape[1] > 900 and pixels.std() > 30  # neither empty nor one grey


def test_one_folder_anywhere_is_enough(ci_run, ci_phantom, tmp_path):
    dataset = open_dataset(ci_phantom)
    source = tmp_path / "some scan"
    shutil.copytree(dataset.study_folder(dataset.test_ids[0]), source)
    result = predict_folder(ci_run, source, tmp_path / "out", progress=False)
    assert [r.study for r in result] == ["some scan"]
    assert (tmp_path / "out" / "some_scan.png").exists()
    assert not (tmp_path / "out" / "submission.csv").exists()


def test_finished_studies_are_not_predicted_again(ci_run, ci_phantom, predicted, monkeypatch):
    before = (predicted / "predictions.csv").read_bytes()
    monkeypatch.setattr("cspine_lib.predict.read_series", lambda *a, **k: pytest.fail("read again"))
    predict_folder(ci_run, ci_phantom, predicted, overviews=1, progress=False)
    assert (predicted / "predictions.csv").read_bytes() == before


def test_unreadable_study_of_many_gets_the_training_rates(ci_run, ci_phantom, tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(ci_phantom, data)
    dataset = open_dataset(data)
    gone, broken = dataset.test_ids[:2]
    shutil.rmtree(dataset.study_folder(gone))
    for file in dataset.study_folder(broken).iterdir():
        file.write_bytes(b"not a scan")
    results = predict_folder(ci_run, data, tmp_path / "out", overviews=0, progress=False)
    by_name = {r.study: r for r in results}
    assert by_name[gone].error and by_name[broken].error
    assert by_name[gone].probability == by_name[broken].probability
    assert gone in caplog.text and broken in caplog.text
    assert len(pd.read_csv(tmp_path / "out" / "submission.csv").dropna()) == 8 * len(results)


def test_bad_source_is_one_line(ci_run, tmp_path):
    with pytest.raises(CspineError, match="no folder"):
        predict_folder(ci_run, tmp_path / "nowhere", tmp_path / "out", progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CspineError):
        predict_folder(ci_run, tmp_path / "empty", tmp_path / "out", progress=False)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", ".hidden", "", "..", "a b\n"])
def test_file_names_stay_in_the_folder(tmp_path, name):
    path = (tmp_path / f"{safe_name(name)}.json").resolve()
    assert path.parent == tmp_path.resolve() and not path.name.startswith(".")
