"""The built website in headless Chromium: every page, every link, the search; nothing from outside.

Marked ``site``: needs the extras ``site`` and ``browser`` and an installed Chromium
(``make test-site``).  Pictures of some pages stay in ``runs/site`` for a look.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "site"
PICTURES = ROOT / "runs" / "site"
sys.path.insert(0, str(ROOT / "website"))

pytestmark = pytest.mark.site

PATIENCE_MS = 180_000
"""Of one page; on an idle machine it takes half a second."""
LINKS = "() => [...document.querySelectorAll('a[href]')].map(a => a.href)"
IDS = "() => [...document.querySelectorAll('[id], a[name]')].map(e => e.id || e.name)"
BROKEN = """() => [...document.images].filter(i => i.loading !== 'lazy' && i.complete
    && !i.naturalWidth).map(i => i.src)"""
TOO_WIDE = "() => document.documentElement.scrollWidth - window.innerWidth"
LOOKS = {
    "front": "index.html",
    "maths": "notebooks/02_competition_metric.html",
    "masks": "notebooks/03_labels_from_masks.html",
    "module": "api/cspine_lib.metrics.html",
}
"""Pages that are looked at on a wide and on a narrow screen."""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    """Address of the built site."""
    if not (SITE / "index.html").exists():
        pytest.fail("there is no build/site: run make site first")
    handler = functools.partial(_Quiet, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CSPINE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not path:
        pytest.fail("no Chromium: install Debian's package chromium, or set CSPINE_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


class Watched:
    """A page of the browser that keeps what goes wrong on it.

    Attributes:
        errors: console errors, failed scripts, answers other than 200, requests to other hosts.
    """

    def __init__(self, browser, address: str, width: int = 1400) -> None:
        self.address, self.errors = address, []
        self.page = browser.new_page(viewport={"width": width, "height": 1000})
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._note(f"script: {error}"))
        self.page.on("requestfailed", lambda r: self._note(f"failed: {r.url}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)

    def _note(self, what: str) -> None:
        self.errors.append(f"{self.page.url}: {what}")

    def _console(self, message) -> None:
        if message.type == "error":
            self._note(f"console: {message.text}")

    def _request(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self._note(f"asks another host: {request.url}")

    def _response(self, response) -> None:
        if response.status >= 400:
            self._note(f"{response.status} for {response.url}")

    def open(self, path: str) -> None:
        self.page.goto(f"{self.address}/{path}", wait_until="load")
        if self.page.locator(".math").count():
            self.page.wait_for_selector("mjx-container", state="attached")


def _all_pages() -> list[str]:
    return sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html"))


@pytest.fixture(scope="module")
def visited(browser, address):
    """Every page opened once: page → (links, anchors), and what went wrong on the way."""
    watched = Watched(browser, address)
    found, pictures = {}, []
    for path in _all_pages():
        watched.open(path)
        found[path] = (watched.page.evaluate(LINKS), set(watched.page.evaluate(IDS)))
        pictures += [f"{path}: {src}" for src in watched.page.evaluate(BROKEN)]
    return found, watched.errors, pictures


def test_every_page_opens_without_an_error_and_asks_no_other_host(visited):
    found, errors, pictures = visited
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{path.stem}.html" in found
    for path in (ROOT / "docs").glob("*.md"):
        assert f"docs/{path.stem}.html" in found
    assert not errors
    assert not pictures


def test_every_link_within_the_site_leads_somewhere(visited, address):
    found, _, _ = visited
    lost, followed = [], 0
    for page, (links, _) in found.items():
        for link in links:
            if not link.startswith(address):
                continue
            target, anchor = urldefrag(link)
            path = unquote(urlsplit(target).path).lstrip("/") or "index.html"
            followed += 1
            if path in found:
                if anchor and unquote(anchor) not in found[path][1]:
                    lost.append(f"{page} → {path}#{anchor}")
            elif not (SITE / path).is_file():
                lost.append(f"{page} → {path}")
    assert followed > 1000
    assert not sorted(set(lost))


def test_every_page_is_reached_from_the_front_page(visited, address):
    found, _, _ = visited
    reached, todo = set(), ["index.html"]
    while todo:
        page = todo.pop()
        if page in reached or page not in found:
            continue
        reached.add(page)
        todo += [unquote(urlsplit(link).path).lstrip("/") for link in found[page][0]]
    made_by_sphinx = {"genindex.html", "search.html", "py-modindex.html"}
    assert set(found) - reached <= made_by_sphinx


@pytest.mark.parametrize(
    ("word", "title"),
    [("attention", "09 ·"), ("competition_loss", "02 ·"), ("StudyInstanceUID", "Data")],
)
def test_search_finds_a_word(browser, address, word, title):
    watched = Watched(browser, address)
    watched.open("index.html")
    watched.page.keyboard.press("Control+k")
    watched.page.keyboard.type(word)
    watched.page.keyboard.press("Enter")
    watched.page.wait_for_selector("#search-results li")
    watched.page.wait_for_function(
        "t => document.querySelector('#search-results').innerText.includes(t)",
        arg=title,
    )
    hit = watched.page.locator("#search-results li a", has_text=title).first
    hit.click()
    watched.page.wait_for_load_state("load")
    assert word.lower() in watched.page.locator("main").text_content().lower()
    assert not watched.errors


def test_a_word_that_is_nowhere_is_not_found(browser, address):
    watched = Watched(browser, address)
    watched.open("search.html?q=zyzzyvaquux")
    watched.page.wait_for_function(
        "() => document.querySelector('#search-results').innerText.includes('did not match')"
    )
    assert not watched.page.locator("#search-results li").count()


def test_solutions_are_folded_until_they_are_asked_for(browser, address):
    watched = Watched(browser, address)
    watched.open("notebooks/03_labels_from_masks.html")
    solutions = watched.page.locator("article details", has_text="Solution")
    assert solutions.count() >= 3
    code = solutions.first.locator("pre").first
    assert not code.is_visible()
    solutions.first.locator("summary").click()
    assert code.is_visible()
    assert "def " in code.inner_text()


def test_maths_is_drawn(browser, address):
    watched = Watched(browser, address)
    watched.open("notebooks/02_competition_metric.html")
    drawn = watched.page.locator("mjx-container")
    assert drawn.count() > 40
    assert not watched.page.locator("mjx-merror").count()
    assert drawn.first.bounding_box()["width"] > 3


def test_the_viewer_is_a_still(browser, address):
    watched = Watched(browser, address)
    watched.open("notebooks/00_start_here.html")
    cell = watched.page.locator(".cell", has_text="viewer.show(")
    assert cell.locator("img").first.evaluate("i => i.naturalWidth") > 400
    assert not watched.page.locator(".jupyter-widgets").count()


@pytest.mark.parametrize("width", [1400, 500])
@pytest.mark.parametrize("name", LOOKS)
def test_pages_fit_wide_and_narrow_screens(browser, address, name, width):
    watched = Watched(browser, address, width)
    watched.open(LOOKS[name])
    PICTURES.mkdir(parents=True, exist_ok=True)
    watched.page.screenshot(path=PICTURES / f"{name}-{width}.png")
    assert watched.page.evaluate(TOO_WIDE) <= 0
    assert not watched.errors
