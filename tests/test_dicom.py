"""Series → Volume: order, orientation, spacing, and every named oddity."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from dicom_factory import AXIAL, random_hu, write_series, write_slice
from pydicom.dataset import Dataset

from cspine_lib.dicom import Series, read_geometry, read_series
from cspine_lib.errors import CspineError

HU = random_hu((12, 10, 14))


def codes(series: Series) -> set[str]:
    return {issue.code for issue in series.issues}


def setting(**tags: object) -> Callable[[Dataset], None]:
    """A change that sets (or with None removes) tags."""

    def change(ds: Dataset) -> None:
        for name, value in tags.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)

    return change


def by_simpleitk(folder: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def assert_same_points(series: Series, image: SimpleITK.Image) -> None:
    """HU at the same points of the patient agree with an independent reader."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        z, y, x = (int(rng.integers(n)) for n in series.volume.shape_zyx)
        index = image.TransformPhysicalPointToIndex(series.volume.to_mm([z, y, x]).tolist())
        assert image.GetPixel(*index) == series.volume.hu_zyx[z, y, x]


def test_plain_series(tmp_path: Path) -> None:
    write_series(tmp_path, HU)
    series = read_series(tmp_path)
    assert np.array_equal(series.volume.hu_zyx, HU)
    assert series.volume.orientation == "IPL"
    assert series.volume.spacing_zyx_mm == pytest.approx((2.0, 0.5, 0.4))  # not SliceThickness
    assert series.volume.to_mm([0, 0, 0]) == pytest.approx([-10, -20, 50])
    assert series.files[3] == "4.dcm" and series.slice_of_number == {z + 1: z for z in range(12)}
    assert not series.issues and not series.reversed
    assert_same_points(series, by_simpleitk(tmp_path))


