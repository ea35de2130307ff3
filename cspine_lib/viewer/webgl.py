"""The viewer proper: NiiVue in the browser, by way of ipyniivue.

The browser gets each volume once, as a gzipped NIfTI file, and draws every plane itself:
scrolling asks the kernel for nothing.

ipyniivue (niivue/ipyniivue, BSD-2) is the widget of the NiiVue project, kept by the people
who write the viewer; it brings its JavaScript along, so no network is needed.
"""

from __future__ import annotations

import re
from typing import Any

from cspine_lib.anatomy import LEVELS, WINDOWS
from cspine_lib.plots import LEVEL_COLOUR, window_limits
from cspine_lib.viewer.panel import Controls, bars_html, status_html
from cspine_lib.viewer.payload import display_hu, nifti_gz
from cspine_lib.viewer.still import BOX_COLOUR
from cspine_lib.viewer.study import ViewedStudy

MASK_OPACITY, BOX_OPACITY = 0.4, 1.0
HEIGHT_PX = 420

UPLOAD = re.compile(r'(?<![\w$])[\w$]{1,4}\([\w$]{1,4},"img",[\w$]{1,4}\.img\.buffer,[\w$]{1,4}\)')
"""ipyniivue 2.4 sends every voxel back to the kernel once the browser has unpacked it, 157 MB
for a full scan, so that Python can read ``Volume.img``.  The kernel has those voxels already.
This finds the call in the widget's script; a version without it is used as it is."""


def is_there() -> bool:
    """Whether ipyniivue is installed."""
    from importlib.util import find_spec

    return find_spec("ipyniivue") is not None


def _widget_class() -> Any:
    """ipyniivue's widget without the upload of all voxels."""
    from pathlib import Path

    import ipyniivue

    script = Path(ipyniivue.__file__).with_name("static") / "widget.js"
    source = UPLOAD.sub("0", script.read_text(encoding="utf-8"))
    return type("StudyNiiVue", (ipyniivue.NiiVue,), {"_esm": source})


def _options() -> dict[str, Any]:
    from ipyniivue import MultiplanarType, ShowRender, SliceType

    return {
        "slice_type": SliceType.MULTIPLANAR,
        "multiplanar_layout": MultiplanarType.ROW,
        "multiplanar_show_render": ShowRender.NEVER,
        "is_radiological_convention": True,  # the patient's right at the left, as everywhere here
        "sagittal_nose_left": True,
        "crosshair_color": (1.0, 1.0, 1.0, 0.6),
        "crosshair_width": 0.8,
        "crosshair_width_unit": "mm",
        "crosshair_gap": 5.0,  # what it points at stays in sight
        "font_color": (0.8, 0.8, 0.8, 1.0),
        "is_nearest_interpolation": True,
        "drag_and_drop_enabled": False,
        "show_legend": False,
        "multiplanar_pad_pixels": 4,
    }


def _colours(names: dict[int, tuple[str, str]]) -> dict[str, list[Any]]:
    """Colour map of a label image: value → (name, colour), 0 transparent."""
    values = sorted(names)
    rgb = [[int(names[v][1][i : i + 2], 16) for v in values] for i in (1, 3, 5)]
    return {
        "R": [0, *rgb[0]],
        "G": [0, *rgb[1]],
        "B": [0, *rgb[2]],
        "A": [0] + [255] * len(values),
        "I": [0, *values],
        "labels": ["", *(names[v][0] for v in values)],
    }


def fraction(at_zyx: tuple[int, int, int], shape_zyx: tuple[int, int, int]) -> list[float]:
    """Voxel → NiiVue's crosshair position: x, y, z in 0 … 1, to right, front and head."""
    z, y, x = (1 - (v + 0.5) / n for v, n in zip(at_zyx, shape_zyx, strict=True))
    return [x, y, z]


