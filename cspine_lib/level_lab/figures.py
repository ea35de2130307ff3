"""Figures of stage 1: who is who, chosen slices, answers, boxes, errors, shifted crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cspine_lib.anatomy import LEVELS
from cspine_lib.labels import LevelBox
from cspine_lib.level_lab.looks import Looked, Truth
from cspine_lib.plots import AXIS_MM, INK, LEVEL_COLOUR, draw_level_boxes, show_plane
from cspine_lib.volume import Volume

ORANGE = "#D55E00"
LEVEL_AXIS = "head → feet, mm"


def _subplots(*args: Any, **options: Any) -> tuple[Figure, Any]:
    import matplotlib.pyplot as plt

    return plt.subplots(*args, layout="constrained", **options)


def _middle_x(volume: Volume, levels: Mapping[str, LevelBox]) -> int:
    middle = [box.centre_zyx[2] for box in levels.values()] or [volume.shape_zyx[2] / 2]
    return int(np.clip(round(float(np.median(middle))), 0, volume.shape_zyx[2] - 1))


def _around(axes: Axes, box: LevelBox, volume: Volume, half_mm: float = 48.0) -> None:
    """The same window in every panel, so that sizes can be compared."""
    _, dy, dx = volume.spacing_zyx_mm
    x, y = (box.x0 + box.x1) / 2 * dx, (box.y0 + box.y1) / 2 * dy
    axes.set_xlim(x - half_mm, x + half_mm)
    axes.set_ylim(y + half_mm, y - half_mm)
    axes.set_facecolor("black")


def _height(axes: Axes, volume: Volume, levels: Mapping[str, LevelBox], pad_mm: float) -> None:
    """Show the neck of a sagittal view, not the whole head and chest."""
    dz = volume.spacing_zyx_mm[0]
    if levels:
        top, bottom = min(b.z0 for b in levels.values()), max(b.z1 for b in levels.values())
        axes.set_ylim(min(bottom * dz + pad_mm, volume.shape_zyx[0] * dz), top * dz - pad_mm)


def _draw_box(axes: Axes, volume: Volume, box: LevelBox, **style: Any) -> None:
    """A box over an axial slice drawn in mm."""
    _, dy, dx = volume.spacing_zyx_mm
    corner, size = (box.x0 * dx, box.y0 * dy), ((box.x1 - box.x0) * dx, (box.y1 - box.y0) * dy)
    axes.add_patch(Rectangle(corner, *size, fill=False, lw=1.4, **style))


def who_is_it_figure(
    volume: Volume, levels: Mapping[str, LevelBox], names: Sequence[str]
) -> Figure:
    """Middle slices of some levels, without their names, and the neck from the side with them.

    Args:
        names: the levels that are shown, left to right.
    """
    figure, panels = _subplots(
        1, len(names) + 1, figsize=(12, 3.1), width_ratios=[1] * len(names) + [1.1]
    )
    for letter, name, axes in zip("abcdefg", names, panels[:-1], strict=False):
        z = round(levels[name].centre_zyx[0])
        show_plane(axes, volume, "axial", z, label_mm=True)
        _around(axes, levels[name], volume)
        axes.set_title(f"({letter})", fontsize=10)
        axes.set_ylabel(AXIS_MM[1] if letter == "a" else "")
    show_plane(panels[-1], volume, "sagittal", _middle_x(volume, levels), label_mm=True)
    draw_level_boxes(panels[-1], volume, levels)
    _height(panels[-1], volume, levels, 12)
    panels[-1].set_title("from the side, counted", fontsize=10)
    return figure


def chosen_figure(
    visible: npt.NDArray[np.bool_], chosen: Mapping[str, npt.NDArray[np.intp]], dz_mm: float
) -> Figure:
    """Where each level is in view, and the slices that stand for it.

    Args:
        visible: (Z, 7).
        chosen: level, or ``none`` for slices without one → slices.
    """
    figure, axes = _subplots(figsize=(9, 2.9))
    for row, (name, slices) in enumerate(chosen.items()):
        k = LEVELS.index(name) if name in LEVELS else None
        column = visible[:, k] if k is not None else ~visible.any(axis=1)
        inside = np.flatnonzero(column)
        axes.vlines(inside * dz_mm, row - 0.32, row + 0.32, color="#BBBBBB", lw=1.2)
        colour = LEVEL_COLOUR.get(name, INK)
        axes.scatter(slices * dz_mm, np.full(len(slices), row), s=16, color=colour, zorder=3)
    axes.vlines([], [], [], color="#BBBBBB", lw=1.2, label="slice shows it")
    axes.scatter([], [], s=16, color=INK, label="stands for it")
    axes.set_yticks(range(len(chosen)), list(chosen))
    axes.invert_yaxis()
    axes.set(xlabel=LEVEL_AXIS)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def answers_figure(looked: Looked, truth: Truth, alone: Mapping[str, LevelBox]) -> Figure:
    """Probabilities of one study over its slices; true ranges, and both ways to decode them."""
    dz = looked.spacing_zyx_mm[0]
    figure, axes = _subplots(figsize=(9, 3.8))
    at_mm = looked.z * dz
    half = (at_mm[1] - at_mm[0]) / 2 if len(at_mm) > 1 else dz / 2
    image = axes.imshow(
        looked.prob.T,
        cmap="cividis",
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        extent=(at_mm[0] - half, at_mm[-1] + half, len(LEVELS) - 0.5, -0.5),
    )
    ways = (
        (truth.levels, "true range", {"color": "white", "lw": 2}, -0.3),
        (looked.levels(), "decoded in order", {"color": ORANGE, "lw": 2}, 0.12),
        (alone, "each by itself", {"color": "#56B4E9", "lw": 2}, 0.34),
    )
    for levels, label, style, lift in ways:
        for i, (name, box) in enumerate(levels.items()):
            ends = (box.z0 - 0.5) * dz, (box.z1 + 0.5) * dz
            row = LEVELS.index(name) + lift
            axes.plot(ends, (row, row), label=label if i == 0 else None, **style)
    axes.set_yticks(range(len(LEVELS)), LEVELS)
    axes.set(xlabel=LEVEL_AXIS, ylabel="asked for")
    legend = figure.legend(
        loc="outside lower center", ncols=3, frameon=True, facecolor="#555555", fontsize=9
    )
    for text in legend.get_texts():
        text.set_color("white")
    figure.colorbar(image, ax=axes, label="probability", pad=0.02)
    return figure


def boxes_figure(
    volume: Volume,
    claimed: Mapping[str, LevelBox],
    true: Mapping[str, LevelBox],
    names: Sequence[str],
) -> Figure:
    """Claimed boxes (solid) and true ones (dashed), from the side and in some levels' slices."""
    figure, panels = _subplots(
        1, len(names) + 1, figsize=(12, 3.5), width_ratios=[1.1] + [1] * len(names)
    )
    show_plane(panels[0], volume, "sagittal", _middle_x(volume, true), label_mm=True)
    draw_level_boxes(panels[0], volume, claimed)
    dz, dy, _ = volume.spacing_zyx_mm
    for box in true.values():
        corner = (box.y0 * dy, (box.z0 - 0.5) * dz)
        size = (box.y1 - box.y0) * dy, (box.z1 - box.z0 + 1) * dz
        panels[0].add_patch(Rectangle(corner, *size, fill=False, ec="white", lw=0.9, ls="--"))
    _height(panels[0], volume, true, 8)
    panels[0].set_title("from the side", fontsize=10)
    for name, axes in zip(names, panels[1:], strict=True):
        z = round(true[name].centre_zyx[0])
        show_plane(axes, volume, "axial", z, label_mm=True)
        _draw_box(axes, volume, true[name], ec="white", ls="--")
        if name in claimed:
            _draw_box(axes, volume, claimed[name], ec=LEVEL_COLOUR[name])
        _around(axes, true[name], volume)
        axes.set_title(f"{name}, its middle slice", fontsize=10)
        axes.set_ylabel("")
    panels[1].plot([], [], color=INK, label="claimed")
    panels[1].plot([], [], color=INK, ls="--", label="true (white)")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def errors_figure(errors: pd.DataFrame, answers: pd.DataFrame) -> Figure:
    """Centre errors by level, and wrong answers by their distance to a level's end.

    Args:
        errors: rows of ``level_errors``; answers: rows of ``slice_answers``.
    """
    figure, (left, right) = _subplots(1, 2, figsize=(11, 3.3))
    rng = np.random.default_rng(0)
    for k, name in enumerate(LEVELS):
        off = errors.loc[errors["level"] == name, "centre_error_mm"].dropna().to_numpy(float)
        left.scatter(k + rng.uniform(-0.2, 0.2, len(off)), off, s=11, color=LEVEL_COLOUR[name])
        if len(off):
            left.plot([k - 0.32, k + 0.32], [np.median(off)] * 2, color=INK, lw=2)
    left.plot([], [], color=INK, lw=2, label="median")
    left.axhline(0, color="grey", lw=0.8)
    left.set_xticks(range(len(LEVELS)), LEVELS)
    left.set(xlabel="level", ylabel="centre error, mm (+: to the feet)")
    left.legend()
    ends = np.array([0, 2, 4, 6, 10, 15, 25, np.inf])
    known = answers[answers["edge_mm"].notna()]
    bins = np.digitize(known["edge_mm"], ends) - 1
    shares = known["wrong"].astype(float).groupby(bins).mean().reindex(range(len(ends) - 1))
    right.bar(range(len(shares)), 100 * shares, color=INK)
    names = [f"{a:g}–{b:g}" if np.isfinite(b) else f"over {a:g}" for a, b in pairwise(ends)]
    right.set_xticks(range(len(shares)), names)
    right.set(xlabel="mm from where the level begins or ends", ylabel="answers that are wrong, %")
    return figure


