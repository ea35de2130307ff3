"""``predict`` and ``check`` on folders made to harm: names, links, secrets, odd results."""

from __future__ import annotations

import csv
import json
import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_factory import random_hu, write_series
from hostile_tools import SECRET, PlainModel, cspine, fuzz, refused, spoilt, text_stream, tree
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from cspine_lib.anatomy import TARGETS, TEST_COLUMNS
from cspine_lib.errors import CspineError
from cspine_lib.integrity import check_dataset
from cspine_lib.predict import predict_folder
from cspine_lib.rsna import open_dataset

MODEL = PlainModel()
HU = random_hu((5, 24, 20))


def predict(source: Path, out: Path, overviews: int | None = 0) -> list:
    return predict_folder(MODEL, source, out, overviews=overviews, progress=False)


def outside(tmp_path: Path) -> Path:
    """A place that nobody has named, with a scan in it."""
    place = tmp_path / "outside"
    write_series(place / "scan", HU)
    (place / "victim.txt").write_text("keep me")
    return place


def ask(root: Path, names: list[str]) -> None:
    """A ``test.csv`` that asks for studies of these names."""
    with open(root / "test.csv", "w", newline="", encoding="utf-8") as file:
        rows = [[f"{name}_{t}", name, t] for name in names for t in TARGETS]
        csv.writer(file).writerows([TEST_COLUMNS, *rows])


def tricks(place: Path) -> list[str]:
    return [
        *(
            "../../outside/scan",
            "../outside/scan",
            str(place / "scan"),
            "9.1/../../../outside/scan",
        ),
        *("..", ".", "~", "%2e%2e%2foutside", "-rf", "x" * 3000, "line\nbreak", "tab\there"),
        *(
            "\x1b[2Jclear",
            "ünï",
            "\u202egnp.exe",
            "a b",
            "$x^{",
            "=1+1",
            "C:\\Windows",
            "nul\0byte",
        ),
    ]


