"""The reader on real CT files, where they lie beside the checkout."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_dicom import assert_same_points, by_simpleitk

from cspine_lib.decode import decode_hu, stored_pixels
from cspine_lib.dicom import Series, read_series
from cspine_lib.headers import quiet_pydicom, read_header
from cspine_lib.issues import BadFile

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "real"
ZIP = REAL / "head_neck_ct_dicom.zip"
ENCODINGS = REAL / "encodings"
LOSSLESS = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big-endian": "1.2.840.10008.1.2.2",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG Lossless": "1.2.840.10008.1.2.4.57",
    "JPEG Lossless SV1": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real CT files are not here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("head_neck")
    with zipfile.ZipFile(ZIP) as archive:
        archive.extractall(path)
    yield path


@pytest.fixture(scope="module")
def series(folder: Path) -> Series:
    return read_series(folder)


def test_head_neck_geometry(series: Series) -> None:
    assert series.volume.shape_zyx == (90, 511, 511)
    assert series.volume.spacing_zyx_mm == pytest.approx((3, 1, 1))
    assert series.volume.orientation == "IPL"
    assert not series.issues and not series.reversed
    assert series.files[0] == "IMG_00000.dcm" and series.slice_of_number[89] == 89


def test_head_neck_lies_right(series: Series) -> None:
    """By anatomy alone: what is skull, table and airway must be where it is in a person."""
    hu = series.volume.hu_zyx
    # The skull cap: the topmost slices hold far more bone than the thorax's ones do in z.
    bone = (hu > 300).sum(axis=(1, 2))
    assert bone[5:20].mean() > 1.5 * bone[70:85].mean()
    body = hu > -300
    # Shoulders are wider than the head (in front of the table): feet are at the end of z.
    wide = body[:, :330].any(axis=1).sum(axis=1)
    assert wide[-10:].mean() > 1.5 * wide[10:20].mean()
    # The table lies behind the patient (y grows to the back).
    rows = body[40].any(axis=1).nonzero()[0]
    assert rows.max() > 380 and rows.min() < 150
    # In the neck, air (the trachea) lies in front of the vertebra.
    neck = hu[78]
    bone_y = np.nonzero(neck[150:330, 180:300] > 500)[0] + 150
    air_y = np.nonzero(neck[180:240, 220:260] < -500)[0] + 180
    assert len(air_y) > 50 and air_y.mean() < bone_y.mean() - 20


def test_head_neck_as_simpleitk_reads_it(folder: Path, series: Series) -> None:
    assert_same_points(series, by_simpleitk(folder))


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_encodings_agree(name: str) -> None:
    uid = LOSSLESS[name]
    path = next(ENCODINGS.glob(f"*_{uid}.dcm"))
    reference = next(ENCODINGS.glob("*LittleEndianImplicit*"))
    header = read_header(path)
    assert header.transfer_syntax == uid
    with quiet_pydicom():
        stored = stored_pixels(header)
    assert stored.min() == -2000  # the scanner's padding
    assert np.array_equal(stored, stored_pixels(read_header(reference)))


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"])
def test_lossy_encodings_come_near(uid: str) -> None:
    lossy = decode_hu(read_header(next(ENCODINGS.glob(f"*_{uid}.dcm")))).astype(int)
    exact = decode_hu(read_header(next(ENCODINGS.glob("*LittleEndianImplicit*"))))
    assert 0 < np.abs(lossy - exact).mean() < 20


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"])
def test_retired_encodings_are_named(uid: str) -> None:
    with pytest.raises(BadFile, match=uid.replace(".", r"\.")) as caught:
        decode_hu(read_header(next(ENCODINGS.glob(f"*_{uid}.dcm"))))
    assert caught.value.code == "unknown_encoding"


def test_cspine_slice() -> None:
    header = read_header(ENCODINGS / "cspine_jpeg_lossless.dcm")
    hu = decode_hu(header)
    assert header.info["BodyPartExamined"] == "CSPINE" and hu.shape == (512, 512)
    assert header.spacing_yx_mm == pytest.approx((0.291, 0.291), abs=1e-3)
    assert 0.005 < (hu > 400).mean() < 0.3 and (hu < -900).mean() > 0.02
