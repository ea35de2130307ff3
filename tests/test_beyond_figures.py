"""Figures of our own system: what they are given is what they show."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")

from cspine_lib import beyond_figures as figures
from cspine_lib.metrics import Interval


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


def test_front_has_every_system_and_joins_those_that_stay():
    points = {
        "slow": (4.0, Interval(0.5, 0.4, 0.6)),
        "beyond": (2.0, Interval(0.3, 0.2, 0.4)),
        "quick": (1.0, Interval(0.5, 0.4, 0.6)),
    }
    axes = figures.front_figure(points, ["quick", "beyond"], 0.55, "made up").axes[0]
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["beyond", "slow", "quick", "beaten by none", "best constant"]
    line = next(line for line in axes.lines if line.get_label() == "beaten by none")
    assert line.get_xdata().tolist() == [1.0, 2.0]
    assert line.get_ydata().tolist() == [0.5, 0.3]


def test_each_change_has_its_interval_and_its_price():
    clear, unclear = [0.01, 0.03], [-0.01, 0.03]
    rows = [
        {"says": f"change {i}", "multiply_adds": 200 * (i + 1)}
        | {"loss_minus_full": 0.02, "loss_minus_full_ci95": ends}
        | {"auroc_minus_full": -0.02, "auroc_minus_full_ci95": [-0.03, 0.01]}
        for i, ends in enumerate((clear, unclear))
    ]
    panels = figures.future_figure({"variants": [{"multiply_adds": 200}, *rows]}).axes
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["change 0", "change 1"]
    assert [panels[0].lines[i].get_color() for i in (0, 2)] == [figures.OURS, figures.INK]
    assert [bar.get_width() for bar in panels[2].patches] == [1, 2]
    assert panels[0].get_title("left") == "← better" and panels[1].get_title("left") == "← worse"


def test_a_study_is_shown_where_it_has_most_levels():
    cells = np.zeros((8, 6, 5), np.uint8)
    cells[2:5, 2:4, 3] = 4
    images = np.arange(3 * 4 * 6 * 6, dtype=np.uint8).reshape(3, 4, 6, 6)
    cube = np.zeros_like(cells)
    cube[..., 3] = 9
    panels = figures.study_figure(cube, cells, images, "C4", (3.0, 1.0, 1.0), outline=True).axes
    assert (panels[0].images[0].get_array() == 9).all()
    assert np.array_equal(panels[3].images[0].get_array(), images[1, 1])
    assert np.array_equal(panels[4].images[0].get_array(), images[1, 3])
    assert panels[4].get_title() == "C4: outline"
    plain = figures.study_figure(cube, cells, images[:, :3], "C4", (3.0, 1.0, 1.0)).axes
    assert [plain[i].images[0].get_array()[0, 0] for i in (2, 3, 4)] == images[1, :3, 0, 0].tolist()
    assert plain[4].get_title() == "C4: slice below"


def test_logits_of_levels_that_were_not_found_are_left_out():
    z = np.array([[np.nan, -1.0, 2.0, 0.0, 0.5, 0.1, 0.2]])
    y = np.array([[1, 0, 1, 0, 0, 0, 0]])
    panels = figures.seen_figure({"one": (z, y), "two": (z + 1, y)}).axes
    assert [axes.get_title() for axes in panels] == ["one", "two"]
    assert all(np.isfinite([bar.get_height() for bar in axes.patches]).all() for axes in panels)


def test_bars_are_orange_where_zero_lies_outside():
    rows = [("a", Interval(0.02, 0.01, 0.03)), ("b", Interval(0.02, -0.01, 0.03))]
    axes = figures.bars_figure(rows, "difference").axes[0]
    assert [axes.lines[i].get_color() for i in (0, 2)] == [figures.OURS, figures.INK]
