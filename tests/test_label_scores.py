"""Scores of labels, told with tables whose answers are known."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, precision_score, recall_score, roc_auc_score

from cspine_lib import label_scores as ls
from cspine_lib.errors import CspineError


@pytest.fixture
def studies():
    """Three studies of different length, with labels that are wrong here and there."""
    rng = np.random.default_rng(3)
    truth, labels = {}, {}
    for uid, n in (("a", 30), ("b", 41), ("c", 25)):
        shows = np.zeros((n, 7), dtype=bool)
        for k in range(7):
            shows[2 + 3 * k : 6 + 3 * k, k] = True
        truth[uid] = shows
        labels[uid] = np.clip(0.8 * shows + 0.1 + rng.normal(0, 0.3, shows.shape), 0, 1)
    return truth, labels


def test_table_is_that_of_scikit_learn(studies):
    truth, labels = studies
    table = ls.level_table(truth, labels, ["a", "b", "c"])
    y, p = (np.concatenate([t[u] for u in "abc"]) for t in (truth, labels))
    for name, columns in (("C1", [0]), ("C7", [6]), ("all", list(range(7)))):
        true, said = y[:, columns].ravel(), p[:, columns].ravel()
        row = table.loc[name]
        assert row["accuracy"].value == pytest.approx(accuracy_score(true, said >= 0.5))
        assert row["found"].value == pytest.approx(recall_score(true, said >= 0.5))
        assert row["right"].value == pytest.approx(precision_score(true, said >= 0.5))
        assert row["auroc"] == pytest.approx(roc_auc_score(true, said))
        assert row["always no"] == pytest.approx(1 - true.mean())
        assert row["accuracy"].low <= row["accuracy"].value <= row["accuracy"].high


def test_loss_and_accuracy_of_each_study(studies):
    truth, labels = studies
    assert np.isfinite(ls.study_loss(truth, labels, ["a", "b"])).all()  # 0 and 1 are clipped
    inside = {u: np.clip(p, 0.05, 0.95) for u, p in labels.items()}
    exact = ls.study_loss(truth, inside, ["b"])[0]
    assert exact == pytest.approx(log_loss(truth["b"].ravel(), inside["b"].ravel()))
    right = ls.study_accuracy(truth, labels, ["c"])[0]
    assert right == pytest.approx(((labels["c"] >= 0.5) == truth["c"]).mean())


def test_tables_that_do_not_fit_are_refused(studies):
    truth, labels = studies
    with pytest.raises(CspineError, match="do not fit"):
        ls.study_loss(truth, {"a": labels["a"][1:]}, ["a"])
    with pytest.raises(CspineError, match="needs studies"):
        ls.level_table(truth, labels, [])


def test_an_end_lies_between_two_slices():
    shows = np.array([0, 0, 1, 1, 1, 0], dtype=bool)
    assert ls.edge_distance_mm(shows, 2.0).tolist() == [3, 1, 1, 3, 1, 1]
    assert ls.edge_distance_mm(shows[2:], 2.0).tolist() == [5, 3, 1, 1]
    assert np.isinf(ls.edge_distance_mm(np.zeros(4), 1.0)).all()


def test_wrong_slices_say_which_way_and_how_far():
    shows = np.zeros((8, 7), dtype=bool)
    shows[2:5, 1] = True
    p = shows.astype(float)
    p[3, 1], p[6, 1], p[0, 4] = 0.2, 0.9, 0.9
    wrong = ls.wrong_slices({"a": shows}, {"a": p}, ["a"], {"a": 2.0})
    assert wrong[["level", "z", "kind", "mm"]].values.tolist() == [
        ["C2", 3, "missed", 3.0],
        ["C2", 6, "claimed", 3.0],
        ["C5", 0, "claimed", np.inf],
    ]


def test_intervals_of_means():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1.0, 0.1, 60), rng.normal(0.0, 0.1, 200)
    found = ls.difference_of_means_ci(a, b)
    assert found.low < a.mean() - b.mean() == pytest.approx(found.value)
    width = 2 * 1.96 * np.sqrt(a.var() / 60 + b.var() / 200)
    assert found.high - found.low == pytest.approx(width, rel=0.15)
    assert ls.in_words(ls.mean_ci([-0.5, -0.5])) == "−0.5000 [−0.5000, −0.5000]"
    assert ls.in_words(0.12345, 3) == "0.123"
    assert ls.in_words(np.nan) == ls.in_words(ls.ratio_ci([0.0], [0.0])) == "n/a"
