"""Sequential forests: rows, context, and rounds that never hear of their own training rows."""

from dataclasses import replace

import numpy as np
import pytest

from cspine_lib import dlc_forests
from cspine_lib.config import get_profile
from cspine_lib.dlc_forests import (
    ForestChain,
    Places,
    context,
    places_of,
    principal_axes,
    train_chain,
)
from cspine_lib.dlc_slices import Outputs
from cspine_lib.errors import CspineError
from cspine_lib.metrics import auroc

PROFILE = replace(get_profile("ci"), dlc_trees=20, dlc_leaf=5, dlc_forest_rounds=3)


def _study(rng, broken=()):
    """Three slices a level; in a broken one the network is a little more suspicious."""
    n = 21
    visible = np.repeat(np.eye(7), 3, axis=0) * 0.96 + 0.01
    fracture = rng.uniform(0.05, 0.5, (n, 7))
    for k in broken:
        fracture[3 * k : 3 * k + 3, k] += 0.25
    return Outputs(np.arange(n), visible, fracture, rng.normal(size=(n, 20))), visible


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(5)
    ids = [f"s{i}" for i in range(60)]
    labels = {uid: (rng.random(7) < 0.15).astype(int) for uid in ids}
    pairs = {uid: _study(rng, np.flatnonzero(labels[uid])) for uid in ids}
    outputs = {uid: pair[0] for uid, pair in pairs.items()}
    return ids, outputs, {uid: pair[1] for uid, pair in pairs.items()}, labels


@pytest.fixture(scope="module")
def chain(made):
    ids, outputs, visible, labels = made
    return train_chain(outputs, visible, labels, ids[:45], PROFILE, seed=1)


def test_a_row_is_a_level_in_a_slice_that_shows_it():
    out, visible = _study(np.random.default_rng(0))
    centre, axes = principal_axes(out.features)
    places = places_of(out, visible, centre, axes)
    assert places.at.tolist() == list(range(21)) and places.level.tolist() == sorted(
        [*range(7)] * 3
    )
    assert places.x[:3, 4].tolist() == [0, 0.5, 1], "how far down in its level"
    assert np.allclose(
        places.x[:, 0], np.log(out.fracture / (1 - out.fracture))[places.at, places.level]
    )


def test_a_level_that_is_only_faintly_seen_has_the_slice_that_comes_nearest():
    out, visible = _study(np.random.default_rng(0))
    visible = visible.copy()
    visible[:, 6], visible[:, 5] = 0.01, 0.0
    visible[17, 6] = 0.3
    places = places_of(out, visible, *principal_axes(out.features))
    assert places.at[places.level == 6].tolist() == [17]
    assert 5 not in places.level
    said = places.levels(np.full(len(places.at), 0.4), fill=0.1)
    assert said[5] == pytest.approx(0.1) and said[6] == pytest.approx(0.4)


def test_context_is_of_neighbouring_slices_and_levels():
    """Two slices of C1, one of C2."""
    places = Places(np.array([0, 1, 1]), np.array([0, 0, 1]), np.ones(3), np.zeros((3, 2)), n=2)
    rows = context(places, np.array([0.2, 0.6, 0.9]), rate=0.1)
    own, before2, before1, after1, after2, mean, top, above, below, other = rows[0]
    assert (own, before1, after1, after2) == (0.2, 0.2, 0.6, 0.6) and before2 == 0.2
    assert (mean, top, above, below, other) == (0.4, 0.6, 0.1, 0.9, 0.9)
    assert rows[2, 5:8].tolist() == [0.9, 0.9, 0.4]


def test_the_next_round_hears_of_a_study_only_from_forests_that_have_not_seen_it(made, monkeypatch):
    ids, outputs, visible, labels = made
    real, calls = dlc_forests.fit_forest, []

    def fit(x, y, **options):
        calls.append((np.array(x), np.array(y)))
        return real(x, y, **options)

    monkeypatch.setattr(dlc_forests, "fit_forest", fit)
    _, history = train_chain(outputs, visible, labels, ids, PROFILE, seed=1)
    rows = 21 * len(ids)
    assert len(calls) == 3 * PROFILE.dlc_forest_rounds
    assert {len(x) for x, _ in calls} == {rows * 2 // 3}
    # A label turned round must not change what its own study is told.
    turned = labels | {ids[0]: 1 - labels[ids[0]]}
    parts = dlc_forests._deal(ids, labels, 1)
    monkeypatch.setattr(dlc_forests, "_deal", lambda *_: parts)
    monkeypatch.setattr(dlc_forests, "fit_forest", real)
    _, again = train_chain(outputs, visible, turned, ids, PROFILE, seed=1)
    assert np.allclose(again[ids[0]][0], history[ids[0]][0])
    other = next(uid for uid in ids if parts[uid] != parts[ids[0]])
    assert not np.allclose(again[other][0], history[other][0])


def test_forests_learn_what_there_is_to_learn(made, chain):
    ids, outputs, visible, labels = made
    new = ids[45:]
    z = np.stack([chain[0].logits(outputs[uid], visible[uid]) for uid in new])
    y = np.stack([labels[uid] for uid in new])
    assert auroc(y.ravel(), z.ravel()) > 0.75


def test_a_saved_chain_says_the_same(made, chain, tmp_path):
    _, outputs, visible, _ = made
    chain[0].save(tmp_path / "forests.npz")
    found = ForestChain.load(tmp_path / "forests.npz")
    assert [len(forests) for forests in found.rounds] == [3, 3, 3]
    assert np.array_equal(
        found.logits(outputs["s50"], visible["s50"]),
        chain[0].logits(outputs["s50"], visible["s50"]),
    )


def test_forests_of_other_columns_are_refused(chain, tmp_path):
    narrow = replace(chain[0], axes=chain[0].axes[:, :5])
    narrow.save(tmp_path / "forests.npz")
    with pytest.raises(CspineError, match="other columns"):
        ForestChain.load(tmp_path / "forests.npz")


def test_features_are_projected_on_directions_of_unit_spread():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(400, 30)) * np.linspace(5, 0.1, 30)
    centre, axes = principal_axes(features)
    seen = (features - centre) @ axes
    assert np.allclose(np.cov(seen.T), np.eye(axes.shape[1]), atol=1e-8)
    assert axes.shape[1] == dlc_forests.COMPONENTS
