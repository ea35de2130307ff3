"""Folds: patients stay together, fractures spread evenly, the same every time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cspine_lib import metrics
from cspine_lib.errors import CspineError
from cspine_lib.splits import inner_split, patient_folds

Y = metrics.pattern_labels()
IDS = [f"1.2.{i}" for i in range(len(Y))]


def test_rsna_labels_are_spread_evenly() -> None:
    fold = patient_folds(IDS, Y, 5, seed=0)
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 1
    per_fold = np.array([Y[fold == f].sum(axis=0) for f in range(5)])
    assert np.abs(per_fold - Y.sum(axis=0) / 5).max() <= 2


def test_a_rare_level_reaches_every_fold() -> None:
    y = np.zeros((40, 8), dtype=int)
    y[[3, 8, 20, 31, 39], 3] = 1
    y[:, 0] = y.max(axis=1)
    fold = patient_folds(IDS[:40], y, 5, seed=1)
    assert sorted(fold[y[:, 3] == 1]) == [0, 1, 2, 3, 4]


def test_order_does_not_matter_and_the_seed_does() -> None:
    ids, y = IDS[:200], Y[::10][:200]
    fold = dict(zip(ids, patient_folds(ids, y, 5, seed=0), strict=True))
    order = np.random.default_rng(0).permutation(200)
    again = patient_folds([ids[i] for i in order], y[order], 5, seed=0)
    assert [fold[ids[i]] for i in order] == again.tolist()
    assert list(fold.values()) != patient_folds(ids, y, 5, seed=1).tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_patients_share_a_fold_and_no_fold_is_empty(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3 * k, 60))
    groups = [f"p{g}" for g in rng.integers(0, n // 2 + 1, n)]
    if len(set(groups)) < k:
        return
    fold = patient_folds(IDS[:n], rng.integers(0, 2, (n, 8)), k, seed, groups)
    for group in set(groups):
        assert len({f for f, g in zip(fold, groups, strict=True) if g == group}) == 1
    assert set(fold.tolist()) == set(range(k))


def test_inner_split_is_a_stratified_partition() -> None:
    train, val = inner_split(IDS, Y, 0.2, seed=3)
    assert sorted(train + val) == sorted(IDS)
    assert len(val) == pytest.approx(0.2 * len(IDS), abs=1)
    in_val = np.isin(IDS, val)
    assert np.abs(Y[in_val].sum(axis=0) - 0.2 * Y.sum(axis=0)).max() <= 2
    assert (train, val) == inner_split(IDS, Y, 0.2, seed=3)


def test_inner_split_of_two_studies() -> None:
    train, val = inner_split(["a", "b"], np.zeros((2, 8)), 0.1)
    assert len(train) == len(val) == 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: patient_folds(["a", "b"], np.zeros((2, 8)), 3), "cannot be split"),
        (lambda: patient_folds(["a", "a", "b"], np.zeros((3, 8)), 2), "repeat"),
        (lambda: patient_folds(["a", "b"], np.zeros((3, 8)), 2), "labels of shape"),
        (lambda: patient_folds(["a", "b"], np.zeros((2, 8)), 1), "two folds"),
        (lambda: patient_folds(["a", "b"], np.zeros((2, 8)), 2, groups=["p"]), "groups"),
        (lambda: inner_split(["a", "b"], np.zeros((2, 8)), 1.0), "fraction"),
    ],
)
def test_wrong_input_is_refused(call, says) -> None:
    with pytest.raises(CspineError, match=says):
        call()
