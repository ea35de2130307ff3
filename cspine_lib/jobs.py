"""Long work that may be killed at any time: whole files or none, one builder, many processes."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cspine_lib.errors import CspineError
from cspine_lib.runs import atomic_path, atomic_write_text

Item = TypeVar("Item")
Result = TypeVar("Result")


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a ``.npy`` file that is either whole or not there."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)


def load_array(path: Path, mmap: bool = False) -> npt.NDArray[Any]:
    """A ``.npy`` file, never a pickle.

    Args:
        mmap: map it into memory, read-only, instead of reading it.

    Raises:
        CspineError: missing, or cut off.
    """
    try:
        found = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
        if not isinstance(found, np.ndarray):  # a zip of anything
            raise ValueError("not an array")
        return found
    except (OSError, ValueError, EOFError) as error:
        raise CspineError(f"{path} is damaged ({error}): delete it and run again") from error


def save_json(path: Path, value: Any) -> None:
    """Write a compact JSON file that is either whole or not there."""
    atomic_write_text(path, json.dumps(value, separators=(",", ":")))


@contextmanager
def only_builder(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; a second builder waits, then finds the work done.

    Also clears away what a killed builder left half written.
    """
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".build.lock"):
        for leftover in folder.glob(".tmp-*"):
            leftover.unlink(missing_ok=True)
        yield


def for_each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int = 1,
    progress: bool = False,
    what: str = "",
    unit: str = "study",
) -> list[Result]:
    """``[function(item) for item in items]`` in processes of one thread each, in order.

    Args:
        function: picklable (a function of a module, or a ``functools.partial`` of one).
        workers: 1 runs in this process.
        progress: show a bar named ``what`` that counts in ``unit``.

    Raises:
        CspineError: a process was killed; and whatever ``function`` raises.
    """
    from tqdm import tqdm

    bar = tqdm(total=len(items), desc=what, unit=unit, disable=not progress)
    out: list[Result] = []
    with bar:
        for result in _results(function, items, min(workers, len(items))):
            out.append(result)
            bar.update()
    return out


def _results(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    if workers <= 1:
        yield from map(function, items)
        return
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed, parallel_config

    # A process whose memory has grown is replaced by a new one: nothing is lost, nothing to report.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    # Processes do the parallel work; a second layer of threads would only fight them.
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(n_jobs=workers, return_as="generator")
        try:
            yield from parallel(delayed(function)(item) for item in items)
        except BrokenProcessPool as error:
            raise CspineError(
                "a worker process was killed, perhaps for want of memory: run the same again "
                "with fewer workers; what is finished is kept"
            ) from error


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
