"""What the website is laid out from: every chapter, page and module, and links that lead there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "website"))

import pages  # noqa: E402
import signatures  # noqa: E402


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "sources"
    return folder, pages.stage(folder)


def _project(folder: Path, **files: str) -> Path:
    """A project of three files and whatever else is given."""
    readme = "# T\n\n| 0 | `one` `two` | what they do |\n\n[a](docs/a.md)\n"
    content = {
        "README.md": readme,
        "CONTRIBUTING.md": "# C\n",
        "CHANGELOG.md": "# H\n",
        "data/README.md": "# D\n",
        "docs/a.md": "# A\n\n[home](../README.md#t) ![p](p.png)\n",
        "docs/p.png": "picture",
        "docs/model_card.md": "# M\n",
        "cspine_lib/one.py": '"""First duty.\n\nMore."""\n',
        "cspine_lib/two/__init__.py": '"""Second duty."""\n',
        "cspine_lib/two/part.py": '"""A part."""\n',
        **{name.replace("__", "/").replace("_md", ".md"): text for name, text in files.items()},
    }
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_every_chapter_page_and_module_is_in_the_navigation(staged):
    folder, _ = staged
    front = (folder / "index.md").read_text(encoding="utf-8")
    trees = "\n".join(re.findall(r"```\{toctree\}(.*?)```", front, flags=re.S)).split()
    for pattern in ("notebooks/*.ipynb", "docs/*.md", "benchmarks/*.md"):
        for path in ROOT.glob(pattern):
            name = path.relative_to(ROOT).with_suffix("").as_posix()
            assert name in trees
            assert list(folder.glob(f"{name}.*"))
    reference = (folder / "reference.md").read_text(encoding="utf-8")
    rooms = {p.relative_to(ROOT / "cspine_lib").parts[0] for p in ROOT.glob("cspine_lib/**/*.py")}
    for name in {Path(room).stem for room in rooms} - {"__init__", "__pycache__"}:
        assert f"(api/cspine_lib.{name}.md)" in reference
        assert (folder / "api" / f"cspine_lib.{name}.md").exists()


def test_a_new_page_shows_up_by_itself(tmp_path):
    root = _project(tmp_path / "project", docs__zebra_md="# Z\n")
    pages.stage(tmp_path / "out", root)
    front = (tmp_path / "out" / "index.md").read_text(encoding="utf-8")
    order = [front.index(f"\ndocs/{name}\n") for name in ("model_card", "a", "zebra")]
    assert order == sorted(order)


def test_links_to_the_readme_lead_to_the_front_page(tmp_path):
    pages.stage(tmp_path / "out", _project(tmp_path / "project"))
    assert "](../index.md#t)" in (tmp_path / "out" / "docs" / "a.md").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "docs" / "p.png").read_text(encoding="utf-8") == "picture"


def test_a_package_is_one_page_with_its_parts(tmp_path):
    pages.stage(tmp_path / "out", _project(tmp_path / "project"))
    page = (tmp_path / "out" / "api" / "cspine_lib.two.md").read_text(encoding="utf-8")
    assert re.findall(r"automodule:: (\S+)", page) == ["cspine_lib.two", "cspine_lib.two.part"]
    assert "| First duty. |" in (tmp_path / "out" / "reference.md").read_text(encoding="utf-8")


def test_a_link_to_nothing_stops_the_build(tmp_path):
    root = _project(tmp_path / "project", docs__b_md="[gone](gone.json)\n")
    with pytest.raises(FileNotFoundError, match=r"docs/b\.md links to gone\.json"):
        pages.stage(tmp_path / "out", root)


def test_what_was_there_before_is_gone(tmp_path):
    (tmp_path / "out" / "docs").mkdir(parents=True)
    (tmp_path / "out" / "docs" / "old.md").write_text("# Old\n", encoding="utf-8")
    pages.stage(tmp_path / "out", _project(tmp_path / "project"))
    assert not (tmp_path / "out" / "docs" / "old.md").exists()


def test_links_in_code_are_no_links():
    text = "[a](b.md#c) `[x](y.md)`\n```\n[p](q.md)\n```\n[out](https://example.org) [in](#here)"
    assert pages.links_of(text) == [("b.md", "#c")]


def test_notebooks_are_taken_as_committed(staged):
    folder, _ = staged
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        copy = json.loads((folder / "notebooks" / path.name).read_text(encoding="utf-8"))
        original = json.loads(path.read_text(encoding="utf-8"))
        assert [c.get("outputs") for c in copy["cells"]] == [
            c.get("outputs") for c in original["cells"]
        ]


def test_nothing_of_mathjax_is_served_that_was_not_pinned(tmp_path):
    import build

    path, digest = next(iter(build.mathjax_files().items()))
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert {"tex-chtml.js", "a11y/assistive-mml.js"} <= set(build.mathjax_files())
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("something else", encoding="utf-8")
    with pytest.raises(SystemExit, match="not the pinned one"):
        build.copy_mathjax(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            "def f(y: npt.ArrayLike, n: int = 3) -> Interval:\n    pass",
            ("(y: npt.ArrayLike, n: int=3)", "Interval"),
        ),
        ("    def g(self, *, a=1):\n        pass", ("(*, a=1)", "")),
        ("    @classmethod\n    def h(cls, x): ...", ("(x)", "")),
        ("class C:\n    pass", None),
        ("x = (", None),
    ],
)
def test_signatures_are_those_of_the_source(source, shown):
    assert signatures.from_source(source) == shown
