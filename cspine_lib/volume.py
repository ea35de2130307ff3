"""``Volume``: a CT in HU with its place in the patient.

Frames are part of names throughout the library.  ``_zyx`` arrays run head to
feet, then front to back, then patient right to left; ``_mm`` points are in the
DICOM patient frame, LPS: x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cspine_lib.anatomy import AIR_HU, WINDOWS
from cspine_lib.errors import CspineError

FloatArray = npt.NDArray[np.floating]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns a DICOM (LPS) affine into a NIfTI (RAS) one, and back."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT volume, head to feet.

    Args:
        hu_zyx: int16 array (Z, Y, X) in Hounsfield units.  May be a read-only
            memory map.
        affine_mm: (4, 4) matrix that maps a voxel index ``(z, y, x, 1)`` to the
            LPS point of the voxel's centre in mm.

    Raises:
        CspineError: wrong number of axes, wrong dtype, or a singular affine.
    """

    hu_zyx: npt.NDArray[np.int16]
    affine_mm: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.hu_zyx.ndim != 3 or min(self.hu_zyx.shape) < 1:
            raise CspineError(f"a volume has three axes (z, y, x), got {self.hu_zyx.shape}")
        if self.hu_zyx.dtype != np.int16:
            raise CspineError(f"HU are int16, got {self.hu_zyx.dtype}")
        affine = np.asarray(self.affine_mm, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise CspineError("the affine must be a finite 4 × 4 matrix")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise CspineError("the affine is singular: a voxel has no size in some direction")
        object.__setattr__(self, "affine_mm", affine)

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Number of voxels along z, y, x."""
        z, y, x = self.hu_zyx.shape
        return z, y, x

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along z, y, x in mm."""
        z, y, x = np.linalg.norm(self.affine_mm[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def orientation(self) -> str:
        """Patient direction in which each axis z, y, x grows, e.g. ``"IPL"``.

        I/S: to the feet/head; A/P: to the front/back; R/L: to the patient's
        right/left.  A volume of this library is always ``IPL`` up to a tilt.
        """
        letters = (("R", "L"), ("A", "P"), ("I", "S"))
        out = ""
        for axis in self.affine_mm[:3, :3].T:
            world = int(np.argmax(np.abs(axis)))
            out += letters[world][int(axis[world] > 0)]
        return out

    def __repr__(self) -> str:
        z, y, x = self.shape_zyx
        dz, dy, dx = self.spacing_zyx_mm
        return f"Volume({z}×{y}×{x} zyx, {dz:.2f}×{dy:.2f}×{dx:.2f} mm, {self.orientation})"

    def to_mm(self, index_zyx: npt.ArrayLike) -> FloatArray:
        """Voxel indices (…, 3) as z, y, x → LPS points (…, 3) as x, y, z in mm."""
        index = np.asarray(index_zyx, dtype=np.float64)
        return index @ self.affine_mm[:3, :3].T + self.affine_mm[:3, 3]

    def to_index(self, point_mm: npt.ArrayLike) -> FloatArray:
        """LPS points (…, 3) in mm → fractional voxel indices (…, 3) as z, y, x."""
        point = np.asarray(point_mm, dtype=np.float64) - self.affine_mm[:3, 3]
        return point @ np.linalg.inv(self.affine_mm[:3, :3]).T

    def resampled(self, shape_zyx: tuple[int, int, int]) -> Volume:
        """The same field of view on another grid.

        Where an axis shrinks, a Gaussian blurs it first (anti-aliasing), then
        values are interpolated linearly.
        """
        factors = np.array(self.shape_zyx) / np.array(shape_zyx)
        sigma = np.where(factors > 1, 0.4 * factors, 0.0)
        source = ndimage.gaussian_filter(self.hu_zyx.astype(np.float32), sigma, truncate=2.5)
        # Voxel centres of the new grid in the old one; edges of both grids coincide.
        matrix = factors
        offset = 0.5 * factors - 0.5
        out = ndimage.affine_transform(
            source, matrix, offset, output_shape=shape_zyx, order=1, mode="nearest"
        )
        affine = self.affine_mm.copy()
        affine[:3, 3] = self.to_mm(offset)
        affine[:3, :3] = self.affine_mm[:3, :3] * factors
        return Volume(np.round(out).astype(np.int16), affine)

    def crop(self, start_zyx: tuple[int, int, int], size_zyx: tuple[int, int, int]) -> Volume:
        """Voxels from ``start_zyx`` on; outside the scan is air.  Nothing is resampled."""
        out = np.full(size_zyx, AIR_HU, dtype=np.int16)
        source, target = [], []
        for start, size, length in zip(start_zyx, size_zyx, self.shape_zyx, strict=True):
            lo, hi = max(start, 0), min(start + size, length)
            source.append(slice(lo, max(hi, lo)))
            target.append(slice(lo - start, max(hi, lo) - start))
        out[tuple(target)] = self.hu_zyx[tuple(source)]
        affine = self.affine_mm.copy()
        affine[:3, 3] = self.to_mm(start_zyx)
        return Volume(out, affine)


def window(hu: npt.ArrayLike, name: str = "bone") -> npt.NDArray[np.uint8]:
    """HU of any shape → 8 bits through a named window of ``anatomy.WINDOWS``."""
    if name not in WINDOWS:
        raise CspineError(f"unknown window {name!r}; known: {', '.join(WINDOWS)}")
    width, level = WINDOWS[name]
    scaled = (np.asarray(hu, dtype=np.float32) - (level - width / 2)) * (255.0 / width)
    return np.clip(scaled + 0.5, 0, 255).astype(np.uint8)
