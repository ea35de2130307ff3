"""What both interactive viewers share: controls, the bars of probabilities, the status line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cspine_lib.anatomy import LEVELS, OVERALL, WINDOWS
from cspine_lib.plots import INK, LEVEL_COLOUR
from cspine_lib.viewer.study import ViewedStudy

WINDOW_NAMES = {
    f"{name} ({width:.0f}/{level:.0f} HU)": name for name, (width, level) in WINDOWS.items()
}
"""What the menu says → name of the display window."""


class Controls:
    """Window menu, overlay boxes, one button per level.

    Args:
        study: decides which of the controls there are.
        on_window: called with the name of the display window.
        on_overlay: called with ``"mask"`` or ``"boxes"`` and whether it is to be shown.
        on_level: called with a voxel (z, y, x) to go to.
    """

    def __init__(
        self,
        study: ViewedStudy,
        on_window: Callable[[str], None],
        on_overlay: Callable[[str, bool], None],
        on_level: Callable[[tuple[int, int, int]], None],
    ) -> None:
        import ipywidgets as w

        self.window = w.Dropdown(
            options=WINDOW_NAMES, value="bone", description="window", layout={"width": "240px"}
        )
        self.window.observe(lambda change: on_window(change["new"]), names="value")
        self.overlays: dict[str, Any] = {}
        shown = {"mask": study.mask_zyx is not None, "boxes": study.has_boxes}
        for name in (name for name, there in shown.items() if there):
            box = w.Checkbox(value=True, description=name, indent=False, layout={"width": "80px"})
            box.observe(lambda change, name=name: on_overlay(name, change["new"]), names="value")
            self.overlays[name] = box
        self.levels = {}
        for level, centre in study.centres_zyx.items():
            button = w.Button(description=level, tooltip=f"go to {level}", layout={"width": "44px"})
            button.style.button_color = LEVEL_COLOUR[level] if study.mask_zyx is not None else None
            button.style.text_color = _text_colour(level) if study.mask_zyx is not None else None
            button.on_click(lambda _, centre=centre: on_level(centre))
            self.levels[level] = button
        parts = [self.window, *self.overlays.values(), *self.levels.values()]
        self.row = w.HBox(parts, layout={"flex_flow": "row wrap", "align_items": "center"})

    @property
    def state(self) -> dict[str, bool]:
        """Which overlays are on."""
        return {name: box.value for name, box in self.overlays.items()}


def _text_colour(level: str) -> str:
    """Black on a light colour, white on a dark one."""
    red, green, blue = (int(LEVEL_COLOUR[level][i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def bars_html(study: ViewedStudy) -> str:
    """Fracture probabilities as bars of HTML; empty where none are known."""
    rows = []
    for name in (*LEVELS, OVERALL):
        if name not in study.probability:
            continue
        p, colour = study.probability[name], LEVEL_COLOUR.get(name, INK)
        rows.append(
            f"<tr><td style='text-align:right;padding-right:6px'>{name.replace(OVERALL, 'overall')}"
            f"</td><td style='width:110px;border-left:1px solid {INK}'>"
            f"<div style='width:{100 * p:.0f}%;background:{colour};height:12px'></div></td>"
            f"<td style='padding-left:6px'>{p:.2f}</td></tr>"
        )
    if not rows:
        return ""
    return f"<b>fracture probability</b><table style='line-height:1.25'>{''.join(rows)}</table>"


def status_html(study: ViewedStudy, at_zyx: tuple[int, int, int]) -> str:
    """Where the crosshair is, what it costs in HU, and on which level."""
    z, y, x = (
        min(max(int(v), 0), n - 1) for v, n in zip(at_zyx, study.volume.shape_zyx, strict=True)
    )
    words = f"slice {z} of 0–{study.volume.shape_zyx[0] - 1} · row {y} · column {x}"
    words += f" · {int(study.volume.hu_zyx[z, y, x])} HU"
    level = study.level_at(z, y, x)
    return f"<span style='font-size:90%'>{words}{f' · <b>{level}</b>' if level else ''}</span>"