def test_names_and_instance_numbers_do_not_order(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(2).permutation(12)
    write_series(tmp_path, HU, names=lambda z: f"scan_{shuffled[z]:03d}")
    series = read_series(tmp_path)
    assert np.array_equal(series.volume.hu_zyx, HU)
    assert series.slice_of_number == {int(n): z for z, n in enumerate(shuffled)}


def test_feet_first_numbering(tmp_path: Path) -> None:
    write_series(tmp_path, HU, names=lambda z: f"{40 - z}.dcm")
    series = read_series(tmp_path)
    assert series.reversed
    assert np.array_equal(series.volume.hu_zyx, HU)
    assert series.slice_of_number[40] == 0 and series.slice_of_number[29] == 11


@pytest.mark.parametrize(
    ("directions", "expected"),
    [
        (AXIAL, HU),
        (((-1, 0, 0), (0, 1, 0)), HU[:, :, ::-1]),
        (((1, 0, 0), (0, -1, 0)), HU[:, ::-1, :]),
        (((-1, 0, 0), (0, -1, 0)), HU[:, ::-1, ::-1]),
        (((0, 1, 0), (1, 0, 0)), HU.transpose(0, 2, 1)),
        (((0, -1, 0), (1, 0, 0)), HU[:, :, ::-1].transpose(0, 2, 1)),
    ],
)
def test_rows_and_columns_turn_to_the_patient(
    tmp_path: Path, directions: tuple[tuple[float, ...], ...], expected: np.ndarray
) -> None:
    write_series(tmp_path, HU, directions=directions)
    series = read_series(tmp_path)
    assert series.volume.orientation == "IPL"
    assert np.array_equal(series.volume.hu_zyx, expected)
    assert_same_points(series, by_simpleitk(tmp_path))
    # A box around one bright pixel of the file lies around the same pixel of the volume.
    row, column = 2, 5
    x, y, width, height = series.in_plane.box(column, row, 1, 1, series.volume.shape_zyx[1:])
    assert (width, height) == (1, 1)
    assert series.volume.hu_zyx[4, int(y), int(x)] == HU[4, row, column]


def test_gantry_tilt_keeps_true_geometry(tmp_path: Path) -> None:
    angle = np.radians(15)
    tilted = ((1, 0, 0), (0, np.cos(angle), -np.sin(angle)))
    write_series(tmp_path, HU, directions=tilted)  # slices still follow each other along z
    series = read_series(tmp_path)
    assert codes(series) == {"gantry_tilt"}
    assert "15.0°" in series.issues[0].message
    assert np.array_equal(series.volume.hu_zyx, HU)
    corner = np.array([-10, -20, 50]) + 3 * np.array([0, 0, -2.0])
    expected = corner + 4 * 0.5 * np.array(tilted[1]) + 6 * 0.4 * np.array(tilted[0])
    assert series.volume.to_mm([3, 4, 6]) == pytest.approx(expected, abs=1e-5)


def test_oblique_reformat(tmp_path: Path) -> None:
    angle = np.radians(10)
    row = (1, 0, 0)
    column = (0, np.cos(angle), np.sin(angle))
    normal = np.cross(row, column)
    write_series(tmp_path, HU, directions=(row, column), step=-2 * normal)
    series = read_series(tmp_path)
    assert codes(series) == {"oblique"} and "10.0°" in series.issues[0].message
    assert_same_points(series, by_simpleitk(tmp_path))


def test_sagittal_series_is_named(tmp_path: Path) -> None:
    write_series(tmp_path, HU, directions=((0, 1, 0), (0, 0, -1)), step=(2, 0, 0))
    with pytest.raises(CspineError, match=r"\[not_axial\]"):
        read_series(tmp_path)


def test_missing_slices_are_filled_and_keep_geometry(tmp_path: Path) -> None:
    kept = [0, 1, 2, 4, 5, 6, 7, 10, 11]
    write_series(tmp_path, HU[kept], places=kept, names=lambda z: f"{kept[z] + 1}.dcm")
    series = read_series(tmp_path)
    assert codes(series) == {"missing_slices"} and "3 slices" in series.issues[0].message
    assert "3.dcm" in series.issues[0].message
    assert series.volume.shape_zyx == HU.shape
    assert np.array_equal(series.volume.hu_zyx[kept], HU[kept])
    between = (HU[7] * 2.0 + HU[10]) / 3
    assert np.abs(series.volume.hu_zyx[8] - between).max() <= 0.5
    assert series.slice_of_number[11] == 10 and series.files[8] == ""
    assert read_geometry(tmp_path).shape_zyx == HU.shape


def test_uneven_gaps_are_evened_out(tmp_path: Path) -> None:
    # HU rise with height, so that interpolation can be checked exactly.
    places = [0, 1, 2, 3.4, 4, 5, 6.3, 7, 8, 9, 10, 11]
    ramp = np.stack([np.full((6, 7), round(100 * p), np.int16) for p in places])
    write_series(tmp_path, ramp, places=places)
    series = read_series(tmp_path)
    assert codes(series) == {"uneven_gaps"}
    depth = 50 - series.volume.to_mm(np.array([[z, 0, 0] for z in range(12)]))[:, 2]
    assert np.allclose(series.volume.hu_zyx[:, 2, 3], 50 * depth, atol=1)
    assert series.slice_of_number[4] == 3


def test_slices_of_two_spacings_stay_in_place(tmp_path: Path) -> None:
    places = [*range(10), 11.5, 14.5, 17.5]
    ramp = np.stack([np.full((6, 7), round(100 * p), np.int16) for p in places])
    write_series(tmp_path, ramp, places=places)
    series = read_series(tmp_path)
    depth = 50 - series.volume.to_mm([12, 0, 0])[2]
    assert abs(int(series.volume.hu_zyx[12, 0, 0]) - 50 * depth) <= 1


def test_far_slice_is_left_out(tmp_path: Path) -> None:
    write_series(tmp_path, HU, places=[*range(11), 5000])
    series = read_series(tmp_path)
    assert codes(series) == {"split_stack"}
    assert np.array_equal(series.volume.hu_zyx, HU[:11])


def test_duplicates_keep_the_first(tmp_path: Path) -> None:
    write_series(tmp_path, HU)
    write_slice(tmp_path / "77.dcm", HU[0] * 0, (-10, -20, 44))
    series = read_series(tmp_path)
    assert codes(series) == {"duplicate_positions"}
    assert np.array_equal(series.volume.hu_zyx, HU)
    assert series.slice_of_number[77] == 3 == series.slice_of_number[4]


@pytest.mark.parametrize(
    "change",
    [
        setting(SeriesInstanceUID="1.2.3"),
        setting(PixelSpacing=["0.7", "0.7"]),
        setting(ImageOrientationPatient=["-1", "0", "0", "0", "1", "0"]),
        setting(ConvolutionKernel="BONE"),
    ],
)
def test_mixed_series_keeps_the_largest(tmp_path: Path, change: Callable[[Dataset], None]) -> None:
    write_series(tmp_path, HU)
    for z in range(5):
        write_slice(tmp_path / f"b{z}.dcm", HU[z], (-10, -20, 49 - 2 * z), change=change)
    series = read_series(tmp_path)
    assert "mixed_series" in codes(series)
    assert np.array_equal(series.volume.hu_zyx, HU)


def test_axial_wins_over_a_larger_sagittal_reformat(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HU[:5])
    sagittal = {"directions": ((0, 1, 0), (0, 0, -1)), "step": (2, 0, 0)}
    write_series(tmp_path / "b", HU, change=setting(SeriesInstanceUID="1.9"), **sagittal)  # type: ignore[arg-type]
    assert np.array_equal(read_series(tmp_path).volume.hu_zyx, HU[:5])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (setting(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
        (setting(Modality="MR"), "not_ct"),
        (setting(ImagePositionPatient=None), "no_position"),
        (setting(ImagePositionPatient=["1e9", "0", "0"]), "no_position"),
        (setting(ImageOrientationPatient=["0", "0", "0", "0", "0", "0"]), "bad_orientation"),
        (setting(PixelSpacing=["0", "0.4"]), "bad_spacing"),
        (setting(RescaleSlope="0"), "bad_rescale"),
        (setting(NumberOfFrames=2), "multi_frame"),
        (setting(SamplesPerPixel=3), "colour"),
        (setting(BitsStored=17), "bad_bits"),
        (setting(Rows=60000, Columns=60000), "too_large"),
        (setting(Rows=4000, Columns=4000), "truncated"),
        (setting(PixelData=b"\0\0"), "truncated"),
        (setting(PixelData=None), "truncated"),
        (setting(Rows=None), "no_pixels"),
    ],
)
def test_one_bad_file_does_not_lose_the_study(
    tmp_path: Path, change: Callable[[Dataset], None], code: str
) -> None:
    write_series(tmp_path, HU)
    write_slice(tmp_path / "5.dcm", HU[4], (-10, -20, 42), change=change)
    series = read_series(tmp_path)
    assert code in codes(series)
    good = [z for z in range(12) if z != 4]
    assert np.array_equal(series.volume.hu_zyx[good], HU[good])
    assert not any(issue.severity == "error" for issue in series.issues)
    # The same fault in every file is an error that carries the same name.
    for z in range(12):
        write_slice(tmp_path / f"{z + 1}.dcm", HU[z], (-10, -20, 50 - 2 * z), change=change)
    with pytest.raises(CspineError, match=rf"\[{code}\]"):
        read_series(tmp_path)


def replace_value(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) >= 1 and len(old) == len(new)
    path.write_bytes(content.replace(old, new, 1))


def test_values_that_break_their_vr(tmp_path: Path) -> None:
    write_series(tmp_path, HU, slope=1.25)
    replace_value(tmp_path / "3.dcm", b"1.25", b"nan ")
    replace_value(tmp_path / "7.dcm", b"0.5\\0.4", b"half\\.4")
    series = read_series(tmp_path)
    assert {"bad_rescale", "bad_spacing"} <= codes(series)


def test_foreign_truncated_and_hidden_files(tmp_path: Path) -> None:
    write_series(tmp_path / "inner", HU)
    (tmp_path / "inner" / "8.dcm").write_bytes((tmp_path / "inner" / "8.dcm").read_bytes()[:900])
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "noise.dcm").write_bytes(np.random.default_rng(0).bytes(5000))
    for ignored in (".DS_Store", "DICOMDIR", "._1.dcm"):
        (tmp_path / ignored).write_bytes(b"\0\1")
    (tmp_path / "link.dcm").symlink_to(tmp_path / "inner" / "1.dcm")
    series = read_series(tmp_path)
    named = {issue.file for issue in series.issues if issue.file}
    assert named == {"8.dcm", "notes.txt", "empty.dcm", "noise.dcm", "link.dcm"}
    assert series.volume.shape_zyx == HU.shape
    good = [z for z in range(12) if z != 7]
    assert np.array_equal(series.volume.hu_zyx[good], HU[good])