def pitch_figure(table: pd.DataFrame) -> Figure:
    """Mean centre error against the distance between slices looked at (``at_pitch``)."""
    figure, axes = _subplots(figsize=(6, 2.9))
    spread = np.abs(table[["low", "high"]].to_numpy().T - table["off_mm"].to_numpy())
    axes.errorbar(table["pitch_mm"], table["off_mm"], spread, fmt="o-", color=INK, capsize=3)
    for row in table.itertuples():
        axes.annotate(
            f"{row.slices:.0f}",
            (row.pitch_mm, row.off_mm),
            xytext=(5, 6),
            textcoords="offset points",
            fontsize=9,
        )
    axes.set_ylim(0, None)
    axes.set(xlabel="distance between slices looked at, mm", ylabel="centre off, mm")
    axes.set_title("mean and 95% interval; at each dot the slices per study", fontsize=10)
    return figure


def shift_figure(table: pd.DataFrame) -> Figure:
    """What a shift costs, with paired intervals, beside how much of the fractures it leaves.

    Args:
        table: a row per shift; columns ``loss`` and ``auroc`` hold ``metrics.Interval`` of the
            difference to boxes in place, ``in_view`` the share of known fractures in the crops
            (may be NaN).
    """
    figure, panels = _subplots(1, 3, figsize=(12, 3.6), sharey=True)
    at = np.arange(len(table))
    titles = ("AUROC of the levels, change", "loss, change", "known fractures in the crops, %")
    for axes, column, title in zip(panels, ("auroc", "loss", "in_view"), titles, strict=True):
        if column == "in_view":
            axes.barh(at, 100 * table[column].astype(float), color="#56B4E9")
            if not table[column].notna().any():
                axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center")
        else:
            value, low, high = np.array(table[column].tolist(), dtype=float).T
            spread = np.maximum(np.stack([value - low, high - value]), 0)
            axes.errorbar(value, at, xerr=spread, fmt="o", color=INK, capsize=3)
            axes.axvline(0, color="grey", lw=0.8)
        axes.set_xlabel(title)
    panels[0].set_yticks(at, list(table.index))
    panels[0].invert_yaxis()
    return figure


def crops_figure(crops: Mapping[str, npt.NDArray[np.uint8]], title: str) -> Figure:
    """The middle channel of each frame of some sequences, a row per sequence.

    Args:
        crops: name → uint8 (T, 3, S, S), windowed.
    """
    frames = len(next(iter(crops.values())))
    figure, panels = _subplots(
        len(crops),
        frames,
        figsize=(max(1.35 * frames + 2, 7), 1.4 * len(crops) + 0.4),
        squeeze=False,
    )
    for row, (name, sequence) in zip(panels, crops.items(), strict=True):
        for t, axes in enumerate(row):
            axes.imshow(sequence[t, 1], vmin=30, vmax=230, cmap="gray")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure
