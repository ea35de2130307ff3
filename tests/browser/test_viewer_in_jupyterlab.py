"""Notebook 00 in a real JupyterLab: the viewer draws, scrolls, and shows what it is asked for.

Marked ``browser``: needs Playwright and an installed Chromium (``make test-browser``).  The
screenshots stay in ``runs/browser`` for a look.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "00_start_here.ipynb"
PICTURES = ROOT / "runs" / "browser"
TOKEN = "for-this-test-only"

SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
NO_GL = ["--disable-3d-apis", "--disable-gpu"]

IDLE = """() => {
  const session = window.jupyterapp?.shell.currentWidget?.sessionContext?.session;
  return session?.kernel?.status === "idle";
}"""
RUN_ALL = """() => {
  window.finished = false;
  window.jupyterapp.commands.execute("notebook:run-all-cells").then(() => {
    window.finished = true;
  });
}"""
TO_VIEWER = """() => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const here = (cell) => cell.model.sharedModel.getSource().includes("viewer.show");
  const index = notebook.widgets.findIndex(here);
  notebook.activeCellIndex = index;
  return notebook.scrollToItem(index, "start");
}"""

pytestmark = pytest.mark.browser


def _chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CSPINE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.fail("no Chromium here: install Debian's package chromium, or set CSPINE_CHROMIUM")
    return found


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab with a copy of the notebook; kernels use the shared phantom."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, folder)
    port = _free_port()
    options = {
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder,
        "IdentityProvider.token": TOKEN,
        "LabApp.expose_app_in_browser": True,
        "LabApp.news_url": None,
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--{name}={value}" for name, value in options.items()]
    log = open(folder / "lab.log", "w")  # noqa: SIM115  closed below
    environment = os.environ | {"CSPINE_PROFILE": "ci", "JUPYTER_CONFIG_DIR": str(folder / "conf")}
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK}?token={TOKEN}"
    try:
        _wait_for(address, server, folder / "lab.log")
        yield address
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def _wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"JupyterLab does not answer: {log.read_text()[-400:]}")


class Opened:
    """The notebook, run from top to bottom, with the viewer in sight."""

    def __init__(self, browser, address: str, name: str) -> None:
        self.name, self.sent, self.received, self.errors = name, 0, 0, []
        self.page = browser.new_page(viewport={"width": 1400, "height": 1000})
        self.page.on("websocket", self._count)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_function(IDLE, timeout=90_000)
        self.page.evaluate(RUN_ALL)
        self.page.wait_for_function("() => window.finished", timeout=180_000)
        self.page.evaluate(TO_VIEWER)

    def _count(self, socket) -> None:
        def sent(data) -> None:
            self.sent += len(data)

        def received(data) -> None:
            self.received += len(data)

        socket.on("framesent", sent)
        socket.on("framereceived", received)

    def find(self, selector: str):
        return self.page.locator(f".jp-OutputArea {selector}")

    def overlay(self, name: str):
        return self.find(".widget-checkbox").filter(has_text=name).locator("input")

    @property
    def status(self) -> str:
        return self.find(".widget-html-content").filter(has_text="slice").last.inner_text()

    def shot(self, what: str) -> np.ndarray:
        """The images of the viewer, (rows, columns, 3), once they have come to rest."""
        self.page.mouse.move(5, 5)
        element, before = self.find("canvas, .jupyter-widgets img").last, b""
        for _ in range(40):
            self.page.wait_for_timeout(400)
            png = element.screenshot()
            if png == before:
                break
            before = png
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{self.name}-{what}.png")
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.fixture
def opened(lab, request):
    """The notebook in Chromium, with the command-line switches that the test is given."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        switches = ["--no-sandbox", *request.param]
        browser = playwright.chromium.launch(executable_path=_chromium(), args=switches)
        name = "no-webgl" if request.param is NO_GL else "webgl"
        yield Opened(browser, lab, name)
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
