"""The figure of a slice classifier's training, and the number that picks its epoch."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from cspine_lib.slice_figures import history_figure
from cspine_lib.slice_method import _val_scores


def _history(**more):
    return pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [3.0, 2, 1], "val_loss": 2.0, **more})


def test_a_training_judged_by_auroc_has_a_second_panel_with_the_kept_epoch():
    plain, judged = _history(), _history(val_auroc=[0.6, 0.8, 0.7])
    figure = history_figure({"levels": plain, "net": judged}, "loss")
    *_, last = figure.axes
    assert len(figure.axes) == 3
    assert last.lines[-1].get_xydata().tolist() == [[2.0, 0.8]]
    plt.close(figure)


def test_a_history_without_any_auroc_is_drawn_too():
    figure = history_figure({"net": _history(val_auroc=[np.nan] * 3)}, "loss")
    assert len(figure.axes) == 2
    plt.close(figure)


def test_only_levels_that_a_slice_shows_are_ranked():
    visible = np.array([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1]])
    fracture = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    z = np.array([[3.0, 9.0], [1.0, -9.0], [2.0, -9.0]])
    found = _val_scores({"fracture": z}, {"fracture": fracture, "visible": visible})
    assert found == {"val_auroc": 1.0, "val_rank_loss": 0.0}
    z[2, 0] = 4.0
    found = _val_scores({"fracture": z}, {"fracture": fracture, "visible": visible})
    assert found["val_rank_loss"] == pytest.approx(0.5)


@pytest.mark.parametrize("seen", [0.0, 1.0])
def test_where_nothing_can_be_ranked_all_epochs_are_alike(seen):
    target = {"fracture": np.zeros((2, 7)), "visible": np.full((2, 7), seen)}
    assert _val_scores({"fracture": np.zeros((2, 7))}, target)["val_rank_loss"] == 1.0
