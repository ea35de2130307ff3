"""What a step through a full-size study costs the viewer: NiiVue against sliders.

    .venv/bin/pip install -e ".[browser]"        (and Debian's chromium)
    .venv/bin/python benchmarks/bench_viewer.py > benchmarks/viewer.md

Both viewers show the same drawn study of about 300 × 512 × 512 in one JupyterLab in headless
Chromium, one after the other.  A step is a turn of the mouse wheel (NiiVue) or an arrow key on
the slider (the baseline: ipywidgets and matplotlib), until the new picture is on the screen.
Chromium has no GPU here: WebGL runs on the CPU, which is NiiVue's worst case.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))
from lab_driver import SOFTWARE_GL, Opened, chromium, jupyterlab  # noqa: E402

STEPS = 20

PREPARE = """
import numpy as np
from cspine_lib import viewer
from cspine_lib.phantom.build import draw_labelled
from cspine_lib.phantom.plan import StudyPlan
from cspine_lib.volume import Volume

plan = StudyPlan(
    seed=1, index=0, broken=(False, True) + 5 * (False,), shape_zyx=(300, 512, 512),
    spacing_zyx_mm=(0.6, 0.35, 0.35), difficulty=0.5,
)
drawn = draw_labelled(plan)
affine = np.array([[0, 0, 0.35, 0], [0, 0.35, 0, 0], [-0.6, 0, 0, 0], [0, 0, 0, 1.0]])
volume = Volume(drawn.hu_zyx, affine)
"""
SHOW = 'view = viewer.show(volume, drawn.mask_zyx, mode="{mode}")\nview'

WHEEL = """async (steps) => {
  const canvas = [...document.querySelectorAll(".jp-OutputArea canvas")].pop();
  const box = canvas.getBoundingClientRect();
  const place = { clientX: box.x + box.width / 6, clientY: box.y + box.height / 2 };
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const times = [];
  for (let i = 0; i < steps; i++) {
    const start = performance.now();
    const options = { deltaY: 100, bubbles: true, cancelable: true, ...place };
    canvas.dispatchEvent(new WheelEvent("wheel", options));
    await frame();
    await frame();
    times.push(performance.now() - start);
    await new Promise((done) => setTimeout(done, 100));
  }
  return times;
}"""
ARROW = """async (steps) => {
  const image = [...document.querySelectorAll(".jp-OutputArea .jupyter-widgets img")].pop();
  const handle = document.querySelector(".jp-OutputArea .noUi-handle");
  const times = [];
  for (let i = 0; i < steps; i++) {
    const loaded = new Promise((done) => image.addEventListener("load", done, { once: true }));
    const start = performance.now();
    handle.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    await loaded;
    times.push(performance.now() - start);
    await new Promise((done) => setTimeout(done, 100));
  }
  return times;
}"""


def _notebook(folder: Path, mode: str) -> str:
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{i}",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for i, source in enumerate((PREPARE, SHOW.format(mode=mode)))
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    content = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / f"{mode}.ipynb").write_text(json.dumps(content))
    return f"{mode}.ipynb"


def measure(browser, mode: str) -> dict[str, float]:
    """Milliseconds a step, megabytes over the websocket at the start and a step."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "lab"
        folder.mkdir()
        notebook = _notebook(folder, mode)
        with jupyterlab(folder, notebook) as address:
            shown = Opened(browser, address, folder, mode)
            wanted = "canvas" if mode == "webgl" else ".jupyter-widgets img"
            shown.find(wanted).last.wait_for(state="attached", timeout=300_000)
            shown.shot("first")
            start, sent = shown.received, shown.sent
            times = shown.page.evaluate(WHEEL if mode == "webgl" else ARROW, STEPS)
            shown.page.wait_for_timeout(1000)
            return {
                "ms": statistics.median(times),
                "slowest": max(times),
                "start": start / 1e6,
                "step": (shown.received - start) / 1e3 / STEPS,
                "up": sent / 1e6,
            }


def main() -> None:
    """Print both rows and their ratio as Markdown."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        switches = ["--no-sandbox", *SOFTWARE_GL]
        browser = playwright.chromium.launch(executable_path=chromium(), args=switches)
        rows = {mode: measure(browser, mode) for mode in ("webgl", "sliders")}
        browser.close()
    print("# The viewer at 300 × 512 × 512\n")
    print(
        f"One run of `benchmarks/bench_viewer.py`, {os.cpu_count()} cores, no GPU, {STEPS} steps."
    )
    print(
        "NiiVue draws in the browser, here with WebGL on the CPU; sliders are drawn by matplotlib"
    )
    print("in the kernel. The study is 157 MB of int16, with its mask.\n")
    print(
        "| viewer | a step, ms (median) | slowest | from the kernel at the start, MB | a step, kB |"
    )
    print("| --- | --- | --- | --- | --- |")
    for mode, row in rows.items():
        numbers = [f"{row[k]:.0f}" for k in ("ms", "slowest", "start", "step")]
        print(f"| {mode} | {' | '.join(numbers)} |")
    ratio = rows["sliders"]["ms"] / rows["webgl"]["ms"]
    print(f"\nA step of the sliders takes {ratio:.1f} times as long as one of NiiVue.")
    print(f"To the kernel went {rows['webgl']['up']:.2f} MB (NiiVue), no voxel among them.")


if __name__ == "__main__":
    main()
