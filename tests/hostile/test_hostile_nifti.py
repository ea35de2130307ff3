"""NIfTI masks of strangers: a mask on the grid or one line, in bounded memory."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hostile_tools import fuzz, in_child, memory_limit, spoilt
from hypothesis import given
from hypothesis import strategies as st

from cspine_lib.errors import CspineError
from cspine_lib.masks import read_mask
from cspine_lib.volume import LPS_TO_RAS

SHAPE = (6, 10, 8)
AFFINE = np.array([[0, 0, 0.5, -2.0], [0, 0.4, 0, -3], [-2, 0, 0, 40], [0, 0, 0, 1.0]])
MASK = np.random.default_rng(0).integers(0, 9, SHAPE).astype(np.uint8)


def nifti(dtype: type = np.uint8, two: bool = False) -> bytes:
    """A sound mask on the grid, axes (z, y, x)."""
    kind = nibabel.Nifti2Image if two else nibabel.Nifti1Image
    return kind(MASK.astype(dtype), LPS_TO_RAS @ AFFINE).to_bytes()


def mask_or_line(path: Path) -> None:
    try:
        found = read_mask(path, SHAPE, AFFINE)
    except CspineError as error:
        assert str(error).isprintable() and path.name in str(error)
        return
    assert found.shape == SHAPE and found.dtype == np.uint8 and found.max() <= 19


@pytest.mark.parametrize("two", [False, True], ids=["nifti1", "nifti2"])
@pytest.mark.parametrize("packed", [False, True], ids=["nii", "gz"])
@fuzz(40, 4000)
@given(data=st.data())
def test_spoilt_masks(
    tmp_path_factory: pytest.TempPathFactory, two: bool, packed: bool, data: st.DataObject
) -> None:
    content = data.draw(spoilt(nifti(two=two), head=540 if two else 348))
    path = tmp_path_factory.getbasetemp() / ("m.nii.gz" if packed else "m.nii")
    whole = gzip.compress(content, 1, mtime=0) if packed else content
    if packed and data.draw(st.booleans()):
        whole = data.draw(spoilt(gzip.compress(nifti(two=two), 1, mtime=0)))
    path.write_bytes(whole)
    mask_or_line(path)


@pytest.mark.parametrize("packed", [False, True], ids=["nii", "gz"])
def test_masks_cut_off_anywhere_are_never_taken_for_whole(tmp_path: Path, packed: bool) -> None:
    content = gzip.compress(nifti(), 1, mtime=0) if packed else nifti()
    path = tmp_path / ("m.nii.gz" if packed else "m.nii")
    path.write_bytes(content)
    assert np.array_equal(read_mask(path, SHAPE, AFFINE), MASK)
    for end in np.linspace(0, len(content) - 1, 50).astype(int):
        path.write_bytes(content[:end])
        with pytest.raises(CspineError, match=r"m\.nii"):
            read_mask(path, SHAPE, AFFINE)


def patched(content: bytes, at: int, kind: str, *values: float) -> bytes:
    packed = struct.pack(f"<{len(values)}{kind}", *values)
    return content[:at] + packed + content[at + len(packed) :]


ABSURD = {
    "no slices": patched(nifti(), 42, "h", 0),
    "negative side": patched(nifti(), 42, "h", -6),
    "huge sides": patched(nifti(), 42, "h", 32767, 32767, 32767),
    "seven axes": patched(nifti(), 40, "h", 7, 6, 10, 8, 30000, 30000, 30000, 30000),
    "affine of 1e38": patched(nifti(), 280, "f", 1e38),
    "affine of NaN": patched(nifti(), 280, "f", float("nan")),
    "singular affine": patched(nifti(), 280, "f", *[0.0] * 12),
    "complex": patched(nifti(), 70, "h", 1792, 128),
    "colours": patched(nifti(), 70, "h", 128, 24),
    "eight times the bytes": patched(nifti(), 70, "h", 64, 64),
    "offset beyond the end": patched(nifti(), 108, "f", 1e9),
    "negative offset": patched(nifti(), 108, "f", -4e9),
    "scaled by NaN into nothing": patched(nifti(), 112, "f", 1e30, 0.0),
    "an extension of 2 GiB": patched(patched(nifti(), 108, "f", 2**30), 348, "i", 1, 2**31 - 16),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_headers_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.nii").write_bytes(ABSURD[name])

    def work() -> None:
        with pytest.raises(CspineError, match=r"m\.nii"):
            read_mask(tmp_path / "m.nii", SHAPE, AFFINE)

    assert in_child(work, memory_limit(250)) == 0


@pytest.mark.parametrize("fill", [b"\0", nifti()], ids=["zeros", "a mask and zeros"])
def test_a_packed_bomb_is_refused_in_little_memory(tmp_path: Path, fill: bytes) -> None:
    path = tmp_path / "m.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(fill)
        for _ in range(400):
            file.write(bytes(2**20))
    assert path.stat().st_size < 4 * 2**20

    def work() -> None:
        with pytest.raises(CspineError, match="far more than a mask"):
            read_mask(path, SHAPE, AFFINE)

    assert in_child(work, memory_limit(150)) == 0


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.nii"
    path.write_bytes(ABSURD["an extension of 2 GiB"])
    os.truncate(path, 2**32)

    def work() -> None:
        with pytest.raises(CspineError, match="far more than a mask"):
            read_mask(path, SHAPE, AFFINE)

    assert in_child(work, memory_limit(150)) == 0


def test_damage_is_told_in_one_line_and_nowhere_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """nibabel logs what it makes of a damaged header; nobody asked it to."""
    path = tmp_path / "m.nii"
    path.write_bytes(patched(patched(nifti(), 0, "i", 7777), 70, "h", 11147))
    with pytest.raises(CspineError):
        read_mask(path, SHAPE, AFFINE)
    assert capfd.readouterr() == ("", "")
