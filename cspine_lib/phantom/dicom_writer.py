"""One study as RSNA has it: a folder of DICOM files, a NIfTI mask.

All slices of a series share most of their header.  That part is encoded once, by
pydicom; the few elements that differ are put between its pieces.  The
bytes depend on the arguments alone: no dates, no random identifiers, no names of
tools.  JPEG Lossless frames are made by GDCM (pydicom cannot encode them).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)

from cspine_lib.anatomy import HU_MAX, HU_MIN
from cspine_lib.errors import CspineError
from cspine_lib.phantom.design import UID_ROOT
from cspine_lib.phantom.traits import StudyDesign
from cspine_lib.volume import LPS_TO_RAS

INTERCEPT = -1024
SYNTAX_UID = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "jpeg": JPEGLosslessSV1,
}
IMPLEMENTATION_UID = f"{UID_ROOT}.2022.1"

# Elements that differ from slice to slice, with their value representation.
SOP_INSTANCE_UID = Tag(0x0008, 0x0018)
INSTANCE_NUMBER = Tag(0x0020, 0x0013)
IMAGE_POSITION = Tag(0x0020, 0x0032)
SLICE_LOCATION = Tag(0x0020, 0x1041)
PIXEL_DATA = Tag(0x7FE0, 0x0010)
VARYING = {
    SOP_INSTANCE_UID: b"UI",
    INSTANCE_NUMBER: b"IS",
    IMAGE_POSITION: b"DS",
    SLICE_LOCATION: b"DS",
}


def affine_mm(design: StudyDesign) -> npt.NDArray[np.float64]:
    """(4, 4) map of a voxel ``(z, y, x, 1)`` of the drawn arrays to LPS mm."""
    dz, dy, dx = design.plan.spacing_zyx_mm
    out = np.zeros((4, 4))
    out[2, 0], out[1, 1], out[0, 2], out[3, 3] = -dz, dy, dx, 1.0
    out[:3, 3] = design.storage.origin_mm
    return out


def _decimal(*values: float) -> str:
    return "\\".join(f"{value:.4f}".rstrip("0").rstrip(".") for value in values)


def common_header(design: StudyDesign) -> Dataset:
    """What all slices of a study share; pixel data and ``VARYING`` are missing."""
    store, (_, dy, dx) = design.storage, design.plan.spacing_zyx_mm
    bits = 16 if store.signed else 12
    ds = Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.Modality = "CT"
    for empty in (
        *("StudyDate", "StudyTime", "AccessionNumber", "Manufacturer"),
        *("ReferringPhysicianName", "PatientName", "PatientBirthDate", "PatientSex"),
        *("KVP", "StudyID", "SeriesNumber", "AcquisitionNumber", "PositionReferenceIndicator"),
    ):
        setattr(ds, empty, None)
    ds.PatientID = ds.StudyInstanceUID = design.uid
    ds.SeriesInstanceUID = f"{design.uid}.1"
    ds.FrameOfReferenceUID = f"{design.uid}.2"
    ds.BodyPartExamined = "CSPINE"
    ds.PatientPosition = "HFS"
    ds.SliceThickness = _decimal(store.thickness_mm)
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = design.plan.shape_zyx[1:]
    ds.PixelSpacing = _decimal(dy, dx).split("\\")
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelRepresentation = int(store.signed)
    ds.WindowCenter = [_decimal(centre) for _, centre in store.window]
    ds.WindowWidth = [_decimal(width) for width, _ in store.window]
    ds.RescaleIntercept, ds.RescaleSlope = str(INTERCEPT), "1"
    return ds


def _element(tag: BaseTag, vr: bytes, value: bytes, implicit: bool) -> bytes:
    """One encoded little-endian element (PS3.5 section 7.1), padded to an even length."""
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    place = struct.pack("<HH", tag.group, tag.element)
    if implicit:
        return place + struct.pack("<I", len(value)) + value
    if vr in (b"OB", b"OW"):
        return place + vr + struct.pack("<HI", 0, len(value)) + value
    return place + vr + struct.pack("<H", len(value)) + value


def _encoded(ds: Dataset, implicit: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    write_dataset(buffer, ds)
    return buffer.getvalue()


def _pieces(ds: Dataset, implicit: bool) -> list[bytes]:
    """The common header cut where a varying element belongs: one piece more than those."""
    bounds = [Tag(0), *VARYING, PIXEL_DATA]
    pieces = []
    for low, high in pairwise(bounds):
        part = Dataset({tag: ds[tag] for tag in ds.keys() if low < tag < high})  # noqa: SIM118
        pieces.append(_encoded(part, implicit))
    return pieces


def _preamble(sop_uid: str, syntax: str) -> bytes:
    """128 empty bytes, ``DICM`` and the file's own description (PS3.10 section 7.1)."""
    group = {
        Tag(2, 1): (b"OB", b"\0\1"),
        Tag(2, 2): (b"UI", CTImageStorage.encode()),
        Tag(2, 3): (b"UI", sop_uid.encode()),
        Tag(2, 16): (b"UI", SYNTAX_UID[syntax].encode()),
        Tag(2, 18): (b"UI", IMPLEMENTATION_UID.encode()),
    }
    meta = b"".join(_element(tag, vr, value, False) for tag, (vr, value) in group.items())
    length = _element(Tag(2, 0), b"UL", struct.pack("<I", len(meta)), False)
    return bytes(128) + b"DICM" + length + meta


