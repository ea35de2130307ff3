"""Figures of notebooks are kept small without looking different."""

import io

import numpy as np
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


def test_outside_of_a_notebook_nothing_happens():
    show_small()
