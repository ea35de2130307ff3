"""Methods are compared on the same studies only, in pairs, from records and predictions."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cspine_lib import metrics
from cspine_lib.anatomy import TARGETS
from cspine_lib.cli import app
from cspine_lib.comparison import group_of, load_groups, main_group
from cspine_lib.errors import CspineError
from cspine_lib.results import BEST_CONSTANT, NO_RECORDS, write_predictions
from cspine_lib.runs import RunRecord
from cspine_lib.scoring import score_arrays
from cspine_lib.summaries import as_objects, as_text, order_table

RNG = np.random.default_rng(11)
Y = metrics.pattern_labels()[RNG.choice(2019, 90, replace=False)]
IDS = [f"1.2.{i:03d}" for i in range(90)]
GOOD = 1 / (1 + np.exp(-(RNG.normal(size=Y.shape) + 3.0 * Y - 2.0)))
POOR = np.clip(0.35 * GOOD + 0.1, 0, 1)


def _put(folder, method, p, *, y=Y, ids=IDS, labels=True, tag="cv", **changes):
    """A record and its predictions, as ``cspine run --record`` leaves them."""
    values = {"data": "phantom v1", "fingerprint": "f", "n_folds": 5, **changes}
    scores = score_arrays(y, p, n=200).to_dict() | values.pop("more", {})
    record = RunRecord(
        method,
        "laptop",
        1,
        weights="imagenet",
        device="cpu",
        scored=list(ids),
        scores=scores,
        predictions=f"{method}-laptop-{tag}.csv",
        **values,
    )
    record.write(folder / f"{method}-laptop-{tag}.json")
    write_predictions(folder / record.predictions, ids, p, y if labels else None)


@pytest.fixture
def two(tmp_path):
    _put(tmp_path, "poor", POOR)
    _put(tmp_path, "good", GOOD, more={"seconds_per_study": 1.5})
    return tmp_path


def test_table_has_the_constant_on_top_then_the_best(two):
    (group,) = load_groups(two)
    assert group.table()["method"].tolist() == [BEST_CONSTANT, "good", "poor"]
    assert group.title == "phantom v1, profile laptop: 90 studies, 5 folds, out of fold"


def test_pairs_are_paired_and_the_better_comes_first(two):
    (group,) = load_groups(two)
    ((pair, found),) = group.pairs().items()
    assert pair == ("good", "poor")
    assert tuple(found) == pytest.approx(tuple(metrics.loss_ci(Y, GOOD, minus=POOR)), abs=1e-5)
    assert found.high < 0
    assert group.pair_table().loc["good − poor", "zero is outside"] == "yes"
    constant = group.minus_constant("good")
    assert constant.value == pytest.approx(group.records[0].scores["loss_minus_constant"], abs=1e-4)


def test_objects_have_what_programs_are_promised(two):
    good, poor = as_objects(load_groups(two))
    promised = {"method", "profile", "loss", "ci95", "loss_minus_constant_ci95"}
    promised |= {"seconds_per_study", "n_studies", "data"}
    assert promised <= set(good)
    assert good["seconds_per_study"] == 1.5 and poor["seconds_per_study"] is None
    there, back = good["minus"]["poor"], poor["minus"]["good"]
    assert there["difference"] == -back["difference"] < 0
    assert there["ci95"] == pytest.approx([-v for v in reversed(back["ci95"])], abs=0.004)
    json.dumps([good, poor], allow_nan=False)


def test_groups_keep_apart_what_cannot_be_compared(two):
    _put(two, "good", GOOD[:50], y=Y[:50], ids=IDS[:50], tag="test")
    _put(two, "poor", POOR, tag="hard", data="phantom v1, difficulty 0.8", fingerprint="g")
    groups = load_groups(two)
    assert [(len(g.records), len(g.ids)) for g in groups] == [(2, 90), (1, 90), (1, 50)]
    table = order_table(groups)
    assert table.shape == (2, 3)
    assert (table == "not run").sum().sum() == 2
    assert table.loc["good"].iloc[0].startswith("1.  ")


def test_of_two_records_of_a_method_the_newer_counts(two):
    _put(two, "good", POOR, tag="again", created="2099-01-01T00:00:00+00:00")
    (group,) = load_groups(two)
    assert np.allclose(group.p["good"], POOR, atol=1e-5)


def test_predictions_without_labels_need_the_data_sets(tmp_path):
    _put(tmp_path, "good", GOOD, labels=False)
    _put(tmp_path, "poor", POOR, labels=False)
    (group,) = load_groups(tmp_path)
    with pytest.raises(CspineError, match="labels"):
        group.difference("good", "poor")
    assert "difference of loss" not in as_text(group)
    assert as_objects([group])[0]["minus"] == {}
    (group,) = load_groups(tmp_path, dict(zip(IDS, Y, strict=True)))
    assert group.difference("good", "poor").high < 0


def test_predictions_that_do_not_fit_are_refused(two):
    table = pd.read_csv(two / "poor-laptop-cv.csv")
    table.iloc[1:].to_csv(two / "poor-laptop-cv.csv", index=False)
    with pytest.raises(CspineError, match="other studies"):
        load_groups(two)
    table["true_C1"] = 1 - table["true_C1"]
    table.to_csv(two / "poor-laptop-cv.csv", index=False)
    with pytest.raises(CspineError, match="other labels"):
        load_groups(two)


def test_a_record_without_its_predictions_is_shown_but_not_paired(two):
    (two / "poor-laptop-cv.csv").unlink()
    (group,) = load_groups(two)
    assert group.pairs() == {} and group.pair_table().empty
    assert len(group.table()) == 3
    with pytest.raises(CspineError, match="cspine run --methods poor"):
        group.difference("good", "poor")


def test_points_calibration_and_levels(two):
    (group,) = load_groups(two)
    points = group.operating_points()
    want = metrics.sensitivity_at_specificity(Y[:, 0], GOOD[:, 0])
    assert points.loc["good", "sensitivity at 90% specificity"].startswith(f"{want:.3f} [")
    table = group.calibration()
    assert table.loc["good", "Brier, neck"].startswith(f"{metrics.brier(Y[:, 0], GOOD[:, 0]):.3f}")
    assert table.loc["good", "Brier, levels"].startswith(
        f"{metrics.brier(Y[:, 1:], GOOD[:, 1:]):.3f}"
    )
    auroc, positives = group.auroc_by_level(), group.positives()
    assert list(auroc.columns) == list(TARGETS)
    for target in TARGETS:
        few = positives[target] < metrics.MIN_POSITIVES
        assert np.isnan(auroc.loc["good", target]) == few


def test_the_main_group_is_of_the_data_at_hand_else_out_of_fold_at_the_usual_difficulty(two):
    assert main_group([]) is None
    for method, p in (("good", GOOD), ("poor", POOR)):
        name = "phantom v1, difficulty 0.8"
        _put(two, method, p, tag="hard", data=name, fingerprint="hard")
        _put(two, method, p[:80], y=Y[:80], ids=IDS[:80], tag="final", n_folds=1)
    _put(two, "good", GOOD, tag="alone", data="another", fingerprint="alone")
    groups = load_groups(two)
    assert (
        main_group(groups).title == "phantom v1, profile laptop: 90 studies, 5 folds, out of fold"
    )
    assert main_group(groups, "hard").records[0].fingerprint == "hard"
    assert main_group(groups, "alone").records[0].fingerprint == "f"


def test_a_group_of_predictions_at_hand_is_like_a_recorded_one(two):
    order = np.random.default_rng(0).permutation(90)
    ids = [IDS[i] for i in order]
    p = {"poor": POOR[order], "good": GOOD[order]}
    live = group_of(p, Y[order], ids, profile="laptop", data="phantom v1, fold 0")
    (recorded,) = load_groups(two)
    assert live.methods == recorded.methods == ["good", "poor"]
    assert live.ids == recorded.ids and np.array_equal(live.y, recorded.y)
    assert live.difference("good", "poor") == pytest.approx(
        tuple(recorded.difference("good", "poor")), abs=1e-5
    )


def test_command_prints_tables_and_json(two, tmp_path):
    shown = CliRunner().invoke(app, ["results", str(two)])
    assert shown.exit_code == 0
    assert "not an RSNA score" in shown.output and "good − poor: −0." in shown.output
    assert "fitted on the very labels" in shown.output
    parsed = CliRunner().invoke(app, ["results", str(two), "--json"])
    assert [row["method"] for row in json.loads(parsed.output)] == ["good", "poor"]
    empty = CliRunner().invoke(app, ["results", str(tmp_path / "none")])
    assert empty.output.strip() == NO_RECORDS
    assert json.loads(CliRunner().invoke(app, ["results", "none", "--json"]).output) == []
