"""The two stages together: who taught whom, what a run leaves, and that a kill changes nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cspine_lib.anatomy import LEVELS, TARGETS
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.leakage import check_leakage
from cspine_lib.methods import train_method
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import RunRecord, read_json
from cspine_lib.stage1 import parts_of
from cspine_lib.two_stage import TwoStageModel, open_cache, probabilities


def test_no_study_is_located_by_a_model_that_saw_it(ci_run):
    record = RunRecord.read(ci_run / "run.json")
    located = {p.stem: read_json(p)["part"] for p in (ci_run / "levels").glob("*.json")}
    assert set(located) >= set(record.part("stage2").train)
    for uid, part in located.items():
        teacher = record.part(f"stage1/{part}")
        assert uid not in teacher.train and uid not in teacher.val


def test_record_proves_itself_clean(ci_run, ci_phantom):
    record = RunRecord.read(ci_run / "run.json")
    record = record.with_scores(open_dataset(ci_phantom).test_ids, {}, part="calibration")
    assert check_leakage(record) == []
    stage2 = record.part("stage2")
    assert not set(stage2.train) & set(stage2.val)
    assert record.data.startswith("phantom") and record.fingerprint


def test_masked_studies_are_spread_over_the_parts(ci_run, ci_phantom):
    cache = open_cache(open_dataset(ci_phantom), get_profile("ci"), progress=False)
    part_of = parts_of(cache, cache.ids, 2, seed=1)
    masked = [part_of[uid] for uid in cache.masked_ids]
    assert abs(masked.count(0) - masked.count(1)) <= 1
    with pytest.raises(CspineError, match="--masked"):
        parts_of(cache, cache.ids, 10, seed=1)


def test_finished_run_is_returned_and_another_request_refused(ci_run, ci_phantom):
    dataset, profile = open_dataset(ci_phantom), get_profile("ci")
    before = (ci_run / "run.json").read_bytes()
    start = time.perf_counter()
    train_method("crop_bilstm", dataset, profile, ci_run, progress=False)
    assert (ci_run / "run.json").read_bytes() == before
    assert time.perf_counter() - start < 30  # read, not trained again
    with pytest.raises(CspineError, match="--out"):
        train_method("crop_bilstm", dataset, profile, ci_run, seed=7, progress=False)


def _wait_for(path, process, seconds=120):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


def test_killed_training_ends_as_an_unbroken_one(ci_run, ci_phantom, tmp_path):
    out = tmp_path / "run"
    code = (
        "import sys; from cspine_lib.methods import train_method;"
        "from cspine_lib.rsna import open_dataset; from cspine_lib.config import get_profile;"
        "train_method('crop_bilstm', open_dataset(sys.argv[1]), get_profile('ci'), sys.argv[2],"
        " progress=False)"
    )
    command = [sys.executable, "-c", code, str(ci_phantom), str(out)]
    # In the first localiser's second epoch, while crops are cut, and in stage 2.
    for moment in ("localiser-0/state.pt", "crops", "classifier/state.pt"):
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=os.environ
        )
        _wait_for(out / moment, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (out / "run.json").exists()
    train_method("crop_bilstm", open_dataset(ci_phantom), get_profile("ci"), out, progress=False)
    broken, unbroken = (read_json(f / "two_stage.json") for f in (out, ci_run))
    assert broken == unbroken  # weights' digests, calibration and rates


def test_loading_needs_a_finished_run(tmp_path):
    with pytest.raises(CspineError, match="no finished run"):
        TwoStageModel.load(tmp_path)


def test_levels_not_found_get_the_training_rate():
    rates = dict.fromkeys(LEVELS, 0.1)
    logits = np.full(7, np.nan)
    logits[2] = 0.0
    p = probabilities(logits, scale=1.0, bias=0.0, rates=rates, top_n=7)
    assert tuple(p) == TARGETS
    assert p["C3"] == pytest.approx(0.5) and p["C1"] == pytest.approx(0.1)
    assert p["patient_overall"] == pytest.approx(1 - 0.5 * 0.9**6)


def test_training_labels_alone_teach(ci_phantom):
    """The answers of the test studies stand in files that no training module names."""
    from cspine_lib import anatomy, methods, stage1, stage2, two_stage
    from cspine_lib.phantom.tables import TEST_TRUTH_CSV

    for module in (methods, stage1, stage2, two_stage):
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        assert anatomy.TRUTH_FILE not in text and TEST_TRUTH_CSV not in text
        assert "TRUTH" not in text
    truth = pd.read_csv(ci_phantom / TEST_TRUTH_CSV)
    assert not set(truth.StudyInstanceUID) & set(open_dataset(ci_phantom).train_ids)
