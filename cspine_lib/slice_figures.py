"""Figures of notebooks 06 and 07: slices with what is asked of them, curves along the neck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cspine_lib.anatomy import LEVELS
from cspine_lib.plots import INK, LEVEL_COLOUR

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.floating]
Bands = Mapping[str, tuple[float, float]]
"""Level → its top and bottom, mm along the body axis."""

MARK = "#D55E00"
"""Of what is known to be broken."""


def slices_figure(
    images: npt.NDArray[np.uint8],
    side_mm: float,
    titles: Sequence[str],
    *,
    boxes: Sequence[Sequence[tuple[float, float, float, float]]] | None = None,
    marked: Sequence[bool] | None = None,
) -> Figure:
    """A row of slices as the network gets them, in mm.

    Args:
        images: (K, P, P), the middle channel.
        side_mm: side of the square field.
        titles: one a slice.
        boxes: per slice (x0, y0, x1, y1) in mm, drawn in orange.
        marked: whether a title is orange.
    """
    k = len(images)
    figure, panels = plt.subplots(
        1, k, figsize=(2.2 * k + 0.6, 2.9), sharey=True, squeeze=False, layout="constrained"
    )
    for i, axes in enumerate(panels[0]):
        axes.imshow(images[i], vmin=0, vmax=255, cmap="gray", extent=(0, side_mm, side_mm, 0))
        for x0, y0, x1, y1 in boxes[i] if boxes is not None else ():
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=MARK, lw=1.5))
        orange = marked is not None and marked[i]
        axes.set_title(titles[i], fontsize=8, color=MARK if orange else INK)
        axes.tick_params(labelsize=8)
        axes.set_xlabel("right → left, mm", fontsize=8)
    panels[0, 0].set_ylabel("front → back, mm", fontsize=8)
    return figure


def curves_figure(
    z_mm: FloatArray,
    visible: FloatArray,
    fracture: FloatArray,
    *,
    bands_mm: Bands,
    broken: Mapping[str, FloatArray],
    title: str = "",
) -> Figure:
    """What a network says of each slice, along the neck, above what is true.

    Args:
        z_mm: (N,) place of each slice.
        visible, fracture: (N, 7) probabilities.
        bands_mm: where levels truly are, as bands; may be empty.
        broken: each broken level with the places in mm where its fracture is known to show,
            which may be none.
    """
    figure, panels = plt.subplots(
        2, 1, figsize=(10, 4.6), sharex=True, layout="constrained", height_ratios=[1, 1.2]
    )
    for axes, table, name in zip(panels, (visible, fracture), ("visible", "broken"), strict=True):
        for k, level in enumerate(LEVELS):
            is_broken = level in broken
            axes.plot(
                z_mm,
                table[:, k],
                color=LEVEL_COLOUR[level],
                lw=2.6 if is_broken else 1.3,
                label=f"{level}, broken" if is_broken else level,
            )
        axes.set_ylabel(f"probability\nof {name}")
        _draw_bands(axes, bands_mm, set(broken) if axes is panels[1] else set(LEVELS))
    panels[0].set_ylim(0, 1.18 if bands_mm else 1.03)
    panels[1].set_ylim(bottom=0)
    panels[1].set_xlabel("head → feet, mm")
    _draw_known(panels[1], broken)
    panels[0].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    panels[0].set_title(title, fontsize=10)
    return figure


def _draw_bands(axes: Axes, bands_mm: Bands, levels: set[str]) -> None:
    for i, level in enumerate(LEVELS):
        if level in bands_mm and level in levels:
            top, bottom = bands_mm[level]
            axes.axvspan(top, bottom, color=LEVEL_COLOUR[level], alpha=0.16, lw=0)
            if len(levels) == len(LEVELS):
                # Neighbouring levels overlap along the axis: names on two heights.
                axes.text(
                    (top + bottom) / 2,
                    1.03 + 0.07 * (i % 2),
                    level,
                    fontsize=8,
                    ha="center",
                    color=INK,
                )


def _draw_known(axes: Axes, broken: Mapping[str, FloatArray]) -> None:
    """Ticks below the curves where a fracture is known to show."""
    known = {level: places for level, places in broken.items() if len(places)}
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.1 * (high - low) if known else low, high)
    for level, places in known.items():
        height = np.full(len(places), low - 0.05 * (high - low))
        axes.plot(
            places,
            height,
            "|",
            color=LEVEL_COLOUR[level],
            ms=9,
            mew=2,
            label=f"a fracture of {level} shows",
        )
    if known:
        axes.legend(
            handles=axes.lines[-len(known) :],
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            fontsize=8,
        )


def history_figure(histories: Mapping[str, pd.DataFrame], ylabel: str) -> Figure:
    """Training and early-stopping loss over the epochs, a panel for each training.

    One that was judged by the AUROC of fractures has a second panel for that, the epoch that
    is kept ringed.
    """
    ranked = [name for name, history in histories.items() if "val_auroc" in history]
    n = len(histories) + len(ranked)
    figure, row = plt.subplots(1, n, figsize=(3.9 * n, 2.7), squeeze=False, layout="constrained")
    panels = iter(row[0])
    for name, history in histories.items():
        axes, epoch = next(panels), history["epoch"]
        axes.plot(epoch, history["train_loss"], "o-", color=INK, label="training")
        axes.plot(epoch, history["val_loss"], "s-", color=MARK, label="early-stopping studies")
        axes.set(xlabel="epoch", ylabel=ylabel, xticks=epoch, title=name)
        axes.legend(fontsize=8)
        if name in ranked:
            axes, value = next(panels), history["val_auroc"]
            axes.plot(epoch, value, "s-", color=MARK)
            if value.notna().any():
                best = int(np.nanargmax(value))
                axes.plot(
                    epoch.iloc[best],
                    value.iloc[best],
                    "o",
                    ms=14,
                    mfc="none",
                    mec=INK,
                    label="kept",
                )
                axes.legend(fontsize=8)
            axes.set(xlabel="epoch", ylabel="AUROC of fractures", xticks=epoch)
            axes.set_title("early-stopping slices")
    return figure


def push_figure(pushes: Mapping[str, FloatArray], broken: Sequence[str]) -> Figure:
    """How hard a loss pushes each of seven fracture outputs of one slice, up or down.

    Args:
        pushes: name of a loss → (7,) minus its gradient.
        broken: levels that are labelled broken.
    """
    figure, panels = plt.subplots(
        1, len(pushes), figsize=(4.4 * len(pushes), 2.7), sharey=True, layout="constrained"
    )
    for axes, (name, push) in zip(np.atleast_1d(panels), pushes.items(), strict=True):
        axes.bar(LEVELS, push, color=[LEVEL_COLOUR[level] for level in LEVELS])
        axes.axhline(0, color=INK, lw=0.8)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("fracture output")
        for label in axes.get_xticklabels():
            if label.get_text() in broken:
                label.set(color=MARK, fontweight="bold")
    np.atleast_1d(panels)[0].set_ylabel("push on the logit\n(minus the gradient)")
    return figure


def questions_figure(
    z_mm: FloatArray, visible: FloatArray, labels: npt.NDArray[np.integer]
) -> Figure:
    """What one head and two heads are told about fracture in each slice of a study.

    Args:
        z_mm: (N,) place of each slice.
        visible: (N, 7) whether, or how surely, a slice shows a level.
        labels: (7,) of the study.
    """
    figure, panels = plt.subplots(1, 2, figsize=(8.6, 4), sharey=True, layout="constrained")
    yes, no, asked = np.array([213, 94, 0]), np.array([0, 114, 178]), visible[..., None]
    truth = np.where(labels[None, :, None] == 1, yes, no)  # (1, 7, 3)
    told = asked * truth + (1 - asked) * no
    silent = asked * truth + (1 - asked) * 255
    step = float(z_mm[1] - z_mm[0]) if len(z_mm) > 1 else 1.0
    extent = (-0.5, 6.5, z_mm[-1] + step / 2, z_mm[0] - step / 2)
    names = ("one head: all seven, in every slice", "two heads: what the slice shows")
    for axes, colours, name in zip(panels, (told, silent), names, strict=True):
        axes.imshow(colours.astype(np.uint8), extent=extent, aspect="auto", interpolation="nearest")
        axes.set_xticks(range(len(LEVELS)), LEVELS)
        axes.set_xlabel("fracture output")
        axes.set_title(name, fontsize=10)
    panels[0].set_ylabel("head → feet, mm")
    patches = [
        Rectangle((0, 0), 1, 1, fc=fc, ec=INK, lw=0.5) for fc in (yes / 255, no / 255, "white")
    ]
    panels[1].legend(
        patches,
        ["told: broken", "told: whole", "not asked"],
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        fontsize=9,
    )
    return figure
