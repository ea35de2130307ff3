"""Submissions: exact rows, whatever is missing, in the time allowed, from where it broke off."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import report_factory as factory
from dicom_factory import random_hu, write_series
from typer.testing import CliRunner

from cspine_lib import predict, runs
from cspine_lib.anatomy import TARGETS
from cspine_lib.cli import app
from cspine_lib.errors import CspineError
from cspine_lib.predict import Deadline
from cspine_lib.submit import submit

STUDIES = ("s1", "gone", "s2", "damaged", "s3")


@pytest.fixture
def data(tmp_path):
    """A public-looking set: two of five studies cannot be read, and there is no train.csv."""
    root = tmp_path / "data"
    for uid in STUDIES:
        if uid != "gone":
            write_series(root / "test_images" / uid, random_hu((4, 8, 8), len(uid)))
    for path in (root / "test_images" / "damaged").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    rows = [(f"{u}_{t}", u, t) for t in TARGETS for u in STUDIES]  # by target, as nobody expects
    columns = ["row_id", "StudyInstanceUID", "prediction_type"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "test.csv", index=False)
    return root


class Slow(factory.Model):
    """Takes ten seconds for each study, on a clock of its own."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def explain(self, volume):
        self.clock[0] += 10
        return super().explain(volume)


def test_rows_are_those_of_test_csv_in_its_order(data, tmp_path):
    out = tmp_path / "submission.csv"
    done = submit(factory.Model(), data, out, progress=False)
    table, asked = pd.read_csv(out), pd.read_csv(data / "test.csv")
    assert list(table.columns) == ["row_id", "fractured"]
    assert table["row_id"].tolist() == asked["row_id"].tolist()
    assert table["fractured"].between(0, 1, inclusive="neither").all()
    assert (done.rows, done.studies) == (40, 5) and done.complete


def test_what_is_missing_or_damaged_gets_the_prior_and_is_named(data, tmp_path, caplog):
    model = factory.Model()
    done = submit(model, data, tmp_path / "s.csv", progress=False)
    value = pd.read_csv(tmp_path / "s.csv").set_index("row_id")["fractured"]
    for uid in ("gone", "damaged"):
        assert [value[f"{uid}_{t}"] for t in TARGETS] == [model.prior[t] for t in TARGETS]
        assert uid in caplog.text and uid in done.text()
    assert value["s1_C2"] == model.says["C2"] != model.prior["C2"]
    assert done.reasons == {"missing": 1, "no_pixels": 1} and set(done.prior) == {"gone", "damaged"}


def test_extreme_probabilities_stay_inside(data, tmp_path):
    model = factory.Model()
    model.says = dict.fromkeys(TARGETS, 1.0) | {"C1": 0.0}
    submit(model, data, tmp_path / "s.csv", progress=False)
    value = pd.read_csv(tmp_path / "s.csv")["fractured"]
    assert value.min() > 0 and value.max() < 1


def test_a_model_that_fails_loses_one_study_not_all(data, tmp_path, caplog):
    class Fails(factory.Model):
        def explain(self, volume):
            if self.seen == 1:
                self.seen += 1
                raise RuntimeError("CUDA out of memory at secret/place")
            return super().explain(volume)

    done = submit(Fails(), data, tmp_path / "s.csv", progress=False)
    assert done.reasons["failed"] == 1 and "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_a_model_that_says_nonsense_gives_the_prior(data, tmp_path):
    model = factory.Model()
    model.says = dict.fromkeys(TARGETS, float("nan"))
    done = submit(model, data, tmp_path / "s.csv", progress=False)
    assert done.reasons["failed"] == 3 and "no study was judged" in done.text()
    assert np.isfinite(pd.read_csv(tmp_path / "s.csv")["fractured"]).all()


def test_names_that_lead_out_are_not_opened(tmp_path):
    root = tmp_path / "data"
    write_series(tmp_path / "secret", random_hu((4, 8, 8)))
    write_series(root / "test_images" / "s1", random_hu((4, 8, 8)))
    rows = [(f"{i}_C1", u, "C1") for i, u in enumerate(["../../secret", "s1"])]
    columns = ["row_id", "StudyInstanceUID", "prediction_type"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "test.csv", index=False)
    model = factory.Model()
    done = submit(model, root, tmp_path / "out" / "s.csv", progress=False)
    assert model.seen == 1 and done.reasons == {"unsafe_name": 1}
    inside = {p.resolve().parent for p in (tmp_path / "out").rglob("*.json")}
    assert inside == {(tmp_path / "out" / "s-studies").resolve()}


