"""Two processes train as one does: the same scores, each sample once, one voice, one writer."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.experiment import run_method
from cspine_lib.launch import _process_count
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import RunRecord, read_json

HERE = Path(__file__).resolve().parent
LIMIT_S = 600
"""Minutes on crowded cores; seconds else."""


def _environment(home: Path) -> dict[str, str]:
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    return {
        **os.environ,
        "PYTHONPATH": paths,
        "CSPINE_DEVICE": "cpu",
        "CSPINE_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }


def _together(home: Path, *words: str) -> tuple[int, str, str]:
    """Two processes under torchrun; all of them are gone afterwards, whatever happens."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    process = subprocess.Popen(
        [sys.executable, *launcher, *words],
        env=_environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, err


@pytest.fixture(scope="module")
def two(ci_phantom, tmp_path_factory):
    """``cspine run`` of one fold with two processes: its folder, exit status and output."""
    home = tmp_path_factory.mktemp("two")
    command = ["-m", "cspine_lib.cli", "run", "--methods", "cnn3d", "--folds", "0", "--tag", "two"]
    code, out, err = _together(
        home, *command, "--profile", "ci", "--data", str(ci_phantom), "--out", str(home / "run")
    )
    assert code == 0, err[-3000:]
    return home / "run", out, err


def test_scores_are_those_of_one_process(two, ci_phantom, tmp_path):
    dataset, profile = open_dataset(ci_phantom), get_profile("ci")
    one = run_method(
        "cnn3d", dataset, profile, tmp_path, folds=[0], tag="one", seed=2022, progress=False
    )
    record = RunRecord.read(two[0] / "cnn3d-ci-two.json")
    assert one is not None and (one.n_processes, record.n_processes) == (1, 2)
    assert read_json(two[0] / "cnn3d" / "fold0.json")["n_processes"] == 2
    assert record.scored == one.scored
    # Batch norm and augmentation differ; 0.05 is a third of the interval's half width.
    assert record.scores["loss"] == pytest.approx(one.scores["loss"], abs=0.05)
    steps = [read_json(p / "cnn3d/fold0/cnn3d/fit.json")["result"] for p in (two[0], tmp_path)]
    assert [s["n_processes"] for s in steps] == [2, 1]
    assert len(steps[0]["history"]) == len(steps[1]["history"])


def test_the_first_process_alone_speaks_and_writes(two):
    folder, out, err = two
    assert out.count("results in") == 1 and out.count("  cnn3d  ") == 1
    assert "Traceback" not in err
    assert not list(folder.rglob(".tmp-*")), "something half written was left"


def test_no_sample_is_lost_or_doubled(tmp_path):
    code, _, err = _together(tmp_path, str(HERE / "together.py"), "count", str(tmp_path))
    assert code == 0, err[-3000:]
    found = [json.loads((tmp_path / f"rank{k}.json").read_text()) for k in (0, 1)]
    # 43 = 5 × 8 + 3: shares of a short batch differ.
    assert sorted(found[0]["seen"] + found[1]["seen"]) == list(range(43))
    assert abs(len(found[0]["seen"]) - len(found[1]["seen"])) <= 1
    for one in found:
        assert one["val_n"] == 13
        assert all(rows == list(range(int(n))) for n, rows in one["sets"].items())


@pytest.mark.parametrize("rank, methods, said", [("1", "cnn3d", "this process is bad")])
def test_an_error_of_one_process_ends_both_with_one_line(
    ci_phantom, tmp_path, monkeypatch, rank, methods, said
):
    monkeypatch.setenv("CSPINE_DATA", str(ci_phantom))
    monkeypatch.setenv("CSPINE_PROFILE", "ci")
    words = [str(HERE / "together.py"), "fail", rank, "raise", methods, str(tmp_path / "run")]
    code, _, err = _together(tmp_path, *words)
    assert code != 0
    assert [line for line in err.splitlines() if line.startswith("cspine: ")] == [f"cspine: {said}"]
    # The launcher adds a report of its own; no traceback is of this library.
    assert "cspine_lib/" not in err.replace("cspine_lib/cli", "")
    # An interpreter that is taken down under gloo's threads aborts, now and then.
    assert not list(tmp_path.glob("down*"))


