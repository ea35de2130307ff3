"""Pictures of studies: windows, all slices at once, slices with masks, slices with boxes.

Tissue is noise to PNG, which makes it three times as large as it need be, so these are shown as
JPEG: a notebook full of them stays small.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cspine_lib.anatomy import LEVELS
from cspine_lib.explore.whole import Example
from cspine_lib.plots import LEVEL_COLOUR, label_plane, show_mask, show_plane, window_limits
from cspine_lib.volume import Volume, window

if TYPE_CHECKING:
    from IPython.display import Image

BOX_COLOUR = "#D55E00"
JPEG_QUALITY = 82


def shown(figure: Figure, alt: str) -> Image:
    """A figure as a JPEG for a notebook's output; the figure is closed.

    Args:
        alt: what it shows, for whoever cannot see it.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image

    options = {"quality": JPEG_QUALITY, "subsampling": 0, "optimize": True}
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="jpeg", pil_kwargs=options, bbox_inches="tight")
        data = buffer.getvalue()
    plt.close(figure)
    return Image(data, format="jpeg", alt=alt)


def minmax(hu: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """What many notebooks do to each slice: its own minimum becomes black, its maximum white."""
    values = np.asarray(hu, dtype=np.float64)
    low, high = values.min(), values.max()
    return np.round((values - low) / max(high - low, 1) * 255).astype(np.uint8)


def grey_of(volume: Volume, hu: float) -> npt.NDArray[np.float64]:
    """(Z,) grey (0–255) that per-slice min–max normalisation gives to one HU in each slice."""
    flat = volume.hu_zyx.reshape(len(volume.hu_zyx), -1)
    low, high = (edge(axis=1).astype(np.float64) for edge in (flat.min, flat.max))
    return np.clip((hu - low) / np.maximum(high - low, 1) * 255, 0, 255)


def minmax_figure(volume: Volume, hu: float = 40.0) -> Image:
    """The grey of one HU from slice to slice, and the two neighbours that differ most."""
    import matplotlib.pyplot as plt

    grey = grey_of(volume, hu)
    low, high = window_limits("bone")
    fixed = float(np.clip((hu - low) / (high - low) * 255, 0, 255))
    z = int(np.argmax(np.abs(np.diff(grey))))
    figure, panels = plt.subplots(
        1, 3, figsize=(11, 3.4), width_ratios=(1.5, 1, 1), layout="constrained"
    )
    panels[0].plot(grey, color=BOX_COLOUR, lw=1.2, label="each slice by its own min and max")
    panels[0].axhline(fixed, color="#0072B2", lw=1.2, label="bone window")
    panels[0].set(xlabel="slice, head → feet", ylabel=f"grey of {hu:g} HU, 0–255", ylim=(0, 255))
    panels[0].legend(fontsize=8)
    _, dy, dx = volume.spacing_zyx_mm
    for axes, k in zip(panels[1:], (z, z + 1), strict=True):
        _show_grey(axes, minmax(volume.hu_zyx[k]), (dy, dx))
        axes.set_title(f"slice {k}: {hu:g} HU is grey {grey[k]:.0f}", fontsize=10)
    panels[2].set_ylabel("")
    return shown(figure, "grey of one HU from slice to slice under per-slice stretching")


def _show_grey(axes: Axes, grey_yx: npt.NDArray[np.uint8], spacing_mm: tuple[float, float]) -> None:
    dy, dx = spacing_mm
    rows, columns = grey_yx.shape
    extent = (-0.5 * dx, (columns - 0.5) * dx, (rows - 0.5) * dy, -0.5 * dy)
    axes.imshow(grey_yx, vmin=0, vmax=255, cmap="gray", extent=extent)
    label_plane(axes, "axial")


def windows_figure(volume: Volume, z: int) -> Image:
    """One slice through three windows, under each the histogram of its HU and the window."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        2, 3, figsize=(10, 5.2), height_ratios=(2.6, 1), layout="constrained"
    )
    values = volume.hu_zyx[z].ravel()
    for axes, below, name in zip(panels[0], panels[1], ("bone", "soft", "wide"), strict=True):
        show_plane(axes, volume, "axial", z, name, label_mm=name == "bone")
        low, high = window_limits(name)
        axes.set_title(f"{name} window: {low:.0f} to {high:.0f} HU", fontsize=10)
        below.hist(values, bins=np.arange(-1050, 2600, 25), color="#333333", log=True)
        below.axvspan(low, high, color="#56B4E9", alpha=0.35, lw=0)
        below.set(xlabel="HU", xlim=(-1050, 2600))
    panels[1, 0].set_ylabel("pixels")
    return shown(figure, "one slice through three display windows")


def contact_sheet(volume: Volume, side_px: int = 44, width: float = 9.0) -> Image:
    """Every slice of a study, small, in reading order from head to feet."""
    import matplotlib.pyplot as plt

    slices = volume.hu_zyx
    step = [max(1, -(-n // side_px)) for n in slices.shape[1:]]
    small = window(slices[:, :: step[0], :: step[1]], "bone")
    n, h, w = small.shape
    across = int(np.ceil(np.sqrt(1.7 * n)))
    down = -(-n // across)
    sheet = np.zeros((down * across, h, w), dtype=np.uint8)
    sheet[:n] = small
    mosaic = sheet.reshape(down, across, h, w).swapaxes(1, 2).reshape(down * h, across * w)
    figure, axes = plt.subplots(figsize=(width, width * mosaic.shape[0] / mosaic.shape[1] + 0.5))
    axes.imshow(mosaic, cmap="gray", vmin=0, vmax=255)
    axes.set_yticks((np.arange(down) + 0.5) * h, [str(k * across) for k in range(down)])
    named = range(0, across, 1 + across // 16)
    axes.set_xticks([(k + 0.5) * w for k in named], [f"+{k}" for k in named])
    axes.tick_params(labelsize=7, length=0)
    axes.set(ylabel="first slice of the row, head → feet", xlabel="slices further")
    figure.tight_layout()
    return shown(figure, "all slices of a study in reading order")


def slices_with_masks(
    volume: Volume, mask_zyx: npt.NDArray[np.integer], rows: int = 3, columns: int = 5
) -> Image:
    """15 slices (left) and their masks (right), evenly spaced over the cervical levels.

    Args:
        mask_zyx: with at least one voxel of C1–C7.
    """
    import matplotlib.pyplot as plt

    has = np.flatnonzero(((mask_zyx >= 1) & (mask_zyx <= len(LEVELS))).any(axis=(1, 2)))
    picks = np.linspace(has[0], has[-1], rows * columns).round().astype(int)
    figure = plt.figure(figsize=(11, 4.3), layout="constrained")
    halves: Any = figure.subfigures(1, 2, wspace=0.02)
    _, dy, dx = volume.spacing_zyx_mm
    for half, draw_mask in zip(halves, (False, True), strict=True):
        panels = half.subplots(rows, columns)
        for axes, z in zip(panels.ravel(), picks, strict=True):
            outer = z == picks[(rows - 1) * columns]
            show_plane(axes, volume, "axial", z, label_mm=bool(outer))
            if draw_mask:
                show_mask(axes, mask_zyx[z], (dy, dx), alpha=0.75)
            axes.set_title(f"slice {z}", fontsize=8, pad=2)
        half.suptitle("masks over the slices" if draw_mask else "slices", fontsize=10)
    level_legend(figure)
    return shown(figure, "15 slices, and the same with their masks")


def level_legend(figure: Any) -> None:
    """The colours of the levels, below a figure."""
    from matplotlib.patches import Patch

    handles = [Patch(color=LEVEL_COLOUR[k], label=k) for k in LEVELS]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(LEVELS), fontsize=8)


def draw_box(axes: Axes, volume: Volume, box: Any) -> None:
    """A fracture box (x, y, width, height in px) on an axial plane drawn in mm."""
    _, dy, dx = volume.spacing_zyx_mm
    corner = ((box.x - 0.5) * dx, (box.y - 0.5) * dy)
    size = (box.width * dx, box.height * dy)
    axes.add_patch(Rectangle(corner, *size, fill=False, ec=BOX_COLOUR, lw=1.6))


def three_kinds(example: Example) -> Image:
    """Deck A's three kinds of data side by side: image, masked image, boxed image."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
    volume, mask_zyx = example.series.volume, example.mask_zyx
    _, dy, dx = volume.spacing_zyx_mm
    same = example.boxed_uid == example.uid
    box: Any = list(example.boxes.itertuples())[len(example.boxes) // 2] if same else None
    z = int(box.z) if box else volume.shape_zyx[0] // 2
    for axes in panels[:2]:
        show_plane(axes, volume, "axial", z, label_mm=True)
        axes.set_title(f"image, slice {z}", fontsize=10)
    if mask_zyx is None:
        panels[1].set_title("no study here has a mask", fontsize=10)
    else:
        show_mask(panels[1], mask_zyx[z], (dy, dx))
        panels[1].set_title("masked image", fontsize=10)
        level_legend(figure)
    if example.boxed_uid is None:
        show_plane(panels[2], volume, "axial", z, label_mm=True)
        panels[2].set_title("no study here has boxes", fontsize=10)
        return shown(figure, "an image, a masked image and a boxed image")
    box = list(example.boxes.itertuples())[len(example.boxes) // 2]
    show_plane(panels[2], example.boxed, "axial", int(box.z), label_mm=True)
    draw_box(panels[2], example.boxed, box)
    title = "boxed image" if same else f"boxed image of another study, slice {int(box.z)}"
    panels[2].set_title(title, fontsize=10)
    return shown(figure, "an image, a masked image and a boxed image")


def box_close_up(volume: Volume, boxes: pd.DataFrame) -> Image:
    """The middle boxed slice of a study: whole, and around the box without and with it."""
    import matplotlib.pyplot as plt

    box: Any = list(boxes.itertuples())[len(boxes) // 2]
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
    for axes in panels:
        show_plane(axes, volume, "axial", int(box.z), label_mm=True)
    for axes in (panels[0], panels[2]):
        draw_box(axes, volume, box)
    _, dy, dx = volume.spacing_zyx_mm
    half = 0.5 * max(box.width * dx, box.height * dy, 20) + 8
    cx, cy = (box.x + box.width / 2) * dx, (box.y + box.height / 2) * dy
    for axes in panels[1:]:
        axes.set(xlim=(cx - half, cx + half), ylim=(cy + half, cy - half))
    titles = (f"slice {int(box.z)}", "around the box", "with the box")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=10)
    return shown(figure, "a slice with its fracture box")


def two_sagittals(volumes: Sequence[Volume], titles: Sequence[str]) -> Image:
    """The middle sagittal plane of a volume, and of one stacked as ``titles[1]`` says, in mm."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(7.5, 3.8), layout="constrained")
    for axes, volume, title in zip(panels, volumes, titles, strict=True):
        show_plane(axes, volume, "sagittal", volume.shape_zyx[2] // 2, label_mm=True)
        axes.set_title(title, fontsize=10)
    panels[1].set_ylabel("first → last slice of the stack, mm")
    return shown(figure, "two sagittal views side by side")
