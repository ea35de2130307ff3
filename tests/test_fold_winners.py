"""The winners' methods on all folds: no leak, predictions as recorded, members that are strangers
to their own part."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cspine_lib import fold_winners, recipes
from cspine_lib.anatomy import LEVELS, TARGETS
from cspine_lib.config import get_profile
from cspine_lib.context_rules import fit_rules
from cspine_lib.cost import Clock
from cspine_lib.errors import CspineError
from cspine_lib.experiment import fold_task, run_method
from cspine_lib.fold_predictors import FoldEnsemble, fold_predictor
from cspine_lib.fold_winners import Verdict, member_parts, segmenter_folder
from cspine_lib.leakage import check_leakage
from cspine_lib.metrics import overall_noisy_or
from cspine_lib.recipes import get_recipe, settings_of_recipe
from cspine_lib.results import read_predictions
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import Part

PROFILE = get_profile("ci")
WINNERS = ("first_place", "first_place_study", "second_place", "salehinejad", "beyond")


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def records(dataset, ci_folds):
    """All folds of the five methods, smallest size."""
    return {name: run_method(name, dataset, PROFILE, ci_folds, progress=False) for name in WINNERS}


@pytest.mark.parametrize("name", WINNERS)
def test_no_held_out_study_reached_a_training(records, dataset, name):
    record = records[name]
    assert record is not None and check_leakage(record) == []
    assert sorted(record.scored) == sorted(dataset.train_ids)
    for k in range(PROFILE.folds):
        held_out = {uid for part in record.parts if part.fold == k for uid in part.test}
        assert held_out
        for part in record.parts:
            if part.fold == k:
                assert not held_out & {*part.train, *part.val}, part.name
    assert record.seconds > 0 and np.isfinite(record.scores["loss"])


def test_a_segmenter_of_another_fold_would_be_found(records):
    record = records["first_place"]
    net = record.part("first_place/fold0")
    assert net.uses == ["segmenter3d/fold0"]
    bad = replace(net, uses=["segmenter3d/fold1"])
    leaky = replace(record, parts=[bad if p.name == net.name else p for p in record.parts])
    assert {leak.source for leak in check_leakage(leaky)} == {"segmenter3d/fold1"}


@pytest.mark.parametrize("name", WINNERS)
def test_a_fold_says_of_a_volume_what_it_said_in_the_run(records, dataset, ci_folds, name):
    task = fold_task(name, dataset, PROFILE, 0, ci_folds, progress=False)
    predict, clock = fold_predictor(get_recipe(name), PROFILE, ci_folds, 0), Clock()
    some = task.test[:2]
    p = np.stack([predict(task.cache.volume(uid), clock) for uid in some])
    written = read_predictions(ci_folds / name / "fold0.csv").loc[some, list(TARGETS)]
    assert np.allclose(p, written, rtol=2e-5, atol=2e-6)
    levels = predict.judge(task.cache.volume(some[0]), clock)[1]
    assert bool(levels) == (name != "salehinejad")
    assert clock.seconds["classify"] > 0


def test_the_folds_together_predict_a_new_study(records, dataset, ci_folds):
    model = FoldEnsemble.load(ci_folds, "beyond")
    p, levels = model.judge_volume(dataset.read_study(dataset.test_ids[0]).volume)
    assert set(p) == set(TARGETS) and all(0 < v < 1 for v in p.values())
    assert set(levels) <= set(LEVELS) and len(model.members) == PROFILE.folds


def test_methods_with_the_same_u_net_share_it(records, dataset, ci_folds):
    tasks = [fold_task(m, dataset, PROFILE, 0, ci_folds, progress=False) for m in WINNERS[:3]]
    where = [segmenter_folder(task.shared, task.recipe) for task in tasks]
    assert where[0] == where[1] != where[2]
    a, b = (records[m].part("segmenter3d/fold0") for m in ("first_place", "beyond"))
    assert (a.train, a.val, a.weights) == (b.train, b.val, "random")
    assert set(a.train) <= set(tasks[0].cache.masked_ids)


def test_members_of_the_record_leave_out_a_part_each(records, dataset, ci_folds):
    task = fold_task("beyond", dataset, PROFILE, 0, ci_folds, progress=False)
    part_of = dict(zip(task.train, member_parts(task).tolist(), strict=True))
    members = task.recipe.members
    assert set(part_of.values()) == set(range(members))  # too few studies for more parts
    for member in range(members):
        part = records["beyond"].part(f"beyond/member{member}/fold0")
        seen = {*part.train, *part.val}
        assert seen == {uid for uid, own in part_of.items() if own != member}
    rules = records["beyond"].part("rules/fold0")
    assert set(rules.test) == set(task.test) and len(rules.uses) == members
    assert sorted(rules.train) == sorted(task.train)


def test_parts_beyond_the_networks_teach_all_of_them():
    recipe = replace(get_recipe("beyond"), members=2, parts=5)
    assert [recipe.parts_among(n) for n in (15, 39, 40, 160)] == [2, 3, 4, 5]
    assert get_recipe("first_place").parts_among(160) == 1
    assert "parts" not in settings_of_recipe(replace(recipe, parts=0))
    assert settings_of_recipe(recipe)["parts"] == 5


@pytest.mark.parametrize("parts", [0, 4])
def test_rules_learn_from_what_each_study_was_told_by_a_stranger(
    dataset, ci_folds, tmp_path, monkeypatch, parts
):
    """Nets are replaced by their training lists: a logit says who spoke, and of whom."""
    task = fold_task("beyond", dataset, PROFILE, 0, ci_folds, progress=False)
    task = replace(task, folder=tmp_path, recipe=replace(task.recipe, members=2, parts=parts))
    monkeypatch.setattr(recipes, "FEWEST_IN_PART", 2)
    asked, learned = [], {}

    def train(task, store, train, val, member):
        net = SimpleNamespace(
            member=member, seen={*train, *val}, encoder=SimpleNamespace(weights_kind="random")
        )
        return net, SimpleNamespace(seconds=1.0)

    def say(net, store, ids):
        assert not net.seen & set(ids), "a net judges only what it has not seen"
        asked.append((net.member, list(ids)))
        row = {uid: i for i, uid in enumerate([*task.train, *task.test])}
        return np.array([[100 * net.member + row[uid]] * 7 for uid in ids], dtype=float)

    def small_rules(z, y, seed):
        learned.update(z=z, y=y)
        rng = np.random.default_rng(0)
        some = (np.arange(40)[:, None] % 4 == 0) * np.eye(7, dtype=int)[np.arange(40) % 7]
        return fit_rules(rng.normal(size=(40, 7)), some)

    monkeypatch.setattr(fold_winners, "_train", train)
    monkeypatch.setattr(fold_winners, "store_logits", say)
    monkeypatch.setattr(fold_winners, "fit_rules", small_rules)
    before = Part("segmenter3d/fold0", [], [], fold=0)
    result = fold_winners._cross_fitted(task, before, None)
    part_of = member_parts(task)
    assert set(part_of) == set(range(parts or 2))
    judged = [i for m in range(2) for i in np.flatnonzero(part_of == m)]
    assert learned["z"][:, 0].tolist() == [100 * part_of[i] + i for i in judged]
    assert np.array_equal(learned["y"], [dataset.labels(task.train[i]) for i in judged])
    assert result.parts[-1].train == [task.train[i] for i in judged]
    assert not any(set(ids) & set(task.test) and ids != task.test for _, ids in asked)
    assert sum(ids == task.test for _, ids in asked) == 2
    assert result.p.shape == (len(task.test), 8)


def test_a_verdict_is_kept_whole(tmp_path):
    rates = dict.fromkeys(LEVELS, 0.1)
    plain = Verdict(rates, 1.3, -0.4, top_n=3)
    plain.write(tmp_path)
    assert Verdict.read(tmp_path) == plain
    rng = np.random.default_rng(1)
    y = (rng.uniform(size=(60, 7)) < 0.12).astype(int)
    learned = Verdict(rates, rules=fit_rules(2 * y + rng.normal(size=y.shape), y))
    learned.write(tmp_path)
    again = Verdict.read(tmp_path)
    z = rng.normal(size=(3, 7))
    assert again == learned and np.array_equal(again(z), learned(z))
    with pytest.raises(CspineError):
        Verdict.read(tmp_path / "elsewhere")


def test_a_verdict_of_one_net_is_platts_and_a_noisy_or():
    rates = {level: 0.05 * (k + 1) for k, level in enumerate(LEVELS)}
    z = np.array([[0.0, 1, -1, np.nan, 2, 0, 0], [0.0, 3, -1, np.nan, 0, 0, 0]])
    p = Verdict(rates, 2.0, 0.5)(z)
    levels = 1 / (1 + np.exp(-(2 * z.mean(axis=0) + 0.5)))
    levels[3] = rates["C4"]
    assert np.allclose(p[1:], levels) and p[0] == pytest.approx(overall_noisy_or(levels[None])[0])
    two = Verdict(rates, 2.0, 0.5, top_n=2)(z)[0]
    assert two == pytest.approx(1 - np.prod(1 - np.sort(levels)[-2:]))


def test_too_few_masks_are_one_line(dataset, ci_folds):
    task = fold_task("first_place", dataset, PROFILE, 0, ci_folds, progress=False)
    masked = set(task.cache.masked_ids)
    few = [uid for uid in task.train if uid not in masked]
    few += [uid for uid in task.train if uid in masked][:2]
    with pytest.raises(CspineError, match="at least 3 training studies, found 2"):
        fold_winners.segmented_crops(replace(task, train=few))


@pytest.mark.parametrize("early_stop", [True, False])
def test_members_keep_studies_back_for_their_epoch_or_learn_from_all(dataset, ci_folds, early_stop):
    task = fold_task("beyond", dataset, PROFILE, 0, ci_folds, progress=False)
    task = replace(task, recipe=replace(task.recipe, early_stop=early_stop))
    train, val = fold_winners._kept_back(task, task.train)
    assert sorted([*train, *val]) == sorted(task.train)
    assert bool(val) is early_stop
    settings = settings_of_recipe(task.recipe)
    assert settings.get("early_stop", True) is early_stop
