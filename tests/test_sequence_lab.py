"""The sequence net from the inside: what must be so whatever it has learned."""

import numpy as np
import pytest
import torch

from cspine_lib import sequence_figures, sequence_lab, sequence_tables
from cspine_lib.anatomy import LEVELS
from cspine_lib.config import get_profile
from cspine_lib.cropstore import build_crops
from cspine_lib.experiment import fold_task
from cspine_lib.labels import LevelBox
from cspine_lib.recipes import SequenceRecipe
from cspine_lib.rsna import open_dataset
from cspine_lib.stage2 import build_classifier, level_logits
from cspine_lib.two_stage import TwoStageModel, open_cache
from cspine_lib.volume import Volume

PROFILE = get_profile("ci")
T, PX = 4, PROFILE.crop_px


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 255, (T, 3, PX, PX)).astype(np.uint8)


def net(**options):
    torch.manual_seed(0)
    return build_classifier(PROFILE, SequenceRecipe(**options), "random").eval()


def test_frames_name_the_slices_of_the_level():
    z = sequence_lab.frame_slices(LevelBox("C3", 5, 51, 0, 0, 9, 9), 60, 8)
    assert z.shape == (8, 3) and z.ravel().tolist() == list(range(5, 52, 2))


def test_a_missing_frame_is_replaced_by_the_one_above(crops):
    without = sequence_lab.without_each(crops)
    assert np.array_equal(without[0, 0], crops[1]) and np.array_equal(without[2, 2], crops[1])
    for t in range(T):
        same = [u for u in range(T) if np.array_equal(without[t, u], crops[u])]
        assert same == [u for u in range(T) if u != t]


def test_without_lstm_no_frame_hears_of_another(crops):
    alone = sequence_lab.influence(net(lstm=False), crops, 2, PX)
    assert np.allclose(alone, np.eye(T), atol=1e-6)
    heard = sequence_lab.influence(net(), crops, 2, PX)
    assert np.allclose(heard.sum(axis=1), 1) and (heard > 0).all() and np.trace(heard) < T


def test_vectors_are_those_that_the_net_judges_by(crops):
    model = net()
    _, h = sequence_lab.frame_vectors(model, crops[None], 5, PX)
    images = torch.from_numpy(crops)[None].float() / 255
    with torch.inference_mode():
        logit, weights = model.forward_with_attention(images, torch.tensor([5]))
    summary = weights[0].double().numpy() @ h[0]
    mine = summary @ model.head.weight[0].double().detach().numpy() + float(
        model.head.bias.detach()
    )
    assert mine == pytest.approx(float(logit), abs=1e-4)


@pytest.fixture(scope="module")
def trained(ci_phantom, ci_run, tmp_path_factory):
    dataset = open_dataset(ci_phantom)
    cache = open_cache(dataset, PROFILE, progress=False)
    model = TwoStageModel.load(ci_run)
    ids = cache.ids[:3]
    found = {uid: model.locate(cache.volume(uid)) for uid in ids}
    folder = tmp_path_factory.mktemp("crops")
    store = build_crops(cache, found, folder, frames=PROFILE.frames, px=PX)
    return model, store


def test_falls_are_differences_of_logits(trained):
    model, store = trained
    uid = store.ids[0]
    k = int(np.flatnonzero(store.found(uid))[0])
    weights, falls = sequence_lab.falls_without(model.classifier, store, uid, k)
    assert weights.sum() == pytest.approx(1, abs=1e-5) and len(falls) == PROFILE.frames
    changed = np.array(store.sequences(uid))
    z, a = level_logits(model.classifier, changed, store.found(uid), store.px)
    assert np.allclose(a[k], weights, atol=1e-5)
    changed[k, 1] = changed[k, 0]
    gone, _ = level_logits(model.classifier, changed, store.found(uid), store.px)
    assert falls[1] == pytest.approx(z[k] - gone[k], abs=1e-4)


def test_ranks_run_from_the_largest_weight(trained):
    model, store = trained
    levels = [(uid, k) for uid in store.ids for k in np.flatnonzero(store.found(uid))[:2]]
    table = sequence_lab.falls_by_rank(model.classifier, store, levels)
    assert len(table) == len(levels) * PROFILE.frames
    first = table[table["rank"] == 1].set_index(["study", "level"])["weight"]
    last = table[table["rank"] == PROFILE.frames].set_index(["study", "level"])["weight"]
    assert (first >= last).all()
    assert np.allclose(table["move"], table["fall"].abs())
    summary = sequence_tables.falls_summary(table, "fall")
    assert summary["rank"].tolist() == list(range(1, PROFILE.frames + 1))
    assert (summary["low"] <= summary["high"]).all()
    sequence_figures.falls_figure({"fall": summary, "move": summary})


def test_attention_beside_boxes_comes_from_held_out_studies(ci_phantom, ci_run, tmp_path):
    dataset = open_dataset(ci_phantom)
    task = fold_task("crop_bilstm", dataset, PROFILE, 0, tmp_path, progress=False)
    task.folder.mkdir(parents=True)
    (task.folder / "two_stage").symlink_to(ci_run)
    table = sequence_lab.boxed_attention([task])
    boxed = set(dataset.boxes["StudyInstanceUID"])
    assert set(table["study"]) == boxed & set(task.test)
    for row in table.itertuples():
        assert row.weights.shape == row.boxed.shape == (PROFILE.frames,)
        assert row.broken == bool(dataset.labels(row.study)[LEVELS.index(row.level)])
        assert row.weights.sum() == pytest.approx(1, abs=1e-5)
        assert (np.isin(row.z, row.hit).any(axis=1) == row.boxed).all()
    other = next(uid for uid in task.test if uid not in boxed)
    assert set(sequence_lab.boxed_attention([task], [other])["study"]) == {other}
    assert table["boxed"].map(np.any).any() and sequence_lab.boxed_attention([]).empty


def test_folds_that_are_not_trained_are_left_out(ci_phantom, monkeypatch, tmp_path):
    monkeypatch.setenv("CSPINE_RUNS", str(tmp_path))
    folds = sequence_lab.trained_folds("crop_bilstm", open_dataset(ci_phantom), PROFILE)
    assert list(folds) == []


def test_figures_of_levels():
    volume = Volume(np.zeros((40, 60, 60), np.int16), np.diag([1.0, 1.0, -2.0, 1.0]))
    box = LevelBox("C4", 10, 29, 10, 10, 50, 50)
    z = sequence_lab.frame_slices(box, 40, T)
    item = sequence_figures.Looked("C4", volume, box, z, np.full(T, 1 / T), [12, 13])
    for n in (1, 4):
        figure = sequence_figures.attention_figure([item] * n)
        assert sum(bool(axes.child_axes) for axes in figure.axes) == n
    frames = np.zeros((T, 3, 16, 16), np.uint8)
    assert len(sequence_figures.attention_strip(frames, item, 60.0).axes) == 2 * T
    assert len(sequence_figures.influence_figure({"a": np.eye(T), "b": np.eye(T)}).axes) == 4
