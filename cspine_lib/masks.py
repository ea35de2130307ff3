"""Segmentations onto the image grid, by the affines and by nothing else.

NIfTI affines are in RAS mm, DICOM's in LPS mm, and a mask's axes may run in any order
and direction.  A fixed flip is right for most files and silently wrong for the rest.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel import imageglobals

from cspine_lib.errors import CspineError
from cspine_lib.volume import LPS_TO_RAS

TOLERANCE_VOXELS = 0.1
"""A mask whose corner lies further from a voxel centre does not belong to the grid."""
MAX_MASK_VALUE = 19
"""T12; above it nothing is defined."""
FARTHEST_MM = 1e6
"""An affine with larger numbers is no place in a scanner."""
BYTES_PER_VOXEL = 8
"""Of the widest type that a mask is read in."""
SPARE_BYTES = 16 * 2**20
"""Room for a file's header and its extensions, beyond 1.5 × the voxels of the image."""


def read_mask(
    path: str | Path, shape_zyx: tuple[int, int, int], affine_mm: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """A NIfTI segmentation as (Z, Y, X) on the given grid, 0 where it does not reach.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        shape_zyx: shape of the image volume.
        affine_mm: (4, 4) of the image volume, voxel (z, y, x, 1) → LPS mm.

    Raises:
        CspineError: unreadable, not whole numbers 0–19, or on another grid (the message
            says which numbers differ).
    """
    path, name = Path(path), Path(path).name
    most = int(1.5 * BYTES_PER_VOXEL * np.prod(shape_zyx, dtype=np.int64)) + SPARE_BYTES
    try:
        held = _held_bytes(path, most)
        # Only this format: by its name or first bytes nibabel would try twenty others, too.
        with _quiet_nibabel():
            image: Any = _nifti_class(path).from_filename(path)
        affine = LPS_TO_RAS @ np.asarray(image.affine, dtype=np.float64)
        shape = tuple(image.shape)
        wide = image.get_data_dtype()
    except CspineError:
        raise
    except Exception as error:  # nibabel meets arbitrary bytes
        raise CspineError(f"{name} is no readable NIfTI file ({type(error).__name__})") from None
    if wide.kind not in "iuf" or wide.itemsize > BYTES_PER_VOXEL:
        raise CspineError(f"{name} holds {wide} values; a mask holds whole numbers")
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    order, shift = _placement(name, shape, affine, shape_zyx, affine_mm)
    claimed = int(np.prod(shape, dtype=object)) * wide.itemsize
    if claimed > held:
        raise CspineError(f"{name} claims {claimed} bytes of voxels but holds {held}: cut off?")
    values = _values(name, image, shape)
    return _laid_onto(values, order, shift, shape_zyx)


@contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Silences nibabel's remarks on damaged headers; what matters is raised as an error."""
    level = imageglobals.logger.level
    imageglobals.logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        imageglobals.logger.setLevel(level)


def _held_bytes(path: Path, most: int) -> int:
    """How many bytes a file holds, unpacked; counted before anything is allocated for them.

    Raises:
        CspineError: more than ``most``.
        Exception: it cannot be read to its end.
    """
    if path.name.endswith(".gz"):
        held = 0
        with gzip.open(path) as file:
            while held <= most and (part := file.read(2**20)):
                held += len(part)
    else:
        held = path.stat().st_size
    if held > most:
        raise CspineError(f"{path.name} holds far more than a mask of its images can")
    return held


def _nifti_class(path: Path) -> Any:
    """NIfTI 1 or 2, by the size of the header (348 or 540) that the file begins with."""
    with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as file:
        head = file.read(4)
    two = 540 in (int.from_bytes(head, "little"), int.from_bytes(head, "big"))
    return nibabel.Nifti2Image if two else nibabel.Nifti1Image


def _placement(
    name: str,
    shape: tuple[int, ...],
    mask_affine_mm: npt.NDArray[np.float64],
    shape_zyx: tuple[int, int, int],
    affine_mm: npt.NDArray[np.float64],
) -> tuple[list[tuple[int, int]], list[int]]:
    """For each image axis: (mask axis, direction), and where the mask's first voxel lands."""
    if len(shape) != 3 or min(shape) < 1:
        raise CspineError(f"{name} has shape {shape}; a mask has three axes")
    if not (np.abs(mask_affine_mm) < FARTHEST_MM).all():  # also false for NaN
        raise CspineError(f"{name} has a broken affine, so its place is unknown")
    if abs(np.linalg.det(mask_affine_mm[:3, :3])) < 1e-9:
        raise CspineError(f"{name} has a singular affine, so its place is unknown")
    to_image = np.linalg.inv(affine_mm) @ mask_affine_mm  # mask voxel → image voxel
    turn = to_image[:3, :3]
    axis_of = [int(np.argmax(np.abs(turn[row]))) for row in range(3)]
    exact = np.zeros((3, 4))
    order, shift = [], []
    for row, axis in enumerate(axis_of):
        sign = 1 if turn[row, axis] > 0 else -1
        start = int(np.rint(to_image[row, 3]))
        order.append((axis, sign))
        shift.append(start if sign > 0 else start - (shape[axis] - 1))
        exact[row, axis], exact[row, 3] = sign, start
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    corners = np.column_stack([corners, np.ones(8)]).T
    off = float(np.abs(to_image[:3] @ corners - exact @ corners).max())
    if sorted(axis_of) != [0, 1, 2] or off > TOLERANCE_VOXELS:
        raise CspineError(_difference(name, shape, mask_affine_mm, shape_zyx, affine_mm))
    size = [shape[axis] for axis in axis_of]
    if (
        size[1:] != list(shape_zyx[1:])
        or shift[1:] != [0, 0]
        or not _mostly_inside(shift[0], size[0], shape_zyx[0])
    ):
        raise CspineError(_difference(name, shape, mask_affine_mm, shape_zyx, affine_mm))
    return order, shift


def _mostly_inside(start: int, size: int, length: int) -> bool:
    """A mask may reach a little beyond the slices that could be read, not more."""
    inside = min(start + size, length) - max(start, 0)
    return inside >= 0.9 * size


def _difference(
    name: str,
    shape: tuple[int, ...],
    mask_affine_mm: npt.NDArray[np.float64],
    shape_zyx: tuple[int, int, int],
    affine_mm: npt.NDArray[np.float64],
) -> str:
    """One line that tells both grids, so that the reader sees which number is off."""

    def numbers(size: tuple[int, ...], affine: npt.NDArray[np.float64]) -> str:
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        ends = np.array([[0, 0, 0, 1], [*(n - 1 for n in size), 1]]) @ affine[:3].T
        # The axes that run mostly along z, y and x of the patient, in this order.
        order = [int(np.argmax(np.abs(affine[row, :3]) / spacing)) for row in (2, 1, 0)]
        grid = "×".join(str(size[i]) for i in order)
        pitch = "×".join(f"{spacing[i]:.3f}" for i in order)
        low, high = ends.min(axis=0), ends.max(axis=0)
        return f"{grid} voxels of {pitch} mm from LPS {np.round(low, 2)} to {np.round(high, 2)}"

    return (
        f"{name} does not fit the images: mask {numbers(shape, mask_affine_mm)}; "
        f"images {numbers(shape_zyx, affine_mm)}"
    )


def _values(name: str, image: Any, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    try:
        values = np.asanyarray(image.dataobj).reshape(shape)
    except Exception as error:  # truncated or damaged data
        raise CspineError(f"{name} cannot be read ({type(error).__name__})") from None
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise CspineError(f"{name} holds no numbers")
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= MAX_MASK_VALUE):  # also false for NaN
        raise CspineError(f"{name} holds values from {low} to {high}; masks hold 0 to 19")
    out = values.astype(np.uint8)
    if not np.array_equal(out, values):
        raise CspineError(f"{name} holds fractions; a mask holds whole numbers")
    return out


def _laid_onto(
    values: npt.NDArray[np.uint8],
    order: list[tuple[int, int]],
    shift: list[int],
    shape_zyx: tuple[int, int, int],
) -> npt.NDArray[np.uint8]:
    turned = values.transpose([axis for axis, _ in order])
    turned = turned[tuple(slice(None, None, sign) for _, sign in order)]
    start, length = shift[0], shape_zyx[0]
    lo, hi = max(start, 0), min(start + turned.shape[0], length)
    out = np.zeros(shape_zyx, dtype=np.uint8)
    out[lo:hi] = turned[lo - start : hi - start]
    return out
