"""What a prediction costs: seconds of each step, memory, and what a whole data set would take.

A study goes through five steps: *read* (list the files, parse the headers), *decode* (pixels to
a volume in HU), *localise* (stage 1), *crop* (cut or resize what the network sees), *classify*.
A method without a step spends nothing on it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from cspine_lib.config import device_name
from cspine_lib.dicom import decode_stack, scan_headers
from cspine_lib.errors import CspineError
from cspine_lib.grid import regular_grid, stack_affine
from cspine_lib.metrics import Interval, bootstrap_ci
from cspine_lib.runs import read_json
from cspine_lib.stack import find_stack, in_plane_turn, usable_slices
from cspine_lib.volume import Volume

STEPS = ("read", "decode", "localise", "crop", "classify")
"""Steps of a prediction, in their order."""

FloatArray = npt.NDArray[np.floating]


@dataclass
class Clock:
    """Adds up the seconds of each step."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 0.0))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        start = time.perf_counter()
        yield
        if device_name() == "cuda":
            torch.cuda.synchronize()  # else the clock stops before the card does
        self.seconds[name] += time.perf_counter() - start


class Predictor(Protocol):
    """A method that can be timed: volume → probabilities (8,), its steps on the clock."""

    def __call__(self, volume: Volume, clock: Clock) -> FloatArray: ...


# --- a study, from its files --------------------------------------------------------------------


@dataclass(frozen=True)
class Timed:
    """One study from its files to eight probabilities."""

    p: FloatArray
    """(8,) in the order of ``anatomy.TARGETS``."""
    seconds: dict[str, float]
    slices: int
    megabytes: float
    """Of the files."""

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds.values())


def timed_volume(folder: Path, clock: Clock, workers: int = 1) -> Volume:
    """``read_series(folder).volume``, taken apart to have its two steps on the clock.

    Raises:
        CspineError: the study cannot be read.
    """
    with clock.step("read"):
        headers, issues = scan_headers(folder)
        headers = usable_slices(headers, issues)
        if not headers:
            raise CspineError(f"no CT slice in {folder}: give the folder of one DICOM series")
        stack = find_stack(headers, issues)
    with clock.step("decode"):
        hu_zyx, bad = decode_stack(stack, workers)
        keep = [i for i in range(len(hu_zyx)) if i not in bad]
        stack, hu_zyx = (stack.only(keep), hu_zyx[keep]) if bad else (stack, hu_zyx)
        grid = regular_grid(stack, issues)
        first, last = grid.kept
        affine_mm = stack_affine(stack, grid, in_plane_turn(stack))
        return Volume(grid.fill(hu_zyx[first : last + 1]), affine_mm)


def time_study(predict: Predictor, folder: Path, workers: int = 1) -> Timed:
    """One study from its DICOM files to its probabilities, step by step."""
    clock = Clock()
    files = [path for path in Path(folder).iterdir() if path.is_file()]
    volume = timed_volume(folder, clock, workers)
    p = predict(volume, clock)
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    return Timed(p, clock.seconds, len(files), megabytes)


def time_studies(
    predict: Predictor, folders: Mapping[str, Path], workers: int = 1
) -> dict[str, Timed]:
    """Studies one after the other, after one that warms up and does not count."""
    time_study(predict, next(iter(folders.values())), workers)
    return {uid: time_study(predict, folder, workers) for uid, folder in folders.items()}


def split_table(timed: Mapping[str, Timed]) -> pd.DataFrame:
    """Seconds of each step (columns) of each study (rows)."""
    return pd.DataFrame({uid: t.seconds for uid, t in timed.items()}).T[list(STEPS)]


def hours_for(seconds: Sequence[float], studies: int) -> Interval:
    """Hours for so many studies, from the seconds of some, with the 95% interval of their mean."""
    return bootstrap_ci(lambda s: float(s.mean()) * studies / 3600, np.asarray(seconds))


def recorded_bench() -> dict[str, Any] | None:
    """What ``make bench`` has written on a full-size study; None where it has not been run."""
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "study.json"
    return read_json(path) if path.exists() else None


def bench_table(bench: Mapping[str, Any]) -> pd.DataFrame:
    """Seconds of a full-size study: a row per setting, as in ``benchmarks/study.md``."""
    rows = {
        row["name"]: {
            **{step: round(value, 2) for step, value in row["seconds"].items()},
            "total": round(sum(row["seconds"].values()), 1),
            "arithmetic floor": round(row["flops"] / bench["matmul_rate"], 1),
            "hours for all of RSNA": round(row["hours_2019"], 1),
        }
        for row in bench["rows"]
    }
    return pd.DataFrame.from_dict(rows, orient="index")


# --- memory and arithmetic ----------------------------------------------------------------------


def peak_memory_gb() -> float:
    """Largest memory of this process so far, in GB; NaN where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss would count the process that started this one as well.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9
    try:
        import resource
    except ImportError:  # Windows has none
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak / 1e6


@torch.inference_mode()
def flops(net: nn.Module, *inputs: Tensor) -> int:
    """Floating-point operations of one forward pass; a multiply-add counts two.

    Convolutions and matrix products are counted (``torch.utils.flop_counter``), recurrent
    layers are not on every device: below one per cent of the networks here.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        net(*inputs)
    return int(counter.get_total_flops())


@torch.inference_mode()
def matmul_rate(side: int = 2048, repeats: int = 5) -> float:
    """Best rate of a square float32 matrix product on this machine now, operations a second."""
    a, b = (torch.randn(side, side, device=device_name()) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):
        clock = Clock()
        with clock.step("classify"):
            a @ b
        best = min(best, clock.seconds["classify"])
    return 2 * side**3 / best
