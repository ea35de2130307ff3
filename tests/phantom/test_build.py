"""The set on disk: RSNA's layout, the traps, repeatable, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest

from cspine_lib import anatomy
from cspine_lib.config import DEFAULT_SEED, PROFILES
from cspine_lib.errors import CspineError
from cspine_lib.phantom import build
from cspine_lib.phantom.plan import DrawnStudy, StudyPlan
from cspine_lib.phantom.tables import TEST_TRUTH_CSV

SMALL = {
    "train": 3,
    "test": 1,
    "shape_zyx": (20, 32, 32),
    "fov_mm": (168.0, 144.0),
    "masked": 1,
    "seed": 3,
    "progress": False,
}


def _tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.dcm"))


@pytest.fixture(scope="module")
def truth(ci_phantom: Path) -> dict:
    return json.loads((ci_phantom / anatomy.TRUTH_FILE).read_text())["studies"]


@pytest.fixture(scope="module")
def headers(ci_phantom: Path) -> dict[str, list[pydicom.Dataset]]:
    """Headers of each study in the order of file numbers."""
    out = {}
    for part in (anatomy.TRAIN_IMAGES, anatomy.TEST_IMAGES):
        for folder in (ci_phantom / part).iterdir():
            files = [folder / f"{n}.dcm" for n in _numbers(folder)]
            out[folder.name] = [pydicom.dcmread(f, stop_before_pixels=True) for f in files]
    return out


# --- layout ---------------------------------------------------------------------------------


def test_layout(ci_phantom: Path):
    size = PROFILES["ci"].phantom
    train = pd.read_csv(ci_phantom / anatomy.TRAIN_CSV)
    assert list(train.columns) == list(anatomy.TRAIN_COLUMNS)
    assert set(train.StudyInstanceUID) == set(os.listdir(ci_phantom / anatomy.TRAIN_IMAGES))
    assert len(train) == size.train
    assert (train[list(anatomy.LEVELS)].max(axis=1) == train.patient_overall).all()
    masks = os.listdir(ci_phantom / anatomy.SEGMENTATIONS)
    assert len(masks) == size.masked
    assert {name.removesuffix(".nii") for name in masks} <= set(train.StudyInstanceUID)
    assert not list(ci_phantom.glob(".*")), "nothing of the build is left"


def test_test_part(ci_phantom: Path):
    test = pd.read_csv(ci_phantom / anatomy.TEST_CSV)
    sample = pd.read_csv(ci_phantom / anatomy.SAMPLE_SUBMISSION_CSV)
    answers = pd.read_csv(ci_phantom / TEST_TRUTH_CSV)
    assert list(test.columns) == list(anatomy.TEST_COLUMNS)
    assert list(sample.columns) == list(anatomy.SUBMISSION_COLUMNS)
    assert list(answers.columns) == list(anatomy.TRAIN_COLUMNS)
    studies = set(os.listdir(ci_phantom / anatomy.TEST_IMAGES))
    assert set(test.StudyInstanceUID) == set(answers.StudyInstanceUID) == studies
    assert len(test) == len(studies) * len(anatomy.TARGETS)
    assert (test.row_id == test.StudyInstanceUID + "_" + test.prediction_type).all()
    assert (sample.row_id == test.row_id).all() and (sample.fractured == 0.5).all()


def test_boxes(ci_phantom: Path):
    boxes = pd.read_csv(ci_phantom / anatomy.BOXES_CSV)
    train = pd.read_csv(ci_phantom / anatomy.TRAIN_CSV).set_index("StudyInstanceUID")
    assert list(boxes.columns) == list(anatomy.BOX_COLUMNS)
    assert not boxes.duplicated(["StudyInstanceUID", "slice_number"]).any()
    studies = boxes.StudyInstanceUID.unique()
    assert (train.loc[studies, anatomy.OVERALL] == 1).all()
    assert len(studies) == round(235 / 961 * train.patient_overall.sum())
    for row in boxes.itertuples():
        file = ci_phantom / anatomy.TRAIN_IMAGES / row.StudyInstanceUID / f"{row.slice_number}.dcm"
        ds = pydicom.dcmread(file, stop_before_pixels=True)
        assert 0 <= row.x < row.x + row.width <= ds.Columns
        assert 0 <= row.y < row.y + row.height <= ds.Rows


def test_boxes_lie_at_the_height_of_a_broken_level(ci_phantom: Path, truth: dict):
    """Against a redrawn study: file number → position → slice of the level's mask."""
    from cspine_lib.phantom.design import design_set
    from cspine_lib.phantom.traits import Request

    size = PROFILES["ci"].phantom
    difficulty = json.loads((ci_phantom / anatomy.PHANTOM_JSON).read_text())["request"]
    request = Request(
        *(size.train, size.test, size.shape_zyx, size.fov_mm, size.masked, DEFAULT_SEED),
        difficulty["difficulty"],
    )
    boxes = pd.read_csv(ci_phantom / anatomy.BOXES_CSV)
    for design in design_set(request):
        mine = boxes[boxes.StudyInstanceUID == design.uid]
        if mine.empty:
            continue
        mask_zyx = build.draw_labelled(design.plan).mask_zyx
        broken = [i + 1 for i, b in enumerate(design.plan.broken) if b]
        rows = np.flatnonzero(np.isin(mask_zyx, broken).any(axis=(1, 2)))
        folder = ci_phantom / anatomy.TRAIN_IMAGES / design.uid
        for row in mine.itertuples():
            ds = pydicom.dcmread(folder / f"{row.slice_number}.dcm", stop_before_pixels=True)
            top = design.storage.origin_mm[2]
            z = (top - float(ds.ImagePositionPatient[2])) / design.plan.spacing_zyx_mm[0]
            assert rows.min() - 1 <= z <= rows.max() + 1


