"""The chapter's figures: every panel says what its axes are, and shows what it was given."""

import matplotlib
import numpy as np
import pytest

from cspine_lib import metric_figures, metrics
from cspine_lib.metrics import Interval

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def _sigmoid(q):
    return 2 * q / (1 + q)


def _cost(p):
    return -0.6 * np.log(p) - 0.7 * np.log(1 - p)


INTERVAL = Interval(0.1, -0.2, 0.3)
FIGURES = {
    "penalty": metric_figures.penalty_figure,
    "ladder": lambda: metric_figures.ladder_figure(
        {"slide": {"a": 0.5, "b": 0.6}, "board": {"c": 0.4}},
        {"per exam": (0.55, "-"), "global": (0.56, "--"), "coin": (0.69, ":")},
    ),
    "share": lambda: metric_figures.share_figure({"weight": np.full(8, 1 / 8)}),
    "shift": lambda: metric_figures.shift_figure(0.3, {"global": _cost}, {"global": _sigmoid}),
    "dial": lambda: metric_figures.dial_figure([0, 1], {"maximum": [0.05, 0]}, 0.4),
    "calibration": lambda: metric_figures.calibration_figure(
        {"rule": ([0.1, 0.9], [0.2, 0.8], [0.1, 0.7], [0.3, 0.9])}
    ),
    "sweep": lambda: metric_figures.sweep_figure({"ours": [0.5, 0.4], "the deck": [0.6, 0.5]}),
    "interval": lambda: metric_figures.interval_figure({"one": {"all": INTERVAL}}, ("loss",)),
    "descent": lambda: metric_figures.descent_figure({"path": [0.2, 0.5]}, 0.53),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_panel_has_labels_and_something_to_see(name):
    figure = FIGURES[name]()
    figure.canvas.draw()
    for axes in figure.axes:
        assert axes.get_xlabel(), "no label along x"
        # Rows of names are their own label; shared axes are labelled at the first panel.
        named = any(not t.get_text().replace("−", "").replace(".", "").isdigit()
                    for t in axes.get_yticklabels())  # fmt: skip
        assert axes.get_ylabel() or named or axes is not figure.axes[0]
        assert axes.lines or axes.patches


def test_the_best_answer_is_marked_where_the_cost_is_least():
    figure = metric_figures.shift_figure(0.3, {"global": _cost}, {"global": _sigmoid})
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx([0.6 / 1.3], abs=0.003)


def test_shares_fill_the_bar():
    y = metrics.pattern_labels()
    part = metrics.loss_by_target(y, y.mean(axis=0))
    figure = metric_figures.share_figure({"loss": part / part.sum()})
    last = figure.axes[0].patches[-1]
    assert last.get_x() + last.get_width() == pytest.approx(1)
