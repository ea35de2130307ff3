"""Figures of notebook 04: the right place, the right angle."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from cspine_lib.cube_figures import (
    contrast_figure,
    history_figure,
    place_figure,
    show_at,
    turn_figure,
)
from cspine_lib.volume import Volume


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def volume(shape=(20, 30, 40), spacing=(3.0, 1.0, 0.5)):
    hu = np.zeros(shape, np.int16)
    hu[4, 10, 30] = 1400
    z, y, x = spacing
    affine = np.array([[0, 0, x, -9], [0, y, 0, 4], [-z, 0, 0, 70], [0, 0, 0, 1]])
    return Volume(hu, affine)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_point_is_the_origin_on_every_grid(plane):
    scan = volume()
    point = scan.to_mm((4, 10, 30))
    for grid in (scan, scan.resampled((40, 60, 80))):
        axes = plt.figure().subplots()
        show_at(axes, grid, point, plane, 5.0)
        (image,) = axes.images
        left, right, bottom, top = image.get_extent()
        rows, columns = image.get_array().shape
        row, column = np.unravel_index(np.argmax(image.get_array()), (rows, columns))
        x = left + (column + 0.5) * (right - left) / columns
        y = top + (row + 0.5) * (bottom - top) / rows
        assert abs(x) <= 0.8 and abs(y) <= 1.6  # half a voxel of the coarser grid
        assert axes.get_xlim() == (-5, 5) and axes.get_ylim() == (5, -5)


def test_a_place_has_a_column_each_and_says_its_voxels():
    scan = volume()
    figure = place_figure({"a": scan, "b": scan}, scan.to_mm((4, 10, 30)), box_mm=(4, 6))
    assert len(figure.axes) == 4
    assert figure.axes[0].get_title() == "a\n3.0 × 1.0 × 0.5 mm"
    assert [len(axes.patches) for axes in figure.axes] == [1, 1, 0, 0]
    assert "right → left" in figure.axes[0].get_xlabel()
    assert "front → back" in figure.axes[2].get_xlabel()


def test_arms_of_the_cross_tell_a_turn_from_a_shear():
    cos, sin = np.cos(0.4), np.sin(0.4)
    turn, size = np.array([[cos, -sin], [sin, cos]]), np.array([80.0, 150.0])
    in_mm = np.diag(1 / size) @ turn @ np.diag(size)
    planes = dict.fromkeys(("plain", "mm", "array"), np.zeros((6, 4)))
    matrices = {"plain": np.eye(2), "mm": in_mm, "array": turn}
    figure, angles = turn_figure(planes, matrices, (80.0, 150.0))
    assert angles["plain"] == pytest.approx(90) and angles["mm"] == pytest.approx(90)
    assert abs(angles["array"] - 90) > 10
    # The arm along y has turned by −0.4 in the picture: what is read at +0.4 is seen there.
    arm = figure.axes[1].lines[0].get_xydata()[1]
    assert np.arctan2(arm[1], arm[0]) == pytest.approx(-0.4)


def test_bars_and_curves_are_labelled():
    table = pd.DataFrame({"vertical line": [1.0, 0.5], "horizontal line": [0.9, 0.2]}, ["a", "b"])
    figure = contrast_figure({"one": table, "two": table})
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    assert len(figure.axes[0].patches) == 4 and figure.legends
    history = pd.DataFrame(
        {"epoch": [1, 2, 3], "train_loss": [3, 2, 1], "val_loss": [2.0, 1.0, 4.0]}
    )
    (axes,) = history_figure({"net": history}).axes
    assert "kept: epoch 2" in [text.get_text() for text in axes.get_legend().get_texts()]
