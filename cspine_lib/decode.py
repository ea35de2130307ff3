"""Pixels of one DICOM file → HU.

Uncompressed pixels are read straight from their place in the file; compressed ones go
through pydicom's decoders, which use GDCM for JPEG (``benchmarks/decode.md`` has the
measurements behind that choice).  Before anything is allocated, the header's claims are
held against the size of the file.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from cspine_lib.anatomy import HU_MAX, HU_MIN
from cspine_lib.headers import MAX_SIDE_PX, SliceHeader
from cspine_lib.issues import BadFile
from cspine_lib.rawtags import inflated_data_set, pixels_of

Stored = npt.NDArray[np.integer]

RAW_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
PIXEL_DATA = 0x7FE00010
MAX_PIXELS_PER_BYTE = 4096
"""No codec packs a slice of noise tighter; air all over reaches some hundred."""
RLE_PIXELS_PER_BYTE = 64
"""Two bytes stand for at most 128 (PS3.5 annex G)."""
HUFFMAN_PIXELS_PER_BYTE = 8
"""JPEG Lossless spends at least one bit on each pixel (ITU-T T.81, annex H)."""
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
TISSUE_HU = (-900, HU_MAX)
"""A padding value in this range would erase patient, so it is not believed."""


def check_claims(header: SliceHeader) -> None:
    """Refuse a header that cannot be one CT slice, before anything is allocated.

    Raises:
        BadFile: with a named code.
    """
    h = header
    if h.rows < 1 or h.columns < 1:
        raise BadFile("no_pixels", "no image in it; passed over")
    if h.frames > 1:
        raise BadFile("multi_frame", "holds several frames; export it as one file per slice")
    if h.samples != 1 or (h.photometric and not h.photometric.startswith("MONOCHROME")):
        raise BadFile("colour", "a colour image, not a CT slice; skipped")
    if max(h.rows, h.columns) > MAX_SIDE_PX:
        raise BadFile("too_large", f"claims {h.rows} × {h.columns} pixels; skipped")
    first_bit = h.high_bit + 1 - h.bits_stored
    if not (
        0 < h.bits_stored <= h.bits_allocated and first_bit >= 0 and h.high_bit < h.bits_allocated
    ):
        raise BadFile(
            "bad_bits",
            f"BitsAllocated {h.bits_allocated}, BitsStored {h.bits_stored} and HighBit "
            f"{h.high_bit} contradict each other; skipped",
        )
    _check_room(h)


def _check_room(h: SliceHeader) -> None:
    pixels = h.rows * h.columns
    if h.pixel_offset is not None and h.pixel_offset >= h.file_bytes:
        raise BadFile("truncated", "the file ends before its pixels; skipped")
    room = h.file_bytes - (h.pixel_offset or 0)
    if h.transfer_syntax in RAW_SYNTAXES:
        per_byte = 8 / h.bits_allocated
    elif h.transfer_syntax in JPEG_LOSSLESS:
        per_byte = HUFFMAN_PIXELS_PER_BYTE
    elif h.transfer_syntax == RLELossless:
        per_byte = RLE_PIXELS_PER_BYTE
    else:
        per_byte = MAX_PIXELS_PER_BYTE
    if pixels > room * per_byte:
        raise BadFile(
            "truncated", f"claims {h.rows} × {h.columns} pixels but holds {room} bytes; skipped"
        )


def stored_pixels(header: SliceHeader) -> Stored:
    """Stored values of one file, (rows, columns), sign and unused bits put right.

    Raises:
        BadFile: the pixels are missing, damaged, or in an encoding that is not read.
    """
    check_claims(header)
    if header.transfer_syntax in RAW_SYNTAXES:
        pixels = _raw_pixels(header)
    else:
        pixels = _compressed_pixels(header)
    return _significant_bits(pixels, header)


def _raw_pixels(h: SliceHeader) -> Stored:
    order = ">" if h.transfer_syntax == ExplicitVRBigEndian else "<"
    with open(h.path, "rb") as handle:
        start = _seek_pixels(handle, h, order)
        dtype = np.dtype(f"{order}{'i' if h.signed else 'u'}{h.bits_allocated // 8}")
        pixels = np.fromfile(handle, dtype, h.rows * h.columns)
    if pixels.size < h.rows * h.columns:
        raise BadFile("truncated", f"the file ends within its pixels (they start at {start})")
    return pixels.reshape(h.rows, h.columns)


def _seek_pixels(handle: BinaryIO, h: SliceHeader, order: str) -> int:
    """Put the file at the first byte of the pixel values; returns that offset."""
    offset = h.pixel_offset or 0
    handle.seek(offset)
    element = handle.read(12)
    if len(element) < 12:
        raise BadFile("truncated", "the file ends before its pixels; skipped")
    group, tag = struct.unpack(order + "HH", element[:4])
    if group << 16 | tag != PIXEL_DATA:
        raise BadFile("no_pixels", "no Pixel Data element in it; passed over")
    explicit = element[4:6].isalpha() and h.transfer_syntax != ImplicitVRLittleEndian
    start = offset + (12 if explicit else 8)
    (length,) = struct.unpack(order + "I", element[8:12] if explicit else element[4:8])
    if length < h.rows * h.columns * h.bits_allocated // 8:
        raise BadFile("truncated", f"Pixel Data is {length} bytes, too few for its matrix; skipped")
    handle.seek(start)
    return start


def _compressed_pixels(h: SliceHeader) -> Stored:
    syntax = UID(h.transfer_syntax)
    try:
        decoder = None if syntax == DeflatedExplicitVRLittleEndian else get_decoder(syntax)
        available = decoder is None or decoder.is_available
    except NotImplementedError:
        available = False
    if not available:
        raise BadFile(
            "unknown_encoding",
            f"stored as {syntax.name or syntax} ({syntax}), which is not read here; convert it to "
            "a lossless or uncompressed encoding (e.g. with dcmdjpeg or gdcmconv --raw)",
        )
    try:
        if decoder is None:
            return _inflated_pixels(h)
        frame = _first_frame(h)
        _check_codestream(frame, h)
        array, _ = decoder.as_array(frame_as_pixel_data(frame), raw=True, **_layout(h))
    except BadFile:
        raise
    except Exception:  # decoders raise what they like on damaged streams
        raise BadFile("unreadable", "its pixels are damaged or cut off; skipped") from None
    if array.shape != (h.rows, h.columns):
        raise BadFile("unreadable", f"decodes to {array.shape}, not to its matrix; skipped")
    return array


def _inflated_pixels(h: SliceHeader) -> Stored:
    """Pixels of a deflated file, which inflates to explicit little-endian (PS3.5 A.5)."""
    with open(h.path, "rb") as handle:
        value = pixels_of(inflated_data_set(handle) or b"")
    dtype = np.dtype(f"<{'i' if h.signed else 'u'}{h.bits_allocated // 8}")
    return np.frombuffer(value, dtype, h.rows * h.columns).reshape(h.rows, h.columns)


def _layout(h: SliceHeader) -> dict[str, Any]:
    """What a decoder of pydicom must be told besides the codestream."""
    return {
        "rows": h.rows,
        "columns": h.columns,
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "bits_allocated": h.bits_allocated,
        "bits_stored": h.bits_stored,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_representation": int(h.signed),
        "pixel_keyword": "PixelData",
    }


def _first_frame(h: SliceHeader) -> bytes:
    with open(h.path, "rb") as handle:
        handle.seek((h.pixel_offset or 0) + 12)
        encapsulated = handle.read()
    return next(generate_frames(encapsulated, number_of_frames=1))


def frame_as_pixel_data(frame: bytes) -> bytes:
    """One codestream as a Pixel Data value: an empty offset table, then one item (PS3.5 A.4)."""
    pad = b"\0" * (len(frame) % 2)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(frame) + len(pad)) + frame + pad
    return struct.pack("<HHI", 0xFFFE, 0xE000, 0) + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _check_codestream(frame: bytes, h: SliceHeader) -> None:
    """The codestream's own matrix must be the header's: decoders allocate what it says."""
    size = codestream_size(frame)
    if size is not None and size != (h.rows, h.columns):
        raise BadFile(
            "unreadable",
            f"its pixels are {size[0]} × {size[1]}, its header says {h.rows} × {h.columns}",
        )


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream claims; None for other streams."""
    if frame[:4] == b"\xff\x4f\xff\x51" and len(frame) >= 24:
        right, bottom, left, top = struct.unpack(">IIII", frame[8:24])
        return bottom - top, right - left
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        # Start-of-frame markers (T.81 table B.1; T.87 adds F7), less the tables among them.
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, columns = struct.unpack(">HH", frame[at + 5 : at + 9])
            return rows, columns
        at += 2 + struct.unpack(">H", frame[at + 2 : at + 4])[0]
    return None


