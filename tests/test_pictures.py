"""The picture of the pipeline shows its five steps."""

from cspine_lib import pictures
from cspine_lib.anatomy import TARGETS
from cspine_lib.labels import true_levels
from cspine_lib.rsna import open_dataset


def test_pipeline_figure_has_five_steps(ci_phantom):
    import matplotlib

    matplotlib.use("Agg")
    dataset = open_dataset(ci_phantom)
    uid = dataset.masked_ids[0]
    series = dataset.read_study(uid)
    levels = true_levels(dataset.read_mask(uid, series))
    figure = pictures.pipeline_figure(series.volume, levels, dict.fromkeys(TARGETS, 0.25))
    assert [ax.get_title()[0] for ax in figure.axes] == list("12345")
    figure.canvas.draw()  # a layout that does not fit would warn
    assert len(figure.axes[4].patches) == len(TARGETS)
