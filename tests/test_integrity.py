"""``cspine check``: each fault of a data set is found and named, oddities are only warnings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_factory import random_hu, write_series
from test_rsna import AFFINE, HU, MASK, save_mask, write_dataset

from cspine_lib.anatomy import TRUTH_FILE
from cspine_lib.errors import CspineError
from cspine_lib.index import build_index
from cspine_lib.integrity import CheckReport, check_dataset
from cspine_lib.oddities import lung_cm2, middle_oddities


def found(report: CheckReport) -> set[tuple[str, str]]:
    return {(i.severity, i.code) for i in report.issues}


def sound(root: Path) -> Path:
    """A small set with nothing wrong but what RSNA's own has."""
    write_dataset(root)
    edit("train_bounding_boxes.csv", "1.1,1,1,1,1,99", "1.1,1,1,1,1,9")(root)
    return root


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return change


def test_sound_set(tmp_path: Path) -> None:
    report = check_dataset(sound(tmp_path))
    oddities = {"feet_first", "late_start", "unsigned", "overlapping_slices"}
    oddities |= {"cut_top", "cut_bottom"}  # its mask is noise: C1 and C7 are everywhere
    assert found(report) == {("warning", code) for code in (*oddities, "test_study_without_folder")}
    assert report.ok
    table = dict(report.table.to_numpy().tolist())
    assert table["train studies"] == "3 in the table, 3 folders"
    assert table["boxes"] == "4 in 2 studies"
    assert table["DICOM files"].startswith("35, ")
    assert table["slices per study"] == "5 to 12, median 9"
    assert table["numbered feet to head"] == "1 studies"
    assert report.text().endswith("0 errors, 13 warnings")


def cut_file(root: Path) -> None:
    path = root / "train_images" / "1.1" / "4.dcm"
    path.write_bytes(path.read_bytes()[:-100])


def rename(old: str, new: str) -> Callable[[Path], None]:
    return lambda root: (root / old).rename(root / new)


def spoil_all(root: Path) -> None:
    for path in (root / "train_images" / "1.3").iterdir():
        path.write_bytes(b"nothing")


def other_grid(root: Path) -> None:
    save_mask(root / "segmentations" / "1.2.nii", MASK[:, :7], AFFINE, "LAS")


def only_thorax(root: Path) -> None:
    save_mask(root / "segmentations" / "1.2.nii", np.full_like(MASK, 9), AFFINE, "LAS")


def stray_mask(root: Path) -> None:
    save_mask(root / "segmentations" / "7.7.nii", MASK, AFFINE, "LAS")


def damaged_mask(root: Path) -> None:
    (root / "segmentations" / "1.2.nii").write_bytes(b"x" * 500)


def box_on_cut_file(root: Path) -> None:
    edit("train_bounding_boxes.csv", "2,2,3", "2,2,4")(root)
    cut_file(root)


def hole(root: Path) -> None:
    (root / "train_images" / "1.1" / "5.dcm").unlink()


BOXES = "train_bounding_boxes.csv"


@pytest.mark.parametrize(
    ("spoil", "severity", "code"),
    [
        (edit("train.csv", "1.1,1,0", "1.1,0,0"), "error", "overall_mismatch"),
        (edit("train.csv", "1.1,1,0", "1.1,1,7"), "error", "bad_label"),
        (edit("train.csv", "1.1,1,0", "1.1,1,"), "error", "bad_label"),
        (edit("train.csv", "1.2,0", "../x,0"), "error", "bad_name"),
        (edit("train.csv", "1.2,0", "1.1,0"), "error", "doubled_row"),
        (edit("train.csv", "C4", "D4"), "error", "bad_table"),
        (rename("train_images/1.2", "train_images/1.4"), "error", "study_without_folder"),
        (rename("train_images/1.2", "train_images/1.4"), "warning", "folder_without_row"),
        (edit(BOXES, "1,1,2,2,3", "1,1,2,2,13"), "error", "box_without_slice"),
        (edit(BOXES, "1,1,2,2,3", "1,1,14,2,3"), "error", "box_outside"),
        (edit(BOXES, "1,1,2,2,3", "-1,1,2,2,3"), "error", "box_outside"),
        (edit(BOXES, "1,1,2,2,3", "1,1,0,2,3"), "error", "box_outside"),
        (edit(BOXES, "1,1,2,2,3", "1,1,wide,2,3"), "error", "bad_box"),
        (edit(BOXES, "1.3,2", "1.8,2"), "error", "box_of_unknown_study"),
        (edit(BOXES, "1.3,2", "1.2,2"), "warning", "box_without_fracture"),
        (edit(BOXES, "2,2,3", "2,2,7"), "warning", "doubled_box"),
        (edit("test.csv", "9.1_C2,9.1,C2", "9.1_C1,9.1,C1"), "error", "doubled_row"),
        (edit("test.csv", "9.1_C2,9.1,C2", "9.1_C2,9.1,C3"), "error", "bad_row_id"),
        (cut_file, "warning", "truncated"),
        (box_on_cut_file, "warning", "box_on_bad_slice"),
        (hole, "warning", "missing_slices"),
        (hole, "warning", "numbers_skipped"),
        (spoil_all, "error", "unreadable_study"),
        (other_grid, "error", "bad_mask"),
        (damaged_mask, "error", "bad_mask"),
        (only_thorax, "warning", "no_cervical_level"),
        (stray_mask, "warning", "mask_without_study"),
    ],
)
def test_each_fault_is_named(
    tmp_path: Path, spoil: Callable[[Path], None], severity: str, code: str
) -> None:
    sound(tmp_path)
    spoil(tmp_path)
    report = check_dataset(tmp_path)
    assert (severity, code) in found(report)
    assert report.ok == ("error" not in {i.severity for i in report.issues})
    assert not any("\n" in str(issue) for issue in report.issues)
    assert f"[{code}]" in report.text()


