"""How far does a localiser that knows phantoms alone carry?  One real CT, against a reading by eye.

    python benchmarks/real_ct.py runs/demo FOLDER_OF_DICOM docs/real_ct.json OUT

Prints a Markdown table and writes ``OUT/real_ct.png``.  The reading by eye is
``docs/real_ct.json``; it was written down before any model had seen the scan.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cspine_lib.anatomy import LEVELS
from cspine_lib.dicom import read_series
from cspine_lib.labels import LevelBox
from cspine_lib.plots import overview_figure, save_png
from cspine_lib.runs import read_json
from cspine_lib.stage1 import locate_volume
from cspine_lib.two_stage import TwoStageModel
from cspine_lib.volume import Volume


def located(model: TwoStageModel, volume: Volume, ordered: bool) -> dict[str, LevelBox]:
    """Levels with or without the knowledge that they follow each other."""
    recipe = replace(model.recipe.localiser, ordered=ordered)
    return locate_volume(model.localisers, volume, recipe, model.profile)


def row(level: str, eye: Mapping[str, Any], found: list[dict[str, LevelBox]], dz: float) -> str:
    """One line of the table."""
    first, last = eye["slices"][level]
    y, x = eye["canal_yx_px"][level]
    cells = []
    for levels in found:
        box = levels.get(level)
        if box is None:
            cells += ["not found", "–", "–"]
            continue
        error = (box.z0 + box.z1 - first - last) / 2 * dz
        inside = box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1
        cells += [f"{box.z0}–{box.z1}", f"{error:+.1f}", "yes" if inside else "no"]
    return f"| {level} | {first}–{last} | " + " | ".join(cells) + " |"


def main() -> None:
    run, folder, reading, out = (Path(a) for a in sys.argv[1:5])
    model, series, eye = TwoStageModel.load(run), read_series(folder), read_json(reading)
    volume = series.volume
    print(f"{volume!r}; {len(series.files)} files, first {series.files[0]}\n")
    found = [located(model, volume, ordered) for ordered in (True, False)]
    print("| level | by eye | in order | error, mm | canal in box | alone | error, mm | canal |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for level in LEVELS:
        print(row(level, eye, found, volume.spacing_zyx_mm[0]))
    p = model.classify(volume, found[0])
    figure = overview_figure(
        volume, found[0], p, "real CT, localiser trained on phantoms", ["not for clinical use"]
    )
    save_png(figure, out / "real_ct.png")


if __name__ == "__main__":
    main()
