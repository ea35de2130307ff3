"""Tables of our own system: what is missing is named, differences are paired, fronts are right."""

import json

import numpy as np
import pytest

from cspine_lib import beyond_tables as tables
from cspine_lib.comparison import group_of
from cspine_lib.context_rules import fit_rules
from cspine_lib.metrics import Interval, logit, loss_ci
from cspine_lib.rsna import open_dataset
from cspine_lib.splits import patient_folds

N = 60


@pytest.fixture(scope="module")
def group():
    rng = np.random.default_rng(3)
    y = np.zeros((N, 8), int)
    y[:, 1:] = rng.random((N, 7)) < 0.12
    y[:, 0] = y[:, 1:].any(axis=1)
    noise = rng.normal(0, 1, (N, 8))
    p = {
        "beyond": 1 / (1 + np.exp(-(4 * y - 2 + 0.5 * noise))),
        "first_place": 1 / (1 + np.exp(-(2.5 * y - 1.5 + noise))),
        "neck_only": np.tile([0.5] + [0.1] * 7, (N, 1)),
    }
    ids = [f"s{i:02d}" for i in range(N)]
    made = group_of(p, y, ids, profile="ci", data="made up")
    seconds = {"beyond": 2.0, "first_place": 1.0, "neck_only": 3.0}
    for record in made.records:
        record.scores["seconds_per_study"] = seconds[record.method]
    return made


def test_differences_are_paired_and_stand_beside_the_seconds(group):
    table = tables.against_best(group)
    pair = loss_ci(group.y, group.p["first_place"], minus=group.p["beyond"])
    row = table.loc["first_place"]
    assert row["minus beyond [95%]"] == str(pair).replace("-", "−") and pair.value > 0
    assert row["zero is outside"] == ("yes" if pair.excludes_zero else "no")
    assert table.loc["beyond", "minus beyond [95%]"] == ""
    assert table["s per study"].to_dict() == {"beyond": "2.00", "first_place": "1.00"} | {
        "neck_only": "3.00"
    }


def test_verdicts_tell_where_it_wins_and_where_it_falls_short(group):
    said = tables.verdicts(group, ["first_place", "second_place"])
    assert "clearly below" in said[0] and "2.00 times" in said[0]
    assert said[1] == "second_place: not recorded on these studies"
    worse = tables.verdicts(group, ["beyond"], best="first_place")
    assert "falls short: clearly above" in worse[0]
    assert "cspine run --methods ours" in tables.verdicts(group, ["beyond"], best="ours")[0]


def test_rules_are_fitted_without_the_study_they_judge(group):
    y, p = group.y, group.p["first_place"]
    before = tables.ruled(y, p)
    assert before.shape == p.shape and ((before > 0) & (before < 1)).all()
    # By hand: five parts, rules from the other four.
    fold = patient_folds([str(i) for i in range(N)], y.tolist(), 5, 0)
    z = logit(p[:, 1:], clip=1e-4)
    for k in range(5):
        rules = fit_rules(z[fold != k], y[fold != k, 1:])
        assert np.allclose(before[fold == k], rules(z[fold == k]))
    table = tables.rules_table(group)
    assert list(table.index) == ["first_place"]  # ours has rules; one that says nothing is left out
    paired = loss_ci(y, before, minus=p)
    assert table.loc["first_place", "with − without [95%]"] == str(paired).replace("-", "−")


def test_front():
    seconds, loss = [1, 2, 3, 3, 1, 4], [0.5, 0.4, 0.3, 0.35, 0.5, 0.3]
    assert tables.pareto_front(seconds, loss).tolist() == [True, True, True, False, True, False]
    points = {"a": (1.0, Interval(0.5, 0.4, 0.6)), "b": (2.0, Interval(0.6, 0.5, 0.7))}
    assert tables.front_of(points) == ["a"]


def test_points_are_those_that_were_timed(group):
    points = tables.points(group)
    assert points["beyond"][0] == 2.0
    assert points["beyond"][1].value == min(r.scores["loss"] for r in group.records)


def test_what_is_not_recorded_is_named(ci_phantom, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CSPINE_HOME", str(tmp_path))
    assert tables.recorded(open_dataset(ci_phantom), ["beyond", "first_place"]) == (None, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"not recorded yet, {words}: beyond, first_place"
        for words in ("out of fold", "on the set final")
    ]


def test_a_variant_that_was_not_run_says_so(tmp_path):
    row = {"says": "as it is", "question": "reference", "images": 105, "px": 80}
    row |= {"multiply_adds": 2_500_000_000, "seconds_training": 300.0, "seconds_per_study": 0.5}
    row |= {"loss": 0.5, "loss_ci95": [0.4, 0.6], "auroc": 0.8, "auroc_ci95": [0.7, 0.9]}
    lacking = {"says": "ResNet", "question": "backbone", "why": "no weights"}
    report = {"variants": [row], "not_run": [lacking]}
    assert tables.read_beyond("ci", tmp_path) is None
    (tmp_path / "laptop.json").write_text(json.dumps(report))
    table = tables.beyond_table(tables.read_beyond("ci", tmp_path))
    assert table.loc["ResNet", "loss [95%]"] == "not run: no weights"
    assert table.loc["as it is", "loss [95%]"] == "0.500 [0.400, 0.600]"
    assert table.loc["as it is", "multiply-adds, 10⁹"] == "2.50"
    assert table.loc["ResNet", "s per study"] == ""


def test_pieces_cost_what_their_looks_cost(group):
    y, p = group.y, group.p
    split = {"read": 0.5, "decode": 0.5, "localise": 0.0, "crop": 0.0, "classify": 3.0}
    found = {"whole": (p["beyond"], 6), "one": (p["first_place"], 2)}
    table = tables.pieces_table(y, found, split)
    assert table["s per study"].to_dict() == {"whole": "4.00", "one": "2.00"}
    assert table.loc["whole", "minus the whole [95%]"] == ""
