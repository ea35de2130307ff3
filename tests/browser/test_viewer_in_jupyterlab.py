"""Notebook 00 in a real JupyterLab: the viewer draws, scrolls, and shows what it is asked for.

Marked ``browser``: needs Playwright and an installed Chromium (``make test-browser``).  The
screenshots stay in ``runs/browser`` for a look.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab_driver import NO_GL, SOFTWARE_GL, NoBrowser, Opened, chromium, jupyterlab

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "00_start_here.ipynb"
PICTURES = ROOT / "runs" / "browser"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a copy of the notebook; its kernels use the shared phantom."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, folder)
    try:
        with jupyterlab(folder, NOTEBOOK, CSPINE_PROFILE="ci") as address:
            yield address
    except NoBrowser as error:
        pytest.fail(str(error))


@pytest.fixture
def opened(lab, request):
    """The notebook in Chromium, with the command-line switches that the test is given."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        switches = ["--no-sandbox", *request.param]
        browser = playwright.chromium.launch(executable_path=chromium(), args=switches)
        name = "no-webgl" if request.param is NO_GL else "webgl"
        yield Opened(browser, lab, PICTURES, name)
        browser.close()


def _changed(a: np.ndarray, b: np.ndarray) -> float:
    """Share of pixels that differ so that an eye could tell."""
    return float((np.abs(a - b).max(axis=2) > 12).mean())


def _colour(picture: np.ndarray) -> float:
    """Share of pixels that are not grey."""
    return float((picture.max(axis=2) - picture.min(axis=2) > 24).mean())


@pytest.mark.parametrize("opened", [SOFTWARE_GL], indirect=True)
def test_viewer_scrolls_and_toggles(opened):
    canvas = opened.find("canvas").last
    canvas.wait_for(state="attached", timeout=60_000)
    opened.page.wait_for_timeout(1500)
    first = opened.shot("1-first")
    columns = first.shape[1] // 3
    for part in range(3):  # each of the three planes shows something
        assert first[:, part * columns : (part + 1) * columns].std() > 20
    assert _colour(first) > 0.02
    before, sent, received = opened.status, opened.sent, opened.received
    assert sent < 500_000, "voxels went back to the kernel"

    box = canvas.bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 6, box["y"] + box["height"] / 2)
    for _ in range(5):
        opened.page.mouse.wheel(0, 100)
        opened.page.wait_for_timeout(100)
    scrolled = opened.shot("2-scrolled")
    assert _changed(first[:, :columns], scrolled[:, :columns]) > 0.02
    assert opened.status != before
    assert opened.received - received < 200_000, "scrolling fetched a volume again"

    opened.overlay("mask").click()
    plain = opened.shot("3-no-mask")
    assert _colour(plain) < 0.6 * _colour(scrolled)
    opened.overlay("mask").click()
    again = opened.shot("4-mask-again")
    edge = 8  # the page may move by a part of a pixel
    assert _changed(scrolled[edge:-edge, edge:-edge], again[edge:-edge, edge:-edge]) < 0.002
    opened.find("select").last.select_option(index=1)
    soft = opened.shot("5-soft-tissue")
    assert soft.mean() > 1.2 * again.mean()
    opened.find("button").filter(has_text="C6").last.click()
    assert _changed(soft, opened.shot("6-at-C6")) > 0.02
    assert not opened.errors, opened.errors


@pytest.mark.parametrize("opened", [NO_GL], indirect=True)
def test_without_webgl_sliders_do_the_work(opened):
    opened.find(".widget-html-content").filter(has_text="no WebGL 2").last.wait_for(timeout=60_000)
    first = opened.shot("1-first")
    assert first.std() > 20
    before = opened.status
    handle = opened.find(".noUi-handle").first
    handle.focus()
    for _ in range(4):
        opened.page.keyboard.press("ArrowRight")
    moved = opened.shot("2-moved")
    assert opened.status != before and _changed(first, moved) > 0.02
    opened.overlay("mask").click()
    assert _colour(opened.shot("3-no-mask")) < 0.6 * _colour(moved)
