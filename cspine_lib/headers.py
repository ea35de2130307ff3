"""DICOM headers, one file at a time, and the words for what is wrong with them.

Only the header is read here, never the pixels.  Every tag is taken as a claim that may
be false: an absent, unreadable or absurd value becomes ``None``, and whoever needs it
decides whether the file can still be used.
"""

from __future__ import annotations

import logging
import math
import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from cspine_lib.issues import BadFile, Issue, warning
from cspine_lib.rawtags import (
    MAX_FILE_BYTES,
    Elements,
    NotDicom,
    Oversized,
    any_header,
    ordinary_header,
)

MAX_SIDE_PX = 4096
"""Largest matrix that is taken for a CT slice; clinical scanners stop at 2048."""
NOT_IMAGES = {"DICOMDIR", "Thumbs.db", "desktop.ini"}

_INFO_TAGS = (
    *("Manufacturer", "ManufacturerModelName", "KVP", "GantryDetectorTilt"),
    *("BodyPartExamined", "PatientPosition", "WindowCenter", "WindowWidth"),
)
_TAGS = [
    *("StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    "ConvolutionKernel",
    *_INFO_TAGS,
]
_TAG_OF = {name: Tag(name) for name in (*_TAGS, "TransferSyntaxUID")}
_WANTED = [_TAG_OF[name] for name in _TAGS]
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "US or SS": "H"}
"""VRs that hold binary numbers, with their ``struct`` codes; all others are text."""


@dataclass(frozen=True)
class SliceHeader:
    """What the reader needs from one file's header.  ``None``: absent, unreadable or not finite."""

    path: str
    number: int | None
    """Integer at the end of the file's name: what ``slice_number`` of the boxes refers to."""
    file_bytes: int
    pixel_offset: int | None
    """Where the Pixel Data element starts; ``None`` in a deflated file."""
    transfer_syntax: str
    study_uid: str
    series_uid: str
    modality: str
    image_type: tuple[str, ...]
    position_mm: tuple[float, ...] | None
    """Centre of the first pixel, LPS (DICOM PS3.3 C.7.6.2.1.1)."""
    orientation: tuple[float, ...] | None
    """Direction of a growing column index, then of a growing row index."""
    spacing_yx_mm: tuple[float, ...] | None
    thickness_mm: float | None
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    slope: float | None
    intercept: float | None
    rescale_absent: bool
    """Neither slope nor intercept is in the file (as opposed to: there, but unusable)."""
    padding: int | None
    padding_limit: int | None
    kernel: str
    info: dict[str, str]
    """Other tags worth telling; none identifies a person."""

    @property
    def name(self) -> str:
        """File name without its folder."""
        return os.path.basename(self.path)


def file_number(path: str | Path) -> int | None:
    """Integer at the end of a file name's stem: ``IMG_0012.dcm`` → 12, ``scan.dcm`` → None."""
    name = os.path.basename(str(path))
    stem = re.sub(r"\.(dcm|dicom|ima)$", "", name, flags=re.IGNORECASE)
    match = re.search(r"(\d+)$", stem)
    return int(match.group(1)) if match and len(match.group(1)) <= 18 else None


