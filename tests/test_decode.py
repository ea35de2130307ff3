"""Pixels → HU: every storage a CT comes in, and headers that lie."""

from __future__ import annotations

import zlib
from pathlib import Path

import gdcm
import numpy as np
import pytest
from dicom_factory import random_hu, write_slice
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from cspine_lib.decode import codestream_size, decode_hu, rescale, stored_pixels, to_hu
from cspine_lib.headers import file_number, natural_key, quiet_pydicom, read_header
from cspine_lib.issues import BadFile

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
HU = random_hu((1, 40, 36))[0]
ORIGIN = (0.0, 0.0, 0.0)


def recoded(path: Path, syntax: int) -> Path:
    """The same file in another transfer syntax, by GDCM."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    out = path.with_name(f"recoded_{syntax}.dcm")
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(out))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return out


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize(
    ("signed", "bits", "high_bit", "allocated"),
    [
        (False, 12, 11, 16),
        (False, 13, 12, 16),
        (False, 16, 15, 16),
        (True, 16, 15, 16),
        (True, 13, 12, 16),
        (False, 12, 15, 16),
        (True, 14, 15, 16),
        (True, 16, 15, 32),
        (True, 32, 31, 32),
    ],
)
def test_storage(
    tmp_path: Path, syntax: str, signed: bool, bits: int, high_bit: int, allocated: int
) -> None:
    intercept = 0 if signed else -1024
    path = write_slice(
        tmp_path / "1.dcm",
        HU,
        ORIGIN,
        signed=signed,
        bits=bits,
        high_bit=high_bit,
        allocated=allocated,
        intercept=intercept,
        syntax=syntax,
    )
    hu = decode_hu(read_header(path))
    assert hu.dtype == np.int16 and np.array_equal(hu, HU)


def test_eight_bits(tmp_path: Path) -> None:
    hu = (np.arange(40 * 36).reshape(40, 36) % 255 * 4 - 500).astype(np.int16)
    path = write_slice(tmp_path / "1.dcm", hu, ORIGIN, bits=8, allocated=8, slope=4, intercept=-500)
    assert np.array_equal(decode_hu(read_header(path)), hu)


def test_foreign_bits_above_the_image_are_dropped(tmp_path: Path) -> None:
    def overlay(ds: Dataset) -> None:
        pixels = np.frombuffer(ds.PixelData, np.uint16) | 0x4000
        ds.PixelData = pixels.tobytes()

    path = write_slice(tmp_path / "1.dcm", HU, ORIGIN, change=overlay)
    assert np.array_equal(decode_hu(read_header(path)), HU)


@pytest.mark.parametrize(
    "syntax",
    [
        gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        gdcm.TransferSyntax.JPEGLosslessProcess14,
        gdcm.TransferSyntax.JPEGLSLossless,
        gdcm.TransferSyntax.JPEG2000Lossless,
        gdcm.TransferSyntax.RLELossless,
    ],
)
@pytest.mark.parametrize(("signed", "bits"), [(False, 12), (True, 16)])
def test_lossless_encodings(tmp_path: Path, syntax: int, signed: bool, bits: int) -> None:
    path = write_slice(tmp_path / "1.dcm", HU, ORIGIN, signed=signed, bits=bits)
    path = recoded(path, syntax)
    header = read_header(path)
    assert header.transfer_syntax.startswith(("1.2.840.10008.1.2.4", "1.2.840.10008.1.2.5"))
    assert np.array_equal(decode_hu(header), HU)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(BadFile):
        decode_hu(read_header(path))


@pytest.mark.parametrize(
    "syntax",
    [
        gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        gdcm.TransferSyntax.JPEGLSLossless,
        gdcm.TransferSyntax.JPEG2000Lossless,
        gdcm.TransferSyntax.RLELossless,
    ],
)
def test_slice_of_air_is_not_taken_for_a_lie(tmp_path: Path, syntax: int) -> None:
    air = np.full((512, 512), -1000, np.int16)
    path = recoded(write_slice(tmp_path / "1.dcm", air, ORIGIN), syntax)
    assert np.array_equal(decode_hu(read_header(path)), air)


def test_codestream_that_contradicts_its_header(tmp_path: Path) -> None:
    path = recoded(
        write_slice(tmp_path / "1.dcm", HU, ORIGIN), gdcm.TransferSyntax.JPEGLosslessProcess14_1
    )
    content = path.read_bytes()
    at = content.index(b"\xff\xc3") + 5
    assert content[at : at + 4] == (40).to_bytes(2, "big") + (36).to_bytes(2, "big")
    path.write_bytes(content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :])
    with pytest.raises(BadFile, match="65535 × 65535"):
        decode_hu(read_header(path))


def test_codestream_size_of_noise_is_unknown() -> None:
    rng = np.random.default_rng(0)
    for n in range(200):
        assert codestream_size(b"\xff\xd8\xff\xe0" + rng.bytes(n)) is None or n > 5
    assert codestream_size(b"") is None


@pytest.mark.parametrize(
    ("syntax", "rows", "code"),
    [
        (EXPLICIT, 4000, "truncated"),
        (EXPLICIT, 60000, "too_large"),
        ("1.2.840.10008.1.2.4.70", 4000, "truncated"),
        ("1.2.840.10008.1.2.4.90", 4000, "truncated"),
        ("1.2.840.10008.1.2.4.70", 36, "unreadable"),
        ("1.2.840.10008.1.2.4.53", 36, "unknown_encoding"),
        ("1.2.840.10008.1.2.4.55", 36, "unknown_encoding"),
        ("1.2.840.10008.1.2.4.100", 36, "unknown_encoding"),
    ],
)
def test_claims_are_checked_before_allocation(
    tmp_path: Path, syntax: str, rows: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim(ds: Dataset) -> None:
        ds.Rows = ds.Columns = rows
        if syntax != EXPLICIT:
            ds.PixelData = encapsulate([np.random.default_rng(0).bytes(1500)])
            ds["PixelData"].VR = "OB"

    path = write_slice(tmp_path / "1.dcm", HU, ORIGIN, syntax=syntax, change=claim)
    header = read_header(path)
    if rows > 36:
        monkeypatch.setattr("builtins.open", None)  # refused before the file is opened again
    with pytest.raises(BadFile) as caught:
        stored_pixels(header)
    assert caught.value.code == code


def test_deflate_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cspine_lib.rawtags.MAX_INFLATED_BYTES", 2**20)
    path = write_slice(tmp_path / "1.dcm", HU, ORIGIN, syntax=DEFLATED)
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(bytes(2**20)) for _ in range(4)) + deflater.flush()
    path.write_bytes(content[:start] + bomb)
    assert path.stat().st_size < 2**20
    with pytest.raises(BadFile, match="inflates"):
        read_header(path)


def test_slope_that_is_not_whole(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "1.dcm", HU, ORIGIN, slope=0.7, intercept=-1024.3, bits=16)
    assert np.abs(decode_hu(read_header(path)).astype(int) - HU).max() <= 1
    header = read_header(path)
    assert rescale(header) == (0.7, -1024.3)
    assert to_hu(np.array([[100]]), header)[0, 0] == -954  # -954.3, rounded and not cut


def test_hu_stay_in_range(tmp_path: Path) -> None:
    wild = np.array([[-3024, -1024, 0, 32767]], np.int16)
    path = write_slice(tmp_path / "1.dcm", wild, ORIGIN, signed=True, bits=16, intercept=0)
    assert decode_hu(read_header(path)).tolist() == [[-1024, -1024, 0, 32767]]
    path = write_slice(tmp_path / "2.dcm", wild, ORIGIN, signed=True, bits=16, intercept=-1024)
    header = read_header(path)
    high = to_hu(np.array([[32767]]) + 20000, header)
    assert high[0, 0] == 32767


def padded(value: int, limit: int | None, vr: str) -> Dataset:
    ds = Dataset()
    ds.add_new("PixelPaddingValue", vr, value)
    if limit is not None:
        ds.add_new("PixelPaddingRangeLimit", vr, limit)
    return ds


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize(
    ("value", "limit", "expected"),
    [
        (-2000, None, [-1024, 100, 3500, -1024]),
        (3500, None, [-1024, 100, -1024, -1024]),  # beyond what 12 bits can show
        (-2000, -1500, [-1024, 100, 3500, -1024]),
        (100, None, [-1024, 100, 3500, -1024]),  # that would erase tissue: not believed
        (-2000, 3500, [-1024, 100, 3500, -1024]),
    ],
)
def test_padding(
    tmp_path: Path, syntax: str, value: int, limit: int | None, expected: list[int]
) -> None:
    hu = np.array([[-2000, 100, 3500, -1600]], np.int16)
    path = write_slice(
        tmp_path / "1.dcm",
        hu,
        ORIGIN,
        signed=True,
        bits=16,
        intercept=0,
        syntax=syntax,
        change=lambda ds: ds.update(padded(value, limit, "SS")),
    )
    header = read_header(path)
    assert header.padding == value
    assert decode_hu(header).tolist() == [expected]


def test_padding_of_unsigned_storage(tmp_path: Path) -> None:
    hu = np.array([[3072, 40]], np.int16)
    path = write_slice(
        tmp_path / "1.dcm",
        hu,
        ORIGIN,
        bits=16,
        intercept=-1024,
        change=lambda ds: ds.update(padded(4096, None, "US")),
    )
    assert decode_hu(read_header(path)).tolist() == [[-1024, 40]]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("12.dcm", 12),
        ("IMG_0007.DCM", 7),
        ("1.2.840.33", 33),
        ("slice", None),
        ("007", 7),
        ("a5b.dcm", None),
        ("9" * 30 + ".dcm", None),
    ],
)
def test_file_number(name: str, number: int | None) -> None:
    assert file_number(f"/some/folder9/{name}") == number


def test_natural_order() -> None:
    names = ["10.dcm", "2.dcm", "a1", "1.dcm", "a10", "a2"]
    assert sorted(names, key=natural_key) == ["1.dcm", "2.dcm", "10.dcm", "a1", "a2", "a10"]


@pytest.mark.parametrize("syntax", [None, gdcm.TransferSyntax.JPEGLosslessProcess14_1])
def test_damaged_files_give_pixels_or_a_name(tmp_path: Path, syntax: int | None) -> None:
    path = write_slice(tmp_path / "1.dcm", HU, ORIGIN)
    content = (path if syntax is None else recoded(path, syntax)).read_bytes()
    rng = np.random.default_rng(7)
    refused = 0
    for _ in range(150):
        spoiled = bytearray(content)
        for at in rng.integers(0, len(spoiled), rng.integers(1, 30)):
            spoiled[at] = rng.integers(256)
        path.write_bytes(spoiled[: rng.integers(1, len(spoiled) + 1)])
        try:
            with quiet_pydicom():
                header = read_header(path)
                assert decode_hu(header).shape == (header.rows, header.columns)
        except BadFile as bad:
            refused += 1
            assert bad.code and "\n" not in bad.message
    assert refused > 50
