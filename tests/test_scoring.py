"""A submission scored as ``cspine score`` does it; each fault of a file has its name."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from cspine_lib import metrics, submission
from cspine_lib.anatomy import STUDY_COLUMN, TARGETS, row_id
from cspine_lib.errors import CspineError
from cspine_lib.scoring import score_arrays, score_submission

N = 60
IDS = [f"1.2.826.0.{i}" for i in range(N)]
RNG = np.random.default_rng(8)
Y = metrics.pattern_labels()[RNG.choice(2019, N, replace=False)]
P = np.round(1 / (1 + np.exp(-(RNG.normal(size=Y.shape) + 2.0 * Y - 1.5))), 6)


@pytest.fixture
def files(tmp_path):
    """A truth in train.csv's format and the rows of a flawless submission."""
    truth = pd.DataFrame(Y, columns=list(TARGETS))
    truth.insert(0, STUDY_COLUMN, IDS)
    truth.to_csv(tmp_path / "train.csv", index=False)
    rows = [(row_id(i, t), repr(float(P[n, j]))) for n, i in enumerate(IDS)
            for j, t in enumerate(TARGETS)]  # fmt: skip
    return tmp_path, rows


def _write(path, rows) -> str:
    text = "row_id,fractured\n" + "".join(f"{r},{v}\n" for r, v in rows)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_score_is_that_of_the_arrays(files) -> None:
    folder, rows = files
    order = np.random.default_rng(0).permutation(len(rows))
    submitted = _write(folder / "s.csv", [rows[i] for i in order])
    score = score_submission(submitted, folder / "train.csv")
    assert score.n_studies == N
    assert score.ids == tuple(IDS)
    for name in metrics.NORMALISATIONS:
        constant = metrics.best_constants(Y, name)
        assert score.loss[name] == pytest.approx(metrics.loss_ci(Y, P, name))
        assert score.constant[name] == pytest.approx(metrics.loss_ci(Y, constant, name))
        assert score.difference[name].value == pytest.approx(
            score.loss[name].value - score.constant[name].value
        )
    assert score.level_auroc.value == pytest.approx(metrics.macro_auroc(Y[:, 1:], P[:, 1:]))
    for j, target in enumerate(TARGETS):
        found = score.targets[target]
        assert found.positives == Y[:, j].sum()
        assert found.loss.value == pytest.approx(metrics.level_losses(Y, P)[j])
        assert found.loss.low < found.loss.value < found.loss.high


def test_truth_may_be_rows_too(files) -> None:
    folder, rows = files
    solution = [(row_id(i, t), Y[n, j]) for n, i in enumerate(IDS) for j, t in enumerate(TARGETS)]
    submitted = _write(folder / "s.csv", rows)
    one = score_submission(submitted, folder / "train.csv")
    two = score_submission(submitted, _write(folder / "solution.csv", solution))
    assert one.to_dict() == two.to_dict()


def test_auroc_of_a_rare_level_is_not_shown(files) -> None:
    folder, rows = files
    score = score_submission(_write(folder / "s.csv", rows), folder / "train.csv")
    rare = [t for j, t in enumerate(TARGETS) if Y[:, j].sum() < metrics.MIN_POSITIVES]
    assert rare
    assert "patient_overall" not in rare
    for target in TARGETS:
        assert math.isnan(score.targets[target].auroc.value) == (target in rare)
        assert np.isnan(score.table().loc[target, "auroc"]) == (target in rare)
    lines = {line.split()[0]: line for line in score.text().splitlines() if line}
    assert lines[rare[0]].endswith("n/a")
    assert "fitted on the very labels" in score.text()
    assert f"{score.loss['per_exam'].value:.4f}" in score.text()


def test_the_dictionary_is_json_without_nan() -> None:
    content = json.loads(json.dumps(score_arrays(Y, P).to_dict(), allow_nan=False))
    assert content["loss_minus_constant"] == pytest.approx(
        content["loss"] - content["constant_loss"], abs=2e-5
    )
    assert content["ci95"][0] < content["loss"] < content["ci95"][1]
    assert content["global"]["loss"] != content["loss"]
    assert content["n_studies"] == N


def _change(rows, i, value):
    return [*rows[:i], (rows[i][0], value), *rows[i + 1 :]]


@pytest.mark.parametrize(
    ("break_it", "error", "code", "count"),
    [
        (lambda r: r[:3] + r[5:], submission.RowsMissing, "rows_missing", 2),
        (lambda r: [*r, r[0], r[0], r[9]], submission.RowsDoubled, "rows_doubled", 2),
        (lambda r: [*r, ("9.9_C1", "0.5")], submission.RowsUnknown, "rows_unknown", 1),
        (lambda r: _change(r, 7, "1.0001"), submission.OutOfRange, "out_of_range", 1),
        (lambda r: _change(r, 7, "-0.1"), submission.OutOfRange, "out_of_range", 1),
        (lambda r: _change(r, 7, "inf"), submission.OutOfRange, "out_of_range", 1),
        (lambda r: _change(r, 7, "NaN"), submission.NotANumber, "nan", 1),
        (lambda r: _change(r, 7, ""), submission.NotANumber, "nan", 1),
        (lambda r: _change(r, 7, "high"), submission.NotNumeric, "not_numeric", 1),
    ],
)
def test_each_fault_of_a_submission_is_named(files, break_it, error, code, count) -> None:
    folder, rows = files
    with pytest.raises(error) as caught:
        score_submission(_write(folder / "s.csv", break_it(rows)), folder / "train.csv")
    assert isinstance(caught.value, CspineError)
    assert (caught.value.code, caught.value.count) == (code, count)
    assert caught.value.example in str(caught.value)
    assert str(count) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("s.csv", None, "no file"),
        ("s.csv", "", "empty"),
        ("s.csv", "row_id,p\n1,2\n", "lacks the column"),
        ("s.csv", 'row_id,fractured\n"1,2\n', "cannot be read as CSV"),
        ("s.csv", b"row_id,fractured\n\xff\xfe,1\n", "cannot be read as CSV"),
        ("train.csv", "StudyInstanceUID,C1\n1,0\n", "neither the columns"),
        ("train.csv", "row_id,fractured\n1_C1,0\n", "missing"),
        ("train.csv", "row_id,fractured\n1_C8,0\n", "does not know"),
        ("train.csv", "row_id,fractured\n", "no rows"),
    ],
)
def test_files_that_are_something_else(files, name, text, says) -> None:
    folder, rows = files
    _write(folder / "s.csv", rows)
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CspineError, match=says) as caught:
        score_submission(folder / "s.csv", folder / "train.csv")
    assert "\n" not in str(caught.value)


def test_faults_of_the_truth_are_named(files) -> None:
    folder, rows = files
    submitted = _write(folder / "s.csv", rows)
    good = (folder / "train.csv").read_text()
    last = good.splitlines()[-1]
    (folder / "train.csv").write_text(good + last + "\n")
    with pytest.raises(submission.RowsDoubled):
        score_submission(submitted, folder / "train.csv")
    uid, _, rest = last.split(",", 2)
    (folder / "train.csv").write_text(good.replace(last, f"{uid},0.5,{rest}"))
    with pytest.raises(submission.BadLabel, match=r"patient_overall = 0\.5"):
        score_submission(submitted, folder / "train.csv")


def test_a_byte_order_mark_and_spaces_are_no_fault(files) -> None:
    folder, rows = files
    path = folder / "s.csv"
    _write(path, [(r, f" {v}") for r, v in rows])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert score_submission(path, folder / "train.csv").n_studies == N
