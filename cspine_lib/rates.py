"""What a full run is made of, measured on this machine: slices read, crops cut, networks' steps.

``python -m cspine_lib.costing --measure`` writes it into ``benchmarks/rates.json``; the tables
of ``docs/scaling.md`` are computed from there.  The study is drawn, at the full 512 × 512
pixels but with few slices; networks are of profile ``rsna`` with random weights, for neither
the reader nor arithmetic asks what is in the pixels.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cspine_lib.config import Profile, device_name
from cspine_lib.cost import flops
from cspine_lib.cropstore import MARGIN, study_crops
from cspine_lib.cubes import neck_cube
from cspine_lib.dicom import read_series
from cspine_lib.jobs import usable_cores
from cspine_lib.phantom.build import draw_labelled
from cspine_lib.phantom.dicom_writer import write_series
from cspine_lib.phantom.plan import StudyPlan
from cspine_lib.phantom.traits import Storage, StudyDesign
from cspine_lib.plan_counts import census_of_profile, stages_of
from cspine_lib.plan_probe import cost_of, network_inputs
from cspine_lib.predictors import even_levels
from cspine_lib.recipes import get_recipe
from cspine_lib.runs import environment
from cspine_lib.slices import low_stack
from cspine_lib.volume import Volume

SHAPE = (48, 512, 512)
FOV_MM = (144.0, 180.0, 180.0)
SYNTAXES = {"JPEG Lossless": "jpeg", "uncompressed": "explicit"}
"""How slices are stored, in words and for ``phantom.traits.Storage``."""
ROUNDS = 2


def measure(
    profile: Profile,
    methods: tuple[str, ...],
    say: Callable[[str], None],
    shape: tuple[int, int, int] = SHAPE,
) -> dict[str, Any]:
    """All rates, as JSON can hold them; takes minutes.

    Args:
        methods: whose networks are timed.
        say: is told what comes next.
        shape: of the drawn study.
    """
    machine = machine_facts()
    say(f"drawing a study of {shape[0]} slices")
    rates: dict[str, Any] = {"profile": profile.name, "machine": machine}
    rates |= _study_rates(profile, shape)
    networks: dict[str, dict[str, float]] = {}
    for name in methods:
        recipe = get_recipe(name)
        for stage in stages_of(recipe, profile, census_of_profile(profile)):
            if stage.network in networks:
                continue
            say(f"two training steps of {stage.network}")
            cost = asdict(cost_of(stage.network, recipe, profile))
            model, inputs = network_inputs(stage.network, recipe, profile)
            networks[stage.network] = {
                "train_s": _rounded(cost["train_s"]),
                "infer_s": _rounded(cost["infer_s"]),
                "gflop": _rounded(flops(model, *inputs) / len(inputs[0]) / 1e9),
            }
    return rates | {"networks": networks}


def machine_facts() -> dict[str, Any]:
    """What a rate depends on; nothing that names the machine."""
    versions = environment()
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "device": device_name(),
        "system": platform.system(),
        **{name: versions[name] for name in ("python", "torch", "pydicom", "timm")},
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    """What the processor calls itself."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _study_rates(profile: Profile, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Seconds of what is done to a study before any network sees it, in one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _timed_study(profile, shape, Path(folder))
    finally:
        torch.set_num_threads(before)


def _timed_study(profile: Profile, shape: tuple[int, int, int], folder: Path) -> dict[str, Any]:
    n, side = shape[0], profile.cube_px
    reading = {}
    for name, syntax in SYNTAXES.items():
        write_study(folder / syntax, shape, syntax)
        reading[name] = _rounded(_seconds(partial(read_series, folder / syntax)) / n)
    volume: Volume = read_series(folder / "jpeg").volume
    crops: dict[str, Any] = {"frames": profile.frames, "px": profile.crop_px, "margin": MARGIN}
    cut = _seconds(lambda: study_crops(volume, even_levels(volume), **crops))
    return {
        "read_s_per_slice": reading,
        "small_s_per_slice": _rounded(
            _seconds(lambda: low_stack(volume, profile.localiser_px, None)) / n
        ),
        "cube_s_per_slice": _rounded(_seconds(lambda: neck_cube(volume, (side, side, side))) / n),
        "crops_s_per_study": _rounded(cut),
    }


def write_study(folder: Path, shape: tuple[int, int, int], syntax: str) -> None:
    """A drawn neck as DICOM files."""
    dz, dy, dx = (round(mm / n, 4) for mm, n in zip(FOV_MM, shape, strict=True))
    plan = StudyPlan(
        seed=1, index=0, broken=(False,) * 7, shape_zyx=shape, spacing_zyx_mm=(dz, dy, dx)
    )
    folder.mkdir()
    storage = Storage(syntax=syntax, signed=False, thickness_mm=dz)  # type: ignore[arg-type]
    design = StudyDesign("1.2.826.0.1.3680043.1", "train", plan, storage)
    write_series(folder, draw_labelled(plan).hu_zyx, design)


def _seconds(work: Callable[[], Any]) -> float:
    """Of the best of some calls, after one that warms up."""
    best = float("inf")
    for k in range(1 + ROUNDS):
        started = time.perf_counter()
        work()
        if k:
            best = min(best, time.perf_counter() - started)
    return best


def _rounded(value: float) -> float:
    """Three digits that count."""
    return float(f"{value:.3g}")
