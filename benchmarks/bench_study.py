"""One full-size study, from files to eight probabilities: this kit against deck B's settings.

    make bench                                          writes study.md and study.json
    .venv/bin/python benchmarks/bench_study.py --quick  a tiny study, to try the script

The study is drawn: 300 slices of 512 × 512, stored as JPEG Lossless.  One process, two threads;
every round times every way, the best of the rounds counts.  All networks have random weights,
for arithmetic takes as long whatever was learned.  pylibjpeg takes part where its plugin
``pylibjpeg-libjpeg`` is installed (GPL-3, so never with this package), dicomsdl where it is.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGLosslessSV1

from cspine_lib import cost
from cspine_lib.config import PROFILES
from cspine_lib.cropstore import study_crops
from cspine_lib.dicom import read_series
from cspine_lib.facts import facts
from cspine_lib.models import CropSequenceNet, LevelLocaliser
from cspine_lib.phantom.build import draw_labelled
from cspine_lib.phantom.dicom_writer import write_series
from cspine_lib.phantom.plan import StudyPlan
from cspine_lib.phantom.traits import Storage, StudyDesign
from cspine_lib.predictors import Predictor, even_levels, untrained
from cspine_lib.recipes import get_recipe
from cspine_lib.runs import atomic_write_text, environment
from cspine_lib.slices import low_stack
from cspine_lib.volume import Volume
from cspine_lib.weights import create_encoder

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_decode import by_dicomsdl, by_gdcm, by_pydicom

FULL, TINY = (300, 512, 512), (24, 96, 96)
THREADS = 2
DECK = "deck B as stated"
LATER = "its authors' later setting"
PYLIBJPEG = "pydicom loop, pylibjpeg"
RSNA = "this kit, profile rsna, one model"
RSNA5 = "this kit, profile rsna, five folds"
KIT = "this kit, profile laptop, one model"
KIT5 = "this kit, profile laptop, five folds"
BEYOND = "beyond, profile laptop"
BEYOND_RSNA = "beyond, profile rsna"
WHOLE = {
    KIT: ("crop_bilstm", "laptop"),
    BEYOND: ("beyond", "laptop"),
    BEYOND_RSNA: ("beyond", "rsna"),
}
"""Timed as a whole: name → method and profile."""
FRAMES, LEVELS = 8, 7


@dataclass(frozen=True)
class Setting:
    """Who looks at how many images of which size, with how many networks."""

    name: str
    backbone: str
    stage1_px: int
    stage1_images: int
    crop_px: int
    folds: int
    views: int = 1
    """Of a crop in stage 2: 2 where its mirror image is looked at too."""
    localisers: int = 1
    """Networks of stage 1 in each fold."""

    @property
    def crops(self) -> int:
        """2.5D images that stage 2 looks at."""
        return LEVELS * FRAMES * self.views


def settings(slices: int, mm: float) -> list[Setting]:
    """What is compared, for a study of so many slices and so much height."""
    rsna, parts = PROFILES["rsna"], get_recipe("crop_bilstm").localiser.parts
    step = max(1, int(rsna.localiser_pitch_mm / (mm / slices) + 1e-6))
    seen = len(range(0, slices, step))
    own = (rsna.backbone, rsna.localiser_px, seen, rsna.crop_px)
    return [
        Setting(RSNA, *own, 1, 2, parts),
        Setting(DECK, "convnext_tiny", 224, min(24 * LEVELS, slices), 224, 5),
        Setting(LATER, "convnext_tiny", 384, slices, 320, 5),
    ]


# --- the study and the ways to read it ---------------------------------------------------------


def write_study(folder: Path, shape: tuple[int, int, int]) -> None:
    """A drawn neck with a broken C2, as JPEG Lossless files."""
    fov = (180.0, 180.0, 180.0)
    dz, dy, dx = (round(mm / n, 4) for mm, n in zip(fov, shape, strict=True))
    plan = StudyPlan(
        seed=1,
        index=0,
        broken=(False, True) + 5 * (False,),
        shape_zyx=shape,
        spacing_zyx_mm=(dz, dy, dx),
    )
    folder.mkdir()
    storage = Storage(syntax="jpeg", signed=False, thickness_mm=dz)
    design = StudyDesign("1.2.826.0.1.3680043.1", "train", plan, storage)
    write_series(folder, draw_labelled(plan).hu_zyx, design)


def usual_loop(folder: Path, plugin: str) -> np.ndarray:
    """As in most notebooks on this data: dcmread, pixel_array, slope and intercept, stack."""
    slices = []
    for path in sorted(folder.glob("*.dcm"), key=lambda p: int(p.stem)):
        ds = pydicom.dcmread(path)
        ds.pixel_array_options(decoding_plugin=plugin)
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        slices.append(hu.astype(np.int16))
    return np.stack(slices)


def plugins() -> tuple[str, ...]:
    """Names of the decoders of JPEG Lossless that pydicom finds."""
    return get_decoder(JPEGLosslessSV1).available_plugins


def reading_ways(folder: Path) -> dict[str, Callable[[], object]]:
    """Name → from files to a volume in HU."""
    ways: dict[str, Callable[[], object]] = {"this kit, read_series": lambda: read_series(folder)}
    for plugin in ("pylibjpeg", "gdcm"):
        if plugin in plugins():
            ways[f"pydicom loop, {plugin}"] = lambda p=plugin: usual_loop(folder, p)
    return ways


def decode_floor(folder: Path, files: int = 40) -> tuple[str, float]:
    """The fastest decoder here, and its seconds for all of the study's files."""
    paths = [str(p) for p in sorted(folder.iterdir())]
    chosen = paths[:: max(1, len(paths) // files)]
    best: dict[str, float] = {}
    for name, decode in (
        ("pydicom + GDCM", by_pydicom),
        ("GDCM", by_gdcm),
        ("dicomsdl", by_dicomsdl),
    ):
        try:
            decode(chosen[0])
        except Exception:
            continue
        best[name] = min(seconds(lambda d=decode: [d(p) for p in chosen]) for _ in range(3))
    name = min(best, key=lambda n: best[n])
    return name, best[name] * len(paths) / len(chosen)


# --- timing ------------------------------------------------------------------------------------


STARTED = time.perf_counter()


def say(words: str) -> None:
    """Where it is, on stderr: the page goes to stdout."""
    print(f"{time.perf_counter() - STARTED:6.0f} s  {words}", file=sys.stderr, flush=True)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Networks:
    """One network of each stage of a setting, and how long an image takes them."""

    def __init__(self, setting: Setting, sample: int) -> None:
        self.setting = setting
        self.stage1 = LevelLocaliser(create_encoder(setting.backbone, "random")).eval()
        self.stage2 = CropSequenceNet(create_encoder(setting.backbone, "random")).eval()
        side, crop = setting.stage1_px, setting.crop_px
        self.images = torch.rand(min(sample, setting.stage1_images), 3, side, side)
        self.levels = min(LEVELS, max(1, sample // FRAMES))
        self.crops = torch.rand(self.levels, FRAMES, 3, crop, crop)

    @torch.inference_mode()
    def measure(self) -> tuple[float, float]:
        """Seconds for stage 1 and stage 2 of all networks: those of one, times their number."""
        s, batch, index = self.setting, 16, torch.arange(self.levels)
        first = seconds(lambda: [self.stage1(part) for part in self.images.split(batch)])
        pairs = zip(self.crops.split(2), index.split(2), strict=True)
        second = seconds(lambda: [self.stage2(crops, level) for crops, level in pairs])
        one = first * s.stage1_images / len(self.images)
        two = second * s.crops / (self.levels * FRAMES)
        return one * s.folds * s.localisers, two * s.folds

    def flops(self) -> float:
        """Of a whole study."""
        s = self.setting
        image = cost.flops(self.stage1, self.images[:1])
        crop = cost.flops(self.stage2, self.crops[:1], torch.arange(1)) / FRAMES
        return s.folds * (image * s.stage1_images * s.localisers + crop * s.crops)


def prepare(volume: Volume, setting: Setting) -> None:
    """What a setting makes of a volume before its networks see it: small slices and crops."""
    low_stack(volume, setting.stage1_px, None)
    study_crops(volume, even_levels(volume), frames=FRAMES, px=setting.crop_px, margin=1.0)


def whole(name: str, quick: bool) -> Predictor:
    """A method with random weights; a quick one has small images."""
    method, profile = WHOLE[name]
    return untrained(method, PROFILES["ci" if quick and profile == "rsna" else profile])


def kit_flops(predict: Predictor, volume: Volume) -> float:
    """Of one study: counted while it is predicted."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        predict(volume, cost.Clock())
    return float(counter.get_total_flops())


def measured(folder: Path, rounds: int, sample: int) -> dict[str, Any]:
    """Everything, in one process; every round times every way."""
    volume = read_series(folder).volume
    slices, mm = volume.shape_zyx[0], volume.shape_zyx[0] * volume.spacing_zyx_mm[0]
    ways = reading_ways(folder)
    quick = sample == 1  # the script is being tried, not the machine
    kits = {name: whole(name, quick) for name in WHOLE}
    chosen = settings(slices, mm)
    if quick:
        chosen = [replace(s, backbone="test_efficientnet") for s in chosen]
    nets = {s.name: Networks(s, sample) for s in chosen}
    times: dict[str, list[Any]] = {}

    def note(name: str, value: Any) -> None:
        times.setdefault(name, []).append(value)

    cost.time_study(kits[KIT], folder)  # warms up and does not count
    rates = [cost.matmul_rate()]
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}: readers")
        for name, read in ways.items():
            note(f"read: {name}", seconds(read))
        for name, kit in kits.items():
            say(f"round {number} of {rounds}: {name}")
            note(name, cost.time_study(kit, folder).seconds)
        for name, pair in nets.items():
            say(f"round {number} of {rounds}: {name}")
            note(f"prepare: {name}", seconds(lambda s=pair.setting: prepare(volume, s)))
            note(f"networks: {name}", pair.measure())
        rates.append(cost.matmul_rate())
    say("floors")
    decoder, floor = decode_floor(folder)
    return {
        "slices": slices,
        "megabytes": sum(p.stat().st_size for p in folder.iterdir()) / 1e6,
        "shape_zyx": list(volume.shape_zyx),
        "rounds": rounds,
        "matmul_rate": max(rates),
        "decode_floor": {"decoder": decoder, "seconds": floor},
        "reading": {n.removeprefix("read: "): t for n, t in times.items() if n[:5] == "read:"},
        "rows": rows_of(times, nets, {n: kit_flops(kit, volume) for n, kit in kits.items()}),
    }


def rows_of(
    times: dict[str, list[Any]], nets: dict[str, Networks], flops: dict[str, float]
) -> list[dict[str, Any]]:
    """One row per way: seconds of each step (best round), operations."""
    own = min(times["read: this kit, read_series"])
    usual = next(min(t) for n, t in times.items() if n.startswith("read: pydicom loop"))
    first, *others = (whole_row(name, times[name], flops[name]) for name in WHOLE)
    rows = [first, five_of(first, KIT5), *others]
    for name, net in nets.items():
        read = own if name.startswith("this kit") else usual
        made = min(times[f"prepare: {name}"])
        one, two = (min(column) for column in zip(*times[f"networks: {name}"], strict=True))
        split = {"read": read, "prepare": made, "stage 1": one, "stage 2": two}
        totals = [read + made + sum(pair) for pair in times[f"networks: {name}"]]
        row = {"name": name, "seconds": split, "flops": net.flops(), "rounds": totals}
        rows.append(row | {"setting": asdict(net.setting)})
        if name == RSNA:
            rows.append(five_of(rows[-1], RSNA5))
    return rows


def whole_row(name: str, splits: list[dict[str, float]], flops: float) -> dict[str, Any]:
    """Of a way that is timed as a whole."""
    best = min(splits, key=lambda split: sum(split.values()))
    parts = {"read": best["read"] + best["decode"], "prepare": best["crop"]}
    parts |= {"stage 1": best["localise"], "stage 2": best["classify"]}
    totals = [sum(split.values()) for split in splits]
    return {"name": name, "seconds": parts, "flops": flops, "split": best, "rounds": totals}


def five_of(row: dict[str, Any], name: str) -> dict[str, Any]:
    """The same with five models in place of one; what they look at is made once."""
    parts = row["seconds"]
    networks = {stage: 5 * parts[stage] for stage in ("stage 1", "stage 2")}
    more = 4 * (parts["stage 1"] + parts["stage 2"])
    rounds = [total + more for total in row["rounds"]]
    return {
        "name": name,
        "seconds": parts | networks,
        "flops": 5 * row["flops"],
        "rounds": rounds,
    }


# --- peak memory: each way in a process of its own ---------------------------------------------


def child(way: str, folder: Path) -> None:
    """Read the study, run one network of each stage at a time, print the peak."""
    torch.set_num_threads(THREADS)
    if way in WHOLE:
        cost.time_study(whole(way, quick=False), folder)
    else:
        volume = Volume(*_usual_volume(folder))
        mm = volume.shape_zyx[0] * volume.spacing_zyx_mm[0]
        setting = next(s for s in settings(volume.shape_zyx[0], mm) if s.name == way)
        prepare(volume, setting)
        Networks(setting, 16).measure()
    print(f"{cost.peak_memory_gb():.3f}")


def _usual_volume(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    plugin = "pylibjpeg" if "pylibjpeg" in plugins() else "gdcm"
    first = pydicom.dcmread(next(folder.iterdir()))
    dy, dx = (float(v) for v in first.PixelSpacing)
    dz = float(first.SliceThickness)
    affine = np.array([[0, 0, dx, 0], [0, dy, 0, 0], [-dz, 0, 0, 0], [0, 0, 0, 1.0]])
    return usual_loop(folder, plugin), affine


def peak_gb(way: str, folder: Path) -> float:
    say(f"peak memory: {way}")
    command = [sys.executable, __file__, "--child", way, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


# --- words -------------------------------------------------------------------------------------


def page(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    rate, floor = result["matmul_rate"], result["decode_floor"]
    deck = next(sum(r["seconds"].values()) for r in result["rows"] if r["name"] == DECK)
    z, y, x = result["shape_zyx"]
    lines = [
        "# One study, from files to eight probabilities",
        "",
        f"Made by `{result['command']}`: a drawn study of {z} × {y} × {x}, JPEG Lossless, "
        f"{result['megabytes']:.0f} MB. {result['machine']}, one process of {THREADS} threads, "
        f"load average {result['load']:.1f} at the start; best of {result['rounds']} rounds, each "
        "of which times every way. Random weights: this is about time, **not about who is right**.",
        "",
        "| seconds per study | read and decode | resize and crop | stage 1 | stage 2 | total "
        "| slowest round | deck's total over this | TFLOP | arithmetic floor | peak memory |",
        "|" + " --- |" * 11,
    ]
    for row in result["rows"]:
        parts = row["seconds"]
        total = sum(parts.values())
        cells = [f"{v:.2f}" for v in parts.values()]
        cells += [f"**{total:.1f}**", f"{max(row['rounds']):.1f}", f"{deck / total:.2f}"]
        memory = row.get("peak_gb")
        cells += [f"{row['flops'] / 1e12:.3g}", f"{row['flops'] / rate:.2f}"]
        cells.append("" if memory is None else f"{memory:.1f} GB")
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    lines += ["", *reading_lines(result, floor), "", _notes(result)]
    return "\n".join(lines) + "\n"


def reading_lines(result: dict[str, Any], floor: dict[str, Any]) -> list[str]:
    """The table of readers."""
    best = {name: min(times) for name, times in result["reading"].items()}
    base = best.get(PYLIBJPEG)
    lines = [
        "| files to a volume in HU | seconds | ms a slice | pydicom with pylibjpeg over this |"
    ]
    lines.append("|" + " --- |" * 4)
    for name, value in best.items():
        ratio = "" if base is None else f"{base / value:.2f}"
        lines.append(f"| {name} | {value:.2f} | {1e3 * value / result['slices']:.1f} | {ratio} |")
    if base is None:
        lines.append(
            "| pydicom loop, pylibjpeg | not run: pylibjpeg-libjpeg is not installed | | |"
        )
    value = floor["seconds"]
    ratio = "" if base is None else f"{base / value:.2f}"
    lines.append(
        f"| floor: decoding alone, {floor['decoder']} | {value:.2f} "
        f"| {1e3 * value / result['slices']:.1f} | {ratio} |"
    )
    return lines


ABOUT = """\
- *Floors*: operations over the best rate of a 2048² float32 matrix product in this run
  ({rate:.0f} GFLOP/s; a multiply-add counts two, recurrent layers are left out); files over the
  fastest decoder that is here.
- **deck B as stated**: ConvNeXt-Tiny at 224 px, 24 slices a level through stage 1 (168 images),
  8 crops of three slices a level through stage 2, five folds of each. Which slices belong to
  which level is not known before stage 1 has looked, so 168 flatters it. **Its authors' later
  setting** (README and config/ of github.com/trantuan4132/kaggle-RSNA-Fracture-Detection): every
  slice through stage 1 at 384 px, crops of 320 px. That README says that three folds of each took
  the competition's machine nearly nine hours.
- Of five equal networks one is timed, and counts five times; of large inputs a sample is timed, and
  counts by their number. The profile `laptop` and `beyond` are timed as a whole. All settings get
  this kit's resizing and cropping. The deck's rows get the usual reading loop with the {plugin}
  plugin, one pass over the files.
- `laptop` is cheap because it does less: EfficientNet-lite0, 64 px every 2 mm, crops of 80 px. The
  like of the deck's setting is `rsna`. **beyond** is one 3D U-Net, as stage 1, and three networks
  on sequences of {frames} crops a level of {px} px ({small} px under `laptop`), each seen plain and
  mirrored, as stage 2. What a setting is worth on RSNA's data is not measured here.
- **2019 studies** ({slices:,} slices) on this machine and in this one process, every file taken as
  JPEG Lossless, by proportion: {hours}. The deck's slide says {ours} h for its method and {top} h
  for the challenge's second place, on hardware that it does not name."""


def hours_2019(row: dict[str, Any], slices: int) -> float:
    """Hours of a row for RSNA's training set: all but stage 2 grows with the number of slices."""
    parts = row["seconds"]
    grows = parts["read"] + parts["prepare"] + parts["stage 1"]
    study = grows * facts("slices")["mean"] / slices + parts["stage 2"]
    return facts("labels")["studies"] * study / 3600


def _notes(result: dict[str, Any]) -> str:
    told = facts("published")["deck_b"]["hours_2019_studies"]
    beyond = get_recipe("beyond").vertebra
    hours = [f"{row['name']} {row['hours_2019']:.1f} h" for row in result["rows"]]
    return ABOUT.format(
        rate=result["matmul_rate"] / 1e9,
        frames=beyond.frames,
        px=beyond.px_of(PROFILES["rsna"]),
        small=beyond.px_of(PROFILES["laptop"]),
        plugin="pylibjpeg" if PYLIBJPEG in result["reading"] else "GDCM",
        slices=facts("slices")["total"],
        hours="; ".join(hours),
        ours=told["bbox-crop BiLSTM"],
        top=told["top-2"],
    )


def machine() -> str:
    """Processor, cores, versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    found = []
    for package in ("torch", "pydicom", "python-gdcm", "pylibjpeg-libjpeg", "dicomsdl"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, " + ", ".join(
        found
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny study, few images")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sample", type=int, default=56, help="images timed per network")
    parser.add_argument("--out", type=Path, help="folder for study.md and study.json")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], Path(asked.child[1]))
        return
    torch.set_num_threads(THREADS)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    sample = 1 if asked.quick else asked.sample
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "study"
        say("drawing a study")
        write_study(folder, TINY if asked.quick else FULL)
        result = measured(folder, asked.rounds, sample)
        for row in result["rows"]:
            if row["name"] in ((KIT,) if asked.quick else (*WHOLE, RSNA, DECK, LATER)):
                row["peak_gb"] = peak_gb(row["name"], folder)
    for row in result["rows"]:
        row["hours_2019"] = hours_2019(row, result["slices"])
    command = "make bench" if sample > 1 else "bench_study.py with tiny networks, to try the script"
    result |= {"command": command, "machine": machine(), "load": load, "threads": THREADS}
    result["environment"] = environment()
    if asked.out:
        atomic_write_text(asked.out / "study.json", json.dumps(result, indent=1) + "\n")
        atomic_write_text(asked.out / "study.md", page(result))
    print(page(result))


if __name__ == "__main__":
    main()