def test_an_error_of_both_processes_is_one_line(tmp_path):
    command = ["-m", "cspine_lib.cli", "run", "--methods", "nonsense", "--profile", "ci"]
    code, _, err = _together(tmp_path, *command)
    said = [line for line in err.splitlines() if line.startswith("cspine: ")]
    assert code != 0 and len(said) == 1 and "unknown method 'nonsense'" in said[0]


NOTEBOOK = """
from pathlib import Path
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.launch import train_on_all_gpus
from cspine_lib.rsna import open_dataset

import torch
torch.zeros(2).sum()  # a notebook has used torch before
told = (open_dataset({data!r}), get_profile("ci"), Path({out!r}))
records = train_on_all_gpus("cnn3d", *told, folds="0", tag="two", processes=2, progress=False)
print("records", [(r.method, r.n_processes, round(r.scores["loss"], 4)) for r in records])
try:
    train_on_all_gpus("cnn3d", *told, folds="7", tag="two", processes=2, progress=False)
except CspineError as error:
    print("error", error)
"""


FORKED = """
from pathlib import Path
from accelerate import notebook_launcher
from cspine_lib.config import get_profile
from cspine_lib.launch import Job, train_together
from cspine_lib.rsna import open_dataset

told = (open_dataset({data!r}), get_profile("ci"), Path({out!r}))
job = Job(["cnn3d"], *told, "0", "two", 2022, False)
notebook_launcher(train_together, (job,), num_processes=2)
"""


def _in_a_kernel(code: str, home: Path) -> str:
    """What a cell prints in a new kernel."""
    from jupyter_client.manager import start_new_kernel

    said: list[str] = []

    def hear(message):
        content = message["content"]
        said.append(content.get("text", "") + "\n".join(content.get("traceback", [])))

    manager, client = start_new_kernel(env=_environment(home), startup_timeout=LIMIT_S)
    try:
        reply = client.execute_interactive(code, timeout=LIMIT_S, output_hook=hear)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    text = "".join(said)
    assert reply["content"]["status"] == "ok", text
    return text


def test_accelerates_launcher_starts_the_same(two, ci_phantom, tmp_path):
    out = tmp_path / "run"
    _in_a_kernel(FORKED.format(data=str(ci_phantom), out=str(out)), tmp_path)
    record, other = (RunRecord.read(at / "cnn3d-ci-two.json") for at in (out, two[0]))
    assert record.n_processes == 2
    assert record.scores["loss"] == pytest.approx(other.scores["loss"], abs=1e-4)


def test_a_notebook_trains_with_two_processes(two, ci_phantom, tmp_path):
    """In a real kernel; another way to start the same, hence the same score."""
    code = NOTEBOOK.format(data=str(ci_phantom), out=str(tmp_path / "run"))
    text = _in_a_kernel(code, tmp_path)
    loss = RunRecord.read(two[0] / "cnn3d-ci-two.json").scores["loss"]
    assert f"records [('cnn3d', 2, {round(loss, 4)})]" in text
    assert "error there are folds 0 to 1, asked for 7" in text
    assert "Traceback" not in text


def test_more_processes_than_cards_are_refused(monkeypatch):
    import torch

    monkeypatch.setenv("CSPINE_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _process_count(None) == 2
    with pytest.raises(CspineError, match="3 processes for 2 GPUs"):
        _process_count(3)
    monkeypatch.setenv("CSPINE_DEVICE", "cpu")
    assert _process_count(None) == 1 and _process_count(3) == 3
    with pytest.raises(CspineError, match="ask for"):
        _process_count(0)
