"""Draw the README's picture from a trained run: one held-out phantom study on its way.

python benchmarks/pipeline_figure.py runs/demo docs/pipeline.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch

from cspine_lib.anatomy import LEVELS, OVERALL
from cspine_lib.config import get_profile
from cspine_lib.cropstore import MARGIN, study_crops
from cspine_lib.plots import INK, LEVEL_COLOUR, draw_level_boxes, save_png, show_plane
from cspine_lib.rsna import RsnaDataset
from cspine_lib.sources import dataset_for
from cspine_lib.two_stage import TwoStageModel
from cspine_lib.volume import Volume


def choose_study(model: TwoStageModel, dataset: RsnaDataset) -> tuple[str, Volume]:
    """The first held-out study with all seven levels found and one probability that stands out."""
    best, top = ("", 0.0), 0.0
    for uid in dataset.test_ids[:40]:
        volume = dataset.read_study(uid).volume
        levels = model.locate(volume)
        if len(levels) < len(LEVELS):
            continue
        p = model.classify(volume, levels)
        clear = max(p[k] for k in LEVELS) - sorted(p[k] for k in LEVELS)[-2]
        if clear > top:
            best, top = (uid, clear), clear
    return best[0], dataset.read_study(best[0]).volume


def draw(model: TwoStageModel, volume: Volume) -> Figure:
    """Four panels: slices, levels, frames of the most suspicious level, probabilities."""
    levels = model.locate(volume)
    p, attention = model.classify_with_attention(volume, levels)
    worst = max(LEVELS, key=lambda k: p[k])
    k = LEVELS.index(worst)
    crops = study_crops(
        volume, levels, frames=model.profile.frames, px=model.profile.crop_px, margin=MARGIN
    )[k]
    figure = Figure(figsize=(14, 4.4), dpi=100, facecolor="white")
    outer = figure.add_gridspec(
        1, 4, width_ratios=[0.8, 1.05, 2.3, 1.0], left=0.01, right=0.985, top=0.84, bottom=0.1,
        wspace=0.16,
    )  # fmt: skip
    _slices(figure, outer[0], volume)
    sagittal = figure.add_subplot(outer[1])
    x = int(np.median([b.centre_zyx[2] for b in levels.values()]))
    show_plane(sagittal, volume, "sagittal", x)
    draw_level_boxes(sagittal, volume, levels)
    sagittal.set_title("1  localiser: levels and boxes", fontsize=11, loc="left")
    first = _frames(figure, outer[2], crops, attention[k], worst)
    bars = figure.add_subplot(outer[3])
    names = (*LEVELS, OVERALL)
    bars.barh(range(8), [p[n] for n in names], color=[LEVEL_COLOUR.get(n, INK) for n in names])
    bars.set_yticks(range(8), [*LEVELS, "any"])
    bars.invert_yaxis()
    bars.set_xlim(0, 1)
    bars.spines[["top", "right"]].set_visible(False)
    bars.set_title("3  probabilities", fontsize=11, loc="left")
    bars.set_xlabel("any = 1 − Π(1 − p)")
    box = levels[worst]
    dz, dy, _ = volume.spacing_zyx_mm
    figure.add_artist(
        ConnectionPatch(
            (box.y1 * dy, (box.z0 + box.z1) / 2 * dz), (0, 0.5),
            coordsA="data", coordsB="axes fraction", axesA=sagittal, axesB=first,
            color=LEVEL_COLOUR[worst], linewidth=1.5, arrowstyle="->",
        )
    )  # fmt: skip
    figure.text(0.01, 0.02, "a simulated scan (phantom); predictions of a trained run", fontsize=9)
    return figure


def _slices(figure: Figure, cell, volume: Volume) -> None:
    grid = cell.subgridspec(3, 1, hspace=0.06)
    depth = volume.shape_zyx[0]
    for i, share in enumerate((0.3, 0.5, 0.7)):
        axes = figure.add_subplot(grid[i])
        show_plane(axes, volume, "axial", int(share * depth))
        if i == 0:
            axes.set_title("DICOM → HU, head first", fontsize=11, loc="left")


def _frames(figure: Figure, cell, crops, weights, level: str):
    """Eight 2.5D frames with the attention that each got; returns the first axes."""
    grid = cell.subgridspec(3, 4, height_ratios=[1, 1, 0.45], hspace=0.08, wspace=0.05)
    first = None
    margin = (crops.shape[-1] - round(crops.shape[-1] / MARGIN)) // 2
    for i, frame in enumerate(crops[:8]):
        axes = figure.add_subplot(grid[i // 4, i % 4])
        inner = frame[1, margin:-margin, margin:-margin] if margin else frame[1]
        axes.imshow(inner, cmap="gray", vmin=0, vmax=255)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color(LEVEL_COLOUR[level])
            spine.set_linewidth(0.5 + 6 * float(weights[i]))
        if i == 0:
            axes.set_title(f"2  {level}: crops in sequence → CNN + LSTM", fontsize=11, loc="left")
            first = axes
    bars = figure.add_subplot(grid[2, :])
    bars.bar(range(len(weights)), weights, color=LEVEL_COLOUR[level])
    bars.set_xticks([])
    bars.set_yticks([])
    bars.spines[["top", "right", "left"]].set_visible(False)
    bars.set_xlabel("attention over the frames")
    return first


def main() -> None:
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    model = TwoStageModel.load(run)
    dataset = dataset_for(get_profile(model.profile.name), phantom=True)
    uid, volume = choose_study(model, dataset)
    save_png(draw(model, volume), out)
    print(f"{out}: study {uid}")


if __name__ == "__main__":
    main()
