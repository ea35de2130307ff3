"""Run records: what goes in comes out, and files are whole or not there."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from cspine_lib.errors import CspineError
from cspine_lib.leakage import check_leakage
from cspine_lib.runs import (
    SCHEMA,
    Part,
    RunRecord,
    atomic_path,
    atomic_write_bytes,
    atomic_write_text,
    environment,
    read_json,
)


def _record() -> RunRecord:
    return RunRecord(
        method="bbox_crop_bilstm",
        profile="ci",
        seed=1,
        data="phantom v1, seed 1",
        fingerprint="abc123",
        weights="imagenet",
        device="cpu",
        config={"lr": np.float32(0.5), "shape": (1, 2), "folds": np.arange(2)},
        parts=[Part("stage1/fold0", ["a"], ["b"]), Part("stage2/fold0", ["a"], test=["c"], fold=0)],
        scored=["c"],
        scores={"loss": np.float64(0.25)},
        seconds=1.5,
    )


def test_a_record_survives_the_file(tmp_path) -> None:
    record = _record()
    path = record.write(tmp_path / "deep" / "run.json")
    again = RunRecord.read(path)
    assert again.parts == record.parts
    assert again.config == {"lr": 0.5, "shape": [1, 2], "folds": [0, 1]}
    assert again.scores == {"loss": 0.25}
    assert (again.created, again.command, again.environment) == (
        record.created,
        record.command,
        record.environment,
    )
    assert again.part("stage2/fold0").test == ["c"]
    with pytest.raises(CspineError, match="no part 'x'"):
        again.part("x")


def test_a_record_says_what_it_ran_on() -> None:
    found = environment()
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert found["numpy"] == np.__version__
    assert int(found["cpus"]) >= 1
    record = _record()
    assert record.environment == found
    assert record.created.endswith("+00:00")


def test_scores_come_with_the_studies_that_they_are_of() -> None:
    record = _record()
    scored = record.with_scores(["d", "e"], {"loss": 0.5, "n_studies": 2}, "stage1/fold0")
    assert scored.scored == scored.part("stage1/fold0").test == ["d", "e"]
    assert scored.scores == {"loss": 0.5, "n_studies": 2}
    assert scored.created == record.created
    assert record.scored == ["c"]
    assert check_leakage(scored.with_scores(["c", "d"], {}, "stage2/fold0")) == []
    leaky = scored.with_scores(["b"], {}, "stage1/fold0")
    assert [leak.code for leak in check_leakage(leaky)] == ["stopped_on_test"]
    with pytest.raises(CspineError, match="no part"):
        record.with_scores(["d"], {}, "stage3")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no file"),
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        ("{}", "not a run record"),
        (json.dumps({"schema": 1, "parts": []}), "not a run record"),
        (json.dumps({"schema": SCHEMA + 1, "parts": []}), "newer version"),
    ],
)
def test_an_unreadable_record_is_explained(tmp_path, text, says) -> None:
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CspineError, match=says) as caught:
        RunRecord.read(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_not_a_file(tmp_path) -> None:
    with pytest.raises(CspineError, match="cannot read"):
        read_json(tmp_path)


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path) -> None:
    path = _record().write(tmp_path / "run.json")
    before = path.read_bytes()
    record = _record()
    record.config["net"] = object()
    with pytest.raises(TypeError, match="object"):
        record.write(path)
    assert path.read_bytes() == before


def test_atomic_writes_replace_whole_files(tmp_path) -> None:
    path = tmp_path / "a" / "x.txt"
    assert atomic_write_text(path, "eins é") == path
    assert atomic_write_bytes(path, b"zwei").read_bytes() == b"zwei"
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        assert temporary.suffix == ".txt"
        assert temporary.parent == path.parent
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_bytes() == b"zwei"
    assert [p.name for p in path.parent.iterdir()] == ["x.txt"]


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path) -> None:
    path = atomic_write_text(tmp_path / "x.txt", "old")
    code = (
        "import sys, time\n"
        "from cspine_lib.runs import atomic_path\n"
        "with atomic_path(sys.argv[1]) as t:\n"
        "    t.write_text('ne'); print('ready', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "ready"
        os.kill(child.pid, signal.SIGKILL)
    assert path.read_text() == "old"
    atomic_write_text(path, "new")
    assert path.read_text() == "new"
