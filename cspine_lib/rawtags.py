"""The wanted tags of a DICOM file, parsed by pydicom within bounds of time and memory.

``pydicom.dcmread`` prepares for every kind of file and builds three data sets on its way.  An
ordinary CT slice needs none of that: its header is short, little-endian, and ends where the
pixels begin.  Whatever is not ordinary is left to ``dcmread``, which sees neither a whole file
that is larger than a slice nor one that inflates to more.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from io import BytesIO, RawIOBase
from typing import Any, BinaryIO, cast

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.filereader import data_element_generator, read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cspine_lib.errors import printable

HEAD_BYTES = 32 * 1024
"""Longer headers are left to ``dcmread``; RSNA's have one kilobyte, a hospital's ten to twenty."""
MAX_FILE_BYTES = 160 * 2**20
"""Twice the largest slice that is taken; a larger file holds many frames, or nothing."""
MAX_PARSED_BYTES = 2**20
"""What the parser may read of a header.  It leaps over long values that nobody wants, but makes
an object of some kilobyte from each eight bytes of a nested sequence."""
MAX_INFLATED_BYTES = 80 * 2**20
"""A deflated file that grows beyond this is refused (it is not one CT slice)."""
MAGIC_END = 132
"""128 bytes of anything, then ``DICM`` (PS3.10 section 7.1)."""
TRANSFER_SYNTAX = 0x00020010
PIXELS_TAG = BaseTag(0x7FE00010)
PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
"""Float, double float and integer pixel data."""

Elements = dict[BaseTag, Any]
"""Elements by tag; nearly all are pydicom's ``RawDataElement``."""


class Oversized(Exception):
    """More than one CT slice can need; the message says what."""


class NotDicom(Exception):
    """Nothing that a parser can hold on to."""


