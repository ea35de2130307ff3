"""Whole files or none, results in order, errors that arrive."""

import os
import signal

import numpy as np
import pytest

from cspine_lib.errors import CspineError
from cspine_lib.jobs import for_each, only_builder, save_array, save_json, usable_cores


def square(n: int) -> int:
    return n * n


def fragile(n: int) -> int:
    if n == 2:
        raise CspineError("two is bad")
    return n


def killed(n: int) -> int:
    if n == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_results_come_in_order(workers):
    assert for_each(square, range(5), workers=workers) == [0, 1, 4, 9, 16]
    assert for_each(square, [], workers=workers) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_process_arrives_as_itself(workers):
    with pytest.raises(CspineError, match="two is bad"):
        for_each(fragile, range(4), workers=workers)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_killed_worker_is_one_line():
    with pytest.raises(CspineError, match="fewer workers"):
        for_each(killed, range(4), workers=2)
    assert for_each(square, [3, 4], workers=2) == [9, 16]


def test_files_are_whole_or_as_they_were(tmp_path):
    path = tmp_path / "a.npy"
    save_array(path, np.arange(5))
    with pytest.raises(ValueError):
        save_array(path, np.array([object()]))
    assert np.load(path).tolist() == [0, 1, 2, 3, 4]
    save_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        save_json(tmp_path / "a.json", {"a": object()})
    assert (tmp_path / "a.json").read_text() == '{"a":1}'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.npy"]


def test_a_builder_clears_what_a_killed_one_left(tmp_path):
    folder = tmp_path / "new"
    with only_builder(folder):
        (folder / ".tmp-7-abc-x.npy").touch()
        (folder / "x.npy").touch()
    with only_builder(folder):
        assert sorted(p.name for p in folder.iterdir() if p.name != ".build.lock") == ["x.npy"]


def test_there_is_a_core():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
