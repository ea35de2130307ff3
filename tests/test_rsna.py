"""RSNA's layout read, and masks laid onto the image grid by their affines."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_factory import random_hu, write_series

from cspine_lib.anatomy import BOX_COLUMNS, TEST_COLUMNS, TRAIN_COLUMNS
from cspine_lib.dicom import Series, read_series
from cspine_lib.errors import CspineError
from cspine_lib.masks import read_mask
from cspine_lib.rsna import RsnaDataset, data_set_name, is_safe_id, open_dataset
from cspine_lib.volume import LPS_TO_RAS

HU = random_hu((12, 10, 14))
MASK = np.random.default_rng(5).integers(0, 20, HU.shape).astype(np.uint8)
AFFINE = np.array([[0, 0, 0.4, -10], [0, 0.5, 0, -20], [-2.0, 0, 0, 50], [0, 0, 0, 1]])


def save_mask(path: Path, mask_zyx: np.ndarray, affine_mm: np.ndarray, axes: str) -> Path:
    """Write a mask with its axes in the given NIfTI order, e.g. ``LAS``."""
    image = nibabel.Nifti1Image(mask_zyx, LPS_TO_RAS @ affine_mm)
    source = nibabel.orientations.io_orientation(image.affine)
    target = nibabel.orientations.axcodes2ornt(axes)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(source, target))
    assert "".join(nibabel.aff2axcodes(turned.affine)) == axes
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(turned, path)
    return path


def all_axes() -> list[str]:
    return [
        "".join(code)
        for order in itertools.permutations(("LR", "AP", "SI"))
        for code in itertools.product(*order)
    ]


@pytest.mark.parametrize("axes", all_axes())
def test_mask_of_any_axis_order_lands_on_the_image(tmp_path: Path, axes: str) -> None:
    path = save_mask(tmp_path / "m.nii", MASK, AFFINE, axes)
    assert np.array_equal(read_mask(path, HU.shape, AFFINE), MASK)


def test_mask_under_gantry_tilt_and_compressed(tmp_path: Path) -> None:
    tilted = AFFINE.copy()
    tilted[:3, 1] = [0, 0.48, -0.13]
    path = save_mask(tmp_path / "m.nii.gz", MASK, tilted, "LAS")
    assert np.array_equal(read_mask(path, HU.shape, tilted), MASK)


def test_mask_that_reaches_beyond_lost_slices(tmp_path: Path) -> None:
    path = save_mask(tmp_path / "m.nii", MASK, AFFINE, "RAI")
    shorter = AFFINE.copy()
    shorter[:3, 3] += shorter[:3, 0]  # the first slice could not be read
    assert np.array_equal(read_mask(path, (11, 10, 14), shorter), MASK[1:])
    longer = AFFINE.copy()
    longer[:3, 3] -= 2 * longer[:3, 0]
    found = read_mask(path, (14, 10, 14), longer)
    assert np.array_equal(found[2:], MASK) and not found[:2].any()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a + 0.3 * np.outer([1, 0, 0, 0], [1, 0, 0, 0]), "2.022"),
        (lambda a: a @ np.diag([1.05, 1, 1, 1]), "2.100"),
        (lambda a: a @ np.diag([1, 1, 1.5, 1]), "0.600"),
        (lambda a: np.block([[a[:3, :3], a[:3, 3:] + [[0], [0], [30]]], [a[3:]]]), "80"),
        (lambda a: np.block([[a[:3, :3], a[:3, 3:] + [[0.1], [0], [0]]], [a[3:]]]), "-9.9"),
    ],
)
def test_mask_on_another_grid_is_an_error_with_numbers(
    tmp_path: Path, change: object, told: str
) -> None:
    wrong = change(AFFINE)  # type: ignore[operator]
    path = save_mask(tmp_path / "m.nii", MASK, wrong, "LAS")
    with pytest.raises(CspineError, match="does not fit the images: mask 12×10×14") as caught:
        read_mask(path, HU.shape, AFFINE)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_mask_of_another_shape(tmp_path: Path) -> None:
    path = save_mask(tmp_path / "m.nii", MASK[:, :8], AFFINE, "LAS")
    with pytest.raises(CspineError, match="12×8×14"):
        read_mask(path, HU.shape, AFFINE)
    path = save_mask(tmp_path / "n.nii", MASK[:6], AFFINE, "LAS")
    assert not read_mask(path, HU.shape, AFFINE)[6:].any()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (MASK // 2 + np.float32(0.5), "fractions"),
        (MASK.astype(np.int16) - 5, "-5"),
        (MASK.astype(np.int16) + 5, "24"),
        (np.where(MASK == 3, np.nan, MASK).astype(np.float32), "nan"),
    ],
)
def test_mask_values(tmp_path: Path, values: np.ndarray, told: str) -> None:
    path = save_mask(tmp_path / "m.nii", values, AFFINE, "LAS")
    with pytest.raises(CspineError, match=told):
        read_mask(path, HU.shape, AFFINE)


def test_float_mask_of_whole_numbers_is_fine(tmp_path: Path) -> None:
    path = save_mask(tmp_path / "m.nii", MASK.astype(np.float64), AFFINE, "LPS")
    assert np.array_equal(read_mask(path, HU.shape, AFFINE), MASK)


def test_damaged_nifti(tmp_path: Path) -> None:
    path = save_mask(tmp_path / "m.nii", MASK, AFFINE, "LAS")
    content = path.read_bytes()
    for spoiled in (content[:-500], content[:200], b"", np.random.default_rng(0).bytes(4000)):
        path.write_bytes(spoiled)
        with pytest.raises(CspineError, match=r"m\.nii"):
            read_mask(path, HU.shape, AFFINE)
    # A header that claims 10^12 voxels is refused by its shape, before any of them is read.
    huge = bytearray(content)
    huge[42:48] = (20000).to_bytes(2, "little") * 3
    path.write_bytes(huge)
    with pytest.raises(CspineError, match="does not fit"):
        read_mask(path, HU.shape, AFFINE)


def write_dataset(root: Path) -> Path:
    """Three training studies (one feet first, one with a mask), two test studies, one absent."""
    write_series(root / "train_images" / "1.1", HU)
    write_series(root / "train_images" / "1.2", HU, names=lambda z: f"{30 - z}.dcm")
    flipped = ((-1, 0, 0), (0, 1, 0))
    write_series(root / "train_images" / "1.3", HU[:6], directions=flipped)
    write_series(root / "test_images" / "9.1", HU[:5])
    save_mask(root / "segmentations" / "1.2.nii", MASK, AFFINE, "LAS")
    rows = ["1.1,1,0,1,0,0,0,0,0", "1.2,0,0,0,0,0,0,0,0", "1.3,1,0,0,0,0,0,1,1"]
    (root / "train.csv").write_text("\n".join([",".join(TRAIN_COLUMNS), *rows]) + "\n")
    boxes = ["1.1,2.0,3.0,4.5,5.0,7", "1.1,1,1,2,2,3", "1.3,2,3,4,5,2", "1.1,1,1,1,1,99"]
    (root / "train_bounding_boxes.csv").write_text("\n".join([",".join(BOX_COLUMNS), *boxes]))
    tests = ["9.1_C1,9.1,C1", "9.1_C2,9.1,C2", "9.2_C1,9.2,C1"]
    (root / "test.csv").write_text("\n".join([",".join(TEST_COLUMNS), *tests]) + "\n")
    return root


@pytest.fixture
def dataset(tmp_path: Path) -> RsnaDataset:
    return open_dataset(write_dataset(tmp_path / "set"))


def test_tables(dataset: RsnaDataset) -> None:
    assert dataset.name == "RSNA 2022" and not dataset.is_phantom
    assert dataset.train_ids == ["1.1", "1.2", "1.3"]
    assert dataset.test_ids == ["9.1", "9.2"] and dataset.masked_ids == ["1.2"]
    assert dataset.has_images("9.1") and not dataset.has_images("9.2")
    assert dataset.labels("1.3").tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert dataset.train["patient_overall"].dtype.kind == "i"
    assert dataset.boxes["slice_number"].dtype.kind == "i"
    with pytest.raises(CspineError, match=r"no images of study 9\.2"):
        dataset.study_folder("9.2")
    with pytest.raises(CspineError, match=r"not in train\.csv"):
        dataset.labels("9.1")


def test_mask_and_boxes_on_the_grid(dataset: RsnaDataset) -> None:
    feet_first = dataset.read_study("1.2")
    assert feet_first.reversed
    assert np.array_equal(dataset.read_mask("1.2", feet_first), MASK)
    boxes = dataset.boxes_of("1.1", dataset.read_study("1.1"))
    assert boxes.to_dict("list") == {
        "z": [2, 6],
        "x": [1.0, 2.0],
        "y": [1.0, 3.0],
        "width": [2.0, 4.5],
        "height": [2.0, 5.0],
    }
    mirrored = dataset.boxes_of("1.3", dataset.read_study("1.3"))
    assert mirrored.iloc[0].tolist() == [1, 14 - 2 - 4, 3, 4, 5]
    assert len(dataset.boxes_of("1.2", feet_first)) == 0
    with pytest.raises(CspineError, match="no segmentation"):
        dataset.read_mask("1.1", feet_first)


def test_mask_of_another_study_is_refused(dataset: RsnaDataset) -> None:
    other: Series = dataset.read_study("1.3")
    with pytest.raises(CspineError, match="does not fit"):
        dataset.read_mask("1.2", other)


def test_fingerprint_follows_content(dataset: RsnaDataset) -> None:
    first = dataset.fingerprint()
    assert len(first) == 16 and first == open_dataset(dataset.root).fingerprint()
    (dataset.root / "train_images" / "1.1" / "3.dcm").unlink()
    second = open_dataset(dataset.root).fingerprint()
    text = (dataset.root / "train.csv").read_text()
    (dataset.root / "train.csv").write_text(text.replace("1.1,1,0,1", "1.1,1,1,1"))
    assert len({first, second, open_dataset(dataset.root).fingerprint()}) == 3


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("1.1,1,0,1", "1.1,1,0,2", "line 2: C2 must be 0 or 1"),
        ("1.2,0", "1.2,x", "line 3: patient_overall is 'x'"),
        ("1.3,1,0,0", "1.3,1,0,", "line 4: C2 is ''"),
        ("1.2,0", "1.1,0", "line 3: the study is in the table twice"),
        ("1.2,0", "../../etc,0", "line 3: that is no StudyInstanceUID"),
        ("C5,", "D5,", "lacks the column C5"),
        ("1.2,0", '"1.2,0', "cannot be read as CSV"),
        ("1.2,0", "1.2,1e999", "not a number"),
    ],
)
def test_bad_train_csv_is_one_line(dataset: RsnaDataset, old: str, new: str, told: str) -> None:
    path = dataset.root / "train.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CspineError) as caught:
        open_dataset(dataset.root)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["train.csv", "train_bounding_boxes.csv", "test.csv"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b"\x00" * 100, b"a,b\n1,2,3\n4"])
def test_garbage_instead_of_a_table(dataset: RsnaDataset, name: str, content: bytes) -> None:
    (dataset.root / name).write_bytes(content)
    with pytest.raises(CspineError, match=name.replace(".", r"\.")):
        open_dataset(dataset.root)


def test_not_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(CspineError, match=r"no train\.csv in it"):
        open_dataset(tmp_path)
    write_dataset(tmp_path)
    (tmp_path / "phantom.json").write_text("{}")
    with pytest.raises(CspineError, match=r"phantom\.json is damaged"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "uid", ["", "..", "a/b", "/etc", "a\\b", ".hidden", "a..b", "x" * 200, "a\n"]
)
def test_unsafe_names(uid: str, dataset: RsnaDataset) -> None:
    assert not is_safe_id(uid)
    assert not dataset.has_images(uid) and dataset.mask_path(uid) is None


def test_phantom_is_read_whole(ci_phantom: Path) -> None:
    dataset = open_dataset(ci_phantom)
    assert dataset.is_phantom and dataset.name.startswith("phantom v")
    assert "seed 2022" in dataset.name
    assert len(dataset.train_ids) == 20 and len(dataset.masked_ids) == 12
    for uid in dataset.masked_ids:
        series = dataset.read_study(uid)
        mask = dataset.read_mask(uid, series)
        inside = series.volume.hu_zyx[mask > 0].mean()
        assert inside > 200  # bone; a mask that is flipped lies in soft tissue and air
        assert inside > series.volume.hu_zyx[mask[:, ::-1] > 0].mean() + 100
    boxed = dataset.boxes["StudyInstanceUID"].unique()
    for uid in boxed:
        found = dataset.boxes_of(uid, read_series(dataset.study_folder(uid)))
        assert len(found) == (dataset.boxes["StudyInstanceUID"] == uid).sum()


@pytest.mark.parametrize(("difficulty", "ending"), [(0.5, "seed 7"), (0.25, "difficulty 0.25")])
def test_a_phantom_of_another_difficulty_says_so(tmp_path, difficulty, ending):
    (tmp_path / "train.csv").touch()
    request = {"version": "1", "seed": 7, "difficulty": difficulty}
    (tmp_path / "phantom.json").write_text(json.dumps({"request": request}))
    assert data_set_name(tmp_path).endswith(ending)
