"""Figures of the chapter on our own system; what they show is computed elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    figure, axes = plt.subplots(figsize=(9.5, 4.4), layout="constrained")
    for name, (seconds, loss) in points.items():
        colour = OURS if name == best else OTHERS
        axes.plot((seconds, seconds), (loss.low, loss.high), color=colour, lw=1.6, alpha=0.6)
        axes.plot(seconds, loss.value, "*" if name == best else "o", color=colour, ms=9)
        axes.annotate(name, (seconds, loss.value), (7, 3), textcoords="offset points", fontsize=9)
    kept = sorted((points[name][0], points[name][1].value) for name in front)
    axes.step(*zip(*kept, strict=True), where="post", color=FRONT, lw=1.4, label="beaten by none")
    axes.axhline(constant, color=INK, ls="--", lw=1.2, label="best constant")
    axes.set(xscale="log", xlabel="seconds per study, from files to eight probabilities")
    axes.set(ylabel="loss per exam, nats")
    axes.margins(x=0.18)
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if _within(t, axes.get_xlim())]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_title(title, fontsize=10)
    axes.legend(loc="upper right")
    return figure


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def price_figure(report: Mapping[str, Any]) -> Figure:
    """What each change gave, against what it costs: both relative to the reference."""
    rows = [row for row in report["variants"] if "loss_minus_full" in row]
    base = report["variants"][0]["multiply_adds"]
    figure, axes = plt.subplots(figsize=(9.5, 4.2), layout="constrained")
    for row in rows:
        low, high = row["loss_minus_full_ci95"]
        cost = row["multiply_adds"] / base
        colour = OURS if low > 0 or high < 0 else OTHERS
        axes.plot((cost, cost), (low, high), color=colour, lw=1.6, alpha=0.6)
        axes.plot(cost, row["loss_minus_full"], "o", color=colour, ms=7)
        axes.annotate(
            row["name"], (cost, row["loss_minus_full"]), (6, 3), textcoords="offset points"
        )
    axes.axhline(0, color=INK, ls=":", lw=1)
    axes.axvline(1, color=INK, ls=":", lw=1)
    axes.margins(x=0.15)
    axes.set(xlabel="arithmetic of the sequence net, times the reference's")
    axes.set(ylabel="loss minus the reference's")
    axes.set_title(f"{report['note']}; profile {report['profile']}, {report['data']}", fontsize=10)
    return figure


def study_figure(
    cube: npt.NDArray[np.uint8],
    cells: npt.NDArray[np.uint8],
    images: npt.NDArray[np.uint8],
    level: str,
    spacing_zyx_mm: tuple[float, float, float],
) -> Figure:
    """What the system sees of a study: the small cube with its levels, and one image of a level.

    Args:
        cube, cells: (D, H, W), grey values and 1–7 for C1–C7, of the low-resolution grid.
        images: (T, C, S, S) of one level, the outline as last channel.
        spacing_zyx_mm: of the cube.
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
    centre = (images.shape[1] - 1) // 2
    names = ("slice above", "middle slice", "outline")
    for axes, k, name in zip(panels[2:], (centre - 1, centre, -1), names, strict=True):
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