def test_no_name_in_a_table_leads_out_of_the_folder(
    small_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = outside(tmp_path)
    names = tricks(place)
    ask(small_set, ["9.1", *names, "9.2"])
    before = tree(tmp_path)
    results = predict(small_set, tmp_path / "out")
    said = {r.study: r for r in results}
    assert not said["9.1"].error and not said["9.2"].error
    stranger = MODEL.judge_volume(open_dataset(small_set).read_study("9.1").volume)[0]
    assert said["9.1"].probability == pytest.approx(stranger)
    for result in results[1:-1]:
        assert result.error and dict(result.probability) == dict(MODEL.prior)
    after = tree(tmp_path)
    new = {Path(name) for name in after.keys() - before.keys()}
    assert {name: after[name] for name in before} == before
    assert new and all(name == Path("out") or name.parent == Path("out") for name in new)
    table = pd.read_csv(tmp_path / "out" / "submission.csv", dtype=str, keep_default_na=False)
    assert len(table) == 8 * (len(names) + 2)
    assert pd.to_numeric(table["fractured"]).between(0, 1, inclusive="neither").all()
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_check_of_such_names(small_set: Path, tmp_path: Path) -> None:
    ask(small_set, ["9.1", *tricks(outside(tmp_path))])
    with open(small_set / "train.csv", "a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([name, *"00000000"] for name in tricks(tmp_path))
    for name in ("new\nline", "\udcff\udcfe", "es\x1b[2Jc", "x" * 200):
        write_series(small_set / "train_images" / name, HU[:2], names=lambda z: f"\x1b[{z}.dcm")
    before = tree(tmp_path)
    report = check_dataset(small_set)
    assert not report.ok and tree(tmp_path) == before
    assert all(line.isprintable() for line in report.text().splitlines())
    assert "bad_name" in {issue.code for issue in report.issues}


@pytest.mark.parametrize(
    "name", ["$x^{\\frac$", "new\nline", "\udcff\udcfe", "x" * 200, ".hidden", "ünï", "-q", "<b>&"]
)
def test_one_folder_of_any_name(tmp_path: Path, name: str) -> None:
    write_series(tmp_path / "in" / name, HU)
    before = tree(tmp_path / "in")
    (result,) = predict(tmp_path / "in" / name, tmp_path / "out", overviews=1)
    assert result.study.isprintable() and tree(tmp_path / "in") == before
    files = {path.suffix for path in (tmp_path / "out").iterdir()}
    assert {".csv", ".json", ".png"} <= files


def test_links_are_not_followed_out(
    small_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, images = outside(tmp_path), small_set / "test_images"
    (images / "loop").symlink_to("loop")
    (images / "nowhere").symlink_to("gone")
    for name, target in (
        *(("6.dcm", place / "scan" / "1.dcm"), ("7.dcm", "7.dcm"), ("8.dcm", "gone")),
        *(("up", ".."), ("9.dcm", "/dev/zero")),
    ):
        (images / "9.1" / name).symlink_to(target)
    os.mkfifo(images / "9.1" / "pipe.dcm")
    ask(small_set, ["9.1", "loop", "nowhere"])
    results = predict(small_set, tmp_path / "out")
    assert results[1].error and results[2].error and not results[0].error
    linked = [i for i in results[0].issues if i.code == "symbolic_link"]
    assert [i.file for i in linked] == ["6.dcm", "7.dcm", "8.dcm", "9.dcm", "up"]
    report = check_dataset(small_set)
    assert "symbolic_link" in report.text()
    assert open_dataset(small_set).fingerprint()


def test_links_in_the_output_folder_are_replaced_not_followed(
    small_set: Path, tmp_path: Path
) -> None:
    victim = outside(tmp_path) / "victim.txt"
    out = tmp_path / "out"
    out.mkdir()
    for name in ("9.1.json", "9.1.png", "9.1.html", "predictions.csv", "submission.csv"):
        (out / name).symlink_to(victim)
    predict(small_set, out, overviews=1)
    assert victim.read_text() == "keep me"
    assert not any(path.is_symlink() for path in out.iterdir() if path.suffix != ".html")


def identified(ds: Dataset) -> None:
    """Every tag that PS3.15 annex E would remove and that takes text."""
    for name in (
        *("PatientName", "PatientID", "OtherPatientIDs", "InstitutionName", "AccessionNumber"),
        *("ReferringPhysicianName", "OperatorsName", "StudyDescription", "SeriesDescription"),
        *("PatientComments", "ImageComments", "ProtocolName", "StationName", "DeviceSerialNumber"),
        *("PatientAddress", "StudyID", "RequestedProcedureDescription", "PerformingPhysicianName"),
    ):
        setattr(ds, name, SECRET)
    for name in ("PatientBirthDate", "StudyDate", "AcquisitionDate"):
        setattr(ds, name, "19111213")
    private = ds.private_block(0x0009, SECRET, create=True)
    private.add_new(1, "LO", SECRET)


def test_nothing_that_names_a_patient_comes_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    root, uid = tmp_path / "data", "9.1"
    write_series(root / "test_images" / uid, HU, change=identified)
    ask(root, [uid])
    (root / "train.csv").write_text("StudyInstanceUID," + ",".join(TARGETS) + "\n")
    (root / "test_images" / uid / "8.dcm").write_bytes(b"broken " + SECRET.encode())
    whole = (root / "test_images" / uid / "1.dcm").read_bytes()
    (root / "test_images" / uid / "7.dcm").write_bytes(whole[: len(whole) // 3])
    with caplog.at_level(logging.DEBUG, "cspine_lib"):
        predict(root, tmp_path / "out", overviews=None)
        text = check_dataset(root).text()
    files = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert {path.suffix for path in files} >= {".json", ".csv", ".png"}
    said = [path.read_bytes() for path in files]
    said += [text.encode(), caplog.text.encode(), *(t.encode() for t in capfd.readouterr())]
    for secret in (SECRET, "19111213", "1911-12-13"):
        assert not any(secret.encode() in content for content in said)


@fuzz(40, 3000)
@given(data=st.data())
def test_a_stored_result_that_is_damaged_is_made_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    base = tmp_path_factory.getbasetemp() / "stored"
    if not base.exists():
        write_series(base / "scan", HU)
    (first,) = predict(base / "scan", base / "out")
    path = base / "out" / "scan.json"
    content = path.read_bytes()
    path.write_bytes(data.draw(st.one_of(spoilt(content), st.sampled_from([b"{}", b"[]", b""]))))
    spoilt_json = path.read_bytes()
    (again,) = predict(base / "scan", base / "out")
    assert set(again.probability) == set(TARGETS)
    assert all(0 <= p <= 1 for p in again.probability.values())
    try:
        json.loads(spoilt_json)
    except ValueError:
        # What is no whole JSON is never believed.
        assert dict(again.probability) == pytest.approx(dict(first.probability), abs=1e-6)
        assert path.read_bytes() == content
    path.unlink()


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 2.0])
def test_stored_values_that_are_no_probability(tmp_path: Path, value: float) -> None:
    write_series(tmp_path / "scan", HU)
    predict(tmp_path / "scan", tmp_path / "out")
    path = tmp_path / "out" / "scan.json"
    content = json.loads(path.read_text())
    content["probability"]["C1"] = value
    path.write_text(json.dumps(content))
    (result,) = predict(tmp_path / "scan", tmp_path / "out")
    assert 0 <= result.probability["C1"] <= 1


class Fragile(PlainModel):
    """A model that cannot stand one study."""

    def judge_volume(self, volume):
        if volume.shape_zyx[0] == 3:
            raise RuntimeError("shape mismatch")
        if volume.shape_zyx[0] == 2:
            raise MemoryError
        return super().judge_volume(volume)


def test_a_study_that_breaks_the_model_gets_the_prior_and_the_rest_is_predicted(
    small_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_series(small_set / "test_images" / "9.3", HU[:3])
    write_series(small_set / "test_images" / "9.4", HU[:2])
    ask(small_set, ["9.3", "9.4", "9.1"])
    results = predict_folder(Fragile(), small_set, tmp_path / "out", overviews=0, progress=False)
    assert [bool(r.error) for r in results] == [True, True, False]
    assert "9.3" in caplog.text and "RuntimeError" in caplog.text and "MemoryError" in caplog.text
    with pytest.raises(CspineError, match="RuntimeError"):
        predict_folder(
            Fragile(), small_set / "test_images" / "9.3", tmp_path / "one", progress=False
        )


def test_rows_that_ask_for_nothing_known(small_set: Path, tmp_path: Path) -> None:
    (small_set / "test.csv").write_text("row_id,StudyInstanceUID,prediction_type\nx,9.1,C8\n")
    with pytest.raises(CspineError, match="known"):
        predict(small_set, tmp_path / "out")


# --- the commands


def test_commands_answer_with_one_line(bare_run: Path, small_set: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    bad = os.fsdecode(b"\xff\x1b[2J")
    for arguments in (
        ("predict", bare_run, tmp_path / "nowhere", "-q", "--out", tmp_path / "o"),
        ("predict", bare_run, tmp_path / "file", "-q", "--out", tmp_path / "o"),
        ("predict", bare_run, small_set, "-q", "--out", tmp_path / "file"),
        ("predict", tmp_path / bad, small_set, "-q", "--out", tmp_path / "o"),
        ("predict", bare_run, tmp_path / "empty", "-q", "--out", tmp_path / "o"),
        ("check", tmp_path / bad),
        ("check", tmp_path / "file"),
        ("score", tmp_path, tmp_path),
        ("score", "/dev/null", "/dev/zero"),
        ("score", small_set / "test.csv", small_set / "train.csv"),
    ):
        refused(*cspine(tmp_path, *arguments))


def test_a_terminal_without_our_letters(small_set: Path, tmp_path: Path) -> None:
    """Signs that an old terminal lacks come as numbers, not as a traceback."""
    (small_set / "train_images" / os.fsdecode(b"\xff")).mkdir()

    def old_terminal() -> None:
        import sys

        from cspine_lib import jobs

        jobs.usable_cores = lambda: 1
        sys.stdout = text_stream(1, "cp437")

    status, out, err = cspine(tmp_path, "check", small_set, "-q", before=old_terminal)
    assert (status, err) == (1, "") and "\\xd7" in out