def test_time_is_kept_and_the_rest_named(data, tmp_path, monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr(predict.time, "monotonic", lambda: clock[0])
    model = Slow(clock)
    done = submit(model, data, tmp_path / "s.csv", minutes=25 / 60, progress=False)
    assert clock[0] <= 25 and model.seen == 2
    assert done.prior.keys() == {"gone", "damaged", "s3"} and "s3" in caplog.text
    assert not done.complete and "goes on" in done.text()
    assert len(pd.read_csv(tmp_path / "s.csv").dropna()) == 40
    again = submit(model, data, tmp_path / "s.csv", minutes=25 / 60, progress=False)
    assert model.seen == 3 and again.complete and set(again.prior) == {"gone", "damaged"}


def test_no_time_at_all_still_gives_a_file(data, tmp_path):
    model = factory.Model()
    done = submit(model, data, tmp_path / "s.csv", minutes=0, progress=False)
    assert model.seen == 0 and len(pd.read_csv(tmp_path / "s.csv")) == 40
    assert done.reasons["late"] == 4 and done.reasons["missing"] == 1


def test_a_deadline_allows_for_the_slowest_study(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(predict.time, "monotonic", lambda: clock[0])
    deadline = Deadline(60.0)
    clock[0] = 140.0
    assert not deadline.over
    deadline.took(25.0)
    deadline.took(3.0)
    assert deadline.over


@pytest.mark.parametrize("kill_at", range(1, 9))
def test_killed_at_any_write_it_goes_on_and_ends_the_same(data, tmp_path, monkeypatch, kill_at):
    """The write is torn: its temporary file is there, half full, and the process is gone."""
    whole = tmp_path / "whole.csv"
    submit(factory.Model(), data, whole, progress=False)
    writes, real = [0], runs.os.replace

    def torn(source, target):
        writes[0] += 1
        if writes[0] == kill_at:
            raise KeyboardInterrupt
        return real(source, target)

    model, out = factory.Model(), tmp_path / "out" / "s.csv"
    monkeypatch.setattr(runs.os, "replace", torn)
    with pytest.raises(KeyboardInterrupt):
        submit(model, data, out, progress=False)
    assert not out.exists()
    monkeypatch.setattr(runs.os, "replace", real)
    judged = model.seen
    submit(model, data, out, progress=False)
    assert out.read_bytes() == whole.read_bytes()
    kept = len(list((tmp_path / "whole-studies").glob("*.json")))
    assert kept == len(list((tmp_path / "out" / "s-studies").glob("*.json")))
    assert model.seen <= judged + 3 and model.seen <= 4  # at most one study was judged twice


def test_finished_studies_are_not_judged_again(data, tmp_path):
    model = factory.Model()
    submit(model, data, tmp_path / "s.csv", progress=False)
    first = (tmp_path / "s.csv").read_bytes()
    (tmp_path / "s.csv").unlink()
    submit(model, data, tmp_path / "s.csv", progress=False)
    assert model.seen == 3 and (tmp_path / "s.csv").read_bytes() == first


def test_a_study_whose_files_changed_is_judged_again(data, tmp_path):
    model = factory.Model()
    submit(model, data, tmp_path / "s.csv", progress=False)
    write_series(data / "test_images" / "s2", random_hu((5, 8, 8), 9))
    shutil.rmtree(data / "test_images" / "damaged")
    write_series(data / "test_images" / "damaged", random_hu((5, 8, 8), 9))
    done = submit(model, data, tmp_path / "s.csv", progress=False)
    assert model.seen == 5 and set(done.prior) == {"gone"}


def test_sample_that_differs_is_told(data, tmp_path):
    (data / "sample_submission.csv").write_text("row_id,fractured\ns1_C1,0.5\n")
    done = submit(factory.Model(), data, tmp_path / "s.csv", progress=False)
    assert "39 in test.csv only" in done.text()
    (data / "sample_submission.csv").write_bytes(b"\xff\xfe\x00spoilt")
    done = submit(factory.Model(), data, tmp_path / "s.csv", progress=False)
    assert "cannot be compared" in done.text() and done.rows == 40


def test_many_unread_studies_are_not_all_printed(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    rows = [(f"u{i}_C1", f"u{i}", "C1") for i in range(50)]
    columns = ["row_id", "StudyInstanceUID", "prediction_type"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "test.csv", index=False)
    text = submit(factory.Model(), root, tmp_path / "s.csv", progress=False).text()
    assert "and 30 more" in text and len(text.splitlines()) < 30


def test_places_that_cannot_be_written(data, tmp_path):
    with pytest.raises(CspineError, match="is a folder"):
        submit(factory.Model(), data, tmp_path, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(CspineError, match="cannot be written"):
        submit(factory.Model(), data, tmp_path / "file" / "s.csv", progress=False)


def test_the_command(ci_run, ci_phantom, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(ci_phantom / "test_images", data / "test_images")
    for name in ("test.csv", "sample_submission.csv"):
        shutil.copy(ci_phantom / name, data / name)
    uids = pd.read_csv(data / "test.csv")["StudyInstanceUID"].unique()
    shutil.rmtree(data / "test_images" / uids[2])
    out = tmp_path / "submission.csv"
    done = CliRunner().invoke(app, ["submit", str(ci_run), str(data), "--out", str(out), "-q"])
    assert done.exit_code == 0, done.output
    assert f"{uids[2]}: [missing]" in done.output and "differ" not in done.output
    sample, mine = pd.read_csv(data / "sample_submission.csv"), pd.read_csv(out)
    assert sample["row_id"].tolist() == mine["row_id"].tolist()
    assert mine["fractured"].nunique() > 8
    some = json.loads((tmp_path / "submission-studies" / f"{uids[0]}.json").read_text())
    assert some["files"]["count"] > 0 and some["error"] == ""
