"""The viewer without WebGL: ipywidgets and matplotlib, each view drawn in the kernel."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure

from cspine_lib.plots import PLANES, label_plane
from cspine_lib.viewer.panel import Controls, bars_html, status_html
from cspine_lib.viewer.still import plane_panel
from cspine_lib.viewer.study import ViewedStudy

AXIS_OF = {"axial": "slice", "coronal": "row", "sagittal": "column"}


class Sliders:
    """Three planes, a slider for each.

    Attributes:
        widget: what to display.
        sliders: by plane.
        picture: the drawn planes, a PNG.
    """

    def __init__(self, study: ViewedStudy) -> None:
        import ipywidgets as w

        self.study = study
        self.picture = w.Image(format="png", layout={"max_width": "100%"})
        self.status = w.HTML()
        self.controls = Controls(study, lambda _: self.draw(), lambda *_: self.draw(), self._go_to)
        self.sliders = {
            plane: w.IntSlider(
                value=study.start_zyx[axis],
                min=0,
                max=study.volume.shape_zyx[axis] - 1,
                description=AXIS_OF[plane],
                continuous_update=True,
                layout={"width": "32%"},
            )
            for plane, axis in PLANES.items()
        }
        for slider in self.sliders.values():
            slider.observe(lambda _: self.draw(), names="value")
        self._quiet = False
        self.draw()
        picture = w.HBox([self.picture, w.HTML(bars_html(study))])
        title = [w.HTML(f"<b>{study.title}</b>")] if study.title else []
        rows = [*title, self.controls.row, w.HBox(list(self.sliders.values())), picture]
        self.widget = w.VBox([*rows, self.status])

    @property
    def at_zyx(self) -> tuple[int, int, int]:
        """Voxel through which the three planes go."""
        z, y, x = (self.sliders[plane].value for plane in PLANES)
        return z, y, x

    def _go_to(self, at_zyx: tuple[int, int, int]) -> None:
        self._quiet = True  # one drawing for three sliders
        for plane, axis in PLANES.items():
            self.sliders[plane].value = at_zyx[axis]
        self._quiet = False
        self.draw()

    def draw(self, *_: Any) -> None:
        """Draw the three planes where the sliders are."""
        if self._quiet:
            return
        on = self.controls.state
        figure = Figure(figsize=(10, 3.7), dpi=68, facecolor="white")
        panels = figure.subplots(1, 3)
        # Fixed margins: a constrained layout draws everything twice, and a slider should not wait.
        figure.subplots_adjust(left=0.06, right=0.99, bottom=0.14, top=0.98, wspace=0.24)
        for axes, plane in zip(panels, PLANES, strict=True):
            plane_panel(
                axes,
                self.study,
                plane,
                self.at_zyx,
                window=self.controls.window.value,
                mask=on.get("mask", False),
                boxes=on.get("boxes", True),
            )
            label_plane(axes, plane)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        self.picture.value = buffer.getvalue()
        self.status.value = status_html(self.study, self.at_zyx)
