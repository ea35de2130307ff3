"""Figures of notebook 05: labels beside a scan, errors by level and by mm, who has met whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cspine_lib.anatomy import LEVELS, N_LEVELS
from cspine_lib.label_scores import mean_ci
from cspine_lib.plots import INK, show_mask, show_plane
from cspine_lib.volume import Volume

MISSED, CLAIMED = "#0072B2", "#D55E00"
ROLES = {"not met": "#EEEEEE", "trained on": "#0072B2", "stopped on": "#E69F00"}
"""Colour of what a model has to do with a study's mask."""


def show_table(
    axes: Axes,
    table: npt.NDArray[Any],
    dz_mm: float,
    truth: npt.NDArray[np.bool_] | None = None,
    title: str = "",
) -> Any:
    """A table (Z, 7) as an image, head up, in mm; white lines bound what truly shows a level."""
    height = len(table) * dz_mm
    image = axes.imshow(
        np.asarray(table, dtype=float),
        vmin=0,
        vmax=1,
        cmap="cividis",
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, N_LEVELS - 0.5, height - 0.5 * dz_mm, -0.5 * dz_mm),
    )
    axes.set_xticks(range(N_LEVELS), LEVELS)
    axes.set_title(title, fontsize=10)
    if truth is not None:
        for k in range(N_LEVELS):
            where = np.flatnonzero(truth[:, k])
            if len(where):
                top, bottom = (where[0] - 0.5) * dz_mm, (where[-1] + 0.5) * dz_mm
                x = [k - 0.47, k + 0.47, k + 0.47, k - 0.47, k - 0.47]
                axes.plot(x, [top, top, bottom, bottom, top], color="white", lw=1.6)
    return image


def scan_and_tables(
    volume: Volume,
    tables: Mapping[str, npt.NDArray[Any]],
    *,
    mask: npt.NDArray[np.uint8] | None = None,
    truth: npt.NDArray[np.bool_] | None = None,
) -> Figure:
    """A sagittal plane and, on the same mm from head to feet, tables (Z, 7) of its slices.

    Args:
        mask: drawn over the plane; also decides through which voxels it runs.
        truth: white boxes over every table.
    """
    import matplotlib.pyplot as plt

    dz, dy, _ = volume.spacing_zyx_mm
    nz, ny, _ = volume.shape_zyx
    # As wide as it must be for the plane to be as high as the tables beside it.
    wide = ny * dy / (nz * dz)
    figure, panels = plt.subplots(
        1,
        1 + len(tables),
        figsize=(4.2 * wide + 2.7 * len(tables) + 1.2, 4.7),
        width_ratios=[4.2 * wide, *(2.7 for _ in tables)],
        layout="constrained",
        sharey=True,
    )
    x = volume.shape_zyx[2] // 2
    if mask is not None:
        x = int(np.argmax(((mask >= 1) & (mask <= N_LEVELS)).sum(axis=(0, 1))))
    show_plane(panels[0], volume, "sagittal", x, label_mm=True)
    if mask is not None:
        show_mask(panels[0], mask[:, :, x], (dz, dy))
    for axes, (title, table) in zip(panels[1:], tables.items(), strict=True):
        image = show_table(axes, table, dz, truth, title)
        axes.set_xlabel("level")
    panels[0].set_aspect("auto")
    panels[0].set_ylim((nz - 0.5) * dz, -0.5 * dz)
    figure.colorbar(
        image, ax=list(panels), aspect=30, label="probability that a slice shows the level"
    )
    return figure


