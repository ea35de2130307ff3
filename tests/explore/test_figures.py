"""Figures and tables of the chapter: they draw and label what is there, and say what is not."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pydicom
import pytest

from cspine_lib import metrics
from cspine_lib.anatomy import LEVELS
from cspine_lib.explore import figures, images, measures, tables, whole
from cspine_lib.facts import facts
from cspine_lib.index import build_index
from cspine_lib.rsna import open_dataset
from cspine_lib.volume import Volume


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def index(ci_phantom):
    return build_index(ci_phantom)


@pytest.fixture(scope="module")
def example(dataset):
    return whole.example(dataset)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def labels(dataset):
    return dataset.train[list(LEVELS)].to_numpy()


def rsna():
    return metrics.pattern_labels()[:, 1:]


def assert_labelled(figure):
    """Every panel says what it shows on both axes (named categories speak for themselves)."""
    figure.canvas.draw()
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>":
            assert axes.get_ylabel()
            continue
        words = [label.get_text() for label in axes.get_xticklabels()]
        assert axes.get_ylabel()
        assert axes.get_xlabel() or any(word.isalpha() for word in words), words


def test_label_figures(dataset):
    y = labels(dataset)
    figure = figures.labels_figure(y, rsna(), "here")
    assert_labelled(figure)
    bars = [patch.get_height() for patch in figure.axes[1].patches]
    assert bars[:7] == pytest.approx(100 * y.mean(axis=0))
    assert bars[7:] == pytest.approx(100 * rsna().mean(axis=0))
    assert_labelled(figures.pairs_figure(y, rsna(), "here"))
    figure = figures.together_figure(y, rsna(), "here")
    assert_labelled(figure)


def test_box_and_header_figures(dataset, index):
    boxed = dataset.train["StudyInstanceUID"].isin(dataset.boxes["StudyInstanceUID"]).to_numpy()
    assert_labelled(measures.boxed_figure(labels(dataset), boxed, dataset.boxes, "here"))
    sizes = tables.boxed_studies(dataset, index)
    assert len(sizes) == len(dataset.boxes)
    assert (sizes["width_mm"] / sizes["dx_mm"]).to_numpy() == pytest.approx(sizes["width"])
    assert sizes["width_share"].between(0, 1).all()
    figure = measures.box_size_figure(sizes, "here")
    assert_labelled(figure)
    points = figure.axes[0].lines[-1].get_xdata()
    known = facts("boxes")["width_px_percentiles"]
    assert max(points) == pytest.approx(100 * known["99"] / 512)
    figure = measures.headers_figure(index, "here")
    assert_labelled(figure)
    assert sum(patch.get_height() for patch in figure.axes[5].patches) == len(index)


def test_header_figure_without_thickness(index):
    assert_labelled(measures.headers_figure(index.assign(thickness_mm=np.nan), "here"))


def test_pictures_are_jpegs_with_a_text(example):
    volume = example.series.volume
    pictures = [
        images.three_kinds(example),
        images.windows_figure(volume, 3),
        images.minmax_figure(volume),
        images.contact_sheet(volume),
        images.slices_with_masks(volume, example.mask_zyx),
        images.box_close_up(example.boxed, example.boxes),
        images.two_sagittals((volume, volume), ("a", "b")),
    ]
    for picture in pictures:
        assert picture.data[:2] == b"\xff\xd8" and 5_000 < len(picture.data) < 150_000
        assert picture.alt
    assert not plt.get_fignums()


def test_the_example_has_mask_and_boxes_where_there_are_any(dataset, example):
    assert example.mask_zyx is not None and example.boxed_uid is not None
    assert example.uid in dataset.masked_ids and len(example.boxes)
    bare = open_dataset(dataset.root)
    bare.boxes = bare.boxes.iloc[:0]
    bare.__dict__["masked_ids"] = []
    found = whole.example(bare)
    assert found.mask_zyx is None and found.boxed_uid is None and found.boxes.empty
    assert images.three_kinds(found).data
    pair = open_dataset(dataset.root)
    pair.boxes = pair.boxes[~pair.boxes["StudyInstanceUID"].isin(dataset.masked_ids)]
    if len(pair.boxes):
        assert whole.example(pair).boxed_uid != whole.example(pair).uid
    assert images.three_kinds(whole.example(pair)).data


def test_stretching_makes_a_grey_mean_another_hu_in_each_slice():
    hu = np.full((2, 4, 4), -1000, dtype=np.int16)
    hu[0, 0, 0], hu[1, 0, 0] = 1000, 3000
    affine = np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
    grey = images.grey_of(Volume(hu, affine), 0)
    assert grey.tolist() == pytest.approx([127.5, 63.75])
    assert images.minmax(hu[0])[0, 0] == 255 and images.minmax(hu[0])[1, 1] == 0
    assert images.minmax(np.zeros((3, 3))).tolist() == [[0] * 3] * 3


def test_tables(dataset, index, example):
    tree = tables.folder_tree(dataset, index)
    assert f"{(index['part'] == 'train').sum()} folders" in tree
    assert "train_bounding_boxes.csv" in tree and str(dataset.root.parent) not in tree
    slide = tables.slide_table(dataset, index)
    assert slide.loc["RSNA 2022, the slide", "#testing studies"] == "1080"
    assert slide.loc[dataset.name, "#masks"] == str(len(dataset.masked_ids))
    path = dataset.study_folder(example.uid) / example.series.files[0]
    header = pydicom.dcmread(path, stop_before_pixels=True)
    tags = tables.used_tags(header)
    assert tags.loc["(0028,0010)", "value in this file"] == str(header.Rows)
    assert not {"Patient's Name", "Patient ID"} & set(tags["name"])
    del header.SliceThickness
    assert "not in this file" in tables.used_tags(header).loc["(0018,0050)"].to_list()[1]


def test_result_rows():
    ratio = metrics.Interval(3.0, 2.0, 4.0)
    row = tables.shares_row("a", "b", rsna(), ratio)
    assert row["C7 broken [95%]"].startswith("19.5% [") and row["measured on"] == "b"
    assert row["neighbours, times chance [95%]"] == "3.00 [2.00, 4.00]"
    assert set(tables.shares_slide_row()) == set(row)
    assert tables.shares_slide_row()["C3 broken [95%]"] == "4%"
    assert isinstance(pd.DataFrame([row]), pd.DataFrame)
