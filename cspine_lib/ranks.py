"""Several processes that train one model together: who works, who waits, who speaks.

``torchrun`` starts the same program several times.  A training is shared by all of them
(``engine.fit``); everything around it is done by the first, while the others wait and then
find it done.  With one process, which is the rule, nothing here does anything.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from cspine_lib.config import device_name
from cspine_lib.errors import CspineError

PATIENCE = timedelta(days=30)
"""The first process may decode a whole data set while the others wait."""

_rounds: Counter[str] = Counter()


def process_index() -> int:
    """Number of this process among those that train together, from 0 (``RANK``)."""
    return int(os.environ.get("RANK") or 0)


def n_processes() -> int:
    """How many processes were started to train together (``WORLD_SIZE``)."""
    return int(os.environ.get("WORLD_SIZE") or 1) if os.environ.get("RANK") else 1


def is_main() -> bool:
    """Whether this is the process that writes files and speaks."""
    return process_index() == 0


@contextmanager
def main_first(what: str | Path) -> Iterator[None]:
    """A block that the first process goes through alone; the others follow and find its work done.

    The wait has no end of its own: when the first process fails, its launcher ends the others.

    Args:
        what: a name that only this block has, usually the folder that it fills.

    Raises:
        CspineError: the processes do not reach each other, or the first is gone.
    """
    if n_processes() == 1:
        yield
        return
    name = str(what)
    _rounds[name] += 1
    key = f"{name}#{_rounds[name]}"
    store = _store()
    if not is_main():
        try:
            store.wait([key], PATIENCE)
        except RuntimeError:
            raise CspineError("the first process ended before its work was done") from None
    yield
    if is_main():
        store.set(key, "done")


def speaks_for_all() -> bool:
    """Whether this process is the first to ask: of several that fail alike, one says so."""
    if n_processes() == 1:
        return True
    try:
        return int(_store().add("spoken", 1)) == 1
    except (CspineError, RuntimeError):  # the others are gone: nobody else can speak
        return True


def take_own_device() -> None:
    """Make the process's own GPU the one that ``cuda`` means, before anything is put on it.

    Raises:
        CspineError: more processes on this machine than GPUs.
    """
    if n_processes() == 1 or not device_name().startswith("cuda"):
        return
    import torch

    local, there = int(os.environ.get("LOCAL_RANK") or 0), torch.cuda.device_count()
    if local >= there:
        raise CspineError(f"a process for each GPU: there are {there}, start {there} processes")
    torch.cuda.set_device(local)


@contextmanager
def others_are_silent() -> Iterator[None]:
    """No output of any process but the first: one line, one bar, one result."""
    if is_main():
        yield
        return
    kept = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            yield
        finally:
            sys.stdout, sys.stderr = kept


def end_together(status: int) -> None:
    """End a process that trains with others here and now, with what it has to do at its end.

    torch's wrapper for several processes keeps the threads of gloo, also after their group has
    been destroyed; one that still holds a tensor when the interpreter goes aborts the process
    after all its work is done (pytorch/pytorch#179291).  So the interpreter is not taken down.
    """
    if n_processes() == 1:
        return
    atexit._run_exitfuncs()
    end_now(status)


def end_now(status: int) -> None:
    """The last step of ``end_together``, for what runs at a process's end anyway."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def lost_contact(error: BaseException) -> bool:
    """Whether an error says that another of the processes is gone, or that it does not answer."""
    words = f"{type(error).__name__} {error}".lower()
    signs = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "diststore")
    return n_processes() > 1 and any(sign in words for sign in signs)


def check_all_take_part(got: int) -> None:
    """Compare the processes that were started with those that Accelerate has brought together.

    Raises:
        CspineError: they are not the same, so that each would train alone in the same folder.
    """
    if got != n_processes():
        raise CspineError(
            f"{n_processes()} processes were started to train together, but {got} reach each "
            "other: start them with torchrun, on a CPU with CSPINE_DEVICE=cpu"
        )


def lone_process_of_accelerate() -> str | None:
    """A warning where ``accelerate launch`` was asked for several processes and started one.

    On a CPU it does so without a word: it only names a meeting place, to which nobody comes.
    """
    env = os.environ
    launched = "ACCELERATE_MIXED_PRECISION" in env and "MASTER_ADDR" in env
    if not launched or "RANK" in env:
        return None
    return (
        f"accelerate launch was asked for {_asked_of_launcher() or 'several'} processes and "
        "started 1: take torchrun --nproc-per-node, which starts them on a CPU too"
    )


def _asked_of_launcher() -> str | None:
    """What ``--num_processes`` says on the launcher's command line, if it can be read."""
    import psutil

    try:
        parent = psutil.Process().parent()
        words = [part for word in (parent.cmdline() if parent else []) for part in word.split("=")]
    except psutil.Error:
        return None
    for option, value in pairwise(words):
        if option in ("--num_processes", "--num-processes") and value.isdecimal():
            return value
    return None


@cache
def _store() -> Any:
    """Where the processes leave each other notes: torchrun's own meeting place."""
    from torch.distributed import PrefixStore, rendezvous

    try:
        store, _, _ = next(rendezvous("env://"))
    except (ValueError, RuntimeError):
        raise CspineError(
            f"{n_processes()} processes do not find each other: start them with torchrun"
        ) from None
    return PrefixStore("cspine", store)
