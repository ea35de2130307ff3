"""The chapter's figures: every panel says what its axes are, and shows what it was given."""

import matplotlib
import numpy as np
import pytest

from cspine_lib import overall_figures

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_necks_show_seven_levels_and_two_rules():
    y = np.array([[1, 0, 1, 0, 0, 0, 0, 0], [0] * 8])
    levels = np.full((2, 7), 0.1)
    figure = overall_figures.necks_figure(y, levels, ("a", "b"))
    for axes, title, broken in zip(figure.axes, ("a", "b"), (1, 0), strict=True):
        assert axes.get_title() == title and axes.get_xlabel() == "level"
        assert len(axes.patches) == 7
        assert sum(bool(bar.get_hatch()) for bar in axes.patches) == broken
        heights = [line.get_ydata()[0] for line in axes.lines]
        assert heights == pytest.approx([0.1, 1 - 0.9**7])
    assert figure.axes[-1].get_legend() is not None


def test_reliability_has_intervals_and_counts():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=160)
    y = (rng.uniform(size=160) < p).astype(int)
    figure = overall_figures.reliability_figure(y, {"one": p, "two": p**2})
    top, bottom = figure.axes[:2], figure.axes[2:]
    assert [axes.get_title() for axes in top] == ["one", "two"]
    assert top[0].get_ylabel() and bottom[0].get_ylabel() == "studies"
    assert all(axes.get_xlabel() for axes in bottom)
    dots = top[0].containers[0][0]
    assert len(dots.get_xdata()) == 8
    counted = sum(bar.get_height() for bars in bottom[0].containers for bar in bars)
    assert counted == 160