def _significant_bits(pixels: Stored, h: SliceHeader) -> Stored:
    """Keep the BitsStored bits that end at HighBit, sign extended (PS3.5 8.1.1).

    What stands in the other bits (old overlays, scanner remarks) is not image.
    """
    unused_above = h.bits_allocated - 1 - h.high_bit
    unused_below = h.high_bit + 1 - h.bits_stored
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if native.dtype.itemsize * 8 != h.bits_allocated or not (unused_above or unused_below):
        return native
    shift = unused_above + unused_below
    return np.right_shift(np.left_shift(native, unused_above), shift)


def to_hu(stored: Stored, header: SliceHeader) -> npt.NDArray[np.int16]:
    """Stored values → HU as int16: rescaled, padding made air, nothing below −1024.

    Raises:
        BadFile: slope or intercept is there but unusable.
    """
    slope, intercept = rescale(header)
    if slope == 1 and intercept == int(intercept):
        hu = stored.astype(np.int32)
        hu += int(intercept)
    else:
        hu = np.rint(stored * slope + intercept)
    if header.padding is not None:
        limit = header.padding if header.padding_limit is None else header.padding_limit
        low, high = sorted((header.padding, limit))
        bounds = np.array([low, high]) * slope + intercept
        if (bounds < TISSUE_HU[0]).all() or (bounds > TISSUE_HU[1]).all():
            hu[(stored >= low) & (stored <= high)] = HU_MIN
    np.clip(hu, HU_MIN, np.iinfo(np.int16).max, out=hu)
    return hu.astype(np.int16)


def rescale(header: SliceHeader) -> tuple[float, float]:
    """Slope and intercept to HU.

    A CT without either cannot show air in unsigned storage unless the usual −1024 is meant.

    Raises:
        BadFile: one of them is there but not a usable number.
    """
    if header.rescale_absent:
        return 1.0, 0.0 if header.signed else float(HU_MIN)
    slope, intercept = header.slope, header.intercept
    if slope is None or intercept is None or slope == 0 or abs(slope) > 1e3 or abs(intercept) > 1e6:
        raise BadFile(
            "bad_rescale", "RescaleSlope and RescaleIntercept are not usable numbers; skipped"
        )
    return slope, intercept


def decode_hu(header: SliceHeader) -> npt.NDArray[np.int16]:
    """HU of one file, (rows, columns), as stored in the file (not yet turned to the patient).

    Raises:
        BadFile: with the reason.
    """
    return to_hu(stored_pixels(header), header)
