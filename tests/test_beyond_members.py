"""A cross-fitted fold, network by network: who has seen what, and pieces taken away."""

from dataclasses import replace

import numpy as np
import pytest

from cspine_lib import beyond_members, recipes
from cspine_lib.beyond_members import left_out, members_of, pieces, rule_weights
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.fold_winners import Verdict, member_parts
from cspine_lib.live import train_fold
from cspine_lib.recipes import get_recipe
from cspine_lib.rsna import open_dataset


@pytest.fixture(scope="module")
def live(ci_phantom, ci_folds):
    dataset, profile = open_dataset(ci_phantom), get_profile("ci")
    return train_fold("beyond", dataset, profile, out=ci_folds, progress=False)


@pytest.fixture(scope="module")
def members(live):
    return members_of(live.task)


def test_the_whole_is_what_the_run_has_said(live, members):
    found = pieces(live.task, members)
    whole, looks = found["all 3 networks, rules"]
    order = [live.ids.index(uid) for uid in live.task.test]
    assert np.allclose(whole, live.p[order], atol=1e-4) and looks == 6
    assert {name: n for name, (_, n) in found.items()} == {
        "all 3 networks, rules": 6,
        "2 networks, rules": 4,
        "1 network, rules": 2,
        "all 3, no mirror image": 3,
        "all 3, no rules: Platt, noisy-or": 6,
    }
    assert not any(np.allclose(p, whole) for p, _ in list(found.values())[1:])


def test_who_was_left_out_by_nobody_is_not_asked_about(live, monkeypatch):
    monkeypatch.setattr(recipes, "FEWEST_IN_PART", 2)
    task = replace(live.task, recipe=replace(live.task.recipe, members=2, parts=4))
    ids, stranger = left_out(task)
    part = dict(zip(task.train, member_parts(task).tolist(), strict=True))
    assert set(part.values()) == {0, 1, 2, 3} and len(ids) < len(task.train)
    assert [part[uid] for uid in ids] == stranger.tolist() == sorted(stranger)
    assert set(stranger) == {0, 1}


def test_unseen_and_seen_are_told_apart(live, members):
    assert members.unseen.shape == (len(members.ids), 7)
    assert sorted(members.ids) == sorted(live.task.train)
    assert not np.allclose(members.unseen, members.seen, equal_nan=True)
    assert np.array_equal(np.isfinite(members.unseen), np.isfinite(members.seen))
    # The rules that the fold keeps are those from unseen studies.
    kept, again = Verdict.read(live.task.folder).rules, members.rules(live.task.seed)
    assert np.allclose(kept.levels.weight, again.levels.weight, atol=1e-4)
    assert np.allclose(kept.neck.weight, again.neck.weight, atol=1e-4)
    leaky = members.rules(live.task.seed, leaky=True)
    assert not np.allclose(leaky.levels.weight, again.levels.weight, atol=1e-4)


def test_networks_are_asked_once(live, members, monkeypatch):
    monkeypatch.setattr(beyond_members, "load_vertebra_net", None)
    again = members_of(live.task)
    assert np.array_equal(again.test, members.test, equal_nan=True)


def test_weights_have_names(live, members):
    table = rule_weights(members.rules(live.task.seed))
    assert len(table["levels"]) == 6 and len(table["neck"]) == 5


def test_one_network_has_nobody_to_be_compared_with(live):
    task = replace(live.task, recipe=get_recipe("first_place"))
    with pytest.raises(CspineError, match="one network a fold"):
        members_of(task)
