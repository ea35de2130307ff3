"""Tables of the chapter on stage 2, on numbers whose answer is known."""

import json

import numpy as np
import pandas as pd
import pytest

from cspine_lib import sequence_figures, sequence_tables
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import RunRecord


def row(study, level, broken, weights, boxed, fold=0):
    return {
        "fold": fold,
        "study": study,
        "level": level,
        "broken": broken,
        "weights": np.array(weights),
        "boxed": np.array(boxed, dtype=bool),
    }


@pytest.fixture
def table():
    return pd.DataFrame(
        [
            row("a", "C2", True, [0.1, 0.6, 0.2, 0.1], [0, 1, 1, 0]),
            row("a", "C3", False, [0.4, 0.2, 0.2, 0.2], [0, 0, 0, 0]),
            row("a", "C4", False, [0.1, 0.7, 0.1, 0.1], [1, 0, 0, 0]),  # a neighbour's box
            row("b", "C5", True, [0.25, 0.25, 0.25, 0.25], [1, 1, 1, 1]),
            row("b", "C6", True, [0.5, 0.5, 0.0, 0.0], [0, 0, 0, 0]),
            row("b", "C7", False, [0.2, 0.4, 0.2, 0.2], [0, 0, 0, 0]),
            row("c", "C7", True, [0.7, 0.1, 0.1, 0.1], [0, 0, 0, 1], fold=1),
        ]
    )


def test_agreement_by_hand(table):
    rows = sequence_tables.agreement(table)
    assert rows["study"].tolist() == ["a", "c"]  # all boxed, or none, tells nothing
    assert rows["attention"].tolist() == pytest.approx([0.8, 0.1])
    assert rows["flat"].tolist() == [0.5, 0.25]
    # Habit: the mean of a's C3 and b's C7, whole levels of fold 0 without a box.
    assert rows["habit"].iloc[0] == pytest.approx(0.3 + 0.2)
    assert np.isnan(rows["habit"].iloc[1])  # fold 1 has no level without a box
    summary = sequence_tables.agreement_summary(rows)
    assert summary.iloc[0, 0].startswith("0.450") and summary.loc["attention"].iloc[1] == ""
    assert summary.loc["flat"].iloc[1].startswith("0.075")
    sequence_figures.agreement_figure(rows)


def test_nothing_boxed_is_no_error(table):
    rows = sequence_tables.agreement(table[table["study"] == "b"])
    assert rows.empty
    assert np.isnan(sequence_tables.by_study(rows, rows["attention"] - rows["habit"]).value)
    assert "nan" in str(sequence_tables.agreement_summary(rows).iloc[0, 0])


def test_intervals_draw_studies_with_all_of_their_rows():
    one = pd.DataFrame({"study": ["a"] * 50})
    interval = sequence_tables.by_study(one, np.arange(50))
    assert interval.value == interval.low == interval.high == 24.5
    many = pd.DataFrame({"study": [str(i) for i in range(50)]})
    interval = sequence_tables.by_study(many, np.arange(50))
    assert interval.low < 22 < 27 < interval.high


def test_the_first_frame_is_compared_with_the_others_of_its_level():
    frames = [("a", 1, 3.0), ("a", 2, 1.0), ("a", 3, 0.0), ("b", 1, 0.0), ("b", 2, 1.0)]
    table = pd.DataFrame([{"study": s, "level": "C2", "rank": r, "fall": f} for s, r, f in frames])
    gap = sequence_tables.first_minus_others(table, "fall")
    assert gap.value == pytest.approx(((3 - 0.5) + (0 - 1)) / 2)


def variant(says, low=None, high=None, method="crop_bilstm"):
    out = {
        "says": says,
        "method": method,
        "loss": 0.5,
        "loss_ci95": [0.4, 0.6],
        "auroc": 0.7,
        "auroc_ci95": [0.6, 0.8],
        "seconds_training": 44.4,
        "seconds_per_study": 0.25,
    }
    if low is not None:
        middle = (low + high) / 2
        out |= {"loss_minus_full": middle, "loss_minus_full_ci95": [low, high]}
        out |= {"auroc_minus_full": -middle, "auroc_minus_full_ci95": [-high, -low]}
    return out


@pytest.fixture
def report():
    rows = [variant("full"), variant("no LSTM", -0.01, 0.02), variant("whole slice", 0.01, 0.2)]
    return {"note": "ablation", "variants": [*rows, variant("16 frames", -0.2, -0.1)]}


def test_ablations_are_judged_by_their_paired_intervals(report):
    for name in ("loss", "auroc"):
        verdicts = sequence_tables.ablation_verdicts(report, name)
        assert verdicts == {
            "worse": ["whole slice"],
            "better": ["16 frames"],
            "not told apart": ["no LSTM"],
        }
    table = sequence_tables.ablation_table(report)
    assert table.index.tolist() == ["full", "no LSTM", "whole slice", "16 frames"]
    assert table.loc["full", "minus full [95%]"] == ""
    assert table.loc["16 frames", "minus full [95%]"] == "−0.150 [−0.200, −0.100]"
    assert len(sequence_figures.ablation_figure(report).axes) == 2


def test_ablations_of_another_profile_stand_in(report, tmp_path):
    assert sequence_tables.read_ablations("ci", tmp_path) is None
    for name in ("laptop", "gpu"):
        (tmp_path / f"ablations-{name}.json").write_text(json.dumps(report | {"profile": name}))
    assert sequence_tables.read_ablations("laptop", tmp_path)["profile"] == "laptop"
    assert sequence_tables.read_ablations("ci", tmp_path)["profile"] == "gpu"


def test_a_level_with_few_fractures_has_no_auroc():
    rng = np.random.default_rng(0)
    y = np.zeros((40, 8), dtype=int)
    y[:6, 0] = y[:6, 3] = 1
    y[:4, 5] = 1
    p = np.clip(y + rng.normal(0, 0.1, y.shape), 0.01, 0.99)
    table = sequence_tables.level_table(mine=(y, p))
    assert table["AUROC, mine [95%]"].tolist().count("n/a") == 6
    assert table.loc["C3"].tolist() == ["6", "1.000 [1.000, 1.000]"]
    assert table.loc["C5"].tolist() == ["4", "n/a"]


def test_a_recorded_run_of_other_data_is_not_taken(ci_phantom, tmp_path):
    from cspine_lib.results import write_predictions

    dataset = open_dataset(ci_phantom)
    ids = dataset.train_ids[:6]
    assert sequence_tables.recorded_cv("crop_bilstm", "ci", dataset, tmp_path) is None
    p = np.full((6, 8), 0.25)
    write_predictions(tmp_path / "crop_bilstm-ci-cv.csv", ids, p)
    record = RunRecord(
        "crop_bilstm", "ci", 1, dataset.name, dataset.fingerprint(), "random", "cpu",
        predictions="crop_bilstm-ci-cv.csv",
    )  # fmt: skip
    record.write(tmp_path / "crop_bilstm-ci-cv.json")
    y, q = sequence_tables.recorded_cv("crop_bilstm", "ci", dataset, tmp_path)
    assert np.allclose(q, 0.25) and y.shape == (6, 8)
    assert y[:, 1:].sum() == sum(dataset.labels(uid).sum() for uid in ids)
    record.fingerprint = "another"
    record.write(tmp_path / "crop_bilstm-ci-cv.json")
    assert sequence_tables.recorded_cv("crop_bilstm", "ci", dataset, tmp_path) is None