def test_headers_agree_with_the_layout(headers: dict):
    for uid, series in headers.items():
        for ds in series:
            assert uid == ds.StudyInstanceUID == ds.PatientID
            assert Path(ds.filename).stem == str(ds.InstanceNumber)
            assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
            assert ds.RescaleIntercept == -1024 and ds.RescaleSlope == 1
        assert len({ds.SOPInstanceUID for ds in series}) == len(series)


def test_set_description_names_no_study(ci_phantom: Path, truth: dict):
    text = (ci_phantom / anatomy.PHANTOM_JSON).read_text()
    described = json.loads(text)
    assert not any(uid in text for uid in truth)
    assert described["request"]["seed"] == DEFAULT_SEED
    assert described["masked_share"] == 0.6 and described["rsna_masked_share"] == 0.0431
    report = described["labels"]["test"]
    assert report["fewest_broken_of_a_level"] >= 2 and report["largest_difference"] > 0.1


def test_truth_tells_what_was_drawn(ci_phantom: Path, truth: dict):
    train = pd.read_csv(ci_phantom / anatomy.TRAIN_CSV).set_index("StudyInstanceUID")
    assert len(truth) == 28
    for uid, study in truth.items():
        if study["part"] == "train":
            assert study["labels"] == train.loc[uid].to_dict()
        broken = {level for level in anatomy.LEVELS if study["labels"][level]}
        assert {fracture["level"] for fracture in study["fractures"]} == broken


# --- traps, found in the files themselves ---------------------------------------------------


def test_storage_traps(headers: dict):
    first = [series[0] for series in headers.values()]
    assert {ds.file_meta.TransferSyntaxUID for ds in first} == {
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.4.70",
    }
    assert {(ds.PixelRepresentation, ds.BitsStored) for ds in first} == {(1, 16), (0, 12)}
    multiplicities = {ds["WindowCenter"].VM for ds in first}
    assert multiplicities == {1, 2}
    assert len({(ds.Rows, ds.Columns) for ds in first}) == 2, "one study of another matrix"


def test_numbering_traps(headers: dict):
    feet_first = late = skipped = overlapping = 0
    for series in headers.values():
        z = np.array([float(ds.ImagePositionPatient[2]) for ds in series])
        number = np.array([int(ds.InstanceNumber) for ds in series])
        steps = np.diff(z)
        assert (steps > 0).all() or (steps < 0).all()
        assert np.ptp(steps) < 1e-3
        feet_first += steps[0] > 0
        late += number[0] != 1
        skipped += (np.diff(number) > 1).any()
        overlapping += float(series[0].SliceThickness) > abs(steps[0]) + 1e-3
    assert 1 <= feet_first <= 7
    assert late >= 1 and skipped >= 1 and overlapping >= 1


def test_one_file_is_unreadable(ci_phantom: Path, truth: dict):
    broken = []
    for folder in (ci_phantom / anatomy.TRAIN_IMAGES).iterdir():
        for path in folder.iterdir():
            try:
                ds = pydicom.dcmread(path)
                assert ds.PixelData is not None
                if not ds.file_meta.TransferSyntaxUID.is_compressed:
                    assert len(ds.PixelData) == 2 * ds.Rows * ds.Columns
            except Exception:
                broken.append(folder.name)
    assert len(broken) == 1
    assert truth[broken[0]]["traps"]["unreadable_file"]


def test_masks_come_in_more_than_one_axis_order(ci_phantom: Path):
    images = [nib.load(path) for path in (ci_phantom / anatomy.SEGMENTATIONS).iterdir()]
    codes = ["".join(nib.aff2axcodes(image.affine)) for image in images]
    assert codes.count("LAS") >= 0.8 * len(codes) and len(set(codes)) > 1
    for image in images:
        assert image.get_data_dtype() == np.uint8
        assert set(np.unique(image.dataobj)) <= set(range(20))


def test_study_traps(truth: dict):
    for name in ("no_cervical", "cut_top", "cut_bottom"):
        marked = [s for s in truth.values() if s["part"] == "train" and s["traps"][name]]
        assert len(marked) == 1
    thorax = next(s for s in truth.values() if s["traps"]["no_cervical"])
    assert not any(thorax["labels"].values())