def jpeg_lossless(stored_yx: npt.NDArray[Any], bits: int) -> bytes:
    """A JPEG Lossless stream (process 14, selection value 1) of one slice.

    Args:
        stored_yx: (Y, X) int16 or uint16 as stored.
        bits: BitsStored.

    Raises:
        CspineError: GDCM is not installed or does not encode.
    """
    try:
        import gdcm
    except ImportError as error:
        raise CspineError("a phantom needs GDCM: pip install python-gdcm") from error
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimension(0, stored_yx.shape[1])
    image.SetDimension(1, stored_yx.shape[0])
    signed = int(stored_yx.dtype.kind == "i")
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, signed))
    grey = gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    image.SetPhotometricInterpretation(grey)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    pixels = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    pixels.SetByteStringValue(stored_yx.tobytes())
    image.SetDataElement(pixels)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(image)
    # GDCM counts references of its own and has now taken the image over.  Were Python to
    # free it as well, memory would be freed twice.
    image.thisown = False
    if not change.Change():
        raise CspineError("GDCM does not encode JPEG Lossless: reinstall python-gdcm")
    fragments = change.GetOutput().GetDataElement().GetSequenceOfFragments()
    stream = fragments.GetFragment(0).GetByteValue().GetBuffer()
    # GDCM's Python wrapper gives bytes as text with escapes.
    return stream if isinstance(stream, bytes) else stream.encode("utf-8", "surrogateescape")


def _pixel_element(stored_yx: npt.NDArray[Any], design: StudyDesign, bits: int) -> bytes:
    if design.storage.syntax != "jpeg":
        implicit = design.storage.syntax == "implicit"
        return _element(PIXEL_DATA, b"OW", stored_yx.tobytes(), implicit)
    body = encapsulate([jpeg_lossless(stored_yx, bits)])
    place = struct.pack("<HH", PIXEL_DATA.group, PIXEL_DATA.element)
    # Undefined length, closed by a sequence delimiter (PS3.5 section A.4).
    return place + b"OB\0\0\xff\xff\xff\xff" + body + b"\xfe\xff\xdd\xe0\0\0\0\0"


def encode_series(
    hu_zyx: npt.NDArray[np.int16], design: StudyDesign
) -> Iterator[tuple[str, bytes]]:
    """File name and content of every slice, head to feet.

    Args:
        hu_zyx: int16 (Z, Y, X) within -1024 … 3071 HU.
        design: geometry and storage.

    Raises:
        CspineError: another shape than planned, or HU that 12 bits cannot hold.
    """
    if hu_zyx.shape != tuple(design.plan.shape_zyx):
        raise CspineError(f"planned {design.plan.shape_zyx} voxels, drew {hu_zyx.shape}")
    if hu_zyx.min() < HU_MIN or hu_zyx.max() > HU_MAX:
        raise CspineError(f"HU must lie in {HU_MIN} to {HU_MAX} to be stored in 12 bits")
    store, dz = design.storage, design.plan.spacing_zyx_mm[0]
    implicit, bits = store.syntax == "implicit", 16 if store.signed else 12
    dtype = np.dtype("<i2" if store.signed else "<u2")
    stored_zyx = (hu_zyx - np.int16(INTERCEPT)).astype(dtype)
    head, *pieces = _pieces(common_header(design), implicit)
    x, y, top = store.origin_mm
    for z, number in enumerate(store.numbers(len(hu_zyx))):
        sop_uid, height = f"{design.uid}.1.{number}", top - z * dz
        values = (sop_uid, str(number), _decimal(x, y, height), _decimal(height))
        out = BytesIO()
        out.write(_preamble(sop_uid, store.syntax))
        out.write(head)
        for (tag, vr), value, piece in zip(VARYING.items(), values, pieces, strict=True):
            out.write(_element(tag, vr, value.encode(), implicit))
            out.write(piece)
        out.write(_pixel_element(stored_zyx[z], design, bits))
        content = out.getvalue()
        # The unreadable file is one whose transfer broke off.
        yield f"{number}.dcm", content[: len(content) // 2] if z == store.unreadable_z else content


def write_series(folder: Path, hu_zyx: npt.NDArray[np.int16], design: StudyDesign) -> None:
    """Write every slice into an existing folder."""
    for name, content in encode_series(hu_zyx, design):
        (folder / name).write_bytes(content)


def write_mask(path: Path, mask_zyx: npt.NDArray[np.uint8], design: StudyDesign) -> None:
    """Write a mask as NIfTI (RAS mm) with its axes in the order ``design.mask_axes``."""
    image = nib.Nifti1Image(mask_zyx, LPS_TO_RAS @ affine_mm(design), dtype=np.uint8)
    here = nib.io_orientation(image.affine)
    there = nib.orientations.axcodes2ornt(tuple(design.mask_axes or "LAS"))
    turned = image.as_reoriented(nib.orientations.ornt_transform(here, there))
    turned.set_sform(turned.affine, code=1)
    turned.set_qform(turned.affine, code=1)
    nib.save(turned, path)
