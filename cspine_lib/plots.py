"""Figures in one style.

Colours are Okabe and Ito's, which the colour-blind tell apart (Okabe & Ito 2008,
"Color Universal Design"); every level keeps its colour in every figure.  Images are
drawn in mm, so that a 3 mm slice is three times as high as a 1 mm pixel.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from cspine_lib.anatomy import LEVELS, OVERALL, WINDOWS
from cspine_lib.labels import LevelBox
from cspine_lib.volume import Volume

LEVEL_COLOUR = dict(
    zip(
        LEVELS,
        ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
        strict=True,
    )
)
"""One colour per level, C1 to C7."""

INK = "#333333"


def window_limits(name: str = "bone") -> tuple[float, float]:
    """Lowest and highest HU of a named display window."""
    width, level = WINDOWS[name]
    return level - width / 2, level + width / 2


def set_style() -> None:
    """Make matplotlib's defaults those of this course (call once per notebook)."""
    from matplotlib.rcsetup import cycler

    mpl.rcParams.update(
        {
            "figure.dpi": 68,
            "savefig.dpi": 68,
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": INK,
            "axes.prop_cycle": cycler(color=list(LEVEL_COLOUR.values())),
            "image.cmap": "gray",
            "legend.frameon": False,
        }
    )


def paletted(png: bytes) -> bytes:
    """A PNG with at most 256 colours, about half as large; grey scans keep their greys."""
    from PIL import Image

    out = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def show_small() -> None:
    """Where figures are drawn into a notebook: as PNGs of 256 colours, so that its file is small.

    Elsewhere nothing.  ``%matplotlib inline`` takes it back.
    """
    from IPython.core.getipython import get_ipython
    from IPython.core.pylabtools import print_figure

    shell = get_ipython()
    if shell is None or shell.display_formatter is None or "inline" not in mpl.get_backend():
        return
    shell.run_line_magic("matplotlib", "inline")  # else it comes with the first figure, and wins
    pictures = shell.display_formatter.formatters["image/png"]
    pictures.for_type(Figure, lambda figure: paletted(print_figure(figure)))


AXIS_MM = ("head → feet, mm", "front → back, mm", "right → left, mm")
"""What the axes z, y and x of a volume mean in the patient."""
PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}
"""Name of a plane → the axis of (z, y, x) that it is cut across."""


def show_plane(
    axes: Axes,
    volume: Volume,
    plane: str,
    index: int,
    window: str = "bone",
    *,
    label_mm: bool = False,
    **options: Any,
) -> None:
    """One plane of a volume in mm, head up or front up.

    Args:
        plane: ``axial`` (index along z), ``coronal`` (along y) or ``sagittal`` (along x).
        label_mm: draw both axes, in mm from the first voxel, instead of none.
        options: passed on to ``imshow``.
    """
    axis = PLANES[plane]
    image = np.take(np.asarray(volume.hu_zyx), index, axis=axis)
    down, right = (s for i, s in enumerate(volume.spacing_zyx_mm) if i != axis)
    rows, columns = image.shape
    low, high = window_limits(window)
    axes.imshow(
        image,
        vmin=low,
        vmax=high,
        cmap="gray",
        extent=(-0.5 * right, (columns - 0.5) * right, (rows - 0.5) * down, -0.5 * down),
        **options,
    )
    if label_mm:
        label_plane(axes, plane)
    else:
        axes.set_axis_off()


def label_plane(axes: Axes, plane: str) -> None:
    """Say on both axes of a plane drawn in mm where they run in the patient."""
    down, right = (name for i, name in enumerate(AXIS_MM) if i != PLANES[plane])
    axes.set_axis_on()
    axes.set(xlabel=right, ylabel=down)
    axes.tick_params(labelsize=8)


def show_mask(
    axes: Axes, mask: npt.NDArray[np.integer], spacing_mm: tuple[float, float], alpha: float = 0.45
) -> None:
    """Levels of one plane of a mask, in their colours, over an image drawn by ``show_plane``."""
    from matplotlib.colors import to_rgba

    down, right = spacing_mm
    rows, columns = mask.shape
    # A colour table, indexed once: at 512 × 512 a tenth of the time of a comparison per level.
    colours = [LEVEL_COLOUR[level] for level in LEVELS]
    table = np.array(
        [(0.0, 0.0, 0.0, 0.0), *(to_rgba(c, alpha) for c in colours), to_rgba("white", alpha / 2)]
    )
    rgba = np.round(255 * table).astype(np.uint8)[np.minimum(mask, len(LEVELS) + 1)]
    axes.imshow(
        rgba,
        extent=(-0.5 * right, (columns - 0.5) * right, (rows - 0.5) * down, -0.5 * down),
        interpolation="nearest",
    )


