"""Rules from seven to one: nested folds keep their word, records are read, tables add up."""

import dataclasses

import numpy as np
import pytest

from cspine_lib import metrics, overall_rules, overall_tables
from cspine_lib.anatomy import TARGETS
from cspine_lib.errors import CspineError
from cspine_lib.overall_rules import N_RANGE, with_overall
from cspine_lib.results import write_predictions
from cspine_lib.runs import Part, RunRecord


@pytest.fixture(scope="module")
def oof():
    return overall_rules.stand_in(studies=150)


def test_the_stand_in_says_what_it_is(oof):
    assert "simulated" in str(oof) and oof.record is None
    assert oof.y.shape == oof.p.shape == (150, 8)
    assert np.allclose(oof.p[:, 0], metrics.overall_noisy_or(oof.levels))
    assert np.array_equal(oof.broken, oof.y[:, 1:].any(axis=1))


# --- nested folds --------------------------------------------------------------------------------


def test_a_rule_is_given_the_other_folds_and_nothing_else(oof):
    seen = []

    def spy(y, levels):
        seen.append((y, levels))
        return lambda new: np.full(len(new), len(seen))

    out = overall_rules.nested(spy, oof.y, oof.levels, oof.fold)
    for k, (y, levels) in enumerate(seen):
        assert np.array_equal(y, oof.y[oof.fold != k])
        assert np.array_equal(levels, oof.levels[oof.fold != k])
        assert (out[oof.fold == k] == k + 1).all()


@pytest.mark.parametrize(
    "rule",
    [
        overall_rules.best_n(),
        overall_rules.platt(),
        overall_rules.platt(3),
        overall_rules.learned(inner=3),
        overall_rules.learned(overall_rules.sweep_logits, inner=3),
    ],
)
def test_labels_of_a_fold_do_not_change_what_is_said_of_it(oof, rule):
    here = oof.fold == 2
    flipped = oof.y.copy()
    flipped[here] = 1 - flipped[here]
    said, again = (overall_rules.nested(rule, y, oof.levels, oof.fold) for y in (oof.y, flipped))
    assert np.array_equal(said[here], again[here])
    assert ((said >= 0) & (said <= 1)).all()


def test_fixed_rules_are_the_librarys(oof):
    for n in N_RANGE:
        said = overall_rules.nested(overall_rules.top_n(n), oof.y, oof.levels, oof.fold)
        assert np.allclose(said, metrics.overall_noisy_or(oof.levels, n))


def test_the_chosen_n_has_the_smallest_loss(oof):
    for how in metrics.NORMALISATIONS:
        n = overall_rules.choose_n(oof.y, oof.levels, how)
        losses = {
            m: metrics.weighted_log_loss(oof.y, p, how)
            for m, p in overall_rules.sweep(oof.levels).items()
        }
        assert losses[n] == min(losses.values())
    flat = np.zeros((4, 7))  # every N says the same
    assert overall_rules.choose_n(oof.y[:4], flat) == 1


def test_calibration_mends_a_rule_that_says_too_much():
    oof = overall_rules.stand_in(studies=1000)
    odds = 3 * oof.levels / (1 - oof.levels)
    levels = odds / (1 + odds)
    raw, mended = (
        overall_rules.nested(rule, oof.y, levels, oof.fold)
        for rule in (overall_rules.top_n(7), overall_rules.platt())
    )
    error = [metrics.expected_calibration_error(oof.y[:, 0], p) for p in (raw, mended)]
    assert error[0] > 0.15 and error[1] < 0.06
    assert abs(mended.mean() - oof.broken.mean()) < 0.02


def test_features_are_sorted_and_contain_every_n(oof):
    features = overall_rules.sorted_logits(oof.levels)
    assert (np.diff(features, axis=1) <= 0).all()
    rows = overall_rules.sweep_logits(oof.levels)
    assert rows[:, 0] == pytest.approx(metrics.logit(oof.levels.max(axis=1), clip=1e-3))
    assert (np.diff(rows, axis=1) >= -1e-12).all()


def test_what_cannot_be_fitted_is_said(oof):
    with pytest.raises(CspineError, match="two folds"):
        overall_rules.nested(overall_rules.platt(), oof.y, oof.levels, np.zeros(150))
    with pytest.raises(CspineError, match="one length"):
        overall_rules.nested(overall_rules.platt(), oof.y, oof.levels, oof.fold[:9])
    whole = np.zeros((20, 8))
    with pytest.raises(CspineError, match="broken and 5 whole"):
        overall_rules.learned()(whole, oof.levels[:20])


# --- records -------------------------------------------------------------------------------------


def _record(folder, oof, name="m-laptop-cv", *, labels=True, profile="laptop", fold=True):
    parts = [
        Part(f"net/{k}", [], test=[i for i, f in zip(oof.ids, oof.fold, strict=True) if f == k])
        for k in range(5)
    ]
    record = RunRecord(
        "m",
        profile,
        0,
        "phantom v1",
        "abc",
        "random",
        "cpu",
        n_folds=5,
        parts=parts,
        scored=oof.ids,
        scores={"loss": 0.4, "n_studies": len(oof.ids)},
        predictions=f"{name}.csv",
    )
    record.write(folder / f"{name}.json")
    write_predictions(
        folder / f"{name}.csv",
        oof.ids,
        oof.p,
        oof.y if labels else None,
        oof.fold if fold else None,
    )


