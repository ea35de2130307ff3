"""The plan of a five-fold run: studies, steps, hours, memory and disk, before it starts.

``cspine run --dry-run`` prints it.  A run that disk or memory cannot hold is refused.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cspine_lib.config import Profile, device_name, experiment_folder, runs_home
from cspine_lib.errors import CspineError
from cspine_lib.plan_counts import (
    Census,
    Stage,
    census_of,
    census_of_profile,
    stages_of,
    stored_bytes,
)
from cspine_lib.recipes import Recipe, get_recipe
from cspine_lib.sources import data_in_place, dataset_for

PROCESS_BYTES = 1.2e9
"""Of a Python process with torch, timm and the data set's tables, about."""
WEIGHT_FILES = 6
"""Copies of the weights that a training leaves: the best, the averaged, and its state."""


SHARED = ("visibility", "detector", "dlc_single")
"""Networks that several methods of a fold use."""


@dataclass(frozen=True)
class Need:
    """One stage of one method with what it costs."""

    method: str
    stage: Stage
    folds: int
    """Still to do."""
    seconds: float
    """Of all these folds; NaN where it was not measured."""
    memory: float
    weights: float


@dataclass(frozen=True)
class Plan:
    """What a run needs and what there is."""

    census: Census
    profile: Profile
    device: str
    needs: list[Need]
    disk: dict[str, float]
    free_disk: float
    free_memory: float

    @property
    def disk_bytes(self) -> float:
        """In all."""
        return sum(self.disk.values())

    @property
    def memory_bytes(self) -> float:
        """Of the largest stage."""
        return max((need.memory for need in self.needs), default=0.0)

    @property
    def hours(self) -> float:
        """Of all that is still to do."""
        return sum(need.seconds for need in self.needs) / 3600

    def problems(self) -> list[str]:
        """Why the run cannot be held here, one line each; empty if it can."""
        found = []
        for what, needed, free, remedy in (
            ("disk", self.disk_bytes, self.free_disk, "choose another place with --out"),
            ("memory", self.memory_bytes, self.free_memory, "take a smaller profile"),
        ):
            if needed > free:
                found.append(
                    f"profile {self.profile.name} needs {gb(needed)} of {what}, "
                    f"{gb(free)} are free: {remedy}"
                )
        return found

    def table(self) -> pd.DataFrame:
        """One row per method and stage."""
        rows = [
            {
                "method": need.method,
                "stage": need.stage.name,
                "folds to do": need.folds,
                "samples an epoch": need.stage.fits * need.stage.samples,
                "epochs": need.stage.epochs,
                "steps a fold": need.stage.steps,
                "predicted a fold": need.stage.passes,
                "hours": _hours(need.seconds),
                "memory": gb(need.memory),
            }
            for need in self.needs
        ]
        return pd.DataFrame(rows)

    def text(self) -> str:
        """All of it, to print."""
        c, p = self.census, self.profile
        lines = [
            f"{c.name}: {c.studies} studies, {c.masked} with masks, about {c.slices:.0f} slices "
            f"of {c.side_px:.0f} px; profile {p.name}, {p.folds} folds, on {self.device}",
            self.table().to_string(index=False) if self.needs else "nothing is left to train",
            f"hours      {_hours(self.hours * 3600)} in all, one training after another, from "
            "steps measured here just now; reading the DICOM files comes on top",
            f"memory     {gb(self.memory_bytes)} of {gb(self.free_memory)} free",
            f"disk       {gb(self.disk_bytes)} of {gb(self.free_disk)} free: "
            + ", ".join(f"{name} {gb(size)}" for name, size in self.disk.items()),
        ]
        return "\n".join([*lines, *(f"cannot run: {line}" for line in self.problems())])


def make_plan(
    recipes: Sequence[Recipe],
    profile: Profile,
    census: Census,
    out: Path,
    *,
    folds: Sequence[int] | None = None,
    timed: bool = True,
) -> Plan:
    """Count the work of methods under a profile.

    Args:
        out: the experiment's folder; folds that lie there are done.
        folds: which are meant; None: all.
        timed: measure a step of each network; else hours are not known.
    """
    needs, known, trained = [], {}, dict[str, set[int]]()
    for recipe in recipes:
        meant = range(profile.folds) if folds is None else folds
        todo = {k for k in meant if not (out / recipe.name / f"fold{k}.json").exists()}
        for stage in stages_of(recipe, profile, census):
            here = todo
            if stage.network in SHARED:
                here = todo - trained.setdefault(stage.network, set())
                trained[stage.network] |= todo
            if stage.network not in known and here:
                known[stage.network] = _cost(stage, recipe, profile, timed)
            if here:
                needs.append(_need(recipe, stage, len(here), known[stage.network], census))
    disk = stored_bytes(
        [r for r in recipes if any(n.method == r.name for n in needs)], profile, census
    )
    disk["weights"] = sum(n.folds * n.stage.fits * n.weights * WEIGHT_FILES for n in needs)
    return Plan(census, profile, device_name(), needs, disk, _free_disk(out), _free_memory())


def plan_before_data(
    names: Sequence[str],
    profile: Profile,
    data: str | Path | None,
    out: Path | None,
    folds: Sequence[int] | None = None,
) -> Plan:
    """The plan of ``cspine run``, also where the data are not in place; makes and writes nothing.

    Args:
        out: the experiment's folder; None: the one that the run would take.
    """
    path = data_in_place(data, profile)
    if path is None:
        census = census_of_profile(profile)
        out = out or runs_home() / f"cv-{profile.name}"
    else:
        dataset = dataset_for(profile, data, quiet=True)
        census = census_of(dataset)
        out = out or experiment_folder(profile, dataset.fingerprint())
    return make_plan([get_recipe(name) for name in names], profile, census, out, folds=folds)


def refuse_what_cannot_be_held(plan: Plan) -> None:
    """Nothing if the run fits.

    Raises:
        CspineError: disk or memory cannot hold it; says how much is needed.
    """
    problems = plan.problems()
    if problems:
        raise CspineError("; ".join(problems))


def _cost(stage: Stage, recipe: Recipe, profile: Profile, timed: bool) -> Any:
    from cspine_lib.plan_probe import cost_of

    return cost_of(stage.network, recipe, profile, timed=timed)


def _need(recipe: Recipe, stage: Stage, folds: int, cost: Any, census: Census) -> Need:
    seconds = stage.trained * cost.train_s + stage.predicted * cost.infer_s
    memory = cost.step_bytes(stage.batch)
    if device_name() == "cpu":
        memory += PROCESS_BYTES
    return Need(recipe.name, stage, folds, folds * seconds, memory, cost.weight_bytes)


def _free_disk(out: Path) -> float:
    place = out
    while not place.exists():
        place = place.parent
    return float(shutil.disk_usage(place).free)


def _free_memory() -> float:
    """Of the card that trains, else of this machine."""
    if device_name().startswith("cuda"):
        import torch

        return float(torch.cuda.mem_get_info()[0])
    import psutil

    return float(psutil.virtual_memory().available)


def gb(size: float) -> str:
    """Bytes in words."""
    return f"{size / 1e9:.1f} GB"


def _hours(seconds: float) -> str:
    return "not measured" if math.isnan(seconds) else f"{seconds / 3600:.2f}"
