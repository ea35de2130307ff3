"""What a full RSNA run takes: tables of ``docs/scaling.md``, computed from measured rates.

    python -m cspine_lib.costing --measure            renews benchmarks/rates.json, here and now
    python -m cspine_lib.costing docs/scaling.md      renews the tables of the page from it

Counts of samples are those of ``cspine run --dry-run`` (``plan_counts``).  Hours on this
machine are counts times measured seconds.  Hours on a GPU are arithmetic over an assumed
rate, and say so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cspine_lib.config import PROFILES, Profile
from cspine_lib.errors import CspineError
from cspine_lib.experiment import DECK_B
from cspine_lib.plan_counts import Census, Stage, census_of_profile, stages_of
from cspine_lib.recipes import get_recipe
from cspine_lib.runs import atomic_write_text, read_json

RATES = Path(__file__).resolve().parent.parent / "benchmarks" / "rates.json"
BEGIN, END = "<!-- costing:begin -->", "<!-- costing:end -->"
PROFILE = "rsna"

GPU_TFLOPS = 5.0
"""Assumed: what a card keeps up on these networks in mixed precision.  A T4's data sheet names
65 TFLOP/s for it; convolutions by channel, of which these networks are full, reach a small part."""
SECOND_CARD = 0.8
"""Assumed: what each further card adds, as a share of the first."""
BACKWARD = 2.0
"""Operations of a backward pass over those of the forward pass."""
WORKERS = (1, 4, 16, 64)
SHARED_LOAD = 0.5
"""From this load average on, the cores were not the measurement's alone."""

Rates = Mapping[str, Any]


def work(profile: Profile, census: Census) -> dict[str, list[Stage]]:
    """Stages of deck B's methods in one fold; what two methods share stands with the first."""
    seen: set[str] = set()
    found = {}
    for name in DECK_B:
        stages = stages_of(get_recipe(name), profile, census)
        found[name] = [s for s in stages if s.network != "visibility" or s.network not in seen]
        seen |= {stage.network for stage in stages}
    return found


def readings(name: str, profile: Profile) -> int:
    """How often a method decodes every study, beside the cache (which keeps no volumes)."""
    kind = get_recipe(name).kind
    return {"cnn3d": 1, "two_stage": profile.folds, "slices": 0}[kind]


def core_hours(name: str, profile: Profile, census: Census, rates: Rates) -> float:
    """Of reading studies and cutting what a method's networks see, on one core."""
    slices = census.studies * census.slices
    read = slices * rates["read_s_per_slice"]["JPEG Lossless"] * readings(name, profile)
    kind = get_recipe(name).kind
    cut = slices * rates["cube_s_per_slice"] if kind == "cnn3d" else 0.0
    if kind == "two_stage":
        cut = profile.folds * census.studies * rates["crops_s_per_study"]
    return (read + cut) / 3600


def cache_hours(census: Census, rates: Rates) -> float:
    """Of the cache of all studies, on one core."""
    each = rates["read_s_per_slice"]["JPEG Lossless"] + rates["small_s_per_slice"]
    return census.studies * census.slices * each / 3600


def network_hours(stages: Sequence[Stage], folds: int, rates: Rates) -> float:
    """Of training and prediction on the machine that was measured."""
    seconds = 0.0
    for stage in stages:
        rate = rates["networks"][stage.network]
        seconds += stage.trained * rate["train_s"] + stage.predicted * rate["infer_s"]
    return folds * seconds / 3600


def petaflop(stages: Sequence[Stage], folds: int, rates: Rates) -> float:
    """Floating-point operations of training and prediction, in 10¹⁵."""
    total = 0.0
    for stage in stages:
        forward = rates["networks"][stage.network]["gflop"]
        total += forward * (stage.trained * (1 + BACKWARD) + stage.predicted)
    return folds * total / 1e6


def gpu_hours(operations: float, cards: int = 1) -> float:
    """Assumed, not measured: operations (10¹⁵) over ``GPU_TFLOPS``."""
    return operations * 1e3 / GPU_TFLOPS / (1 + SECOND_CARD * (cards - 1)) / 3600


NOT_MEASURED = (
    "No rates are recorded yet: `python -m cspine_lib.costing --measure docs/scaling.md` on a "
    "quiet machine fills in this part."
)


def recorded_rates() -> Rates | None:
    """What ``--measure`` has written; None where it has not been run."""
    return read_json(RATES) if RATES.exists() else None