def test_many_foreign_files_are_one_issue(tmp_path: Path) -> None:
    write_series(tmp_path, HU)
    for i in range(30):
        (tmp_path / f"page{i}.png").write_bytes(b"\x89PNG")
    issues = read_series(tmp_path).issues
    assert len(issues) == 1 and "30 files" in issues[0].message


def test_file_without_preamble(tmp_path: Path) -> None:
    for path in write_series(tmp_path, HU, names=lambda z: f"im{z}", syntax="1.2.840.10008.1.2"):
        content = path.read_bytes()
        length = int.from_bytes(content[140:144], "little")
        path.write_bytes(content[144 + length :])
    assert np.array_equal(read_series(tmp_path).volume.hu_zyx, HU)


def test_no_rescale_and_no_orientation(tmp_path: Path) -> None:
    change = setting(RescaleSlope=None, RescaleIntercept=None, ImageOrientationPatient=None)
    write_series(tmp_path, HU, change=change)
    series = read_series(tmp_path)
    assert codes(series) == {"no_rescale", "no_orientation"}
    assert np.array_equal(series.volume.hu_zyx, HU)


def test_single_slice(tmp_path: Path) -> None:
    write_series(tmp_path, HU[:1])
    series = read_series(tmp_path)
    assert series.volume.spacing_zyx_mm[0] == 9.0 and codes(series) == {"single_slice"}


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(CspineError, match=r"\[empty\]"):
        read_series(tmp_path)
    with pytest.raises(CspineError, match="not a folder"):
        read_series(tmp_path / "absent")
    write_series(tmp_path, HU, change=setting(ImagePositionPatient=None))
    with pytest.raises(CspineError, match=r"\[no_position\] .*ImagePositionPatient"):
        read_series(tmp_path)


