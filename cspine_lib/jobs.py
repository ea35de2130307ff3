"""Long work that may be killed at any time: whole files or none, one builder, many processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cspine_lib.backends import mapped
from cspine_lib.errors import CspineError
from cspine_lib.ranks import main_first
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

    Also clears away what a killed builder left half written.  Of several processes that
    train together the first builds.
    """
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with main_first(folder), FileLock(folder / ".build.lock"):
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
    backend: str | None = None,
) -> list[Result]:
    """``[function(item) for item in items]`` in processes of one thread each, in order.

    Args:
        function: picklable (a function of a module, or a ``functools.partial`` of one).
        workers: 1 runs in this process; on a cluster all its workers work.
        progress: show a bar named ``what`` that counts in ``unit``.
        backend: of joblib; None: see :func:`backends.chosen`.

    Raises:
        CspineError: a process was killed, or no such backend; and whatever ``function`` raises.
    """
    from tqdm import tqdm

    bar = tqdm(total=len(items), desc=what, unit=unit, disable=not progress)
    out: list[Result] = []
    with bar:
        for result in mapped(function, items, min(workers, len(items)), backend):
            out.append(result)
            bar.update()
    return out


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
