"""Forests as arrays: what they say is scikit-learn's, and a file of them is checked."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from cspine_lib.errors import CspineError
from cspine_lib.forests import fit_forest, from_sklearn, load_forests, save_forests


def _rows(n=300, width=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width))
    x[:, 1] = x[:, 1].round(1)  # ties at thresholds
    return x, (x[:, 0] + x[:, 1] + rng.normal(size=n) > 0.8).astype(int)


@pytest.fixture(scope="module")
def grown():
    x, y = _rows()
    forest = RandomForestClassifier(n_estimators=13, min_samples_leaf=3, random_state=4)
    return forest.fit(x.astype(np.float32), y)


def test_walking_the_arrays_says_what_scikit_learn_says(grown):
    ours = from_sklearn(grown)
    for seed in (0, 1):
        x, _ = _rows(500, seed=seed)
        theirs = grown.predict_proba(x.astype(np.float32))[:, 1]
        assert np.allclose(ours.probability(x), theirs, atol=1e-12)
    assert np.ptp(theirs) > 0.5


def test_values_on_a_threshold_go_the_way_of_scikit_learn(grown):
    """Thresholds are 64-bit, rows 32-bit: the comparison must be made as there."""
    ours, tree = from_sklearn(grown), grown.estimators_[0].tree_
    asked = tree.feature >= 0
    x = np.zeros((int(asked.sum()), 5))
    x[np.arange(len(x)), tree.feature[asked]] = tree.threshold[asked]
    theirs = grown.predict_proba(x.astype(np.float32))[:, 1]
    assert np.allclose(ours.probability(x), theirs, atol=1e-12)


def test_a_class_that_is_not_there_has_probability_zero_or_one():
    x, _ = _rows(30)
    for value in (0, 1):
        forest = fit_forest(x, np.full(30, value), trees=3, leaf=2, seed=0)
        assert np.allclose(forest.probability(x), value)


def test_the_same_seed_grows_the_same_forest():
    x, y = _rows()
    a, b, c = (fit_forest(x, y, trees=5, leaf=4, seed=s).probability(x) for s in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_rows_of_another_width_or_without_a_value_are_refused(grown):
    ours = from_sklearn(grown)
    with pytest.raises(CspineError, match="5 columns"):
        ours.probability(np.zeros((2, 4)))
    with pytest.raises(CspineError, match="not finite"):
        ours.probability(np.full((2, 5), np.nan))


def test_a_file_gives_back_the_very_forests(grown, tmp_path):
    ours, path = from_sklearn(grown), tmp_path / "forests.npz"
    save_forests(path, [ours, ours], rate=np.array(0.25))
    found, more = load_forests(path)
    x, _ = _rows(50, seed=3)
    assert len(found) == 2 and float(more["rate"]) == 0.25
    assert np.array_equal(found[1].probability(x), ours.probability(x))


class _Evil:
    """What a pickle can do: anything, when it is read."""

    def __reduce__(self):
        return (print, ("code from a file was run",))


def test_a_file_with_a_pickle_in_it_is_refused_and_runs_nothing(tmp_path, capsys):
    path = tmp_path / "forests.npz"
    np.savez(path, count=np.array(1), **{"0.left": np.array([_Evil()], dtype=object)})
    with pytest.raises(CspineError, match="damaged"):
        load_forests(path)
    assert "was run" not in capsys.readouterr().out


def _broken(forest, name):
    """The same forest with one fault."""
    left = forest.left.copy()
    if name == "circle":
        left[0, 1:2] = 0
        return replace(forest, left=left)
    if name == "outside":
        left[0, 0] = left.shape[1]
        return replace(forest, left=left)
    if name == "column":
        return replace(forest, feature=forest.feature + forest.width)
    if name == "nan":
        return replace(forest, threshold=np.full_like(forest.threshold, np.nan))
    if name == "share":
        return replace(forest, p=forest.p + 2)
    return replace(forest, right=forest.right[:, :-1])


@pytest.mark.parametrize("name", ["circle", "outside", "column", "nan", "share", "shape"])
def test_arrays_that_are_no_trees_are_refused(grown, tmp_path, name):
    path = tmp_path / "forests.npz"
    save_forests(path, [_broken(from_sklearn(grown), name)])
    with pytest.raises(CspineError, match="damaged"):
        load_forests(path)


def test_a_file_that_is_missing_or_cut_off_is_named(grown, tmp_path):
    path = tmp_path / "forests.npz"
    with pytest.raises(CspineError, match="train first"):
        load_forests(path)
    save_forests(path, [from_sklearn(grown)])
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CspineError, match="damaged"):
        load_forests(path)
