"""Several processes from a notebook: one training on all the GPUs of the machine.

On Kaggle with two T4s::

    from cspine_lib.launch import train_on_all_gpus

    records = train_on_all_gpus("multi_head", dataset, profile)

From a shell ``torchrun`` does the same with ``cspine run``; see docs/scaling.md.  accelerate's
``notebook_launcher`` works too, with :func:`train_together` as its function; but it forks, so
that it fails as soon as any cell has looked for a GPU, and a set-up cell does.  The processes
here start anew: what the notebook has done before does not matter.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cspine_lib.backends import end_idle_workers
from cspine_lib.config import DEFAULT_SEED, Profile, device_name
from cspine_lib.errors import CspineError
from cspine_lib.experiment import TAG, chosen_methods, cv_folder
from cspine_lib.fold_jobs import run_methods
from cspine_lib.jobs import usable_cores
from cspine_lib.loops import leave_group
from cspine_lib.ranks import (
    end_now,
    end_together,
    lost_contact,
    n_processes,
    others_are_silent,
    speaks_for_all,
    take_own_device,
)
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import RunRecord


@dataclass(frozen=True)
class Job:
    """What all processes are told: the arguments of ``fold_jobs.run_methods``."""

    methods: list[str]
    dataset: RsnaDataset
    profile: Profile
    out: Path
    folds: str | None
    tag: str
    seed: int
    progress: bool
    note: Path | None = None
    """Where a process that fails says why."""


def train_on_all_gpus(
    methods: str,
    dataset: RsnaDataset,
    profile: Profile,
    out: Path | None = None,
    *,
    folds: str | None = None,
    tag: str = TAG,
    processes: int | None = None,
    seed: int = DEFAULT_SEED,
    progress: bool = True,
) -> list[RunRecord]:
    """``cspine run`` with a process for each GPU; resumes, with any number of them.

    An update sees the same samples as with one process, each GPU its share of them.

    Args:
        methods: ``all``, or names with commas.
        out: folder of the experiment; None: that of ``cspine run``.
        folds: numbers with commas between; None: all.
        processes: None: as many as there are GPUs.  On a CPU, where they gain nothing,
            any number can be asked for to try it.

    Returns:
        The records of the methods that have all their folds; ``n_processes`` says how many
        took part.

    Raises:
        CspineError: more processes than GPUs; whatever goes wrong in one of them, which
            ends them all.
    """
    job = Job(
        chosen_methods(methods),
        dataset,
        profile,
        out or cv_folder(dataset, profile),
        folds,
        tag,
        seed,
        progress,
    )
    n = _process_count(processes)
    return train_together(job) if n == 1 else _launch(job, n)


def train_together(job: Job) -> list[RunRecord]:
    """What each process runs, whoever has started it; the records come from the first.

    Raises:
        CspineError: as ``fold_jobs.run_methods``.
    """
    try:
        with others_are_silent():
            take_own_device()
            return run_methods(
                job.methods,
                job.dataset,
                job.profile,
                job.out,
                folds=job.folds,
                tag=job.tag,
                seed=job.seed,
                progress=job.progress,
            )
    finally:
        if n_processes() > 1:
            end_idle_workers()


def _process_count(asked: int | None) -> int:
    """How many processes to start.

    Raises:
        CspineError: fewer than one, or more than there are GPUs.
    """
    import torch

    gpus = torch.cuda.device_count() if device_name().startswith("cuda") else 0
    n = max(gpus, 1) if asked is None else asked
    if n < 1 or (gpus and n > gpus):
        raise CspineError(f"{n} processes for {gpus} GPUs: ask for 1 to {max(gpus, 1)}")
    return n


def _launch(job: Job, n: int) -> list[RunRecord]:
    """Start the processes, wait for them, take the first one's result."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="spawn",
    )
    with tempfile.TemporaryDirectory() as folder, _shared_cores(n), _quiet_launcher():
        note = Path(folder) / "why"
        told = Job(**{**job.__dict__, "note": note})
        try:
            results: dict[int, list[RunRecord]] = elastic_launch(config, _child)(told)
        except ChildFailedError as error:
            raise CspineError(_why(note)) from error
    return results[0]


def _child(job: Job) -> list[RunRecord]:
    """``train_together`` in a process of its own: an expected error is a note, not a traceback."""
    done: list[RunRecord] = []
    # Registered first, run last; an unexpected error keeps its own exit status.
    atexit.register(lambda: end_now(0) if done else None)
    try:
        done += train_together(job)
        return done
    except CspineError as error:
        words = str(error)
    except RuntimeError as error:
        if not lost_contact(error):
            raise
        words = ""
    finally:
        leave_group()
    if words and job.note and speaks_for_all():
        job.note.write_text(words, encoding="utf-8")
    end_together(2)
    sys.exit(2)


def _why(note: Path) -> str:
    if note.exists():
        return note.read_text(encoding="utf-8")
    return (
        "one of the processes ended, perhaps for want of memory: look at what it printed above; "
        "the same call goes on where it was"
    )


@contextmanager
def _shared_cores(n: int) -> Iterator[None]:
    """Each process its share of the cores, unless somebody has decided that already."""
    name = "OMP_NUM_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(max(usable_cores() // n, 1))
    try:
        yield
    finally:
        del os.environ[name]


@contextmanager
def _quiet_launcher() -> Iterator[None]:
    """The launcher's own account of a failed process stays out of the notebook."""
    log: Any = logging.getLogger("torch.distributed.elastic")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