# --- building -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.make_phantom(tmp_path_factory.mktemp("phantom") / "small", **SMALL)


def test_same_bytes_whatever_the_number_of_workers(small: Path, tmp_path: Path):
    other = build.make_phantom(tmp_path / "two", workers=2, **SMALL)
    assert _tree(other) == _tree(small)


def test_another_seed_gives_another_set(small: Path, tmp_path: Path):
    other = build.make_phantom(tmp_path / "other", **{**SMALL, "seed": 4, "train": 1, "test": 0})
    assert not _tree(other).keys() & _tree(small).keys() - {p.name for p in small.iterdir()}


def test_more_test_studies_leave_the_training_part_alone(small: Path, tmp_path: Path):
    other = build.make_phantom(tmp_path / "more", **{**SMALL, "test": 2})
    for name, digest in _tree(small).items():
        if name.startswith((anatomy.TRAIN_IMAGES, anatomy.SEGMENTATIONS, "train")):
            assert _tree(other)[name] == digest


def test_a_finished_set_is_found(small: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "_make", lambda *_: pytest.fail("made again"))
    assert build.make_phantom(small, **SMALL) == small


@pytest.mark.parametrize("change", [{"seed": 9}, {"difficulty": 0.1}, {"train": 4}])
def test_another_set_is_not_overwritten(small: Path, change: dict):
    before = _tree(small)
    with pytest.raises(CspineError, match=next(iter(change))) as error:
        build.make_phantom(small, **{**SMALL, **change})
    assert "\n" not in str(error.value)
    assert _tree(small) == before


def test_a_label_without_a_fracture_to_see_takes_another_patient(monkeypatch):
    broken = (False, False, False, True, False, False, True)
    plan = StudyPlan(1, 2, broken, (20, 32, 32), (8.4, 4.5, 4.5))
    real, tried = build.draw_study, []

    def loses_the_first(plan: StudyPlan) -> DrawnStudy:
        tried.append(plan.index)
        drawn = real(plan)
        return replace(drawn, fractures=()) if len(tried) == 1 else drawn

    monkeypatch.setattr(build, "draw_study", loses_the_first)
    assert {f.level for f in build.draw_labelled(plan).fractures} == {"C4", "C7"}
    assert tried == [2, 2 + 2**32]
    nothing = replace(real(plan), fractures=())
    monkeypatch.setattr(build, "draw_study", lambda plan: nothing)
    with pytest.raises(CspineError, match="larger"):
        build.draw_labelled(plan)


def test_foreign_folders_are_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("final")
    with pytest.raises(CspineError, match="not empty"):
        build.make_phantom(tmp_path, **SMALL)
    with pytest.raises(CspineError, match="is a file"):
        build.make_phantom(tmp_path / "thesis.txt", **SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "final"


@pytest.mark.parametrize(
    "change",
    [{"train": 0}, {"masked": 4}, {"masked": -1}, {"difficulty": 2.0}, {"shape_zyx": (1, 32, 32)}],
)
def test_impossible_requests(tmp_path: Path, change: dict):
    with pytest.raises(CspineError):
        build.make_phantom(tmp_path / "new", **{**SMALL, **change})
    assert not (tmp_path / "new").exists()


def test_killed_build_goes_on_and_ends_the_same(small: Path, tmp_path: Path):
    out = tmp_path / "killed"
    code = (
        "import json, sys, time\n"
        "from cspine_lib.phantom import build\n"
        "draw = build.draw_study\n"
        "build.draw_study = lambda plan: (time.sleep(0.1), draw(plan))[1]\n"
        "build.make_phantom(sys.argv[1], **json.loads(sys.argv[2]))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(out), json.dumps(SMALL)])
    done = out / build.STAGING / "done"
    deadline = time.monotonic() + 60
    while len(list(done.glob("*.json"))) < 2:
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (out / anatomy.PHANTOM_JSON).exists()
    kept = {path: path.stat().st_mtime_ns for path in done.glob("*.json")}
    # What a kill between two steps can leave: a half-written study, and one without a record.
    (out / build.STAGING / "half" / "1.2.3").mkdir(parents=True, exist_ok=True)
    lost = next(iter(kept))
    lost.unlink()
    with pytest.raises(CspineError, match="seed"):
        build.make_phantom(out, **{**SMALL, "seed": 5})
    build.make_phantom(out, **SMALL)
    assert _tree(out) == _tree(small)


def test_finished_studies_are_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn, real = [], build.build_study

    def fails_early(root: Path, design) -> None:
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(design.uid)
        real(root, design)

    monkeypatch.setattr(build, "build_study", fails_early)
    with pytest.raises(KeyboardInterrupt):
        build.make_phantom(tmp_path / "set", **SMALL)
    again: list[str] = []
    monkeypatch.setattr(
        build, "build_study", lambda root, d: (again.append(d.uid), real(root, d))[1]
    )
    build.make_phantom(tmp_path / "set", **SMALL)
    assert not set(drawn) & set(again) and len(drawn) + len(again) == 4
