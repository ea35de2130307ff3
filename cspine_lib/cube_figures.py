"""Figures of notebook 04: one place on several grids, what is left of a line, a turn in mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cspine_lib.plots import INK, LEVEL_COLOUR, PLANES, window_limits
from cspine_lib.volume import Volume

ORANGE, BLUE = LEVEL_COLOUR["C6"], LEVEL_COLOUR["C5"]
AXIS = ("head → feet", "front → back", "right → left")
"""Directions of z, y and x in the patient."""


def show_at(
    axes: Axes, volume: Volume, point_mm: npt.ArrayLike, plane: str, half_mm: float
) -> None:
    """The voxels of one plane through a point, which is the origin, out to ``half_mm``.

    Args:
        point_mm: (3,) LPS, so that volumes on other grids show the same place.
        plane: ``axial``, ``coronal`` or ``sagittal``.
    """
    index, spacing = volume.to_index(point_mm), volume.spacing_zyx_mm
    across = PLANES[plane]
    where = int(np.clip(np.rint(index[across]), 0, volume.shape_zyx[across] - 1))
    image = np.take(np.asarray(volume.hu_zyx), where, axis=across)
    down, right = (axis for axis in range(3) if axis != across)
    edges = {
        axis: ((-0.5 - index[axis]) * spacing[axis], (n - 0.5 - index[axis]) * spacing[axis])
        for axis, n in enumerate(volume.shape_zyx)
    }
    low, high = window_limits("bone")
    extent = (*edges[right], edges[down][1], edges[down][0])
    axes.imshow(image, vmin=low, vmax=high, cmap="gray", extent=extent, interpolation="nearest")
    axes.set(xlim=(-half_mm, half_mm), ylim=(half_mm, -half_mm), facecolor="black")
    axes.set(xlabel=f"{AXIS[right]}, mm", ylabel=f"{AXIS[down]}, mm")
    axes.tick_params(labelsize=8)


def place_figure(
    volumes: Mapping[str, Volume],
    point_mm: npt.ArrayLike,
    *,
    planes: Sequence[str] = ("axial", "sagittal"),
    half_mm: float = 32.0,
    box_mm: tuple[float, float] | None = None,
) -> Figure:
    """The same place in each volume, a column each, a row for each plane.

    Args:
        box_mm: width and height of a fracture box around the point, drawn in axial planes.
    """
    import matplotlib.pyplot as plt

    size = (2.5 * len(volumes) + 0.4, 2.95 * len(planes) + 0.35)
    figure, panels = plt.subplots(
        len(planes), len(volumes), figsize=size, squeeze=False, layout="constrained",
        sharey="row",
    )  # fmt: skip
    for row, plane in zip(panels, planes, strict=True):
        for axes, (name, volume) in zip(row, volumes.items(), strict=True):
            show_at(axes, volume, point_mm, plane, half_mm)
            if box_mm is not None and plane == "axial":
                _draw_box(axes, *box_mm)
            if axes is not row[0]:
                axes.set_ylabel("")
            if plane == planes[0]:
                axes.set_title(f"{name}\n{_voxel(volume)} mm", fontsize=9)
    return figure


def _draw_box(axes: Axes, width: float, height: float) -> None:
    axes.add_patch(
        Rectangle((-width / 2, -height / 2), width, height, fill=False, ec=ORANGE, lw=1.2)
    )


def _voxel(volume: Volume) -> str:
    return " × ".join(f"{s:.1f}" for s in volume.spacing_zyx_mm)


def contrast_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Bars of ``resolution.line_contrast``, a panel for each scan."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(tables), figsize=(4.9 * len(tables), 4.2), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, (title, table) in zip(panels[0], tables.items(), strict=True):
        rows = np.arange(len(table))
        for shift, (name, colour) in zip(
            (-0.2, 0.2), zip(table.columns, (ORANGE, BLUE), strict=True), strict=True
        ):
            bars = axes.barh(rows + shift, table[name], height=0.38, color=colour, label=name)
            axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
        axes.set_yticks(rows, table.index)
        axes.set(xlim=(0, 1.12), xlabel="share of the contrast that is left")
        axes.set_title(title, fontsize=10)
    panels[0][0].invert_yaxis()
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


# --- a turn ----------------------------------------------------------------------------------


def turn_figure(
    planes: Mapping[str, npt.NDArray[Any]],
    matrices: Mapping[str, npt.NDArray[Any]],
    size_yz_mm: tuple[float, float],
) -> tuple[Figure, dict[str, float]]:
    """Sagittal planes of a cube after several turns, in mm, with a cross that turns along.

    Args:
        planes: greys (D, H).
        matrices: (2, 2) of each, (y, z) seen → (y, z) read, in units of the cube (−1 … 1).
        size_yz_mm: extent of the cube.

    Returns:
        The figure, and the angle in degrees between the two arms of each cross.
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(planes), figsize=(2.7 * len(planes), 4.2), sharey=True, layout="constrained"
    )
    half, angles = np.array(size_yz_mm) / 2, {}
    for axes, (name, plane) in zip(panels, planes.items(), strict=True):
        axes.imshow(plane, vmin=0.1, vmax=0.9, extent=(-half[0], half[0], half[1], -half[1]))
        # What was at p is seen where the matrix sends to p.
        back = half[:, None] * np.linalg.inv(matrices[name]) / half[None]
        arms = (back @ np.eye(2)).T * 0.8 * half.min()
        for arm, colour in zip(arms, (ORANGE, LEVEL_COLOUR["C2"]), strict=True):
            axes.plot([-arm[0], arm[0]], [-arm[1], arm[1]], color=colour, lw=2)
        cosine = arms[0] @ arms[1] / np.prod(np.linalg.norm(arms, axis=1))
        angles[name] = float(np.degrees(np.arccos(cosine)))
        axes.set_title(f"{name}\narms at {angles[name]:.0f}°", fontsize=10)
        axes.set(xlim=(-half[0], half[0]), ylim=(half[1], -half[1]))
        axes.set(xlabel=f"{AXIS[1]}, mm", ylabel=f"{AXIS[0]}, mm")
        axes.label_outer()
    return figure, angles


def history_figure(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Training and early-stopping loss by epoch, a panel for each training."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(histories), figsize=(4.6 * len(histories), 2.7), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, (name, history) in zip(panels[0], histories.items(), strict=True):
        axes.plot(history["epoch"], history["train_loss"], "o-", c=ORANGE, label="training")
        axes.plot(
            history["epoch"], history["val_loss"], "s-", c=BLUE, label="early-stopping studies"
        )
        best = history["epoch"].iloc[int(history["val_loss"].argmin())]
        axes.axvline(best, color=INK, ls=":", lw=1, label=f"kept: epoch {best}")
        axes.set(xlabel="epoch", ylabel="log loss per target")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_title(name, fontsize=10)
        axes.legend(fontsize=8)
        axes.label_outer()
    return figure