def test_errors_come_first_and_many_are_counted(tmp_path: Path) -> None:
    sound(tmp_path)
    for i in range(8):
        write_series(tmp_path / "train_images" / f"5.{i}", HU[:2])
    edit("train.csv", "1.1,1,0", "1.1,0,0")(tmp_path)
    issues = check_dataset(tmp_path).issues
    assert issues[0].severity == "error"
    strays = [i for i in issues if i.code == "folder_without_row"]
    assert len(strays) == 1 and "8 times" in strays[0].message


def test_headers_alone_miss_only_what_is_in_pixels(tmp_path: Path) -> None:
    sound(tmp_path)
    whole, headers = check_dataset(tmp_path, pixels=True), check_dataset(tmp_path, pixels=False)
    assert whole.issues == headers.issues
    pd.testing.assert_frame_equal(whole.table, headers.table)


def test_workers_give_the_same(tmp_path: Path) -> None:
    sound(tmp_path)
    one, two = check_dataset(tmp_path), check_dataset(tmp_path, workers=2)
    assert one.issues == two.issues and one.text() == two.text()


def test_known_studies_of_rsna_are_named(tmp_path: Path) -> None:
    sound(tmp_path)
    (tmp_path / "train_images" / "1.2").rename(tmp_path / "train_images" / "1.20574")
    report = check_dataset(tmp_path)
    told = [i.message for i in report.issues if i.code == "known_bad"]
    assert told == ["has no cervical level in the scan"]


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(CspineError, match=r"no train\.csv"):
        check_dataset(tmp_path)
    (tmp_path / "train.csv").write_bytes(b"\0\0\0")
    report = check_dataset(tmp_path)
    assert ("error", "bad_table") in found(report) and not report.ok


def test_fresh_phantom_passes(ci_phantom: Path) -> None:
    report = check_dataset(ci_phantom)
    assert report.ok, report.text()
    codes = {issue.code for issue in report.issues}
    assert {"feet_first", "numbers_skipped", "truncated"} & codes  # its planted traps
    assert "no_cervical_level" in codes or report.studies["mask"].isna().any()
    table = dict(report.table.to_numpy().tolist())
    assert "1.2.840.10008.1.2.4.70" in table["transfer syntax"]


PLANTED: dict[str, tuple[Callable[[object], bool], set[str]]] = {
    "syntax=jpeg": (lambda t: t["syntax"] == "jpeg", {"compressed"}),
    "syntax=implicit": (lambda t: t["syntax"] == "implicit", {"implicit_vr"}),
    "unsigned": (lambda t: not t["signed"], {"unsigned"}),
    "multi_window": (lambda t: t["multi_window"], {"several_windows"}),
    "overlapping_slices": (lambda t: t["overlapping_slices"], {"overlapping_slices"}),
    "feet_first": (lambda t: t["feet_first"], {"feet_first"}),
    "late_start": (lambda t: t["late_start"], {"late_start"}),
    "skipped_number": (lambda t: t["skipped_number"], {"numbers_skipped"}),
    "unreadable_file": (lambda t: t["unreadable_file"], {"truncated", "unreadable"}),
    "no_cervical": (lambda t: t["no_cervical"], {"chest", "no_cervical_level"}),
    "mask_axes": (lambda t: t["mask_axes"] not in (None, "LAS"), {"mask_axes"}),
    # Which level a slice shows is not in a header: only masked studies can be told.
    "cut_top": (lambda t: t["cut_top"] and bool(t["mask_axes"]), {"cut_top"}),
    "cut_bottom": (lambda t: t["cut_bottom"] and bool(t["mask_axes"]), {"cut_bottom"}),
}
"""Trap of the phantom's truth → whether a study has it in a way that can be seen, its codes."""