def natural_key(path: str | Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``2.dcm`` comes before ``10.dcm``."""
    parts = re.split(r"(\d+)", str(path))
    return tuple((1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silences pydicom's remarks on odd values; what matters is reported as an ``Issue``."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def list_files(folder: str | Path) -> tuple[list[str], list[Issue]]:
    """Files of a folder and of the folders right in it, in natural order.

    Hidden files and the catalogue files of CDs are passed over silently, symbolic links
    with a warning (they may point anywhere).
    """
    found: list[str] = []
    links: list[str] = []

    def look(place: str, depth: int) -> None:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in NOT_IMAGES:
                    continue
                if entry.is_symlink():
                    links.append(entry.name)
                elif entry.is_dir() and depth == 0:
                    look(entry.path, depth + 1)
                elif entry.is_file():
                    found.append(entry.path)

    look(str(folder), 0)
    message = "a symbolic link, passed over; put the file itself there"
    issues = [warning("symbolic_link", message, name) for name in sorted(links)]
    return sorted(found, key=natural_key), issues


def _raw(dataset: Elements, keyword: str) -> tuple[str, bytes, bool]:
    """VR, bytes and whether they are little-endian, untouched by pydicom's conversions.

    Conversion by pydicom is slower than the parsing itself and raises on broken values.
    """
    tag = _TAG_OF[keyword]
    element = dataset.get(tag)
    if element is None:
        return "", b"", True
    # A sequence where a value belongs may hold anything, a patient's name too: it counts as absent.
    if not isinstance(element, RawDataElement) or element.value is None:
        return "", b"", True
    return element.VR or dictionary_VR(tag), element.value, element.is_little_endian


def _floats(dataset: Elements, keyword: str, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers, or None."""
    vr, value, little = _raw(dataset, keyword)
    try:
        if vr in _BINARY:
            size = struct.calcsize(_BINARY[vr])
            code = ("<" if little else ">") + _BINARY[vr] * (len(value) // size)
            numbers = tuple(float(v) for v in struct.unpack(code, value))
        else:
            numbers = tuple(float(v) for v in value.rstrip(b"\0 ").split(b"\\"))
    except (ValueError, struct.error, OverflowError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _float(dataset: Elements, keyword: str) -> float | None:
    numbers = _floats(dataset, keyword, 1)
    return numbers[0] if numbers else None


def _int(dataset: Elements, keyword: str, default: int) -> int:
    number = _float(dataset, keyword)
    return default if number is None else int(number)


def _text(dataset: Elements, keyword: str) -> str:
    text = _raw(dataset, keyword)[1][:256].decode("latin-1").strip("\0 ")
    return text if text.isprintable() else "".join(c for c in text if c.isprintable())


def _padding(dataset: Elements, keyword: str, bits: int, signed: bool) -> int | None:
    """Padding value as the stored integer: its VR (US or SS) follows PixelRepresentation."""
    _, value, little = _raw(dataset, keyword)
    if len(value) < 2:
        return None
    number = int.from_bytes(value[:2], "little" if little else "big", signed=signed)
    return number if bits > 8 else number % 256


def _parse(path: str) -> tuple[Elements, str, int | None, int]:
    """Wanted elements, transfer syntax, offset of the pixel element (None: deflated), file size."""
    try:
        with open(path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise Oversized(
                    f"it has {size >> 20} MiB, more than one slice can; export one file per slice"
                )
            quick = ordinary_header(handle, _WANTED)
            if quick is not None:
                meta, elements, offset = quick
                return elements, _text(meta, "TransferSyntaxUID"), offset, size
            return *any_header(handle, _WANTED), size
    except Oversized as error:
        raise BadFile("too_large", str(error)) from None
    except NotDicom:
        raise BadFile("not_dicom", "not a DICOM file; passed over") from None
    except Exception as error:  # the parser meets arbitrary bytes and raises arbitrary errors
        if isinstance(error, OSError) and error.strerror:  # pydicom's own have no reason
            raise BadFile("unreadable", f"cannot be opened ({error.strerror}); skipped") from None
        kind = type(error).__name__
        raise BadFile("unreadable", f"its header is damaged ({kind}); skipped") from None


def read_header(path: str | Path) -> SliceHeader:
    """Header of one file.

    Raises:
        BadFile: not DICOM, or a header that cannot be parsed.
    """
    dataset, syntax, offset, size = _parse(str(path))
    bits = _int(dataset, "BitsAllocated", 16)
    bits = bits if bits in (8, 16, 32) else 0
    signed = _int(dataset, "PixelRepresentation", 0) == 1
    stored = _int(dataset, "BitsStored", bits)
    absent = not any(_text(dataset, k) for k in ("RescaleSlope", "RescaleIntercept"))
    return SliceHeader(
        path=str(path),
        number=file_number(path),
        file_bytes=size,
        pixel_offset=offset,
        transfer_syntax=syntax,
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        modality=_text(dataset, "Modality").upper(),
        image_type=tuple(_text(dataset, "ImageType").upper().split("\\")),
        position_mm=_floats(dataset, "ImagePositionPatient", 3),
        orientation=_floats(dataset, "ImageOrientationPatient", 6),
        spacing_yx_mm=_floats(dataset, "PixelSpacing", 2),
        thickness_mm=_float(dataset, "SliceThickness"),
        rows=_int(dataset, "Rows", 0),
        columns=_int(dataset, "Columns", 0),
        frames=_int(dataset, "NumberOfFrames", 1),
        samples=_int(dataset, "SamplesPerPixel", 1),
        photometric=_text(dataset, "PhotometricInterpretation").upper(),
        bits_allocated=bits,
        bits_stored=stored,
        high_bit=_int(dataset, "HighBit", stored - 1),
        signed=signed,
        slope=_float(dataset, "RescaleSlope"),
        intercept=_float(dataset, "RescaleIntercept"),
        rescale_absent=absent,
        padding=_padding(dataset, "PixelPaddingValue", bits or 16, signed),
        padding_limit=_padding(dataset, "PixelPaddingRangeLimit", bits or 16, signed),
        kernel=_text(dataset, "ConvolutionKernel"),
        info={k: _text(dataset, k) for k in _INFO_TAGS},
    )
