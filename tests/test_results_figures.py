"""The figures of results and cost hold what the tables hold."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cspine_lib import metrics
from cspine_lib import results_figures as figures
from cspine_lib.comparison import group_of
from cspine_lib.cost import STEPS
from cspine_lib.metrics import Interval

RNG = np.random.default_rng(5)
Y = metrics.pattern_labels()[RNG.choice(2019, 70, replace=False)]
P = {
    name: 1 / (1 + np.exp(-(RNG.normal(size=Y.shape) + skill * Y - 2)))
    for name, skill in (("one", 3.0), ("two", 1.0), ("three", 0.0))
}


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def group():
    ids = [f"1.{i}" for i in range(len(Y))]
    return group_of(P, Y, ids, profile="laptop", data="phantom v1")


def test_forest_has_a_row_for_each_method_and_each_difference(group) -> None:
    left, right = figures.forest_figure(group).axes
    names = [tick.get_text() for tick in left.get_yticklabels()]
    assert names == ["best constant*", *group.methods]
    names = [tick.get_text() for tick in right.get_yticklabels()]
    assert len(names) == 3 + 3
    assert names[:3] == [f"{m} − constant*" for m in group.methods]


def test_few_positives_are_shown_as_not_available(group) -> None:
    axes = figures.auroc_figure(group).axes[0]
    few = sum(n < metrics.MIN_POSITIVES for n in group.positives().values())
    assert few > 0
    shown = [text.get_text() for text in axes.texts]
    assert shown.count("n/a") == few * len(group.methods)
    assert len(shown) == 8 * len(group.methods)


def test_bars_add_up_to_the_total() -> None:
    rows = {"a": dict.fromkeys(STEPS, 0.5), "b": {"read": 1.0}}
    axes = figures.split_figure(rows).axes[0]
    assert [text.get_text().strip() for text in axes.texts] == ["2.50 s", "1.00 s"]


def test_amdahl_curves_end_below_their_ceiling() -> None:
    axes = figures.amdahl_figure({"read": 1.0, "classify": 3.0}, [1, 10, 1e9]).axes[0]
    ends = [line.get_ydata()[-1] for line in axes.lines]
    assert ends == pytest.approx([4 / 3, 4.0], rel=1e-6)


def test_the_other_figures_are_drawn(group) -> None:
    ours = {"one": (0.5, Interval(0.4, 0.3, 0.5))}
    left, right = figures.score_time_figure(ours, 0.55, {"slide": (3.67, 0.37)}, 2019).axes
    assert right.lines[0].get_xdata()[0] == pytest.approx(3.67 * 3600 / 2019)
    assert left.get_xlim()[0] == 0
    assert len(figures.reliability_figure(group).axes) == 3
    assert len(figures.slide_figure({"a": 0.6}, {"b": (3.0, 0.3)}, 0.557).axes) == 2