def test_header_names_nobody(tmp_path: Path) -> None:
    write_series(tmp_path, HU)
    series = read_series(tmp_path)
    told = f"{series.header} {series.issues} {series!r}"
    assert "Secret" not in told


def test_files_may_be_given_one_by_one(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HU)
    assert np.array_equal(read_series(paths[3:9]).volume.hu_zyx, HU[3:9])


def test_workers_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cspine_lib.dicom.MIN_SLICES_PER_WORKER", 4)
    monkeypatch.setattr("cspine_lib.dicom.RAW_SYNTAXES", ())
    write_series(tmp_path, HU)
    content = (tmp_path / "6.dcm").read_bytes()
    (tmp_path / "6.dcm").write_bytes(content[:-40])
    one, two = read_series(tmp_path), read_series(tmp_path, workers=2)
    assert np.array_equal(one.volume.hu_zyx, two.volume.hu_zyx)
    assert one.issues == two.issues and one.files == two.files
    assert not isinstance(two.volume.hu_zyx, np.memmap)


def test_geometry_agrees_with_series(tmp_path: Path) -> None:
    write_series(tmp_path, HU, names=lambda z: f"{99 - z}.dcm")
    shutil.copy(tmp_path / "95.dcm", tmp_path / "195.dcm")
    series, geometry = read_series(tmp_path), read_geometry(tmp_path)
    assert geometry.shape_zyx == series.volume.shape_zyx
    assert np.array_equal(geometry.affine_mm, series.volume.affine_mm)
    for name in ("files", "slice_of_number", "issues", "reversed", "header", "in_plane"):
        assert getattr(geometry, name) == getattr(series, name)
