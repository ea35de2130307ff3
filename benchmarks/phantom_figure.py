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

from cspine_lib.anatomy import MASK_VALUE
from cspine_lib.dicom import read_series
from cspine_lib.phantom.draw import draw_study
from cspine_lib.phantom.plan import DrawnStudy, Fracture, StudyPlan
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


def _place(
    drawn: DrawnStudy, whole: DrawnStudy, fracture: Fracture, spacing: tuple
) -> tuple[int, tuple[int, ...]]:
    """Axis of the plane that cuts a fracture edge-on (0 axial, 2 sagittal), and its middle."""
    z, x0, y0, width, height = np.array(fracture.extent_px).T
    start = np.floor([z.min(), y0.min(), x0.min()]).astype(int)
    stop = np.ceil([z.max() + 1, (y0 + height).max(), (x0 + width).max()]).astype(int)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    change = np.abs(drawn.hu_zyx[box].astype(float) - whole.hu_zyx[box])
    # Neighbours may be broken in the same slices.
    change[whole.mask_zyx[box] != MASK_VALUE[fracture.level]] = 0
    change[change < 0.3 * change.max()] = 0  # what the point spread carries around
    best: tuple[float, int, int] = (np.inf, 0, 0)
    for axis in (0, 2):
        in_plane = tuple(i for i in range(3) if i != axis)
        k = int(change.sum(axis=in_plane).argmax())
        area_mm2 = (np.take(change, k, axis) > 0).sum() * np.prod([spacing[i] for i in in_plane])
        best = min(best, (float(area_mm2), axis, k))
    _, axis, k = best
    where = np.argwhere(np.take(change, k, axis) > 0).mean(axis=0).round().astype(int)
    middle = list(where)
    middle.insert(axis, k)
    return axis, tuple(int(v) for v in start + middle)


def _close_up(axes: npt.NDArray, drawn: DrawnStudy, whole: DrawnStudy, plan: StudyPlan) -> None:
    """Each fracture in the plane that shows it best, and the same bone without it."""
    for column, fracture in zip(axes.T, drawn.fractures, strict=False):
        axis, middle = _place(drawn, whole, fracture, plan.spacing_zyx_mm)
        in_plane = [i for i in range(3) if i != axis]
        spacing = tuple(plan.spacing_zyx_mm[i] for i in in_plane)
        box = []
        for i, step in zip(in_plane, spacing, strict=True):
            half = round(CLOSE_UP_MM / 2 / step)
            at = int(np.clip(middle[i], half, plan.shape_zyx[i] - half))
            box.append(slice(at - half, at + half))
        title = f"{fracture.level}: {fracture.kind.replace('_', ' ')}"
        for ax, study, what in zip(column, (drawn, whole), (title, "same, unbroken"), strict=True):
            _show(ax, np.take(study.hu_zyx, middle[axis], axis)[tuple(box)], spacing, what)


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
