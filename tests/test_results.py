"""Tables come from records; the README's is the one that the records give."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cspine_lib import metrics, results
from cspine_lib.errors import CspineError
from cspine_lib.leakage import check_leakage
from cspine_lib.results import (
    BEGIN,
    BEST_CONSTANT,
    CONSTANT_NOTE,
    END,
    NO_RECORDS,
    load_records,
    paired_difference,
    read_predictions,
    readme_table,
    results_home,
    results_table,
    with_table,
    write_predictions,
)
from cspine_lib.runs import RunRecord
from cspine_lib.scoring import score_arrays

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(4)
Y = metrics.pattern_labels()[RNG.choice(2019, 80, replace=False)]
GOOD = 1 / (1 + np.exp(-(RNG.normal(size=Y.shape) + 3.0 * Y - 2.0)))
IDS = [f"1.2.{i:03d}" for i in range(80)]


def _record(method: str, p: np.ndarray, **changes) -> RunRecord:
    scores = score_arrays(Y, p, n=200).to_dict()
    values = {"seconds": 300.0, "scores": scores, **changes}
    return RunRecord(method, "laptop", 1, "phantom v1", "f", "imagenet", "cpu", **values)


def test_rows_are_sorted_and_carry_their_intervals(tmp_path) -> None:
    _record("b", np.full(Y.shape, 0.5)).write(tmp_path / "b.json")
    _record("a", GOOD).write(tmp_path / "a.json")
    table = results_table(load_records(tmp_path))
    assert table["method"].tolist() == ["a", "b"]
    scores = score_arrays(Y, GOOD, n=200).to_dict()
    low, high = scores["ci95"]
    assert table.loc[0, "loss"] == f"{scores['loss']:.3f} [{low:.3f}, {high:.3f}]"
    assert table.loc[0, "loss − constant"].startswith("−")
    assert table.loc[1, "level AUROC"] == "0.500 [0.500, 0.500]"
    assert table.loc[0, "training minutes"] == "5 (cpu)"
    lines = readme_table(tmp_path).splitlines()
    assert len(lines) == 7 and lines[-1].endswith(CONSTANT_NOTE)
    assert len({line.count("|") for line in lines[:5]}) == 1
    assert "| phantom v1 |" in lines[2]


def test_the_best_constant_stands_once_on_top_of_each_set_of_studies(tmp_path) -> None:
    _record("b", np.full(Y.shape, 0.5)).write(tmp_path / "b.json")
    _record("a", GOOD).write(tmp_path / "a.json")
    _record("a", GOOD, scored=IDS).write(tmp_path / "c.json")
    table = results_table(load_records(tmp_path), constants=True)
    assert table["method"].tolist() == [BEST_CONSTANT, "a", "b", BEST_CONSTANT, "a"]
    best = metrics.loss_ci(Y, metrics.best_constants(Y), n=200)
    assert table.loc[0, "loss"] == f"{best.value:.3f} [{best.low:.3f}, {best.high:.3f}]"
    assert table.loc[0, "loss − constant"] == "0"
    assert BEST_CONSTANT not in set(results_table(load_records(tmp_path))["method"])


def test_no_records_is_said(tmp_path) -> None:
    assert readme_table(tmp_path) == NO_RECORDS


def test_a_record_without_scores_is_refused(tmp_path) -> None:
    _record("a", GOOD, scores={}).write(tmp_path / "a.json")
    with pytest.raises(CspineError, match="no scores"):
        load_records(tmp_path)


def test_the_table_replaces_what_stood_between_the_marks() -> None:
    text = f"# A\n{BEGIN}\nold\n{END}\nrest\n"
    assert with_table(text, "new") == f"# A\n{BEGIN}\nnew\n{END}\nrest\n"
    with pytest.raises(CspineError, match="results:begin"):
        with_table("# A\n", "new")


def test_readme_has_the_table_of_the_committed_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_table(text, readme_table(ROOT / "results")) == text, (
        "renew it: python -m cspine_lib.results README.md"
    )


def test_committed_records_have_no_leak() -> None:
    for record in load_records(ROOT / "results"):
        assert check_leakage(record) == []
        assert record.scored


def test_the_module_renews_a_readme(tmp_path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"x\n{BEGIN}\n{END}\n", encoding="utf-8")
    _record("a", GOOD).write(tmp_path / "results" / "a.json")
    command = [sys.executable, "-m", "cspine_lib.results", str(readme)]
    env = {**os.environ, "CSPINE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=env, check=True)
    expected = with_table("x\n" + BEGIN + END + "\n", readme_table(tmp_path / "results"))
    assert readme.read_text(encoding="utf-8") == expected
    assert "| a |" in expected


def test_results_home_is_in_the_home(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("CSPINE_HOME", str(tmp_path))
    assert results_home() == tmp_path / "results"


def test_records_of_the_package_are_read_where_there_are_no_others(monkeypatch, tmp_path) -> None:
    own, packaged = tmp_path / "home" / "results", tmp_path / "recorded"
    monkeypatch.setenv("CSPINE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(results, "PACKAGED", packaged)
    assert results.recorded_home() == own
    packaged.mkdir()
    assert results.recorded_home() == packaged and results_home() == own
    _record("a", GOOD).write(packaged / "a.json")
    assert [r.method for r in results.load_records()] == ["a"]
    own.mkdir(parents=True)
    assert results.recorded_home() == own and results.load_records() == []


def test_predictions_come_back_and_pair_up(tmp_path) -> None:
    order = np.random.default_rng(0).permutation(80)
    worse = np.clip(GOOD * 0.5 + 0.2, 0, 1)
    one = write_predictions(tmp_path / "a.csv", IDS, GOOD, Y, fold=np.arange(80) % 5)
    two = write_predictions(tmp_path / "b.csv", [IDS[i] for i in order], worse[order], Y[order])
    first, second = read_predictions(one), read_predictions(two)
    assert first["fold"].tolist() == (np.arange(80) % 5).tolist()
    difference = paired_difference(first, second)
    assert difference == pytest.approx(metrics.loss_ci(Y, GOOD, minus=worse), abs=1e-4)
    assert difference.high < 0


def test_predictions_that_cannot_be_paired(tmp_path) -> None:
    full = read_predictions(write_predictions(tmp_path / "a.csv", IDS, GOOD, Y))
    bare = read_predictions(write_predictions(tmp_path / "b.csv", IDS, GOOD))
    with pytest.raises(CspineError, match="same studies"):
        paired_difference(full, full.iloc[1:])
    with pytest.raises(CspineError, match="without labels"):
        paired_difference(bare, full)
    with pytest.raises(CspineError, match="different labels"):
        paired_difference(full, full.assign(true_C1=1 - full["true_C1"]))
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CspineError, match="no file of predictions"):
        read_predictions(tmp_path / "c.csv")
    with pytest.raises(CspineError, match="cannot read"):
        read_predictions(tmp_path / "none.csv")
