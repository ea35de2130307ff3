"""Who works, waits and speaks; the launcher that starts fewer processes than it was asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cspine_lib import ranks
from cspine_lib.batches import EpochBatches
from cspine_lib.errors import CspineError

HERE = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)


def test_one_process_is_the_first_and_waits_for_nobody(capsys):
    assert (ranks.process_index(), ranks.n_processes(), ranks.is_main()) == (0, 1, True)
    with ranks.main_first("x"), ranks.others_are_silent():
        print("heard")
    assert capsys.readouterr().out == "heard\n"
    assert ranks.speaks_for_all()
    ranks.check_all_take_part(1)
    ranks.take_own_device()


def test_a_size_without_a_rank_is_no_group(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert ranks.n_processes() == 1


def test_others_are_silent_and_speak_again(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    with ranks.others_are_silent():
        print("not heard")
        print("nor this", file=sys.stderr)
    print("heard")
    assert capsys.readouterr() == ("heard\n", "")


def test_processes_that_do_not_meet_are_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CspineError, match=r"2 processes were started.*1 reach.*torchrun"):
        ranks.check_all_take_part(1)


def test_lost_contact_is_told_from_other_errors(monkeypatch):
    gone = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    assert not ranks.lost_contact(gone)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert ranks.lost_contact(gone)
    assert not ranks.lost_contact(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_accelerate_launch_on_a_cpu_is_found_out():
    """The real launcher: it starts one process of two, and one line says so, once."""
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
         "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
         str(HERE / "together.py"), "join"],
        env={**os.environ, "PYTHONPATH": str(HERE.parent), "CSPINE_DEVICE": "cpu"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["1", "1"]
    said = [line for line in done.stderr.splitlines() if "accelerate launch" in line]
    assert len(said) == 1
    assert "asked for 2 processes and started 1" in said[0] and "torchrun" in said[0]


@pytest.mark.parametrize("n", [1, 2, 5, 16, 17, 18, 33])
@pytest.mark.parametrize("processes", [2, 3])
def test_batches_are_dealt_out_whole(n, processes):
    """Each sample of each batch once over all processes; nobody is without one."""
    whole = list(EpochBatches(n, 8, seed=3))
    shares = [EpochBatches(n, 8, seed=3, share=(rank, processes)) for rank in range(processes)]
    for i, (batch, *parts) in enumerate(zip(whole, *shares, strict=True)):
        counted = [s.dealt(i)[0] for s in shares]
        assert all(s.dealt(i)[1] == len(batch) for s in shares)
        assert sum(counted) == len(batch) and min(map(len, parts)) >= 1
        seen = [k for part, count in zip(parts, counted, strict=True) for k in part[:count]]
        assert sorted(seen) == sorted(batch)
