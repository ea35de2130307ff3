"""``cspine run``: methods on outer folds, several folds at once where a CPU trains.

Small networks do not keep two threads busy: two processes of one thread each train about 1.4
times as much on two cores as one process of two.  A card is better used by one training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cspine_lib.config import DEFAULT_SEED, Profile
from cspine_lib.errors import CspineError
from cspine_lib.experiment import (
    TAG,
    fold_task,
    out_of_fold,
    outer_folds,
    record_if_whole,
    run_fold,
)
from cspine_lib.jobs import for_each, usable_cores
from cspine_lib.plan import Plan, make_plan, refuse_what_cannot_be_held
from cspine_lib.plan_counts import census_of
from cspine_lib.ranks import is_main, n_processes
from cspine_lib.recipes import get_recipe
from cspine_lib.results import write_predictions
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import RunRecord
from cspine_lib.two_stage import open_cache

SHARING = ("slices", "dlc")
"""Kinds whose methods share networks of a fold; one network is common to both kinds, and
whoever comes second waits for it."""


@dataclass(frozen=True)
class Column:
    """What all folds of a run have in common; goes to worker processes."""

    dataset: RsnaDataset
    profile: Profile
    out: Path
    places: tuple[Path, ...]
    """Where records of finished methods are put."""
    meant: tuple[int, ...]
    tag: str
    seed: int
    progress: bool

    def write_if_whole(self, name: str) -> RunRecord | None:
        """The record of a method, put in its places; None while folds are missing."""
        record = record_if_whole(
            name, self.dataset, self.profile, self.out, self.meant, self.tag, self.seed
        )
        if record is not None:
            for place in self.places:
                write_record(record, self.dataset, self.out, place)
        return record


def run_methods(
    names: Sequence[str],
    dataset: RsnaDataset,
    profile: Profile,
    out: Path,
    *,
    folds: str | None = None,
    record_in: Path | None = None,
    tag: str = TAG,
    jobs: int | None = None,
    seed: int = DEFAULT_SEED,
    progress: bool = True,
) -> list[RunRecord]:
    """All methods on all folds, fold by fold, so that a stop leaves whole columns of the table.

    Args:
        folds: numbers with commas between; None: all.
        record_in: also put records and predictions of finished methods here.
        tag: see ``experiment.run_method``.
        jobs: folds that are trained at once; None: see :func:`jobs_of`.

    Raises:
        CspineError: a fold that does not exist, a set without enough masks, a run that disk
            or memory cannot hold, or a record of other data in its place.
    """
    import typer

    _check_places(names, dataset, profile, tag, record_in)
    chosen = fold_numbers(folds, profile.folds)
    recipes = [get_recipe(name) for name in names]
    plan = make_plan(recipes, profile, census_of(dataset), out, folds=chosen, timed=False)
    refuse_what_cannot_be_held(plan)
    shares = _shares(names, chosen)
    at_once = min(jobs_of(plan, jobs), len(shares))
    cache = open_cache(dataset, profile, progress=progress)
    fold_of = outer_folds(dataset, cache.ids, profile.folds, seed)
    counts = np.bincount(fold_of, minlength=profile.folds)
    typer.echo(
        f"{dataset.name}, profile {profile.name}: {len(cache.ids)} studies in {profile.folds} "
        f"folds of {counts.min()} to {counts.max()}"
        f"{f', {at_once} trainings at once' if at_once > 1 else ''}; results in {out}"
    )
    places = (out,) if record_in is None else (out, record_in)
    column = Column(
        dataset, profile, out, places, tuple(chosen), tag, seed, progress and at_once == 1
    )
    for_each(
        partial(_train_share, column),
        shares,
        workers=at_once,
        progress=progress and at_once > 1,
        what="training",
        unit="part",
        backend="loky",  # threads would share the random numbers
    )
    if not is_main():
        return []
    finished = [record for record in map(column.write_if_whole, names) if record is not None]
    for record in finished:
        low, high = record.scores["ci95"]
        typer.echo(f"  {record.method:14s} {record.scores['loss']:.4f} [{low:.4f}, {high:.4f}]")
    return finished


def jobs_of(plan: Plan, asked: int | None) -> int:
    """How many folds are trained at once.

    Args:
        asked: the last digits of a result depend on it, for they do on the number of threads.
            None takes one on a card and under ``ci``, where a process starts longer than it
            trains; else as many as there are cores and memory for.  Where several processes
            train each fold together, it is one.

    Raises:
        CspineError: more were asked for than memory can hold, or fewer than one, or more than
            one of several processes that train together.
    """
    if n_processes() > 1 and (asked or 1) > 1:
        raise CspineError("--jobs trains folds side by side, torchrun each with all: choose one")
    if not plan.needs or n_processes() > 1:
        return 1
    fits = int(plan.free_memory // plan.memory_bytes)
    if asked is None:
        alone = plan.device != "cpu" or plan.profile.name == "ci"
        return 1 if alone else max(min(usable_cores(), fits), 1)
    if not 1 <= asked <= max(fits, 1):
        raise CspineError(f"memory holds {max(fits, 1)} trainings at once, asked for {asked}")
    return asked


def _shares(names: Sequence[str], folds: Sequence[int]) -> list[tuple[int, tuple[str, ...]]]:
    """Fold and methods of each piece of work; methods that share a part of a fold stay together.

    The longest of a fold first, so that no process is left alone with it in the end.
    """
    kinds = {name: get_recipe(name).kind for name in names}
    groups = [tuple(n for n in names if kinds[n] == kind) for kind in SHARING]
    groups += [(name,) for name in names if kinds[name] not in SHARING]
    groups = [group for group in groups if group]
    return [(k, group) for k in folds for group in groups]


def _train_share(column: Column, share: tuple[int, tuple[str, ...]]) -> None:
    """Train and predict; who finishes the last fold of a method writes its record."""
    k, names = share
    for name in names:
        task = fold_task(
            name,
            column.dataset,
            column.profile,
            k,
            column.out,
            seed=column.seed,
            progress=column.progress,
        )
        if run_fold(task, column.out):
            column.write_if_whole(name)  # at once: the rest of the run may be stopped


def _check_places(
    names: Sequence[str], dataset: RsnaDataset, profile: Profile, tag: str, place: Path | None
) -> None:
    """A record of other data is not written over."""
    for name in names:
        path = place and place / f"{name}-{profile.name}-{tag}.json"
        if path and path.exists() and RunRecord.read(path).fingerprint != dataset.fingerprint():
            raise CspineError(f"{path} is a record of other data: give this one a name with --tag")


def write_record(record: RunRecord, dataset: RsnaDataset, out: Path, place: Path) -> None:
    """Record and out-of-fold predictions of a finished method, side by side.

    Labels go along for a phantom only: RSNA's rows may not be passed on.
    """
    ids, p = out_of_fold(out, record.method, record.config["folds"])
    fold = {uid: part.fold or 0 for part in record.parts for uid in part.test}
    rows = [dataset.labels(uid) for uid in ids]
    y = [[int(row.any()), *row] for row in rows] if dataset.is_phantom else None
    write_predictions(place / record.predictions, ids, p, y, [fold[uid] for uid in ids])
    record.write((place / record.predictions).with_suffix(".json"))


def fold_numbers(text: str | None, n: int) -> list[int]:
    """``0,2`` → [0, 2]; None: all.  CspineError: no such fold."""
    if text is None:
        return list(range(n))
    try:
        chosen = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise CspineError(f"folds are numbers with commas between, got {text!r}") from None
    if not chosen or chosen[0] < 0 or chosen[-1] >= n:
        raise CspineError(f"there are folds 0 to {n - 1}, asked for {text}")
    return chosen
