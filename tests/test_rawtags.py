"""The short way through a header gives what pydicom's long way gives, or gives up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_factory import random_hu, write_slice
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from cspine_lib import headers
from cspine_lib.headers import SliceHeader, read_header
from cspine_lib.rawtags import HEAD_BYTES, ordinary_header

HU = random_hu((1, 6, 8))[0]
PLACE = (-1.5, 2.0, 30.25)


def both_ways(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SliceHeader, SliceHeader]:
    quick = read_header(path)
    with monkeypatch.context() as patch:
        patch.setattr(headers, "ordinary_header", lambda handle, wanted: None)
        return quick, read_header(path)


def is_ordinary(path: Path) -> bool:
    with open(path, "rb") as handle:
        return ordinary_header(handle, headers._WANTED) is not None


def with_sequences(ds: Dataset) -> None:
    code = Dataset()
    code.CodeValue, code.Rows = "1", 999  # a tag of the same name within a sequence is not ours
    ds.ProcedureCodeSequence = Sequence([code, code])
    ds["ProcedureCodeSequence"].is_undefined_length = True
    block = ds.private_block(0x0019, "A MAKER", create=True)
    block.add_new(1, "OB", bytes(3000))


def with_padding(ds: Dataset) -> None:
    ds.PixelPaddingValue = 64536
    ds["PixelPaddingValue"].VR = "US"
    ds.WindowCenter, ds.Manufacturer = ["40", "500"], "Ünbekannt"


def long_header(ds: Dataset) -> None:
    ds.private_block(0x0019, "A MAKER", create=True).add_new(1, "OB", bytes(HEAD_BYTES))


def test_every_kind_of_the_phantoms_files(
    ci_phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    for folder in sorted((ci_phantom / "train_images").iterdir()):
        for path in sorted(folder.iterdir())[::20]:
            quick, slow = both_ways(path, monkeypatch)
            assert is_ordinary(path) and quick == slow
            seen.add(quick.transfer_syntax)
    assert len(seen) == 3


@pytest.mark.parametrize("change", [None, with_sequences, with_padding])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", ImplicitVRLittleEndian])
def test_ordinary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: object, syntax: str
) -> None:
    path = write_slice(tmp_path / "7.dcm", HU, PLACE, syntax=syntax, change=change)
    quick, slow = both_ways(path, monkeypatch)
    assert is_ordinary(path) and quick == slow
    assert quick.rows == 6 and quick.position_mm == PLACE and quick.number == 7


def damaged(path: Path) -> None:
    """Headers that are cut, lack their preamble or have bytes of noise."""
    raw = bytearray(path.read_bytes())
    raw[150:170] = np.random.default_rng(0).integers(0, 256, 20).astype(np.uint8).tobytes()
    path.write_bytes(raw)


def without_preamble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[132:])


def without_pixels(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -2 * HU.size - 12])


def falsely_implicit(path: Path) -> None:
    """Says implicit, is explicit."""
    raw, told = path.read_bytes(), b"1.2.840.10008.1.2.1\0"
    assert raw.count(told) == 1
    path.write_bytes(raw.replace(told, b"1.2.840.10008.1.2\0\0\0"))


@pytest.mark.parametrize("spoil", [damaged, without_preamble, without_pixels, falsely_implicit])
def test_what_is_not_ordinary_is_left_to_pydicom(tmp_path: Path, spoil) -> None:
    path = write_slice(tmp_path / "1.dcm", HU, PLACE)
    assert is_ordinary(path)
    spoil(path)
    assert not is_ordinary(path)


def test_long_headers_and_big_endian_are_left_to_pydicom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = write_slice(tmp_path / "1.dcm", HU, PLACE, change=long_header)
    big = write_slice(tmp_path / "2.dcm", HU, PLACE, syntax=ExplicitVRBigEndian)
    for path in (long, big):
        quick, slow = both_ways(path, monkeypatch)
        assert not is_ordinary(path) and quick == slow
        assert quick.position_mm == PLACE
