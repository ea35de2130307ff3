"""The same files whatever does the work: this process, others, threads, a Dask cluster."""

import hashlib
import os
import signal
from functools import partial

import joblib
import pytest

from cspine_lib.backends import LOCAL, chosen, mapped
from cspine_lib.cache import build_cache
from cspine_lib.cropstore import build_crops
from cspine_lib.errors import CspineError
from cspine_lib.jobs import for_each
from cspine_lib.rsna import open_dataset

distributed = pytest.importorskip("distributed")


def square(n: int) -> int:
    return n * n


def pid(_: int) -> int:
    return os.getpid()


def fragile(n: int) -> int:
    if n == 2:
        raise CspineError("two is bad")
    return n


def killed(n: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return n


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread, as a cluster's are, and a client that is no default."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
        ) as local,
        distributed.Client(local, set_as_default=False),
    ):
        yield local.scheduler_address


@pytest.fixture(scope="module")
def files(ci_phantom, tmp_path_factory):
    """Hash of every file that cache and crops of four studies consist of, made here."""
    return _made(ci_phantom, tmp_path_factory.mktemp("alone"), workers=1)


def _made(phantom, folder, workers):
    dataset = open_dataset(phantom)
    masked = [uid for uid in dataset.train_ids if uid in dataset.masked_ids]
    ids = [*masked[:3], next(uid for uid in dataset.train_ids if uid not in masked)]
    cache = build_cache(dataset, folder / "cache", ids, low_px=32, workers=workers)
    levels = {uid: cache.true_levels(uid) for uid in ids}
    build_crops(cache, levels, folder / "crops", frames=2, px=16, workers=workers)
    made = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert len(made) > 4 * 4
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in made
    }


@pytest.mark.parametrize("name", LOCAL)
def test_files_do_not_depend_on_the_backend(ci_phantom, files, tmp_path, monkeypatch, name):
    monkeypatch.setenv("CSPINE_BACKEND", name)
    assert _made(ci_phantom, tmp_path, workers=2) == files


def test_a_cluster_makes_the_same_files(ci_phantom, files, tmp_path, monkeypatch, cluster):
    monkeypatch.setenv("CSPINE_BACKEND", cluster)
    assert _made(ci_phantom, tmp_path, workers=2) == files


def test_a_cluster_works_in_its_own_processes_and_in_order(monkeypatch, cluster):
    monkeypatch.setenv("CSPINE_BACKEND", cluster)
    assert for_each(square, range(9), workers=2) == [n * n for n in range(9)]
    # One of its workers is more than none of this machine.
    assert os.getpid() not in for_each(pid, range(4), workers=1)


def test_a_cluster_chosen_around_the_call(cluster):
    with (
        distributed.Client(cluster, set_as_default=False) as client,
        joblib.parallel_config(backend="dask", client=client),
    ):
        assert os.getpid() not in for_each(pid, range(4), workers=1)


def test_threads_chosen_around_the_call():
    with joblib.parallel_config(backend="threading"):
        assert set(for_each(pid, range(4), workers=2)) == {os.getpid()}
    assert os.getpid() not in for_each(pid, range(4), workers=2)


def test_what_must_have_processes_of_its_own_gets_them(monkeypatch):
    monkeypatch.setenv("CSPINE_BACKEND", "threading")
    assert os.getpid() not in for_each(pid, range(2), workers=2, backend="loky")


@pytest.mark.parametrize("name", ["threading", "multiprocessing", "sequential"])
def test_an_error_of_a_worker_arrives_as_itself(monkeypatch, name):
    monkeypatch.setenv("CSPINE_BACKEND", name)
    with pytest.raises(CspineError, match=r"^two is bad$"):
        for_each(fragile, range(4), workers=2)


def test_an_error_on_a_cluster_arrives_as_itself(monkeypatch, cluster):
    monkeypatch.setenv("CSPINE_BACKEND", cluster)
    with pytest.raises(CspineError, match=r"^two is bad$"):
        for_each(fragile, range(4), workers=2)
    assert for_each(square, [3], workers=2) == [9]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_killed_worker_of_a_cluster_is_one_line(monkeypatch):
    import dask

    # Elsewhere a task that has ended a worker is tried thrice more.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
        ) as local,
    ):
        monkeypatch.setenv("CSPINE_BACKEND", local.scheduler_address)
        with pytest.raises(CspineError, match="fewer workers"):
            for_each(killed, range(2), workers=2)


def test_names_that_are_no_backend(monkeypatch):
    monkeypatch.setenv("CSPINE_BACKEND", "spark")
    with pytest.raises(CspineError, match=r"unknown backend 'spark'.*loky.*tcp://"):
        for_each(square, range(4), workers=2)
    monkeypatch.delenv("CSPINE_BACKEND")
    assert chosen() is None and chosen("loky") == "loky"


def test_a_scheduler_that_is_not_there(monkeypatch):
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(CspineError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"),
    ):
        list(mapped(square, range(3), 2, "tcp://127.0.0.1:9"))


def test_nothing_to_do_asks_no_cluster():
    assert list(mapped(partial(pow, 2), [], 2, "tcp://127.0.0.1:9")) == []
