"""Draws docs/phantom.png: one simulated study, its fractures on and off.

    python benchmarks/phantom_figure.py
    python benchmarks/phantom_figure.py --real FOLDER_OR_ZIP --out beside.png

With ``--real`` a real series stands beside the phantom, in the same window and at
the same scale, for judging by eye.  That figure is not for committing: the scan is
not ours to publish.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from cspine_lib.dicom import read_series
from cspine_lib.phantom.draw import draw_study
from cspine_lib.phantom.plan import DrawnStudy, StudyPlan
from cspine_lib.plots import window_limits
from cspine_lib.volume import Volume

BROKEN = (True, True, False, False, True, True, True)
CLOSE_UP_MM = 42.0


def _plan(seed: int, matrix: int, slices: int) -> StudyPlan:
    spacing = (176.0 / slices, 160.0 / matrix, 160.0 / matrix)
    return StudyPlan(seed, 4, BROKEN, (slices, matrix, matrix), spacing, difficulty=0.35)


def _show(ax: Axes, image: npt.NDArray, spacing_mm: tuple[float, float], title: str) -> None:
    """An image (rows, columns) in the bone window and in mm."""
    height, width = image.shape[0] * spacing_mm[0], image.shape[1] * spacing_mm[1]
    low, high = window_limits("bone")
    extent = (0, width, height, 0)
    ax.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
    ax.set_title(title, fontsize=9)
    ax.set_xticks([])
    ax.set_yticks([])


def _views(axes: npt.NDArray, hu_zyx: npt.NDArray, spacing: tuple, at_zyx: tuple, who: str) -> None:
    z, y, x = at_zyx
    dz, dy, dx = spacing
    _show(axes[0], hu_zyx[:, :, x], (dz, dy), f"{who}: sagittal")
    _show(axes[1], hu_zyx[:, y, :], (dz, dx), f"{who}: coronal")
    _show(axes[2], hu_zyx[z], (dy, dx), f"{who}: axial")


def _close_up(axes: npt.NDArray, drawn: DrawnStudy, whole: DrawnStudy, plan: StudyPlan) -> None:
    """Each fracture in the axial slice through its middle, and the same bone without it."""
    _, dy, dx = plan.spacing_zyx_mm
    half_y, half_x = round(CLOSE_UP_MM / 2 / dy), round(CLOSE_UP_MM / 2 / dx)
    for column, fracture in zip(axes.T, drawn.fractures, strict=False):
        extents = sorted(fracture.extent_px)
        z, x0, y0, width, height = extents[len(extents) // 2]
        y = int(np.clip(y0 + height / 2, half_y, plan.shape_zyx[1] - half_y))
        x = int(np.clip(x0 + width / 2, half_x, plan.shape_zyx[2] - half_x))
        box = (slice(y - half_y, y + half_y), slice(x - half_x, x + half_x))
        title = f"{fracture.level}: {fracture.kind.replace('_', ' ')}"
        _show(column[0], drawn.hu_zyx[z][box], (dy, dx), title)
        _show(column[1], whole.hu_zyx[z][box], (dy, dx), "the same, unbroken")


def _middle_of(mask_zyx: npt.NDArray, value: int) -> tuple[int, int, int]:
    z, y, x = (round(v) for v in np.argwhere(mask_zyx == value).mean(axis=0))
    return z, y, x


def _read_real(path: Path) -> Volume:
    if path.suffix != ".zip":
        return read_series(path).volume
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
        return read_series(folder).volume


def _around(volume: Volume, centre_zyx: list[int], plan: StudyPlan) -> Volume:
    """As much of a real scan as the phantom shows, around a voxel."""
    fov_mm = np.multiply(plan.shape_zyx, plan.spacing_zyx_mm)
    size = np.round(fov_mm / volume.spacing_zyx_mm).astype(int)
    start = np.asarray(centre_zyx) - size // 2
    return volume.crop(tuple(start.tolist()), tuple(size.tolist()))


def draw(
    out: Path, real: Path | None, centre: list[int], seed: int, matrix: int, slices: int
) -> None:
    """Write the figure; ``real`` adds a row of a scan read from a folder or a zip file."""
    plan = _plan(seed, matrix, slices)
    drawn, whole = draw_study(plan), draw_study(plan, fractures=False)
    n = min(6, len(drawn.fractures))
    fig = plt.figure(figsize=(11, 11.5 if real else 7.6), layout="constrained")
    top, *more = fig.subfigures(3 if real else 2, 1, height_ratios=[4, 3.6, 4][: 3 if real else 2])
    body = _middle_of(drawn.mask_zyx, 5)
    _views(top.subplots(1, 3), drawn.hu_zyx, plan.spacing_zyx_mm, body, "phantom")
    _close_up(more[0].subplots(2, n, squeeze=False), drawn, whole, plan)
    if real:
        volume = _around(_read_real(real), centre, plan)
        z, y, x = (n // 2 for n in volume.shape_zyx)
        _views(more[1].subplots(1, 3), volume.hu_zyx, volume.spacing_zyx_mm, (z, y, x), "real")
    out.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(out, dpi=90)
    plt.close(fig)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--real", type=Path, help="folder or zip file of a real series")
    # C4 of the head-and-neck CT of docs/real_ct.json.
    parser.add_argument(
        "--centre", type=int, nargs=3, default=[64, 236, 246], metavar=("Z", "Y", "X")
    )
    parser.add_argument("--seed", type=int, default=2022)
    parser.add_argument("--matrix", type=int, default=256)
    parser.add_argument("--slices", type=int, default=180)
    args = parser.parse_args()
    docs = Path(__file__).resolve().parent.parent / "docs"
    out = args.out or (Path("phantom_beside_real.png") if args.real else docs / "phantom.png")
    draw(out, args.real, args.centre, args.seed, args.matrix, args.slices)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
