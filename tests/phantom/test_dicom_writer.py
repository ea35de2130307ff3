"""Bytes of the fast writer, against pydicom's own."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import nibabel as nib
import numpy as np
import pydicom
import pytest

from cspine_lib.errors import CspineError
from cspine_lib.phantom import dicom_writer
from cspine_lib.phantom.design import OTHER_MASK_AXES, RSNA_MASK_AXES, design_set
from cspine_lib.phantom.traits import Request, Storage, StudyDesign


def _design(**storage) -> StudyDesign:
    request = Request(1, 0, (16, 24, 20), (168.0, 144.0), 0, 5, 0.5)
    design = design_set(request)[0]
    return replace(design, storage=replace(design.storage, **storage))


def _hu(design: StudyDesign) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(-1024, 3072, design.plan.shape_zyx).astype(np.int16)


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "jpeg"])
@pytest.mark.parametrize("window", [((1800.0, 500.0),), ((1800.0, 500.0), (400.0, 40.0))])
def test_pydicom_would_write_the_same_bytes(syntax: str, window: tuple):
    design = _design(syntax=syntax, window=window)
    for _, content in dicom_writer.encode_series(_hu(design), design):
        ds = pydicom.dcmread(BytesIO(content))
        assert len(list(ds)) > 30  # looked at, or pydicom would copy the raw elements
        again = BytesIO()
        ds.save_as(again, enforce_file_format=False)
        assert again.getvalue() == content


def test_jpeg_encoder_survives_being_used_for_a_whole_set():
    """GDCM and Python must not both free an image: that aborts after some hundred frames."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 4096, (32, 32)).astype(np.uint16) for _ in range(4)]
    streams = [dicom_writer.jpeg_lossless(frames[i % 4], 12) for i in range(3000)]
    assert all(stream == streams[i % 4] for i, stream in enumerate(streams))
    assert streams[0][:2] == b"\xff\xd8" and b"\xff\xd9" in streams[0][-3:]


def test_numbers_of_files():
    assert Storage().numbers(4).tolist() == [1, 2, 3, 4]
    assert Storage(feet_first=True, first_number=7).numbers(3).tolist() == [9, 8, 7]
    assert Storage(skipped=(0, 2)).numbers(5).tolist() == [1, 3, 4, 6, 7]


def test_unreadable_file_breaks_off_and_the_others_do_not():
    whole, cut = _design(syntax="explicit"), _design(syntax="explicit", unreadable_z=5)
    sizes = [
        np.array([len(content) for _, content in dicom_writer.encode_series(_hu(d), d)])
        for d in (whole, cut)
    ]
    assert np.flatnonzero(sizes[0] != sizes[1]).tolist() == [5]
    assert sizes[1][5] < 0.6 * sizes[0][5]


def test_hu_that_cannot_be_stored_are_refused():
    design = _design()
    for value in (-1025, 3072):
        hu_zyx = np.full(design.plan.shape_zyx, value, np.int16)
        with pytest.raises(CspineError, match="12 bits"):
            next(dicom_writer.encode_series(hu_zyx, design))
    with pytest.raises(CspineError, match="voxels"):
        next(dicom_writer.encode_series(np.zeros((1, 2, 3), np.int16), design))


@pytest.mark.parametrize("axes", [RSNA_MASK_AXES, *OTHER_MASK_AXES])
def test_masks_lie_in_place_whatever_their_axes(axes: str, tmp_path):
    design = replace(_design(), mask_axes=axes)
    mask_zyx = np.zeros(design.plan.shape_zyx, np.uint8)
    corners = {3: (1, 2, 4), 9: (14, 2, 4), 1: (1, 20, 4), 7: (1, 2, 15)}
    for value, index in corners.items():
        mask_zyx[index] = value
    path = tmp_path / "mask.nii"
    dicom_writer.write_mask(path, mask_zyx, design)
    image = nib.load(path)
    assert "".join(nib.aff2axcodes(image.affine)) == axes
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    data = np.asarray(image.dataobj)
    for value, index in corners.items():
        ras = image.affine @ (*np.argwhere(data == value)[0], 1)
        x, y, z = design.storage.origin_mm
        dz, dy, dx = design.plan.spacing_zyx_mm
        lps = (x + index[2] * dx, y + index[1] * dy, z - index[0] * dz)
        assert ras[:3] == pytest.approx((-lps[0], -lps[1], lps[2]), abs=1e-3)
