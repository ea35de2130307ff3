"""Masks read by fixed flips, as solvers of the challenge did, and stored in any axis order."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from cspine_lib.errors import CspineError

Array = npt.NDArray[Any]


def fixed_flip(values_ijk: Array, *, stored_feet_first: bool = False) -> Array:
    """A mask turned by hand, in the order in which the study's files are numbered.

    Public solutions of the challenge do ``[:, ::-1, ::-1].transpose(2, 1, 0)``, and leave the
    third axis as it is for studies whose files are numbered from the feet.  Both are right
    for masks stored as LAS and for no others.

    Args:
        values_ijk: (I, J, K) as it lies in the NIfTI file.
        stored_feet_first: whether the files are numbered from feet to head.

    Returns:
        (K, J, I); a view.
    """
    turned = values_ijk[:, ::-1] if stored_feet_first else values_ijk[:, ::-1, ::-1]
    return turned.transpose(2, 1, 0)


def stretched(values_zyx: Array, shape_zyx: tuple[int, ...]) -> Array:
    """Nearest values of a mask on a grid of another shape, corner on corner.

    This is what a pipeline does that brings every array to one size before it looks.
    """
    if values_zyx.ndim != len(shape_zyx):
        raise CspineError(f"cannot bring {values_zyx.shape} to {shape_zyx}")
    index = [
        ((np.arange(n) + 0.5) * m / n).astype(np.intp)
        for n, m in zip(shape_zyx, values_zyx.shape, strict=True)
    ]
    return values_zyx[np.ix_(*index)]


def as_stored(
    values_ijk: Array, affine_ras_mm: npt.NDArray[np.float64], axes: str
) -> tuple[Array, npt.NDArray[np.float64]]:
    """The same segmentation with its axes in another order: values and their affine.

    Args:
        values_ijk: (I, J, K).
        affine_ras_mm: (4, 4), voxel (i, j, k, 1) → RAS mm.
        axes: wanted NIfTI axis codes, such as ``"LAS"``; one of 48.

    Raises:
        CspineError: no such axis codes.
    """
    if sorted(axes.translate(str.maketrans("LPI", "RAS"))) != ["A", "R", "S"]:
        raise CspineError(f"{axes!r} are no axis codes: one of R L, one of A P, one of S I")
    image = nibabel.Nifti1Image(np.ascontiguousarray(values_ijk), affine_ras_mm)
    orient = nibabel.orientations
    change = orient.ornt_transform(
        orient.io_orientation(image.affine), orient.axcodes2ornt(tuple(axes))
    )
    turned: Any = image.as_reoriented(change)
    return np.asarray(turned.dataobj), np.asarray(turned.affine, dtype=np.float64)