@pytest.fixture(scope="module", params=[True, False], ids=["pixels", "headers"])
def ci_report(request: pytest.FixtureRequest, ci_phantom: Path) -> CheckReport:
    return check_dataset(ci_phantom, pixels=request.param)


@pytest.mark.parametrize("trap", PLANTED)
def test_each_planted_trap_is_found_in_its_study_and_in_no_other(
    ci_report: CheckReport, ci_phantom: Path, trap: str
) -> None:
    truth = json.loads((ci_phantom / TRUTH_FILE).read_text())["studies"]
    has, names = PLANTED[trap]
    planted = {uid for uid, study in truth.items() if has(study["traps"])}
    issues = ci_report.studies.set_index("StudyInstanceUID")["issues"]
    told = {uid for uid, text in issues.items() if set(text.split(", ")) & names}
    assert planted, "the phantom has lost a trap"
    assert told == planted
    assert names & {i.code for i in ci_report.issues}


def test_the_list_of_planted_traps_is_whole(ci_phantom: Path) -> None:
    truth = json.loads((ci_phantom / TRUTH_FILE).read_text())["studies"]
    planted = {name.split("=")[0] for name in PLANTED} - {"unsigned"} | {"signed"}
    assert planted == set(next(iter(truth.values()))["traps"])


def test_many_oddities_are_counted_not_listed(ci_report: CheckReport) -> None:
    text = ci_report.text()
    assert len(text.splitlines()) < 60 and "times, this is the first" in text


def test_the_check_takes_what_the_index_knows(
    ci_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "index.csv"
    first = check_dataset(ci_phantom, pixels=False, cache=cache)
    read: list[str] = []
    real = __import__("cspine_lib.index", fromlist=["read_geometry"]).read_geometry

    def counted(path: str) -> object:
        read.append(path)
        return real(path)

    monkeypatch.setattr("cspine_lib.index.read_geometry", counted)
    again = check_dataset(ci_phantom, pixels=False, cache=cache)
    assert read == [] and again.issues == first.issues
    pd.testing.assert_frame_equal(again.studies, first.studies, check_dtype=False)
    index = build_index(ci_phantom, cache=cache)
    assert read == [] and not {"key", "notes", "middle_file"} & set(index.columns)


def test_a_chest_is_told_from_a_neck() -> None:
    chest = np.full((100, 100), 40, np.int16)
    chest[20:80, 10:40] = -800
    assert [i.code for i in middle_oddities(chest, (1.1, 1.1))] == ["chest"]
    assert lung_cm2(chest, (1.0, 1.0)) == pytest.approx(18.0)
    assert middle_oddities(chest, (0.5, 0.5)) == []  # 4.5 cm² are no lungs
    rim = np.full((100, 100), 40, np.int16)
    rim[::8] = -800  # hairs and rims, a pixel wide
    assert middle_oddities(rim, (1.0, 1.0)) == []


def test_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = sound(tmp_path / "set"), tmp_path / "kept" / "index.csv"
    first = build_index(root, cache=cache)
    assert first["StudyInstanceUID"].tolist() == ["1.1", "1.2", "1.3", "9.1"]
    assert first["slices"].tolist() == [12, 12, 6, 5]
    assert first["feet_first"].tolist() == [False, True, False, False]
    assert first["dz_mm"].tolist() == pytest.approx([2.0] * 4)
    assert first["bits"].tolist() == ["12 unsigned"] * 4
    read: list[str] = []
    real = __import__("cspine_lib.index", fromlist=["read_geometry"]).read_geometry

    def counted(path: str) -> object:
        read.append(Path(path).name)
        return real(path)

    monkeypatch.setattr("cspine_lib.index.read_geometry", counted)
    pd.testing.assert_frame_equal(build_index(root, cache=cache), first)
    assert read == []
    write_series(root / "train_images" / "1.3", random_hu((7, 10, 14)))
    assert build_index(root, cache=cache)["slices"].tolist() == [12, 12, 7, 5]
    assert read == ["1.3"]
    spoil_all(root)
    assert build_index(root, cache=cache)["error"].str.contains("not_dicom").tolist() == [
        False,
        False,
        True,
        False,
    ]
    cache.write_bytes(b"\0garbage\n1,2")
    again = build_index(root, workers=2, cache=cache)
    assert again["slices"].tolist()[:2] == [12, 12]
    with pytest.raises(CspineError, match="no studies"):
        build_index(tmp_path / "kept")
