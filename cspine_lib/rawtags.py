"""The wanted tags of an ordinary DICOM file, parsed by pydicom from its first few kilobytes.

``pydicom.dcmread`` prepares for every kind of file and builds three data sets on its way.  An
ordinary CT slice needs none of that: its header is short, little-endian, and ends where the
pixels begin.  Whatever is not ordinary is left to ``dcmread``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from io import BytesIO
from typing import Any, BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

HEAD_BYTES = 32 * 1024
"""Longer headers are left to ``dcmread``; RSNA's have one kilobyte, a hospital's ten to twenty."""
MAGIC_END = 132
"""128 bytes of anything, then ``DICM`` (PS3.10 section 7.1)."""
TRANSFER_SYNTAX = 0x00020010
PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
"""Float, double float and integer pixel data."""

Elements = dict[BaseTag, Any]
"""Elements by tag; nearly all are pydicom's ``RawDataElement``."""


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