def ordinary_header(
    handle: BinaryIO, wanted: Collection[BaseTag]
) -> tuple[Elements, Elements, int] | None:
    """Raw elements of group 2, the wanted ones of the data set, and where the pixels start.

    Args:
        handle: at the start of the file; left anywhere.

    Returns:
        None where the file is not ordinary: another byte order, deflated, damaged, no preamble,
        no pixels, a header of more than ``HEAD_BYTES``.
    """
    head = handle.read(HEAD_BYTES)
    if head[MAGIC_END - 4 : MAGIC_END] != b"DICM":
        return None
    buffer = BytesIO(head)
    buffer.seek(MAGIC_END)
    try:
        meta = _elements(buffer, False, None, lambda tag, *_: tag.group != 2)
        syntax = str((meta[BaseTag(TRANSFER_SYNTAX)].value or b"").strip(b"\0 "), "ascii")
        if syntax in ("", DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
            return None
        implicit = syntax == ImplicitVRLittleEndian
        # Some files are not coded as they claim; dcmread finds out how.
        if implicit == _has_vr(head[buffer.tell() + 4 : buffer.tell() + 6]):
            return None
        at_pixels = False

        def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
            nonlocal at_pixels
            at_pixels = tag in PIXELS
            return at_pixels

        elements = _elements(buffer, implicit, wanted, stop)
    except Exception:  # the parser meets arbitrary bytes and raises arbitrary errors
        return None
    return (meta, elements, buffer.tell()) if at_pixels else None


def _has_vr(code: bytes) -> bool:
    return len(code) == 2 and all(65 <= letter <= 90 for letter in code)


def _elements(
    buffer: BytesIO,
    implicit: bool,
    wanted: Collection[BaseTag] | None,
    stop: Callable[[BaseTag, str | None, int], bool],
) -> Elements:
    tags: Any = None if wanted is None else [*wanted]
    found = data_element_generator(buffer, implicit, True, stop_when=stop, specific_tags=tags)
    return {e.tag: e for e in found if isinstance(e, RawDataElement)}


class _Bounded(RawIOBase):
    """A file of which only so many bytes can be read; leaps cost nothing."""

    def __init__(self, handle: BinaryIO, limit: int = MAX_PARSED_BYTES) -> None:
        self.handle, self.left = handle, limit

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0 or size > self.left:
            size = self.left + 1
        found = self.handle.read(size)
        self.left -= len(found)
        if self.left < 0:
            raise Oversized("its header is longer than any scanner's; skipped")
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.handle.seek(offset, whence)

    def tell(self) -> int:
        return self.handle.tell()


def any_header(handle: BinaryIO, wanted: Collection[BaseTag]) -> tuple[Elements, str, int | None]:
    """Wanted elements, transfer syntax and offset of the pixels (None: deflated) of any file.

    Args:
        handle: at the start of the file; left anywhere.

    Raises:
        Oversized: it claims more than one slice can be.
        NotDicom: no DICOM.
        Exception: whatever the parser raises on damaged bytes.
    """
    dataset = any_data_set(handle, wanted)
    items: Elements = {tag: dataset.get_item(tag) for tag in dataset.keys()}  # noqa: SIM118
    if not isinstance(dataset, pydicom.FileDataset):
        return items, str(DeflatedExplicitVRLittleEndian), None
    return items, _transfer_syntax(dataset), handle.tell()


def any_data_set(handle: BinaryIO, wanted: Collection[BaseTag]) -> pydicom.Dataset:
    """The wanted tags of any file, as pydicom has them; a file's data set but where it is deflated.

    Args:
        wanted: with Rows and Columns, without which a file that lacks its preamble is none.

    Raises:
        As ``any_header``.
    """
    inflated = inflated_data_set(handle)
    if inflated is not None:
        bounded = cast(BinaryIO, _Bounded(BytesIO(inflated)))
        return read_dataset(bounded, False, True, stop_when=_at_pixels, specific_tags=[*wanted])
    handle.seek(0)
    return _dcmread(handle, wanted)


def inflated_data_set(handle: BinaryIO) -> bytes | None:
    """What a deflated file holds after group 2 (PS3.5 A.5), None for other files.

    Raises:
        Oversized: it grows beyond ``MAX_INFLATED_BYTES``.
    """
    handle.seek(0)
    head = handle.read(MAX_PARSED_BYTES)
    buffer = BytesIO(head)
    buffer.seek(MAGIC_END if head[MAGIC_END - 4 : MAGIC_END] == b"DICM" else 0)
    try:
        meta = _elements(buffer, False, None, lambda tag, *_: tag.group != 2)
    except Exception:  # then dcmread fails as well
        return None
    # Every value of the tag counts, however it is padded: dcmread must never be the one to inflate.
    syntax = meta.get(BaseTag(TRANSFER_SYNTAX))
    if f"{DeflatedExplicitVRLittleEndian}".encode() not in (getattr(syntax, "value", b"") or b""):
        return None
    handle.seek(buffer.tell())
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(handle.read(MAX_INFLATED_BYTES), MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise Oversized("it inflates beyond the size of a slice; skipped")
    return content


def pixels_of(inflated: bytes) -> bytes:
    """Value of the Pixel Data element of an inflated data set.

    Raises:
        Oversized: a header that no scanner writes.
        NotDicom: no pixels in it.
    """
    buffer = BytesIO(inflated)
    bounded = cast(BinaryIO, _Bounded(buffer))
    read_dataset(bounded, False, True, stop_when=_at_pixels, specific_tags=[PIXELS_TAG])
    element = buffer.read(12)  # explicit VR, OB or OW: the length has four bytes
    if element[:4] != b"\xe0\x7f\x10\x00":
        raise NotDicom
    return inflated[buffer.tell() : buffer.tell() + int.from_bytes(element[8:12], "little")]


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag in PIXELS


def _dcmread(handle: BinaryIO, wanted: Collection[BaseTag]) -> pydicom.FileDataset:
    """Data set without pixels of a file that is not ordinary."""
    options: dict[str, Any] = {"stop_before_pixels": True, "specific_tags": [*wanted]}
    try:
        return pydicom.dcmread(_Bounded(handle), **options)
    except InvalidDicomError:  # some old exports lack the 128-byte preamble
        handle.seek(0)
        try:
            dataset = pydicom.dcmread(_Bounded(handle), force=True, **options)
        except Oversized:  # a large file of anything, read as tags
            raise NotDicom from None
        if "Rows" not in dataset or "Columns" not in dataset:
            raise NotDicom from None
        return dataset


def _transfer_syntax(dataset: pydicom.FileDataset) -> str:
    meta = getattr(dataset, "file_meta", None)
    uid = "" if meta is None else str(meta.get("TransferSyntaxUID", "") or "").strip("\0 ")
    if uid:
        return printable(uid, 64)
    implicit = dataset.original_encoding[0]
    return str(ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)