def draw_level_boxes(axes: Axes, volume: Volume, levels: Mapping[str, LevelBox]) -> None:
    """Each level's slice range and front-to-back extent on a sagittal view."""
    dz, dy, _ = volume.spacing_zyx_mm
    for name, box in levels.items():
        axes.add_patch(
            Rectangle(
                (box.y0 * dy, (box.z0 - 0.5) * dz),
                (box.y1 - box.y0) * dy,
                (box.z1 - box.z0 + 1) * dz,
                fill=False,
                edgecolor=LEVEL_COLOUR[name],
                linewidth=1.3,
            )
        )
        axes.text(
            # Names alternate between the sides, for neighbouring ranges overlap.
            (box.y1 if LEVELS.index(name) % 2 else box.y0) * dy,
            (box.z0 + box.z1) / 2 * dz,
            f" {name} ",
            color=LEVEL_COLOUR[name],
            fontsize=9,
            va="center",
            ha="left" if LEVELS.index(name) % 2 else "right",
            clip_on=True,
            # Dark blue on dark bone would not be read without a rim.
            path_effects=[withStroke(linewidth=1.6, foreground="white")],
        )


def overview_figure(
    volume: Volume,
    levels: Mapping[str, LevelBox],
    probability: Mapping[str, float],
    title: str,
    notes: Sequence[str] = (),
) -> Figure:
    """One study at a glance: sagittal view with levels, middle slice and box of each level.

    Args:
        levels: what the localiser claims; levels that it did not find are left out.
        probability: fracture probability of C1–C7 and ``patient_overall``.
        notes: lines printed below, such as the reader's warnings.
    """
    figure = Figure(figsize=(13, 6.6), dpi=80, layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 6, width_ratios=[1.1, 1.1, 1, 1, 1, 1])
    sagittal = figure.add_subplot(grid[:, :2])
    boxes = list(levels.values())
    x_mid = int(np.median([b.centre_zyx[2] for b in boxes])) if boxes else volume.shape_zyx[2] // 2
    show_plane(sagittal, volume, "sagittal", x_mid)
    draw_level_boxes(sagittal, volume, levels)
    _zoom(sagittal, volume, boxes)
    sagittal.set_title("levels that the localiser claims (sagittal)", fontsize=10)
    for i, name in enumerate(LEVELS):
        axes = figure.add_subplot(grid[i // 4, 2 + i % 4])
        _level_panel(axes, volume, name, levels.get(name), probability[name])
    bars = figure.add_subplot(grid[1, 5])
    probability_bars(bars, probability)
    # A folder may be called "$x": no formula.
    figure.suptitle(title, fontsize=11).set_parse_math(False)
    if notes:
        figure.supxlabel("\n".join(notes), fontsize=8, color=INK).set_parse_math(False)
    return figure


def _zoom(axes: Axes, volume: Volume, boxes: Sequence[LevelBox], around_mm: float = 45.0) -> None:
    """Show the claimed levels and what is around them; a whole head would make them small."""
    if not boxes:
        return
    dz, dy, _ = volume.spacing_zyx_mm
    z, y, _ = volume.shape_zyx
    top, bottom = min(b.z0 for b in boxes) * dz, max(b.z1 for b in boxes) * dz
    front, back = min(b.y0 for b in boxes) * dy, max(b.y1 for b in boxes) * dy
    axes.set_xlim(max(front - around_mm, 0), min(back + around_mm, y * dy))
    axes.set_ylim(min(bottom + around_mm, z * dz), max(top - around_mm, 0))


def _level_panel(
    axes: Axes, volume: Volume, name: str, box: LevelBox | None, probability: float
) -> None:
    """Middle slice of a level with its box."""
    axes.set_title(f"{name}: {probability:.2f}", fontsize=10)
    if box is None:
        axes.text(0.5, 0.5, f"{name} not found", ha="center", va="center", color=INK)
        axes.set_axis_off()
        return
    z = round(box.centre_zyx[0])
    show_plane(axes, volume, "axial", min(max(z, 0), volume.shape_zyx[0] - 1))
    _, dy, dx = volume.spacing_zyx_mm
    width, height = (box.x1 - box.x0) * dx, (box.y1 - box.y0) * dy
    axes.add_patch(
        Rectangle(
            (box.x0 * dx, box.y0 * dy),
            width,
            height,
            fill=False,
            edgecolor=LEVEL_COLOUR[name],
            linewidth=1.5,
        )
    )
    # Twice the box is in view: enough around it to judge whether it sits right.
    half = max(width, height)
    cx, cy = (box.x0 + box.x1) / 2 * dx, (box.y0 + box.y1) / 2 * dy
    axes.set_xlim(cx - half, cx + half)
    axes.set_ylim(cy + half, cy - half)
    axes.set_facecolor("black")


def probability_bars(axes: Axes, probability: Mapping[str, float]) -> None:
    """Fracture probabilities as bars in the levels' colours, in the order C1–C7, overall."""
    names = [name for name in (*LEVELS, OVERALL) if name in probability]
    values = [probability[name] for name in names]
    colours = [LEVEL_COLOUR.get(name, INK) for name in names]
    axes.barh(range(len(names)), values, color=colours)
    axes.set_yticks(range(len(names)), [name.replace(OVERALL, "overall") for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_title("fracture probability", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG at 100 dpi whatever the style, whole or not at all."""
    from cspine_lib.runs import atomic_path

    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=100)
