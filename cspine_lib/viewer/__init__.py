"""The volume viewer: one study in three linked planes, with what is known of it.

    from cspine_lib import viewer
    viewer.show(volume, mask, boxes)

In a browser with WebGL 2 it is NiiVue (by ipyniivue); without, sliders and matplotlib; where
nobody can move anything (nbval, nbconvert, GitHub), a still.  ``CSPINE_VIEWER`` or ``mode``
asks for one of ``webgl``, ``sliders`` and ``still``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cspine_lib.labels import LevelBox
from cspine_lib.viewer import webgl
from cspine_lib.viewer.front_end import MODES, Mode, allow_custom_widgets, choose
from cspine_lib.viewer.sliders import Sliders
from cspine_lib.viewer.still import in_words, still_figure, still_png
from cspine_lib.viewer.study import ViewedStudy
from cspine_lib.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MODES", "StudyView", "ViewedStudy", "show", "still_figure"]

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def show(
    volume: Volume,
    mask_zyx: npt.NDArray[np.integer] | None = None,
    boxes: pd.DataFrame | None = None,
    *,
    levels: Mapping[str, LevelBox] | None = None,
    probability: Mapping[str, float] | None = None,
    title: str = "",
    mode: str | None = None,
) -> StudyView:
    """Show a study; the last expression of a cell displays it.

    Args:
        volume: the CT.
        mask_zyx: (Z, Y, X) mask values on the volume's grid.
        boxes: fracture boxes, see ``RsnaDataset.boxes_of``.
        levels: level boxes that a localiser claims.
        probability: fracture probability by target, C1–C7 and ``patient_overall``.
        title: shown above the images.
        mode: ``webgl``, ``sliders`` or ``still``; None: ``CSPINE_VIEWER``, else the best there is.

    Raises:
        CspineError: see ``ViewedStudy`` and ``front_end.choose``.
    """
    study = ViewedStudy(volume, mask_zyx, boxes, levels or {}, probability or {}, title)
    return StudyView(study, choose(mode))


class StudyView:
    """A study on display.

    Args:
        study: what to show.
        mode: how; None: sliders at once, NiiVue in their place as soon as the browser
            turns out to have WebGL 2.

    Attributes:
        study: the same.
        viewer: the ``WebGL`` or ``Sliders`` object on display, or None for a still.
    """

    def __init__(self, study: ViewedStudy, mode: Mode | None) -> None:
        self.study = study
        self.mode = mode
        self.viewer: webgl.WebGL | Sliders | None = None

    def __repr__(self) -> str:
        return f"StudyView({in_words(self.study)})"

    @cached_property
    def widget(self) -> Any:
        """The widget to display; made on first use."""
        import ipywidgets as w

        allow_custom_widgets()
        if self.mode == "webgl" and webgl.is_there():
            return w.VBox([self._use(webgl.WebGL(self.study))])
        rows = [self._use(Sliders(self.study))]
        if self.mode == "sliders":
            return w.VBox(rows)
        if not webgl.is_there():
            return w.VBox([*rows, w.HTML(_note("pip install ipyniivue brings a faster viewer"))])
        return self._upgradable(w.VBox(rows))

    def _use(self, viewer: webgl.WebGL | Sliders) -> Any:
        self.viewer = viewer
        return viewer.widget

    def _upgradable(self, box: Any) -> Any:
        """Put a probe below the sliders; on a yes NiiVue takes the place of both."""
        import ipywidgets as w

        from cspine_lib.viewer.probe import probe

        asking = probe()

        def answered(change: Mapping[str, Any]) -> None:
            if change["new"] == "yes":
                box.children = [self._use(webgl.WebGL(self.study))]
            else:
                note = _note("this browser has no WebGL 2, so pictures come from the kernel")
                box.children = [*box.children[:1], w.HTML(note)]

        asking.observe(answered, names="answer")
        box.children = [*box.children, asking]
        return box

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The still always, and a widget where somebody can use it."""
        data: dict[str, Any] = {"text/plain": repr(self), "image/png": still_png(self.study)}
        if self.mode != "still":
            # Written out: ipywidgets 7, which Colab has, makes no bundle of a widget.
            data[WIDGET_VIEW] = {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.widget.model_id,
            }
        return data, {}


def _note(words: str) -> str:
    return f"<span style='font-size:90%;color:#555'>{words}</span>"
