"""Where independent work is done: in this process, in others of this machine, on a cluster.

Any backend of joblib will do.  Named by ``CSPINE_BACKEND``, or chosen around a call with
``joblib.parallel_config``; else processes of this machine (loky).  What is written does not
depend on it.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from cspine_lib.errors import CspineError

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL = ("loky", "threading", "multiprocessing", "sequential")
"""Backends of joblib that need no cluster."""
SCHEDULERS = ("tcp://", "tls://", "ucx://", "ws://", "wss://")
"""How the address of a Dask scheduler begins."""
AROUND = "around"
"""What ``joblib.parallel_config`` has set around the call."""
KILLED = (
    "a worker process was killed, perhaps for want of memory: run the same again "
    "with fewer workers; what is finished is kept"
)


def chosen(asked: str | None = None) -> str | None:
    """The backend to use: ``asked``, else ``CSPINE_BACKEND``; None: joblib's, as it is configured.

    Raises:
        CspineError: a name that is none of ``LOCAL``, ``dask`` or a scheduler's address.
    """
    name = asked or os.environ.get("CSPINE_BACKEND") or None
    if name is None or name in LOCAL or name == "dask" or name.startswith(SCHEDULERS):
        return name
    raise CspineError(
        f"unknown backend {name!r} in CSPINE_BACKEND; known: {', '.join(LOCAL)}, dask, "
        "or the address of a Dask scheduler (tcp://host:8786)"
    )


def mapped(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    backend: str | None = None,
) -> Iterator[Result]:
    """``map(function, items)`` on the chosen backend.

    Args:
        workers: of this machine; 1 or fewer needs no backend, unless a cluster is meant.

    Raises:
        CspineError: no such backend or scheduler, or a worker was killed; whatever
            ``function`` raises.
    """
    name = chosen(backend) or _chosen_around()
    if not items or name == "sequential" or (workers <= 1 and not _on_a_cluster(name)):
        yield from map(function, items)
        return
    if _on_a_cluster(name):
        # Not through joblib: it waits for ever for a task whose workers were killed.
        with _dask_client(name, workers) as client, _one_line():
            _wait_for_a_worker(client)
            futures = client.map(function, items, pure=False)
            try:
                for future in futures:
                    yield future.result()
            finally:
                client.cancel(futures)
        return
    from joblib import Parallel, delayed

    # A process whose memory has grown is replaced by a new one: nothing is lost, nothing to report.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    with _configured(name), _one_line():
        # A pool of multiprocessing hands its results over all at once.
        early = _active().supports_return_generator
        parallel = Parallel(n_jobs=workers, return_as="generator" if early else "list")
        yield from parallel(delayed(function)(item) for item in items)


def end_idle_workers() -> None:
    """End loky's workers now, and not after their five idle minutes.

    A process that ``multiprocessing`` has started waits at its end for its own children.
    """
    loky = sys.modules.get("joblib.externals.loky.reusable_executor")
    executor = None if loky is None else loky._executor
    if executor is not None:
        executor.shutdown(wait=True)


def _on_a_cluster(name: str | None) -> bool:
    return name == "dask" or _is_address(name) or (name == AROUND and hasattr(_active(), "client"))


def _is_address(name: str | None) -> bool:
    return name is not None and name.startswith(SCHEDULERS)


def _chosen_around() -> str | None:
    """``AROUND`` where the caller has chosen another backend than joblib's own."""
    active = _active()
    # Inside a worker joblib falls back to threads of its own accord.
    own = type(active).__name__ == "LokyBackend" or (active.nesting_level or 0) > 0
    return None if own else AROUND


def _active() -> Any:
    from joblib.parallel import get_active_backend

    return get_active_backend()[0]


@contextmanager
def _configured(name: str | None) -> Iterator[None]:
    """joblib set to a backend of this machine by name."""
    from joblib import parallel_config

    if name == AROUND:
        yield
    elif name in (None, "loky"):
        # Processes do the parallel work; a second layer of threads would only fight them.
        with parallel_config(backend="loky", inner_max_num_threads=1):
            yield
    else:
        with parallel_config(backend=name):
            yield


def _dask_client(name: str | None, workers: int) -> AbstractContextManager[Any]:
    """Of the scheduler that is named; else the one there is; else of processes of this machine."""
    if name == AROUND:
        return nullcontext(_active().client)
    try:
        import dask
        from distributed import Client, get_client
    except ImportError:
        raise CspineError(
            "Dask is not installed: pip install 'cspine-lib[dask]', or choose another "
            f"CSPINE_BACKEND ({', '.join(LOCAL)})"
        ) from None
    where = name if _is_address(name) else dask.config.get("scheduler-address", None)
    if where is None:
        try:
            return nullcontext(get_client())
        except ValueError:  # nobody has made one
            local: dict[str, Any] = {"n_workers": workers, "threads_per_worker": 1}
            return Client(**local, dashboard_address=None, set_as_default=False)
    try:
        return Client(where, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CspineError(
            f"no Dask scheduler answers at {where}: start one with 'dask scheduler' and workers "
            "with 'dask worker ADDRESS'"
        ) from error


def _wait_for_a_worker(client: Any) -> None:
    try:
        client.wait_for_workers(1, timeout=60)
    except TimeoutError as error:
        raise CspineError(
            "the Dask scheduler has no worker: start some with 'dask worker ADDRESS'"
        ) from error


@contextmanager
def _one_line() -> Iterator[None]:
    """Errors of the machinery in words; those of the work as they are."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        yield
    except BrokenProcessPool as error:
        raise CspineError(KILLED) from error
    except Exception as error:
        if type(error).__name__ not in ("KilledWorker", "CommClosedError"):
            raise
        raise CspineError(KILLED) from error