def test_a_recorded_run_is_read_back(tmp_path, oof):
    _record(tmp_path, oof)
    found = overall_rules.recorded("m", "laptop", folder=tmp_path)
    order = [found.ids.index(uid) for uid in oof.ids]
    assert np.array_equal(found.y[order], oof.y)
    assert np.allclose(found.p[order], oof.p, rtol=1e-5)
    assert np.array_equal(found.fold[order], oof.fold)
    assert "phantom v1" in found.data and found.record is not None


def test_the_readers_own_profile_comes_first(tmp_path, oof):
    other = dataclasses.replace(oof, p=oof.p / 2)
    _record(tmp_path, oof)
    _record(tmp_path, other, "m-gpu-cv", profile="gpu")
    for profile, most in (("gpu", other.p.max()), ("laptop", oof.p.max())):
        found = overall_rules.recorded("m", profile, folder=tmp_path)
        assert found.p.max() == pytest.approx(most, rel=1e-4)
    assert overall_rules.recorded("m", "ci", folder=tmp_path) is not None


def test_labels_that_were_not_passed_on_come_from_the_data_set(tmp_path, oof):
    _record(tmp_path, oof, labels=False)
    known = {uid: row[1:] for uid, row in zip(oof.ids, oof.y, strict=True)}
    assert overall_rules.recorded("m", "laptop", folder=tmp_path) is None
    assert overall_rules.recorded("m", "laptop", {}.__getitem__, tmp_path) is None
    found = overall_rules.recorded("m", "laptop", known.__getitem__, tmp_path)
    assert found.y.sum() == oof.y.sum()


def test_no_run_is_none(tmp_path, oof):
    assert overall_rules.recorded("m", "laptop", folder=tmp_path) is None
    _record(tmp_path, oof, fold=False)
    assert overall_rules.recorded("m", "laptop", folder=tmp_path) is None
    (tmp_path / "m-laptop-cv.csv").unlink()
    assert overall_rules.recorded("m", "laptop", folder=tmp_path) is None


def test_a_run_of_some_folds_or_of_other_data_does_not_count(tmp_path, oof):
    _record(tmp_path, oof, "m-laptop-harder")
    assert overall_rules.recorded("m", "laptop", folder=tmp_path) is None
    _record(tmp_path, dataclasses.replace(oof, fold=oof.fold % 2))
    assert overall_rules.recorded("m", "laptop", folder=tmp_path) is None


# --- tables --------------------------------------------------------------------------------------


def test_the_sweep_table_pairs_each_row_with_the_one_before(oof):
    table = overall_tables.sweep_table(oof.y, oof.levels)
    assert list(table.index) == list(N_RANGE)
    sweep = overall_rules.sweep(oof.levels)
    want = metrics.loss_ci(oof.y, sweep[2], minus=sweep[1])
    assert table.loc[2, "minus N − 1 [95%]"] == overall_tables.fine(want)
    assert table.loc[1, "minus N − 1 [95%]"] == ""


def test_the_rule_table_has_every_rule_and_one_zero(oof):
    said = {"maximum": overall_rules.sweep(oof.levels)[1], "all 7": oof.p}
    table = overall_tables.rule_table(oof.y, said, "all 7", "global")
    assert list(table.index) == list(said)
    assert table["minus all 7 [95%]"].tolist().count("0") == 1
    assert float(table.loc["all 7", "Brier"]) == pytest.approx(
        metrics.brier(oof.y[:, 0], oof.p[:, 0]), abs=1e-4
    )


@pytest.mark.parametrize("how", metrics.NORMALISATIONS)
def test_broken_and_whole_necks_add_up_to_the_difference(oof, how):
    sweep = overall_rules.sweep(oof.levels)
    parts = overall_tables.by_fate(oof.y, sweep[7], sweep[1], how)
    want = metrics.loss_ci(oof.y, sweep[7], how, minus=sweep[1])
    assert parts["broken necks"].value + parts["whole necks"].value == pytest.approx(want.value)
    assert parts["all"] == pytest.approx(want)
    assert parts["broken necks"].value < 0 < parts["whole necks"].value


def test_company_is_counted_by_hand():
    y = np.zeros((3, 8))
    y[0, [5, 6]] = y[1, [6, 7]] = y[2, [1, 7]] = 1
    levels = np.full((3, 7), 0.1)
    near, far = (overall_tables.company(y, levels, d) for d in (1, 6))
    assert near["found"] == 2 and near["independent"] == pytest.approx(3 * 6 * 0.01)
    assert far["found"] == 1 and far["independent"] == pytest.approx(3 * 0.01)
    assert near["ratio"].value == pytest.approx(2 / 0.18)
    with pytest.raises(CspineError, match="1 to 6 apart"):
        overall_tables.company(y, levels, 7)


def test_overall_comes_first():
    both = with_overall(np.array([0.5]), np.full((1, 7), 0.1))
    assert both.shape == (1, len(TARGETS)) and both[0, 0] == 0.5
