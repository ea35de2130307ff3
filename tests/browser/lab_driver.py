"""A real JupyterLab in headless Chromium: started, run from top to bottom, looked at."""

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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

TOKEN = "for-this-run-only"
SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""Chromium draws WebGL on the CPU."""
NO_GL = ("--disable-3d-apis", "--disable-gpu")
"""Chromium has no WebGL."""

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


class NoBrowser(Exception):
    """Chromium or JupyterLab is missing or does not start."""


def chromium() -> str:
    """Path of an installed Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CSPINE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        raise NoBrowser("no Chromium: install Debian's package chromium, or set CSPINE_CHROMIUM")
    return found


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def jupyterlab(folder: Path, notebook: str, **environment: str) -> Iterator[str]:
    """Address of a notebook in a JupyterLab that serves ``folder``."""
    port = _free_port()
    options = {
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder,
        "IdentityProvider.token": TOKEN,
        "LabApp.expose_app_in_browser": True,
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--{name}={value}" for name, value in options.items()]
    address = f"http://127.0.0.1:{port}/lab/tree/{notebook}?token={TOKEN}"
    beside = folder.with_name(f"{folder.name}-server")  # not in the file list of the pictures
    beside.mkdir(exist_ok=True)
    variables = os.environ | environment | {"JUPYTER_CONFIG_DIR": str(beside)}
    with open(beside / "log", "w") as log:
        server = subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(address, server, beside / "log")
            yield address
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise NoBrowser(f"JupyterLab does not answer: {log.read_text()[-400:]}")


class Opened:
    """A notebook, run from top to bottom, with its viewer in sight.

    Attributes:
        sent, received: bytes over the page's websockets, to and from the kernel.
        errors: what went wrong in the page's scripts.
    """

    def __init__(self, browser, address: str, pictures: Path, name: str) -> None:
        self.name, self.pictures = name, pictures
        self.sent, self.received = 0, 0
        self.errors: list[str] = []
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
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.pictures / f"{self.name}-{what}.png")
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
