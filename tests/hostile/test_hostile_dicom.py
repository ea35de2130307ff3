"""DICOM files of strangers: whatever their bytes, a slice or a named fault, in bounded memory."""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from dicom_factory import random_hu, write_series, write_slice
from hostile_tools import SECRET, fuzz, in_child, memory_limit, spoilt
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from test_decode import recoded

from cspine_lib.decode import decode_hu
from cspine_lib.dicom import read_geometry, read_series, scan_headers
from cspine_lib.errors import CspineError
from cspine_lib.headers import quiet_pydicom, read_header
from cspine_lib.issues import BadFile

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
RLE, JPEG, JPEG2000 = (f"1.2.840.10008.1.2.{end}" for end in ("5", "4.70", "4.90"))
HU = random_hu((5, 24, 20))


@cache
def sample(kind: str) -> bytes:
    """One sound slice in a storage."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "1.dcm"
        if kind in (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED):
            return write_slice(path, HU[0], (0, 0, 0), syntax=kind).read_bytes()
        write_slice(path, HU[0], (0, 0, 0))
        if kind == "no preamble":
            return path.read_bytes()[132:]
        if kind == RLE:
            import pydicom

            ds = pydicom.dcmread(path)
            ds.compress(RLE)
            ds.save_as(path)
            return path.read_bytes()
        import gdcm

        names = {
            JPEG: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
            JPEG2000: gdcm.TransferSyntax.JPEG2000Lossless,
        }
        return recoded(path, names[kind]).read_bytes()


KINDS = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, RLE, JPEG, JPEG2000, "no preamble")


def survives(content: bytes) -> None:
    """A slice in HU, or a fault with a name; nothing else."""
    with tempfile.TemporaryDirectory() as place, quiet_pydicom():
        path = Path(place) / "7.dcm"
        path.write_bytes(content)
        try:
            header = read_header(path)
            hu = decode_hu(header)
        except BadFile as bad:
            assert str(bad.issue("7.dcm")).isprintable() and bad.code
            return
        assert hu.shape == (header.rows, header.columns)
        assert hu.dtype == np.int16 and hu.min() >= -1024


@fuzz(30)
@given(content=st.binary(max_size=400), magic=st.booleans())
def test_random_bytes(content: bytes, magic: bool) -> None:
    survives(bytes(128) + b"DICM" + content if magic else content)


@pytest.mark.parametrize("kind", KINDS)
@fuzz(25)
@given(data=st.data())
def test_spoilt_files_of_every_storage(kind: str, data: st.DataObject) -> None:
    content = sample(kind)
    survives(data.draw(spoilt(content, head=len(content) - HU[0].nbytes)))


@pytest.mark.parametrize("kind", KINDS)
def test_files_cut_off_anywhere(kind: str) -> None:
    content = sample(kind)
    for end in np.linspace(0, len(content) - 1, 40).astype(int):
        survives(content[:end])


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element in explicit VR, little-endian; nothing about it is checked."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"OF", b"OD", b"UR"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value) % 2**16) + value


GROUP_2 = element(0x00020010, b"UI", EXPLICIT.encode() + b"\0")
META = bytes(128) + b"DICM" + element(0x00020000, b"UL", struct.pack("<I", len(GROUP_2))) + GROUP_2
TAGS = {
    0x00080008: (b"CS", b"ORIGINAL\\PRIMARY "),
    0x00080060: (b"CS", b"CT"),
    0x00180050: (b"DS", b"2 "),
    0x0020000D: (b"UI", b"1.2"),
    0x0020000E: (b"UI", b"1.3"),
    0x00200032: (b"DS", b"0\\0\\0 "),
    0x00200037: (b"DS", b"1\\0\\0\\0\\1\\0 "),
    0x00280002: (b"US", b"\1\0"),
    0x00280004: (b"CS", b"MONOCHROME2 "),
    0x00280008: (b"IS", b"1 "),
    0x00280010: (b"US", b"\x18\0"),
    0x00280011: (b"US", b"\x14\0"),
    0x00280030: (b"DS", b"0.5\\0.5 "),
    0x00280100: (b"US", b"\x10\0"),
    0x00280101: (b"US", b"\x0c\0"),
    0x00280102: (b"US", b"\x0b\0"),
    0x00280103: (b"US", b"\0\0"),
    0x00280120: (b"US", b"\0\0"),
    0x00281052: (b"DS", b"-1024 "),
    0x00281053: (b"DS", b"1 "),
}
ODD_VALUES = (
    *(b"", b"0", b"-1", b"1e30", b"-1e308", b"1e999", b"nan ", b"NaN\\NaN ", b"inf\\0 ", b"text"),
    *(
        b"\\\\\\",
        b"1\\2\\3\\4\\5\\6\\7 ",
        b"0\\0\\0\\0\\0\\0 ",
        b"1_0 ",
        b"0x10",
        b"\xff\xfe\xfd\xfc",
    ),
    *(b"\0" * 8, b"\xff\xff", b"\xff\x7f", b"\1\0\1\0", b"\x10\0\x10\0", b"9" * 400, b"\x1b[2J"),
)
ODD_VRS = (
    b"DS",
    b"US",
    b"SS",
    b"UL",
    b"FD",
    b"FL",
    b"IS",
    b"SQ",
    b"UN",
    b"CS",
    b"PN",
    b"??",
    b"\0\0",
)


@fuzz(120, 10000)
@given(data=st.data())
def test_absurd_tags(data: st.DataObject) -> None:
    """Any tags wrong in value or type, missing or doubled, in all slices and in one."""
    whole = dict(TAGS)
    spoil = data.draw(st.lists(st.sampled_from(sorted(whole)), min_size=1, max_size=3, unique=True))
    body = b""
    for tag, (vr, value) in whole.items():
        if tag in spoil:
            vr = data.draw(st.one_of(st.just(vr), st.sampled_from(ODD_VRS)))
            value = data.draw(st.one_of(st.sampled_from(ODD_VALUES), st.binary(max_size=12)))
            copies = data.draw(st.integers(0, 2))
            body += element(tag, vr, value) * copies
        else:
            body += element(tag, vr, value)
    content = META + body + element(0x7FE00010, b"OW", HU[0].tobytes())
    survives(content)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in "12":
            (folder / f"{name}.dcm").write_bytes(content)
        series_or_line(folder)
        write_series(folder, HU, names=lambda z: f"{z + 10}.dcm")
        series_or_line(folder)


def series_or_line(folder: Path) -> None:
    """A volume with a place, or one printable line; headers alone say the same."""
    try:
        series = read_series(folder)
    except CspineError as error:
        assert str(error).isprintable() and str(error)
        return
    assert np.isfinite(series.volume.affine_mm).all()
    assert all(str(issue).isprintable() for issue in series.issues)
    assert read_geometry(folder).shape_zyx == series.volume.shape_zyx


def put(**tags: object) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for name, value in tags.items():
            setattr(ds, name, value)

    return change


def raw(name: str, vr: str, value: object) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        if name in ds:
            del ds[name]
        ds.add_new(name, vr, value)

    return change


def nested(ds: Dataset) -> None:
    """A name where the manufacturer belongs, in a sequence of unknown length."""
    item = Dataset()
    item.PatientName = SECRET
    del ds.PixelSpacing
    ds.add_new(0x00280030, "SQ", Sequence([item]))
    ds[0x00280030].is_undefined_length = True


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (put(PixelSpacing=["0", "0"]), "bad_spacing"),
        (put(PixelSpacing=["-1", "-1"]), "bad_spacing"),
        (put(PixelSpacing=["1e30", "1e30"]), "bad_spacing"),
        (put(PixelSpacing=["nan", "nan"]), "bad_spacing"),
        (nested, "bad_spacing"),
        (put(RescaleSlope="nan"), "bad_rescale"),
        (put(RescaleSlope="0"), "bad_rescale"),
        (raw("RescaleSlope", "LO", "steep"), "bad_rescale"),
        (put(RescaleIntercept="1e30"), "bad_rescale"),
        (raw("Rows", "UL", 10**9), "too_large"),
        (put(Rows=4000, Columns=4000), "truncated"),
        (put(Rows=0), "no_pixels"),
        (put(BitsStored=20), "bad_bits"),
        (put(BitsAllocated=1), "bad_bits"),
        (put(HighBit=40), "bad_bits"),
        (put(BitsStored=0), "bad_bits"),
        (put(NumberOfFrames=100), "multi_frame"),
        (put(SamplesPerPixel=3), "colour"),
        (put(PhotometricInterpretation="PALETTE COLOR"), "colour"),
        (put(PhotometricInterpretation="RGB"), "colour"),
        (put(ImagePositionPatient=["nan", "0", "0"]), "no_position"),
        (put(ImagePositionPatient=["0", "0"]), "no_position"),
        (put(ImagePositionPatient=["0", "0", "1e30"]), "no_position"),
        (put(ImageOrientationPatient=["0"] * 6), "bad_orientation"),
        (put(ImageOrientationPatient=["1", "0", "0", "1", "0", "0"]), "bad_orientation"),
        (put(Modality="MR"), "not_ct"),
    ],
)
def test_an_absurd_tag_costs_its_slice_and_is_named(
    tmp_path: Path, change: Callable[[Dataset], None], code: str
) -> None:
    write_series(tmp_path, HU)
    mode = pydicom_config.settings.writing_validation_mode
    pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE
    try:
        write_slice(tmp_path / "9.dcm", HU[0], (-10, -20, 20), change=change)
    finally:
        pydicom_config.settings.writing_validation_mode = mode
    series = read_series(tmp_path)
    assert code in {issue.code for issue in series.issues}
    assert np.array_equal(series.volume.hu_zyx, HU)
    (tmp_path / "alone").mkdir()
    (tmp_path / "9.dcm").rename(tmp_path / "alone" / "9.dcm")
    with pytest.raises(CspineError, match=rf"\[{code}\]") as told:
        read_series(tmp_path / "alone")
    assert SECRET not in str(told.value)


def test_display_inversion_is_no_fault(tmp_path: Path) -> None:
    """MONOCHROME1 says how to show the values, not what they are."""
    write_series(tmp_path, HU, change=put(PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(read_series(tmp_path).volume.hu_zyx, HU)


def test_many_slices_in_one_place(tmp_path: Path) -> None:
    write_series(tmp_path, HU, places=[0, 0, 0, 0, 0])
    assert read_series(tmp_path).volume.shape_zyx == (1, 24, 20)


@pytest.mark.parametrize("thickness", ["-5", "0", "1e30", "1e-30", "nan", "thick"])
def test_thickness_of_a_single_slice(tmp_path: Path, thickness: str) -> None:
    mode = pydicom_config.settings.writing_validation_mode
    pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE
    try:
        write_slice(
            tmp_path / "1.dcm", HU[0], (0, 0, 0), change=raw("SliceThickness", "LO", thickness)
        )
    finally:
        pydicom_config.settings.writing_validation_mode = mode
    volume = read_series(tmp_path).volume
    assert volume.orientation == "IPL" and volume.spacing_zyx_mm[0] == 1


# --- bombs


def deflated(content: bytes, meta: bytes = b"") -> bytes:
    group_2 = meta + element(0x00020010, b"UI", DEFLATED.encode())
    length = element(0x00020000, b"UL", struct.pack("<I", len(group_2)))
    packer = zlib.compressobj(1, wbits=-15)
    return bytes(128) + b"DICM" + length + group_2 + packer.compress(content) + packer.flush()


def bomb(kind: str, path: Path) -> None:
    """A small file (or one that is small on disk) that a trusting reader would die of."""
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    sequence = struct.pack("<HH", 0x0040, 0x0275) + b"SQ\0\0\xff\xff\xff\xff"
    if kind == "deflated":
        path.write_bytes(deflated(bytes(400 * 2**20)))
    elif kind == "deflated, syntax far behind":
        far = element(0x00020102, b"OB", bytes(8000))
        path.write_bytes(deflated(bytes(400 * 2**20), far))
    elif kind == "deflated items":
        path.write_bytes(deflated(sequence + items * 3_000_000))
    elif kind == "items":
        path.write_bytes(META + sequence + items * 2_500_000)
    elif kind == "nested":
        path.write_bytes(META + (sequence + items[:4] + b"\xff" * 4) * 100_000)
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.write(META + element(0x00080070, b"UN", b"")[:-4] + struct.pack("<I", 2**31))
            file.truncate(2**31 + 2**20)
    elif kind == "air":
        rows = (b"US", struct.pack("<H", 4096))
        tags = {**TAGS, 0x00280010: rows, 0x00280011: rows}
        body = b"".join(element(t, *v) for t, v in tags.items())
        rle = META.replace(EXPLICIT.encode() + b"\0", b"1.2.840.10008.1.2.5\0"[:20])
        path.write_bytes(rle + body + element(0x7FE00010, b"OB", bytes(8192)))


BOMBS = (
    "deflated",
    "deflated, syntax far behind",
    "deflated items",
    "items",
    "nested",
    "sparse",
    "air",
)


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_in_little_memory(tmp_path: Path, kind: str) -> None:
    bomb(kind, tmp_path / "1.dcm")

    def work() -> None:
        headers, issues = scan_headers(tmp_path)
        with quiet_pydicom():
            for header in headers:
                with pytest.raises(BadFile):
                    decode_hu(header)
        assert headers or issues

    assert in_child(work, memory_limit(350)) == 0


def test_a_stack_of_claims_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    """Each file could hold its 4096² pixels of air, packed; all together no neck does."""
    write_series(tmp_path, HU)
    headers, _ = scan_headers(tmp_path)
    from dataclasses import replace

    from cspine_lib.dicom import decode_stack
    from cspine_lib.stack import Stack

    wide = [replace(headers[0], rows=4096, columns=4096)] * 200
    stack = Stack(wide, np.arange(200.0), np.array([0, 0, -1.0]))

    def work() -> None:
        with pytest.raises(CspineError, match="too_large"):
            decode_stack(stack)

    assert in_child(work, memory_limit(300)) == 0
