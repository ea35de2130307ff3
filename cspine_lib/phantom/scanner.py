"""The scanner: point spread, dose noise, streaks at shoulders and teeth, motion.

All its draws are independent of fractures, its noise is added, and its point
spread ends after a stated number of voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cspine_lib.anatomy import HU_MAX, HU_MIN
from cspine_lib.phantom.head import Dental
from cspine_lib.phantom.plan import StudyPlan
from cspine_lib.phantom.sdf import Array, Grid

NOISE_SLAB: Final = 16
REFERENCE_MM3: Final = 1.75 * 1.125 * 1.125
"""Voxel for which ``Scanner.noise_hu`` is meant; smaller voxels are noisier."""


@dataclass(frozen=True)
class Scanner:
    """Reconstruction and dose of one study."""

    kernel: str
    sigma_xy_mm: float
    sigma_z_mm: float
    sharpen: float
    noise_hu: float
    shoulder_noise: float
    streak_hu: float
    dental_hu: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, rounded."""
        return {k: v if isinstance(v, str) else round(v, 3) for k, v in self.__dict__.items()}

    def reach_voxels(self, spacing_zyx_mm: tuple[float, float, float]) -> tuple[int, int, int]:
        """How far the point spread carries a change, in voxels along z, y, x."""
        z, y, x = (len(k) // 2 for k in self.kernels(spacing_zyx_mm))
        return z, y, x

    def kernels(
        self, spacing_zyx_mm: tuple[float, float, float]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """One-dimensional point spreads along z, y, x; each sums to 1."""
        dz, dy, dx = spacing_zyx_mm
        return (
            _gaussian(self.sigma_z_mm / dz, 0.0),
            _gaussian(self.sigma_xy_mm / dy, self.sharpen),
            _gaussian(self.sigma_xy_mm / dx, self.sharpen),
        )


def _gaussian(sigma_px: float, sharpen: float) -> npt.NDArray[np.float32]:
    """A normalised Gaussian, cut at 3 sigma; ``sharpen`` adds negative side lobes."""
    wide = 1.7 * sigma_px if sharpen else sigma_px
    radius = max(int(np.ceil(3 * wide)), 1) if wide > 0.15 else 0
    t = np.arange(-radius, radius + 1)
    # Integrated over the voxel, so that a narrow spread still sums right.
    fine = t[:, None] + np.linspace(-0.4, 0.4, 5)[None]
    k = np.exp(-0.5 * (fine / max(sigma_px, 1e-3)) ** 2).sum(axis=1) if radius else np.ones(1)
    k = k / k.sum()
    if sharpen and radius:
        broad = np.exp(-0.5 * (t / wide) ** 2)
        k = (1 + sharpen) * k - sharpen * broad / broad.sum()
    return k.astype(np.float32)


def draw_scanner(plan: StudyPlan) -> Scanner:
    """Bone kernel in two of three studies; dose varies by a factor near 3."""
    rng = plan.rng("scanner")
    sharp = bool(rng.random() < 0.67)
    return Scanner(
        kernel="sharp" if sharp else "soft",
        sigma_xy_mm=float(rng.uniform(0.3, 0.42) if sharp else rng.uniform(0.45, 0.65)),
        sigma_z_mm=float(rng.uniform(0.35, 0.6)),
        sharpen=float(rng.uniform(0.3, 0.7) if sharp else 0.0),
        noise_hu=float(np.exp(rng.uniform(np.log(11), np.log(30))) * (1.35 if sharp else 0.8)),
        shoulder_noise=float(rng.uniform(0.8, 2.6)),
        streak_hu=float(rng.uniform(10, 60)),
        dental_hu=float(rng.uniform(80, 350)),
    )


def draw_motion(plan: StudyPlan) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
    """(Z, 2) shift in mm along x and y while scanning: a step in some 12% of studies."""
    rng = plan.rng("motion")
    z = plan.shape_zyx[0]
    shift = np.zeros((z, 2))
    if rng.random() >= 0.12:
        return shift, {"step_mm": 0.0}
    at = int(rng.uniform(0.2, 0.85) * z)
    amount = rng.normal(0, 1.0, 2)
    stop = z if rng.random() < 0.5 else at + int(rng.uniform(3, 12) / plan.spacing_zyx_mm[0]) + 1
    shift[at:stop] = np.clip(amount, -2.2, 2.2)
    return shift, {"step_mm": round(float(np.hypot(*shift[at])), 3), "first_slice": at}


def point_spread(volume: Array, scanner: Scanner, spacing: tuple[float, float, float]) -> Array:
    """The volume as the scanner resolves it, in slabs to bound memory; works in place."""
    for axis, kernel in enumerate(scanner.kernels(spacing)):
        if len(kernel) == 1:
            continue
        across = 1 if axis == 0 else 0
        for start in range(0, volume.shape[across], 32):
            part = [slice(None)] * 3
            part[across] = slice(start, start + 32)
            view = volume[tuple(part)]
            view[...] = ndimage.correlate1d(view, kernel, axis=axis, mode="nearest")
    return volume


def shoulder_profile(level: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How much shoulder each slice passes through: 0 at C5 and above, 1 from T1 down."""
    t = np.clip((level - 5.3) / 2.5, 0, 1)
    return t * t * (3 - 2 * t)


def add_noise(
    volume: Array,
    grid: Grid,
    scanner: Scanner,
    level: npt.NDArray[np.float64],
    noise: np.random.Generator,
    streak: np.random.Generator,
) -> None:
    """Correlated dose noise and horizontal streaks through the shoulders, in place."""
    small = (REFERENCE_MM3 / float(np.prod(grid.spacing_zyx_mm))) ** 0.25
    shoulder = shoulder_profile(level)
    sigma = scanner.noise_hu * small * (1 + scanner.shoulder_noise * shoulder)
    _, ky, kx = scanner.kernels(grid.spacing_zyx_mm)
    gain = 1 / np.sqrt(float((ky**2).sum()) * float((kx**2).sum()) * (0.7**2 + 0.3**2))
    nz, ny, nx = grid.shape_zyx
    last = noise.standard_normal((1, ny, nx), dtype=np.float32)
    for start in range(0, nz, NOISE_SLAB):
        sel = slice(start, min(start + NOISE_SLAB, nz))
        white = noise.standard_normal((sel.stop - start, ny, nx), dtype=np.float32)
        white = np.concatenate([last, white])
        last = white[-1:]
        mixed = 0.7 * white[1:] + 0.3 * white[:-1]
        for axis, kernel in ((1, ky), (2, kx)):
            mixed = ndimage.correlate1d(mixed, kernel, axis=axis, mode="nearest")
        volume[sel] += mixed * (sigma[sel] * gain).astype(np.float32)[:, None, None]
        _add_streaks(volume, grid, sel, scanner.streak_hu * shoulder[sel], streak)


def _add_streaks(
    volume: Array, grid: Grid, sel: slice, amount: npt.NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Photon starvation: noise that is long from side to side and short across."""
    _, ny, nx = grid.shape_zyx
    knots = int(np.ceil(nx * grid.spacing_zyx_mm[2] / 22.0)) + 2
    rough = rng.standard_normal((sel.stop - sel.start, ny, knots), dtype=np.float32)
    if amount.max() < 0.5:
        return
    rough = ndimage.uniform_filter1d(rough, max(int(1.3 / grid.spacing_zyx_mm[1]), 1), axis=1)
    rough *= np.float32(np.sqrt(max(int(1.3 / grid.spacing_zyx_mm[1]), 1)))
    at = np.arange(nx) * grid.spacing_zyx_mm[2] / 22.0
    low = at.astype(int)
    share = (at - low).astype(np.float32)
    lines = rough[..., low] * (1 - share) + rough[..., low + 1] * share
    volume[sel] += lines * amount.astype(np.float32)[:, None, None]


def add_dental_streaks(
    volume: Array, grid: Grid, scanner: Scanner, dental: Dental, rng: np.random.Generator
) -> None:
    """Bright and dark rays from fillings, in the few slices around each, in place."""
    for x0, y0, z0 in dental.fillings_xyz_mm:
        phases, weights = rng.uniform(0, 6.28, 5), rng.normal(0, 1, 5)
        z = grid.axis_mm(0)
        near = np.clip(1.3 - np.abs(z - z0) / 3.5, 0, 1)
        rows = np.nonzero(near > 0)[0]
        if not len(rows):
            continue
        y, x = grid.axis_mm(1)[:, None] - y0, grid.axis_mm(2)[None, :] - x0
        angle, far = np.arctan2(y, x), np.hypot(y, x)
        rays = sum(
            w * np.cos(k * angle + p)
            for w, k, p in zip(weights, (3, 7, 13, 22, 37), phases, strict=True)
        )
        fade = scanner.dental_hu * np.exp(-far / 55.0) * np.clip(far / 6.0, 0, 1)
        volume[rows] += (rays * fade * 0.5).astype(np.float32) * near[rows, None, None].astype(
            np.float32
        )


def to_int16(volume: Array) -> npt.NDArray[np.int16]:
    """Rounded and clipped to what 12 bits with intercept −1024 can hold."""
    np.rint(volume, out=volume)
    np.clip(volume, HU_MIN, HU_MAX, out=volume)
    return volume.astype(np.int16)
