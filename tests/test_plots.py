"""Figures of notebooks are kept small without looking different."""

import io
from base64 import b64decode

import matplotlib
import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from cspine_lib.plots import paletted, show_small


def _png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_a_scan_keeps_its_greys_in_a_smaller_file():
    rng = np.random.default_rng(0)
    grey = rng.normal(120, 40, (160, 200)).clip(0, 255).astype(np.uint8)
    before = _png(np.dstack([grey, grey, grey, np.full_like(grey, 255)]))
    after = paletted(before)
    seen = np.asarray(Image.open(io.BytesIO(after)).convert("RGB")).astype(int)
    assert len(after) < 0.7 * len(before)
    assert np.abs(seen - grey[..., None].astype(int)).max() <= 3


def test_lines_keep_their_colours():
    page = np.full((50, 50, 3), 255, np.uint8)
    page[10], page[20], page[30] = (213, 94, 0), (0, 114, 178), (0, 158, 115)
    seen = np.asarray(Image.open(io.BytesIO(paletted(_png(page)))).convert("RGB"))
    assert np.array_equal(seen, page)


@pytest.mark.parametrize(("ask", "mode"), [("show_small()", "P"), ("", "RGBA")])
def test_figures_in_a_notebook_are_small_where_it_asks_for_it(ask, mode):
    draw = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"
    notebook = new_notebook()
    notebook.cells = [
        new_code_cell(f"from cspine_lib.plots import show_small; {ask}"),
        new_code_cell(draw),
    ]
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    (picture,) = (out["data"] for out in notebook.cells[1].outputs if "image/png" in out["data"])
    assert Image.open(io.BytesIO(b64decode(picture["image/png"]))).mode == mode


def test_outside_of_a_notebook_nothing_is_drawn_in_another_way():
    backend = matplotlib.get_backend()
    show_small()
    assert matplotlib.get_backend() == backend
