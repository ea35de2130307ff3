"""Lays out the sources of the website: README as front page, chapters, docs, a page per module.

Sphinx gets a folder of its own, so that nothing generated lies among the sources.  Pages are
found by pattern: a new chapter or a new page under ``docs/`` shows up without a line here.
Needs nothing but Python, so that it can be tested without Sphinx.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

DOCS_FIRST = (
    "docs/model_card.md",
    "docs/datasheet.md",
    "docs/limits.md",
    "docs/real_ct.md",
    "docs/tripod_ai.md",
)
"""Pages in the order in which they are best read; all others of ``docs/`` follow by name."""

LINK = re.compile(r"(?<!\\)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
"""A Markdown link or image to a file of the project; groups: path, anchor."""

FLOOR = re.compile(r"^\| (\d+) \| ((?:`\w+` ?)+)\| (.*) \|$", flags=re.M)
"""A row of README's table of floors; groups: number, names, what they do."""


def groups(root: Path = ROOT) -> dict[str, list[str]]:
    """Parts of the navigation → pages, as paths relative to the project."""

    def found(pattern: str) -> list[str]:
        return sorted(p.relative_to(root).as_posix() for p in root.glob(pattern))

    docs = found("docs/*.md")
    first = [page for page in DOCS_FIRST if page in docs]
    return {
        "Chapters": found("notebooks/*.ipynb"),
        "What to know": [*first, *(page for page in docs if page not in first), "data/README.md"],
        "Measured": found("benchmarks/*.md"),
        "Project": ["CONTRIBUTING.md", "CHANGELOG.md"],
    }


def modules(root: Path = ROOT) -> dict[int, list[str]]:
    """Floor → modules of the library, from README's table."""
    text = (root / "README.md").read_text(encoding="utf-8")
    return {int(n): re.findall(r"`(\w+)`", names) for n, names, _ in FLOOR.findall(text)}


def stage(folder: Path, root: Path = ROOT) -> list[str]:
    """Write all sources into ``folder``, which is emptied first; returns the pages.

    Raises:
        FileNotFoundError: a page links to a file that is not there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    parts = groups(root)
    pages = [page for part in parts.values() for page in part]
    for page in pages:
        _copy(root, folder, page)
    front = (root / "README.md").read_text(encoding="utf-8")
    _copy_linked(root, folder, "README.md", front)
    _write(folder / "index.md", to_front_page(front, ".") + _navigation(parts))
    return ["README.md", *pages, *_api(folder, root)]


def to_front_page(text: str, place: str) -> str:
    """Text with links to the project's README led to the front page of the site.

    Args:
        place: folder of the page, relative to the project, e.g. ``docs``.
    """
    up = "" if place == "." else "../" * len(Path(place).parts)
    return text.replace(f"]({up}README.md", f"]({up}index.md")


def markdown_of(path: Path) -> str:
    """All Markdown of a page or a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def links_of(text: str) -> list[tuple[str, str]]:
    """Path and anchor of each link to a file of the project; code is left out."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    return [(path, anchor) for path, anchor in LINK.findall(prose)]


def _copy(root: Path, folder: Path, page: str) -> None:
    path = root / page
    place = Path(page).parent.as_posix()
    _write(folder / page, to_front_page(path.read_text(encoding="utf-8"), place))
    _copy_linked(root, folder, page, markdown_of(path))


def _copy_linked(root: Path, folder: Path, page: str, text: str) -> None:
    """Pictures and other files that a page links to, so that they are served along."""
    for link, _ in links_of(text):
        source = ((root / page).parent / link).resolve()
        inside = source.relative_to(root.resolve())
        target = folder / inside
        if source.suffix in (".md", ".ipynb") or target.exists():
            continue
        if not source.is_file():
            raise FileNotFoundError(f"{page} links to {link}, which is no file")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _toctree(pages: list[str], caption: str = "") -> str:
    lines = ["", "```{toctree}", ":hidden:", ":maxdepth: 1"]
    lines += [f":caption: {caption}"] if caption else []
    lines += ["", *(re.sub(r"\.(md|ipynb)$", "", page) for page in pages), "```", ""]
    return "\n".join(lines)


def _navigation(parts: dict[str, list[str]]) -> str:
    trees = [_toctree(pages, caption) for caption, pages in parts.items()]
    trees.insert(2, _toctree(["reference.md"], "Library"))
    return "\n" + "".join(trees)


# --- a page per module -------------------------------------------------------------------------


def _api(folder: Path, root: Path) -> list[str]:
    """Pages of the reference; the index follows the floors of the house."""
    text = (root / "README.md").read_text(encoding="utf-8")
    lines = [
        "# Reference",
        "",
        "Every module of `cspine_lib`, from its docstrings. A module imports only from lower",
        "floors. Lengths are in millimetres where a name ends in `_mm`, densities in Hounsfield",
        "units where it ends in `_hu`; axes run as names say, `_zyx`: slices, rows, columns.",
        "",
    ]
    pages = []
    for floor, names, what in FLOOR.findall(text):
        lines += [f"## Floor {floor}", "", f"{what[:1].upper()}{what[1:]}.", ""]
        lines += ["| module | its duty |", "| --- | --- |"]
        for name in re.findall(r"`(\w+)`", names):
            files = _files(root / "cspine_lib", name)
            page = f"api/cspine_lib.{name}.md"  # a module may be called index
            _write(folder / page, _module_page(name, files, root))
            pages.append(page)
            lines.append(f"| [{name}]({page}) | {_duty(files[0])} |")
        lines.append("")
    names = sorted(Path(page).stem.removeprefix("cspine_lib.") for page in pages)
    lines.append(_toctree([f"{name} <api/cspine_lib.{name}>" for name in names]))
    _write(folder / "reference.md", "\n".join(lines))
    return ["reference.md", *pages]


def _files(library: Path, name: str) -> list[Path]:
    """A module's file, or a package's files, the package itself first."""
    if (library / f"{name}.py").exists():
        return [library / f"{name}.py"]
    parts = sorted(p for p in (library / name).rglob("*.py") if p.name != "__init__.py")
    return [library / name / "__init__.py", *parts]


def _duty(path: Path) -> str:
    """First line of a module's docstring, as Markdown."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[0].replace("\n", " ").replace("``", "`").replace("|", r"\|")


def _module_page(name: str, files: list[Path], root: Path) -> str:
    lines = [f"# `cspine_lib.{name}`", ""]
    for path in files:
        parts = path.relative_to(root).with_suffix("").parts
        full = ".".join(p for p in parts if p != "__init__")
        if path != files[0]:
            lines += [f"## {full.removeprefix('cspine_lib.')}", ""]
        lines += ["```{eval-rst}", f".. automodule:: {full}", "   :members:"]
        # What a package passes on is shown where it is defined.
        lines += ["   :ignore-module-all:", "```", ""]
    return "\n".join(lines)
