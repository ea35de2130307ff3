"""Labels of all folds, the deck's mean of them, and the demonstration of its leak."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.fold_labels import (
    average_parts,
    deck_average,
    deck_gain,
    effect_table,
    label_effect,
    labels_of_folds,
)
from cspine_lib.leak_demo import run_leak_demo, train_arm
from cspine_lib.leak_summary import read_summaries, summary_rows, write_summary
from cspine_lib.leakage import check_leakage
from cspine_lib.results import load_records
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import RunRecord
from cspine_lib.visibility import load_visibility, visible_probability


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("cv")


@pytest.fixture(scope="module")
def found(dataset, out):
    return labels_of_folds(dataset, get_profile("ci"), out, progress=False)


def test_each_fold_is_labelled_by_a_model_that_has_not_seen_it(found):
    everyone = set(found[0].labels)
    for one in found:
        assert set(one.labels) == everyone == {*one.task.train, *one.task.test}
        assert one.known and not one.known & set(one.task.test)


def test_the_mean_of_labels_is_that_of_the_models(found, dataset):
    profile = get_profile("ci")
    models = [load_visibility(one.task.shared / "visibility", profile) for one in found]
    mean, cache = deck_average(found), found[0].task.cache
    uid = cache.ids[0]
    said = visible_probability(models, cache, uid, profile.localiser_pitch_mm)
    assert np.allclose(mean[uid], said, atol=1e-5)


def test_effect_compares_the_same_studies(found):
    truth = {uid: table > np.median(table) for uid, table in found[0].labels.items()}
    effect = label_effect(found, truth)
    masked = set(found[0].task.cache.masked_ids)
    assert set(effect[effect["masked"]]["study"]) == masked
    assert (effect.groupby("study").size() == 3).all()
    assert len(effect_table(effect)) == 6
    assert len(deck_gain(effect, True)) == len(masked)
    only = effect_table(effect[effect["masked"]])
    assert len(only) == 3


@pytest.fixture(scope="module")
def summary(dataset, out):
    return run_leak_demo(dataset, get_profile("ci"), [0], out=out, progress=False)


def test_the_demonstration_is_caught_and_kept_apart(summary, out, tmp_path):
    records = {path.parts[-3]: RunRecord.read(path) for path in out.glob("leak/*/*/*/record.json")}
    leaks = check_leakage(records["deck_average"])
    assert {leak.code for leak in leaks} >= {"trained_on_test"}
    assert {leak.source for leak in leaks} == {"visibility/fold1"}
    assert check_leakage(records["other_seed"]) == []
    assert all(not record.scores for record in records.values())
    assert summary["arms"]["deck_average"]["leaks"] and not summary["arms"]["other_seed"]["leaks"]
    path = write_summary(summary, tmp_path / "leak")
    assert read_summaries(tmp_path / "leak") == [json.loads(path.read_text(encoding="utf-8"))]
    assert load_records(tmp_path) == []  # a folder below is no table of results
    assert read_summaries(tmp_path / "nothing") == []


def test_differences_are_paired_and_studies_the_same(summary):
    losses = {name: np.array(values) for name, values in summary["study_losses"].items()}
    honest = losses.pop("honest")
    assert len(honest) == summary["n_studies"]
    for name, mine in losses.items():
        value, low, high = summary["arms"][name]["loss_minus_honest"]
        assert value == pytest.approx((mine - honest).mean(), abs=2e-4)
        assert low <= value <= high


def test_rows_say_where_they_were_measured(summary):
    from cspine_lib.notebook import result_table, slide_row

    table = result_table([*summary_rows(summary), slide_row("slide", 0.5, "RSNA 2022")])
    assert table.index[0].startswith("best constant") and len(table) == 5
    assert table["minus best constant [95%]"].iloc[0] == "0"
    assert all("fold 0" in text for text in table["measured on"].iloc[:4])


def test_it_resumes_and_other_labels_are_another_training(found, dataset, out, summary):
    first = train_arm("deck_average", 0, found, dataset, out)
    assert train_arm("deck_average", 0, found, dataset, out).record == first.record
    assert sorted(first.ids) == sorted(found[0].task.test)
    from cspine_lib.leak_demo import _digest

    task, labels = found[0].task, deck_average(found)
    other = {uid: table + 0.01 for uid, table in labels.items()}
    digests = {_digest(task, labels), _digest(task, other), _digest(replace(task, seed=1), labels)}
    assert len(digests) == 3 and _digest(task, labels) in first.record.parent.name


def test_parts_of_the_mean_name_all_models(found):
    *models, mean = average_parts(found)
    assert mean.uses == [part.name for part in models] and len(models) == len(found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"folds": [7]}, "folds 0 to 1"),
        ({"folds": []}, "folds 0 to 1"),
        ({"method": "crop_bilstm"}, "no pseudo-labels"),
        ({"arms": ["all"]}, "unknown arm"),
    ],
)
def test_what_cannot_be_asked_for(dataset, out, found, options, words):
    with pytest.raises(CspineError, match=words):
        run_leak_demo(dataset, get_profile("ci"), out=out, progress=False, **options)