def voxel(position: list[float], shape_zyx: tuple[int, int, int]) -> tuple[int, int, int]:
    """NiiVue's crosshair position → voxel; the inverse of ``fraction``."""
    z, y, x = (
        min(max(int((1 - f) * n), 0), n - 1)
        for f, n in zip(reversed(position), shape_zyx, strict=True)
    )
    return z, y, x


class WebGL:
    """Three linked planes in NiiVue.

    Attributes:
        widget: what to display.
        nv: the NiiVue widget.
        sent_bytes: size of the files that the browser gets.
    """

    def __init__(self, study: ViewedStudy) -> None:
        import ipywidgets as w

        self.study = study
        self.nv = _widget_class()(height=HEIGHT_PX, **_options())
        self.layers: dict[str, Any] = {}
        self.sent_bytes = 0
        self._load()
        self.status = w.HTML(status_html(study, study.start_zyx))
        self.controls = Controls(study, self._set_window, self._set_overlay, self._go_to)
        self.nv.scene.observe(self._moved, names="crosshair_pos")
        self.nv.on_location_change(self._located)
        self._go_to(study.start_zyx)
        title = [w.HTML(f"<b>{study.title}</b>")] if study.title else []
        bars = bars_html(study)
        self.nv.layout.width = "100%"
        frame = w.Box([self.nv], layout={"flex": "1 1 auto", "min_width": "0"})
        side = [w.HTML(bars, layout={"flex": "0 0 auto", "margin": "0 0 0 12px"})] if bars else []
        images = w.HBox([frame, *side], layout={"width": "100%"})
        self.widget = w.VBox([*title, self.controls.row, images, self.status])

    def _load(self) -> None:
        study, affine = self.study, self.study.volume.affine_mm
        low, high = window_limits("bone")
        hu = display_hu(study.volume.hu_zyx)
        layers: dict[str, tuple[Any, dict[str, Any]]] = {}
        layers["ct"] = (hu, {"colormap": "gray", "cal_min": low, "cal_max": high})
        if study.mask_zyx is not None:
            cervical = study.mask_zyx.astype("uint8")
            cervical[cervical > len(LEVELS)] = 0
            layers["mask"] = (cervical, {"opacity": MASK_OPACITY})
        if study.has_boxes:
            layers["boxes"] = (study.box_frames(), {"opacity": BOX_OPACITY})
        from ipyniivue import Volume

        for name, (values, look) in layers.items():
            data = nifti_gz(values, affine)
            self.sent_bytes += len(data)
            self.layers[name] = Volume(
                name=f"{name}.nii.gz", data=data, colorbar_visible=False, **look
            )
        named = {i: (level, LEVEL_COLOUR[level]) for i, level in enumerate(LEVELS, start=1)}
        if "mask" in self.layers:
            self.layers["mask"].set_colormap_label(_colours(named))
        if "boxes" in self.layers:
            self.layers["boxes"].set_colormap_label(_colours({1: ("fracture box", BOX_COLOUR)}))
        self.nv.load_volumes(list(self.layers.values()))

    def _set_window(self, name: str) -> None:
        width, level = WINDOWS[name]
        ct = self.layers["ct"]
        ct.cal_min, ct.cal_max = level - width / 2, level + width / 2

    def _set_overlay(self, name: str, shown: bool) -> None:
        full = {"mask": MASK_OPACITY, "boxes": BOX_OPACITY}[name]
        self.layers[name].opacity = full if shown else 0.0

    def _go_to(self, at_zyx: tuple[int, int, int]) -> None:
        self.nv.scene.crosshair_pos = fraction(at_zyx, self.study.volume.shape_zyx)
        self.status.value = status_html(self.study, at_zyx)

    def _moved(self, change: dict[str, Any]) -> None:
        at = voxel(list(change["new"]), self.study.volume.shape_zyx)
        self.status.value = status_html(self.study, at)

    def _located(self, location: dict[str, Any]) -> None:
        position = location.get("frac")
        if position:
            at = voxel(list(position)[:3], self.study.volume.shape_zyx)
            self.status.value = status_html(self.study, at)
