"""Figures of the chapter on our own system; what they show is computed elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from cspine_lib.anatomy import LEVELS
from cspine_lib.metrics import Interval
from cspine_lib.plots import INK, LEVEL_COLOUR

OURS, OTHERS, FRONT = "#D55E00", "#0072B2", "#009E73"
WHOLE, BROKEN = "#56B4E9", "#D55E00"
MARKS, COLOURS = "osD^vPX", ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#333333")
"""Their lengths share no divisor, so that 42 systems look different."""
SIDES = ("better", "worse")


def front_figure(
    points: Mapping[str, tuple[float, Interval]],
    front: Collection[str],
    constant: float,
    title: str,
    best: str = "beyond",
) -> Figure:
    """Loss against seconds per study, the methods that none beats joined by a line.

    Args:
        points: method → (seconds, loss).
        front: methods that no other one beats.
        constant: loss of the best constant on the same studies.
    """
    figure, axes = plt.subplots(figsize=(10.5, 4.4), layout="constrained")
    kinds = zip(cycle(MARKS), cycle(COLOURS))
    for name, (seconds, loss) in sorted(points.items(), key=lambda item: item[1][1].value):
        mark, colour = ("*", OURS) if name == best else next(kinds)
        size = 14 if name == best else 7
        axes.plot((seconds, seconds), (loss.low, loss.high), color=colour, lw=1.6, alpha=0.6)
        axes.plot(seconds, loss.value, mark, color=colour, ms=size, label=name, ls="", zorder=3)
    kept = sorted((points[name][0], points[name][1].value) for name in front)
    axes.step(*zip(*kept, strict=True), where="post", color=FRONT, lw=1.4, label="beaten by none")
    axes.axhline(constant, color=INK, ls="--", lw=1.2, label="best constant")
    axes.set(xscale="log", xlabel="seconds per study, from files to eight probabilities")
    axes.set(ylabel="loss per exam, nats")
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if _within(t, axes.get_xlim())]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_title(title, fontsize=10)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="by loss, best first")
    return figure


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def future_figure(report: Mapping[str, Any]) -> Figure:
    """What each change gave, in loss and in AUROC with intervals, beside what it costs."""
    first = report["variants"][0]
    rows = [row for row in report["variants"] if "loss_minus_full" in row]
    height = 1.2 + 0.34 * len(rows)
    figure, panels = plt.subplots(
        1, 3, figsize=(12, height), sharey=True, squeeze=False, layout="constrained"
    )
    sides = zip(panels[0], ("loss", "auroc"), (SIDES, SIDES[::-1]), strict=False)
    for axes, name, ends in sides:
        for place, row in enumerate(rows):
            low, high = row[f"{name}_minus_full_ci95"]
            colour = OURS if low > 0 or high < 0 else INK
            axes.plot((low, high), (place, place), color=colour, lw=2.2)
            axes.plot(row[f"{name}_minus_full"], place, "o", color=colour, ms=6)
        axes.axvline(0, color="grey", ls="--", lw=1)
        axes.set_xlabel(f"{'AUROC' if name == 'auroc' else name} minus the reference's")
        axes.locator_params(axis="x", nbins=5)
        axes.set_title(f"← {ends[0]}", loc="left", fontsize=9)
        axes.set_title(f"{ends[1]} →", loc="right", fontsize=9)
    price = [row["multiply_adds"] / first["multiply_adds"] for row in rows]
    panels[0, 2].barh(range(len(rows)), price, color=OTHERS, height=0.6)
    panels[0, 2].axvline(1, color="grey", ls="--", lw=1)
    panels[0, 2].set_xlabel("multiply-adds, times the reference's")
    panels[0, 0].set_yticks(range(len(rows)), [row["says"] for row in rows])
    panels[0, 0].invert_yaxis()
    return figure


def study_figure(
    cube: npt.NDArray[np.uint8],
    cells: npt.NDArray[np.uint8],
    images: npt.NDArray[np.uint8],
    level: str,
    spacing_zyx_mm: tuple[float, float, float],
    *,
    outline: bool = False,
) -> Figure:
    """What the system sees of a study: the small cube with its levels, and one image of a level.

    Args:
        cube, cells: (D, H, W), grey values and 1–7 for C1–C7, of the low-resolution grid.
        images: (T, C, S, S) of one level.
        spacing_zyx_mm: of the cube.
        outline: the last channel is one.
    """
    middle = _richest(cells)
    z, y, _ = spacing_zyx_mm
    kinds = ListedColormap(list(LEVEL_COLOUR.values()))
    figure, panels = plt.subplots(
        1, 5, figsize=(12, 3), layout="constrained", gridspec_kw={"width_ratios": (1, 1, 1, 1, 1)}
    )
    for axes in panels[:2]:
        axes.imshow(cube[:, :, middle], aspect=z / y, cmap="gray")
    shown = np.ma.masked_equal(cells[:, :, middle], 0)
    panels[1].imshow(shown, aspect=z / y, cmap=kinds, vmin=1, vmax=len(LEVELS), alpha=0.6)
    t = len(images) // 2
    centre = (images.shape[1] - outline) // 2
    last = (-1, "outline") if outline else (centre + 1, "slice below")
    looks = ((centre - 1, "slice above"), (centre, "middle slice"), last)
    for axes, (k, name) in zip(panels[2:], looks, strict=True):
        axes.imshow(images[t, k], cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{level}: {name}", fontsize=10)
    panels[0].set_title(f"the study as {' × '.join(map(str, cube.shape))}", fontsize=10)
    panels[1].set_title("the U-Net's levels", fontsize=10)
    for axes in panels:
        axes.set_axis_off()
    return figure


def _richest(cells: npt.NDArray[np.uint8]) -> int:
    """The sagittal plane with most labelled cells."""
    return int((cells > 0).sum(axis=(0, 1)).argmax())


def seen_figure(
    groups: Mapping[str, tuple[npt.NDArray[np.floating], npt.NDArray[np.integer]]],
) -> Figure:
    """Logits of broken and of whole levels, a panel per group of studies.

    Args:
        groups: name → logits (N, 7), NaN for levels not found, and labels (N, 7).
    """
    figure, panels = plt.subplots(
        1, len(groups), figsize=(11, 2.9), sharex=True, layout="constrained", squeeze=False
    )
    known = np.concatenate([z[np.isfinite(z)] for z, _ in groups.values()])
    edges = np.linspace(known.min() - 0.1, known.max() + 0.1, 25)
    for axes, (name, (z, y)) in zip(panels[0], groups.items(), strict=True):
        parts = ((0, WHOLE, "whole levels"), (1, BROKEN, "broken levels"))
        for label, colour, words in parts:
            values = z[np.isfinite(z) & (y == label)]
            axes.hist(values, edges, density=True, color=colour, alpha=0.65, label=words)
        axes.set(title=name, xlabel="logit of a level", yticks=[])
        axes.title.set_fontsize(10)
    panels[0, 0].legend(loc="upper left", fontsize=9)
    return figure


def bars_figure(rows: Sequence[tuple[str, Interval]], label: str) -> Figure:
    """Differences with their intervals, one under the other; 0 is the whole system."""
    figure, axes = plt.subplots(figsize=(8.5, 0.9 + 0.38 * len(rows)), layout="constrained")
    for place, (_, interval) in enumerate(rows):
        colour = OURS if interval.excludes_zero else INK
        axes.plot((interval.low, interval.high), (place, place), color=colour, lw=2.2)
        axes.plot(interval.value, place, "o", color=colour, ms=6)
    axes.axvline(0, color="grey", ls="--", lw=1)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    return figure