def level_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Found and right by level, with 95% intervals, of ``level_table`` for groups of studies."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained", sharey=True)
    titles = {
        "found": "of the slices that show it, found",
        "right": "of the slices said to show it, right",
    }
    for axes, (column, title) in zip(panels, titles.items(), strict=True):
        for i, (name, table) in enumerate(tables.items()):
            rows = np.array([tuple(v) for v in table.loc[list(LEVELS), column]], dtype=float)
            value, low, high = np.nan_to_num(rows).T
            x = np.arange(N_LEVELS) + 0.24 * (i - (len(tables) - 1) / 2)
            error = np.clip([value - low, high - value], 0, None)
            colour = (INK, CLAIMED)[i % 2]
            axes.errorbar(x, value, error, fmt="os"[i % 2], color=colour, capsize=2, label=name)
        axes.set_xticks(range(N_LEVELS), LEVELS)
        axes.set(title=title, xlabel="level")
    panels[0].set_ylabel("share of slices")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def distance_figure(wrong: pd.DataFrame, bin_mm: float, most_mm: float) -> Figure:
    """Histogram of wrong slices by their distance from the level's true end."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.5, 2.9), layout="constrained")
    mm = [
        np.minimum(wrong.loc[wrong["kind"] == kind, "mm"], most_mm - bin_mm / 2)
        for kind in ("missed", "claimed")
    ]
    axes.hist(
        mm,
        bins=np.arange(0, most_mm + bin_mm, bin_mm).tolist(),
        stacked=True,
        color=[MISSED, CLAIMED],
        label=["missed: it shows the level", "claimed: it does not"],
        edgecolor="white",
    )
    axes.set_xticks(np.arange(0, most_mm + bin_mm, 2 * bin_mm))
    axes.set(
        xlabel=f"mm from the level's nearest end (last bar: {most_mm - bin_mm:g} mm and more)",
        ylabel="wrong answers",
    )
    axes.legend()
    return figure


def met_figure(
    parts: Sequence[tuple[Sequence[str], Sequence[str]]],
    ids: Sequence[str],
    fold_of: npt.ArrayLike,
    held_out: int,
) -> Figure:
    """Models by masked studies: trained on, stopped on, or not met; one fold in a frame.

    Args:
        parts: per model the studies that it was trained on, and stopped on.
        ids: masked studies.
        fold_of: the outer fold of each.
        held_out: the fold to frame.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch, Rectangle

    folds = np.asarray(fold_of)
    order = np.argsort(folds, kind="stable")
    role = np.zeros((len(parts), len(ids)), dtype=int)
    for m, (train, val) in enumerate(parts):
        role[m] = [1 if ids[i] in train else 2 if ids[i] in val else 0 for i in order]
    figure, axes = plt.subplots(figsize=(9, 0.36 * len(parts) + 1.5), layout="constrained")
    axes.pcolormesh(role, cmap=ListedColormap(list(ROLES.values())), vmin=0, vmax=2, ec="white")
    where = np.flatnonzero(folds[order] == held_out)
    size = (len(where), len(parts))
    axes.add_patch(Rectangle((where[0], 0), *size, fill=False, ec="#D55E00", lw=2.5, clip_on=False))
    axes.set_yticks(np.arange(len(parts)) + 0.5, [f"model {m}" for m in range(len(parts))])
    middles = [np.flatnonzero(folds[order] == k).mean() + 0.5 for k in np.unique(folds)]
    axes.set_xticks(middles, [f"fold {k}" for k in np.unique(folds)])
    axes.set_xlabel("masked studies, by outer fold")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    handles = [Patch(color=colour, label=name) for name, colour in ROLES.items()]
    axes.legend(handles=handles, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def gain_figure(gains: Mapping[str, npt.ArrayLike]) -> Figure:
    """Differences study by study as dots, with the mean and its 95% interval, per group."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.7 * len(gains) + 1.2), layout="constrained")
    rng = np.random.default_rng(0)
    for i, values in enumerate(gains.values()):
        one = np.asarray(values, dtype=float)
        axes.plot(one, i + rng.uniform(-0.2, 0.2, len(one)), ".", color="#56B4E9", ms=5)
        mean, low, high = mean_ci(one)
        axes.errorbar(mean, i, xerr=[[mean - low], [high - mean]], fmt="D", color=INK, capsize=4)
    axes.axvline(0, color="grey", lw=0.8)
    axes.set_yticks(range(len(gains)), list(gains))
    axes.set_ylim(len(gains) - 0.5, -0.5)
    axes.set_xlabel("log loss of the deck's label minus that of the honest one, nats")
    return figure


def arms_figure(arms: Mapping[str, Sequence[float]], unit: str) -> Figure:
    """Differences with their 95% intervals, one below the other."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 0.5 * len(arms) + 1.1), layout="constrained")
    for i, (value, low, high) in enumerate(arms.values()):
        axes.errorbar(value, i, xerr=[[value - low], [high - value]], fmt="D", color=INK, capsize=4)
    axes.axvline(0, color="grey", lw=0.8)
    axes.set_yticks(range(len(arms)), list(arms))
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(unit)
    return figure
