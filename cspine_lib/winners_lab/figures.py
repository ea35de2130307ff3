"""Figures of the chapter on the winners; what they show is computed elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cspine_lib.anatomy import LEVELS
from cspine_lib.label_maps import LabelMap
from cspine_lib.metrics import Interval
from cspine_lib.plots import INK, LEVEL_COLOUR, show_mask, show_plane
from cspine_lib.volume import Volume
from cspine_lib.winners_lab.looks import Vertebra
from cspine_lib.winners_lab.masks import Laid

BROKEN, WHOLE, BOX = "#D55E00", "#0072B2", "#E69F00"


def _subplots(*args: Any, **options: Any) -> tuple[Figure, Any]:
    import matplotlib.pyplot as plt

    return plt.subplots(*args, layout="constrained", **options)


def _level_key(figure: Figure) -> None:
    handles = [Patch(color=LEVEL_COLOUR[name], label=name) for name in LEVELS]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(LEVELS), fontsize=9)


def maps_figure(laid: Laid, title: str) -> Figure:
    """A sagittal cut three times: the truth, the network's answer, the answer cleaned.

    The cut goes where the clean-up has taken most away; where it took nothing, through the
    middle of the levels.
    """
    figure, panels = _subplots(1, 3, figsize=(8.2, 4.2), sharey=True)
    x = int((_column_to_show(laid) + 0.5) * laid.raw.scale_zyx[2])
    names = ("mask", "U-Net", "U-Net, cleaned")
    for axes, name, shown in zip(
        panels, names, (laid.truth, laid.raw.cells, laid.clean.cells), strict=True
    ):
        show_plane(axes, laid.volume, "sagittal", x, label_mm=True)
        if shown is not None:
            _over(axes, laid.volume, LabelMap(shown, laid.raw.scale_zyx, laid.raw.depth), x)
        axes.set_title(name, fontsize=10)
        axes.label_outer()
    figure.suptitle(title, fontsize=11)
    _level_key(figure)
    return figure


def _column_to_show(laid: Laid) -> float:
    """Column of cells that a sagittal cut should go through."""
    gone = (laid.raw.cells != laid.clean.cells).sum(axis=(0, 1))
    if gone.any():
        return float(gone.argmax())
    columns = np.flatnonzero((laid.raw.cells > 0).any(axis=(0, 1)))
    return float(np.median(columns)) if len(columns) else (laid.raw.cells.shape[2] - 1) / 2


def _over(axes: Axes, volume: Volume, found: LabelMap, x: int) -> None:
    """A label map's cells over a sagittal plane that is drawn in mm."""
    dz, dy, _ = volume.spacing_zyx_mm
    sz, sy, sx = found.scale_zyx
    plane = found.cells[:, :, min(int((x + 0.5) / sx), found.cells.shape[2] - 1)]
    rows, columns = volume.shape_zyx[0], volume.shape_zyx[1]
    z = np.minimum(((np.arange(rows) + 0.5) / sz).astype(int), plane.shape[0] - 1)
    y = np.minimum(((np.arange(columns) + 0.5) / sy).astype(int), plane.shape[1] - 1)
    show_mask(axes, plane[z][:, y], (dz, dy))


def dice_figure(table: pd.DataFrame) -> Figure:
    """Dice of each level, an open mark before the clean-up and a full one after it."""
    figure, axes = _subplots(figsize=(7.4, 3.2))
    names = list(dict.fromkeys(row.rsplit(", ", 1)[0] for row in table.index))
    for i, (name, colour) in enumerate(zip(names, (WHOLE, BROKEN), strict=False)):
        x = np.arange(len(LEVELS)) + 0.16 * (i - 0.5 * (len(names) - 1))
        before = table.loc[f"{name}, as it is", list(LEVELS)].to_numpy(dtype=float)
        after = table.loc[f"{name}, cleaned", list(LEVELS)].to_numpy(dtype=float)
        axes.vlines(x, before, after, color=colour, lw=1)
        axes.plot(x, before, "o", mfc="white", color=colour, label=f"{name}, as it is")
        axes.plot(x, after, "o", color=colour, label=f"{name}, cleaned")
    axes.set(ylim=(0, 1), ylabel="Dice", xticks=range(len(LEVELS)), xticklabels=LEVELS)
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def sequence_figure(vertebra: Vertebra, boxed: Sequence[int] = ()) -> Figure:
    """All images of a vertebra: a column each, a row per channel, the outline last.

    Args:
        boxed: native slices with a fracture box; the titles of images that hold one are orange.
    """
    t_all, channels = vertebra.images.shape[:2]
    width = min(0.66 * t_all + 1.2, 10.5)
    figure, panels = _subplots(
        channels, t_all, figsize=(width, (width - 0.8) / t_all * channels + 0.9), squeeze=False
    )
    names = [f"slice {c - (channels - 1) // 2:+d}".replace("-", "−") for c in range(channels - 1)]
    names = [name.replace("slice +0", "slice") for name in names] + ["outline"]
    for t, column in enumerate(panels.T):
        for axes, image in zip(column, vertebra.images[t], strict=True):
            axes.imshow(image, vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        colour = BROKEN if vertebra.z[t] in set(boxed) else INK
        column[0].set_title(str(vertebra.z[t]), fontsize=8, color=colour)
    for axes, name in zip(panels[:, 0], names, strict=True):
        axes.set_ylabel(name, fontsize=8)
    figure.suptitle(f"{vertebra.level}; numbers are slices of the scan", fontsize=10)
    return figure


def ladder_figure(
    items: Mapping[str, Vertebra], volume: Volume, boxed: Sequence[int] = ()
) -> Figure:
    """What each method makes of the same level, slice by slice, beside a sagittal cut.

    A logit per image where the method has them, else the weight of each image; dashed: the
    mean of the logits, or equal weights.
    """
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(9.4, 3.6))
    left = figure.add_axes((0.08, 0.16, 0.26, 0.7), anchor="W")
    dz, dy, _ = volume.spacing_zyx_mm
    boxes = [item.box for item in items.values()]
    top, bottom = min(b.z0 for b in boxes) * dz - 6, max(b.z1 for b in boxes) * dz + 6
    first = next(iter(items.values()))
    show_plane(left, volume, "sagittal", round(first.box.centre_zyx[2]), label_mm=True)
    half = max((first.box.y1 - first.box.y0) * dy + 8, bottom - top) / 2  # square or wider
    middle = (first.box.y0 + first.box.y1) / 2 * dy
    left.set(xlim=(middle - half, middle + half), ylim=(bottom, top), facecolor="black")
    left.set_title(first.level, fontsize=10)
    for i, (name, item) in enumerate(items.items()):
        # As insets, the panels keep to the image's height whatever its proportions are.
        axes = left.inset_axes((1.12 + 0.95 * i, 0, 0.82, 1))
        _images_of(axes, item, dz, boxed)
        axes.set(ylim=(bottom, top), yticklabels=[])
        axes.set_title(name, fontsize=10)
    return figure


def _images_of(axes: Axes, item: Vertebra, dz: float, boxed: Sequence[int]) -> None:
    """Logits or weights of a level's images along its millimetres."""
    for z in sorted(set(boxed)):
        axes.axhspan((z - 0.5) * dz, (z + 0.5) * dz, color=BOX, alpha=0.4, lw=0)
    if len(item.logits) == len(item.z) > 1:
        axes.plot(item.logits, item.z * dz, "o-", color=WHOLE, ms=4)
        axes.axvline(item.logits.mean(), color=INK, ls="--", lw=1)
        axes.set_xlabel("logit of an image")
    else:
        axes.barh(item.z * dz, item.weights, height=0.6 * dz, color=WHOLE)
        axes.axvline(1 / len(item.weights), color=INK, ls="--", lw=1)
        axes.set_xlabel("weight of an image")


def span_figure(volume: Volume, maps: Mapping[str, LabelMap], level: str) -> Figure:
    """Where the images of a level would be taken from, under several label maps."""
    figure, panels = _subplots(1, len(maps), figsize=(3.3 * len(maps), 4.0), sharey=True)
    dz = volume.spacing_zyx_mm[0]
    for axes, (name, found) in zip(panels, maps.items(), strict=True):
        box = found.levels()[level]
        x = round(box.centre_zyx[2])
        show_plane(axes, volume, "sagittal", x, label_mm=True)
        _over(axes, volume, found, x)
        ends = (box.z0 - 0.5) * dz, (box.z1 + 0.5) * dz
        axes.axhspan(*ends, color="white", alpha=0.15, lw=0)
        for end in ends:
            axes.axhline(end, color="white", ls="--", lw=1)
        axes.set_title(f"{name}\n{level}: {box.z1 - box.z0 + 1} slices", fontsize=10)
        axes.label_outer()
    _level_key(figure)
    return figure


def ranks_figure(orders: Mapping[str, Interval], rates: float) -> Figure:
    """Share of pairs within necks that are in the right order, a line per method.

    Args:
        rates: the share of who says of every neck how often each level breaks.
    """
    figure, axes = _subplots(figsize=(6.4, 0.42 * len(orders) + 1.5))
    for i, interval in enumerate(orders.values()):
        axes.plot([interval.low, interval.high], [i, i], color=WHOLE, lw=2)
        axes.plot(interval.value, i, "o", color=WHOLE)
    axes.axvline(0.5, color="grey", ls="--", lw=1, label="a coin")
    axes.axvline(rates, color=BROKEN, lw=1, label="rates alone")
    axes.set_yticks(range(len(orders)), list(orders))
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="broken level above whole level of the same neck, share of pairs")
    figure.legend(loc="outside upper right", ncols=2, fontsize=9)
    return figure