def page(rates: Rates | None) -> str:
    """The part of ``docs/scaling.md`` that follows from the rates.

    Raises:
        CspineError: rates of another profile, or of networks that are no more.
    """
    if rates is None:
        return NOT_MEASURED
    profile = PROFILES[PROFILE]
    census = census_of_profile(profile)
    if rates.get("profile") != PROFILE:
        raise CspineError(f"{RATES.name} holds no rates of profile {PROFILE}: measure again")
    try:
        parts = [
            _machine(rates["machine"]),
            _rates_table(rates),
            _run_table(profile, census, rates),
            _cluster_table(census, rates),
        ]
    except KeyError as error:
        raise CspineError(
            f"{RATES.name} lacks {error}: python -m cspine_lib.costing --measure"
        ) from error
    return "\n\n".join(parts)


def _machine(m: Mapping[str, Any]) -> str:
    words = (
        f"Measured on {m['date']}: {m['processor']}, {m['cores']} cores, {m['threads']} threads, "
        f"{m['system']}, Python {m['python']}, torch {m['torch']}; device {m['device']}."
    )
    if m["load"] is not None and m["load"] > SHARED_LOAD:
        words += (
            f" **The cores were shared** (load average {m['load']:.1f} at the start): a quiet "
            "machine is faster."
        )
    return words


def _rates_table(rates: Rates) -> str:
    rows = [
        ["read a slice of 512 × 512, " + name, f"{1000 * s:.1f} ms", "", ""]
        for name, s in rates["read_s_per_slice"].items()
    ]
    rows += [
        ["make its small slice", f"{1000 * rates['small_s_per_slice']:.1f} ms", "", ""],
        ["make its share of a cube", f"{1000 * rates['cube_s_per_slice']:.1f} ms", "", ""],
        ["cut the crops of a study", f"{rates['crops_s_per_study']:.2f} s", "", ""],
    ]
    rows += [
        [f"network `{name}`, a sample", f"{r['train_s']:.2f} s", f"{r['infer_s']:.2f} s",
         f"{r['gflop']:.1f}"]
        for name, r in rates["networks"].items()
    ]  # fmt: skip
    head = ["step", "takes (training)", "prediction", "10⁹ operations forward"]
    return _markdown(head, rows)


def _run_table(profile: Profile, census: Census, rates: Rates) -> str:
    rows, sums = [], [0.0] * 5
    cache = cache_hours(census, rates)
    rows.append(["the cache, once", _hours(cache), "", "", "", ""])
    sums[0] += cache
    for name, stages in work(profile, census).items():
        operations = petaflop(stages, profile.folds, rates)
        numbers = [
            core_hours(name, profile, census, rates),
            network_hours(stages, profile.folds, rates),
            operations,
            gpu_hours(operations),
            gpu_hours(operations, 2),
        ]
        sums = [a + b for a, b in zip(sums, numbers, strict=True)]
        rows.append([name, *_cells(numbers)])
    rows.append(["**all**", *_cells(sums)])
    head = [
        f"{profile.folds} folds, {census.studies} studies",
        "core hours of reading and cutting (from measured rates)",
        "hours of networks on the machine above (from measured rates)",
        "10¹⁵ operations",
        "hours on one GPU (assumed rate)",
        "on two (assumed rate)",
    ]
    return _markdown(head, rows)


def _cells(numbers: Sequence[float]) -> list[str]:
    core, machine, operations, one, two = numbers
    return [_hours(core), _hours(machine), f"{operations:,.0f}", _hours(one), _hours(two)]


def _cluster_table(census: Census, rates: Rates) -> str:
    whole = cache_hours(census, rates)
    rows = [[str(n), _hours(whole / n)] for n in WORKERS]
    return _markdown(["Dask workers of one thread", "hours for the cache (proportional)"], rows)


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_page(text: str, content: str) -> str:
    """A page's text with what stands between its marks replaced.

    Raises:
        CspineError: the marks are not there.
    """
    if BEGIN not in text or END not in text.partition(BEGIN)[2]:
        raise CspineError(f"the page needs the lines {BEGIN} and {END} around its tables")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{content}\n{END}{rest.partition(END)[2]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or renew a page.

    Raises:
        CspineError: nothing was asked for, unfit rates, or a page without marks.
    """
    parser = argparse.ArgumentParser(prog="python -m cspine_lib.costing", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="write benchmarks/rates.json")
    parser.add_argument("page", nargs="?", type=Path, help="page whose tables are renewed")
    asked = parser.parse_args(arguments)
    if not asked.measure and asked.page is None:
        raise CspineError("say --measure, or name a page to renew, e.g. docs/scaling.md")
    if asked.measure:
        from cspine_lib.rates import measure

        rates = measure(PROFILES[PROFILE], DECK_B, lambda words: print(words, flush=True))
        atomic_write_text(RATES, json.dumps(rates, indent=1) + "\n")
    if asked.page is not None:
        text = asked.page.read_text(encoding="utf-8")
        atomic_write_text(asked.page, with_page(text, page(recorded_rates())))


if __name__ == "__main__":
    try:
        main()
    except CspineError as error:
        print(f"costing: {error}", file=sys.stderr)
        sys.exit(2)
