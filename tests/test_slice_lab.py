"""A fold's slice classifier taken apart: the targets it had, what it says, what is known."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cspine_lib import slice_figures
from cspine_lib.anatomy import LEVELS
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.live import train_fold
from cspine_lib.rsna import open_dataset
from cspine_lib.slice_lab import SliceLab, auroc_table, auroc_within_levels, slice_auroc
from cspine_lib.slice_method import study_levels


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def lab(dataset, out):
    return SliceLab(train_fold("multi_head", dataset, get_profile("ci"), out=out, progress=False))


def test_items_are_those_of_the_training_studies(lab, dataset):
    items, (train, val) = lab.items(), lab.task.inner()
    assert {uid for uid, _ in items.rows} == set(train)
    assert not set(train) & {*val, *lab.fold.ids}
    uid, position = items.rows[7]
    assert np.allclose(items.visible[7], lab.pseudo_labels(uid)[position])
    assert np.array_equal(items.fracture[7], dataset.labels(uid))


def test_outputs_lead_to_what_the_run_has_written_down(lab):
    z = np.stack([study_levels(*lab.outputs(uid)) for uid in lab.fold.ids])
    p = lab.fold.p[:, 1:]
    logits = np.log(p / (1 - p))
    scale, bias = np.polyfit(z.ravel(), logits.ravel(), 1)
    assert np.allclose(scale * z + bias, logits, atol=0.01)
    assert lab.outputs(lab.fold.ids[0]) is lab.outputs(lab.fold.ids[0]), "asked once"


def test_the_example_is_held_out_broken_and_known(lab, dataset):
    uid, level = lab.example()
    assert uid in lab.fold.ids and dataset.labels(uid)[LEVELS.index(level)] == 1
    marks = lab.fractures(uid)
    assert set(marks["level"]) == {k for k, y in zip(LEVELS, dataset.labels(uid), strict=True) if y}
    top, bottom = lab.bands_mm(uid)[level]
    places = marks.loc[marks["level"] == level, "z_mm"]
    assert places.between(top - 2, bottom + 2).all(), "a fracture lies in its level"
    unmasked = next(u for u in lab.fold.ids if u not in lab.task.cache.masked_ids)
    assert lab.bands_mm(unmasked) == {}


def test_slice_auroc_counts_the_answers_that_it_is_made_of(lab):
    _, every = slice_auroc(lab, lab.fold.ids, shown=False)
    value, shown = slice_auroc(lab, lab.fold.ids, shown=True)
    slices = sum(len(lab.pseudo_labels(uid)) for uid in lab.fold.ids)
    assert every == 7 * slices and 0 < shown < every
    assert np.isnan(value) or 0 <= value <= 1


def test_slice_auroc_of_an_oracle_is_one_and_of_levels_alone_is_high_only_over_all(lab):
    says = {}
    for uid in lab.fold.ids:
        v = (lab.pseudo_labels(uid) >= 0.5).astype(float)
        says[uid] = v, v * (1 + lab.task.dataset.labels(uid))
    lab._said, kept = says, lab._said
    try:
        assert slice_auroc(lab, lab.fold.ids, shown=True)[0] == 1.0
        lab._said = {uid: (v, v) for uid, (v, _) in says.items()}
        assert slice_auroc(lab, lab.fold.ids, shown=True)[0] == 0.5
        assert slice_auroc(lab, lab.fold.ids, shown=False)[0] > 0.8
    finally:
        lab._said = kept


def test_auroc_within_levels_gives_nothing_for_rates():
    rng = np.random.default_rng(3)
    y = (rng.uniform(size=(60, 7)) < np.linspace(0.05, 0.6, 7)).astype(int)
    rates = np.broadcast_to(y.mean(axis=0), y.shape)
    assert auroc_within_levels(y, rates) == 0.5
    assert auroc_within_levels(y, rates + 0.01 * y) == 1.0
    p = rng.uniform(size=y.shape).round(1)
    pairs = [
        (a > b) + 0.5 * (a == b)
        for k in range(7)
        for a in p[y[:, k] == 1, k]
        for b in p[y[:, k] == 0, k]
    ]
    assert np.isclose(auroc_within_levels(y, p), np.mean(pairs))
    assert np.isnan(auroc_within_levels(np.zeros((3, 7), dtype=int), p[:3]))


def test_auroc_table_says_na_under_five():
    rng = np.random.default_rng(0)
    y = np.zeros((30, 8), dtype=int)
    y[:12, 0], y[:5, 1], y[:4, 2], y[:27, 3] = 1, 1, 1, 1
    row = auroc_table(y, rng.uniform(size=(30, 8))).loc["AUROC [95%]"]
    assert list(row[["C2", "C3", "C4"]]) == ["n/a"] * 3
    assert "[" in row["C1"] and "[" in row["patient_overall"]


def test_another_kind_of_method_is_refused(dataset, out):
    fold = train_fold("cnn3d", dataset, get_profile("ci"), out=out, progress=False)
    with pytest.raises(CspineError, match="no slice classifier"):
        SliceLab(fold)


def test_figures_show_what_they_are_given(lab):
    z = np.linspace(0, 100, 40)
    v, f = np.random.default_rng(1).uniform(size=(2, 40, 7))
    marks = {"C5": np.array([50.0, 52.0]), "C2": np.array([])}
    figure = slice_figures.curves_figure(z, v, f, bands_mm={"C5": (40, 60)}, broken=marks)
    labels = [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]
    assert {"C5, broken", "C2, broken", "C1", "a fracture of C5 shows"} <= set(labels)
    assert "a fracture of C2 shows" not in labels
    lines = {line.get_label(): line for line in figure.axes[1].lines}
    assert np.array_equal(lines["C5, broken"].get_ydata(), f[:, 4])
    pushes = {"one": np.arange(7.0), "two": -np.arange(7.0)}
    bars = slice_figures.push_figure(pushes, ["C3"]).axes[1].patches
    assert [bar.get_height() for bar in bars] == list(-np.arange(7.0))
    images = np.zeros((2, 8, 8), dtype=np.uint8)
    boxes = [[(1.0, 2.0, 5.0, 6.0)], []]
    row = slice_figures.slices_figure(images, 80.0, ["a", "b"], boxes=boxes, marked=[True, False])
    assert [len(axes.patches) for axes in row.axes] == [1, 0]
    in_view = np.eye(7)
    told = slice_figures.questions_figure(np.arange(7.0), in_view, np.array([0, 1, 0, 0, 0, 0, 0]))
    one, two = (np.asarray(axes.images[0].get_array()) for axes in told.axes[:2])
    orange, blue, white = [213, 94, 0], [0, 114, 178], [255, 255, 255]
    assert one[1, 1].tolist() == two[1, 1].tolist() == orange
    assert one[0, 0].tolist() == two[0, 0].tolist() == one[0, 1].tolist() == blue
    assert two[0, 1].tolist() == white
    plt.close("all")
