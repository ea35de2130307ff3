"""The table of traps: planted against found, and the naive readings that it warns of."""

import numpy as np
import pandas as pd
import pytest

from cspine_lib.dicom import read_geometry
from cspine_lib.explore import traps, whole
from cspine_lib.rsna import RsnaDataset, open_dataset
from cspine_lib.sources import subset


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def studies(dataset, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CSPINE_HOME", str(tmp_path_factory.mktemp("home")))
        yield whole.check_of(dataset).studies


def test_what_is_planted_is_found(dataset, studies):
    table = traps.trap_table(dataset, studies)
    assert len(table) == len(traps.TRAPS) == 13
    assert (table["false alarms"] == "0").all()
    for name, row in table.iterrows():
        if "with a mask" in row["planted"]:
            assert row["found"] == row["planted"].split(", ")[1].split()[0], name
        else:
            assert row["found"] == row["planted"] != "0", name
    assert table.loc["numbered feet to head", "RSNA"] == "197 of 2019"
    assert table.loc["JPEG Lossless pixels", "RSNA"] == "seen"
    assert "" not in set(table["RSNA"])


def test_real_scans_have_nothing_planted(dataset, studies):
    real = open_dataset(dataset.root)
    real.is_phantom = False
    table = traps.trap_table(real, studies)
    assert "planted" not in table and "false alarms" not in table
    assert table["found"].tolist() == traps.trap_table(dataset, studies)["found"].tolist()


def test_an_example_of_a_trap(dataset, studies):
    uid = traps.example_of(studies, "feet_first")
    assert uid is not None and read_geometry(dataset.study_folder(uid)).reversed
    assert traps.example_of(studies, "no such code") is None


def boxes_of(dataset: RsnaDataset, uid: str, numbers) -> pd.DataFrame:
    rows = [(uid, 1.0, 1.0, 5.0, 5.0, int(n)) for n in numbers]
    return pd.DataFrame(rows, columns=dataset.boxes.columns)


@pytest.mark.parametrize("code", ["feet_first", "late_start", "numbers_skipped"])
def test_boxes_placed_by_counting(dataset, studies, code):
    """Against the slices that the reader finds from positions."""
    uid = traps.example_of(studies, code)
    found = read_geometry(dataset.study_folder(uid))
    boxed = open_dataset(dataset.root)
    boxed.boxes = boxes_of(dataset, uid, [*found.slice_of_number, 10_000])
    placed = traps.placed_by_counting(boxed, studies)
    assert len(placed) == len(found.slice_of_number)  # the last has no file
    right = [found.slice_of_number[n] for n in placed["number"]]
    assert placed["right"].tolist() == right
    assert placed["counted"].tolist() == [n - 1 for n in found.slice_of_number]
    off = placed[placed["counted"] != placed["right"]]
    assert len(off) > 0
    inside = off[off["counted"] < len(right)]
    dz_mm = np.linalg.norm(found.affine_mm[:3, 0])
    steps = (inside["counted"] - inside["right"]).abs()
    assert inside["off_mm"].to_numpy() == pytest.approx(steps.to_numpy() * dz_mm)
    assert off["off_mm"].isna().sum() == len(off) - len(inside)


def test_a_set_cut_down_is_looked_at_alone(dataset, monkeypatch, tmp_path):
    monkeypatch.setenv("CSPINE_HOME", str(tmp_path))
    small = subset(dataset, dataset.train_ids[:3])
    index = whole.index_of(small)
    asked = {*small.train_ids, *small.test_ids}
    assert set(index["StudyInstanceUID"]) == asked
    report = whole.check_of(small)
    assert set(report.studies["StudyInstanceUID"]) == asked
    assert not {"study_without_folder", "mask_without_study"} & {i.code for i in report.issues}
    assert whole.kept_index(small).is_file() and tmp_path in whole.kept_index(small).parents
