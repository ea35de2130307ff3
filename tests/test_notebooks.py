"""Every notebook has the anatomy of a chapter, is executed in order, small, and clean."""

import ast
import json
import re
import statistics
from pathlib import Path

import pytest

from cspine_lib import checks, notebook

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_BYTES, MAX_LINES, MEDIAN_LINES, SETUP_LINES = 1_000_000, 25, 8, 10

HEADINGS = (
    "## Predict first",
    "## Break it",
    "xercise",
    "## The result",
    "## Limits",
    "## Recap",
    "## Next",
)
"""What a chapter's headings contain, in any order but the last three."""

PROFILES = ("`ci`", "`laptop`", "`gpu`", "`rsna`")


def _read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def _source(cell):
    return "".join(cell["source"])


def _cells(path, kind):
    return [cell for cell in _read(path)["cells"] if cell["cell_type"] == kind]


def _lines(cell):
    """Lines that hold code, without comments that stand alone."""
    lines = [line.strip() for line in _source(cell).splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def _outputs(path):
    return [output for cell in _cells(path, "code") for output in cell["outputs"]]


def _text(output):
    """All text of an output; pictures are left out."""
    parts = ["".join(output.get("text", ""))]
    for kind, content in output.get("data", {}).items():
        if not kind.startswith("image/"):
            parts.append(content if isinstance(content, str) else json.dumps(content))
    return "\n".join(parts)


pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def test_is_a_chapter_of_the_course(path):
    assert path.stem in {chapter.name for chapter in notebook.CHAPTERS}
    first = _source(_cells(path, "markdown")[0])
    assert first.startswith(f"# {path.stem[:2]} · ")


def test_title_says_what_it_gives_and_costs(path):
    title = _source(_cells(path, "markdown")[0])
    for part in ("What you will be able to do", "What it trains", "slide", "time", "memory"):
        assert part in title, f"the first cell does not say {part!r}"
    for profile in PROFILES:
        assert f"| {profile}" in title


def test_has_the_parts_of_a_chapter(path):
    headings = [
        line
        for cell in _cells(path, "markdown")
        for line in _source(cell).splitlines()
        if line.startswith("#")
    ]
    for part in HEADINGS:
        assert any(part in line for line in headings), f"no heading with {part!r}"
    assert [line for line in headings if line.startswith("## ")][-1] == "## Next"


def test_first_code_cell_is_the_set_up(path):
    first = _cells(path, "code")[0]
    assert len(_source(first).splitlines()) <= SETUP_LINES
    assert "notebook.set_up(" in _source(first)
    shown = "".join(_text(output) for output in first["outputs"])
    for word in ("profile", "device", "data"):
        assert re.search(rf"^{word} ", shown, flags=re.M), f"the set-up cell prints no {word}"


def test_cells_are_short(path):
    lengths = [len(_source(cell).splitlines()) for cell in _cells(path, "code")]
    assert max(lengths) <= MAX_LINES
    assert statistics.median(_lines(cell) for cell in _cells(path, "code")) <= MEDIAN_LINES


def test_was_executed_from_top_to_bottom(path):
    counts = [cell["execution_count"] for cell in _cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1))
    assert any(
        output["output_type"] in ("display_data", "execute_result") for output in _outputs(path)
    )


def test_no_error_and_no_noise_in_the_outputs(path):
    for output in _outputs(path):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr", _text(output)[:200]
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})


def test_outputs_name_no_place_of_this_machine(path):
    pattern = re.compile(
        r"(?<![\w.<])/(?:home|root|work|tmp|usr|opt|Users|kaggle|content)/|[A-Z]:\\\w"
    )
    for cell in _read(path)["cells"]:
        assert not pattern.search(_source(cell))
        for output in cell.get("outputs", []):
            assert not pattern.search(_text(output)), _text(output)[:200]


def test_is_small(path):
    assert path.stat().st_size < MAX_BYTES


def test_numbers_of_slides_say_on_what_they_were_measured(path):
    """The table of results comes from rows that name their data."""
    code = "\n".join(_source(cell) for cell in _cells(path, "code"))
    shown = "".join(_text(output) for output in _outputs(path))
    assert "notebook.result_table(" in code
    assert "measured on" in shown
    if "notebook.scored_row(" in code:
        assert "minus best constant" in shown


def test_data_chapters_have_three_exercises_or_more(path):
    if path.stem[:2] > "03":
        pytest.skip("chapters on methods train instead")
    code = "\n".join(_source(cell) for cell in _cells(path, "code"))
    assert len(set(re.findall(r"^checks\.(\w+)\(", code, flags=re.M))) >= 3


def test_every_picture_is_followed_by_words(path):
    """A figure stands before a sentence on what to notice, at most two cells further on."""
    cells = _read(path)["cells"]
    for i, cell in enumerate(cells):
        kinds = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
        if "image/png" in kinds:
            after = [c["cell_type"] for c in cells[i + 1 : i + 3]]
            assert "markdown" in after, f"nothing is said after the figure of cell {i}"


def test_solution_passes_its_own_check(path):
    """The collapsed solution, put in place of the reader's function, satisfies the grader."""
    solutions = [
        re.search(r"<details>.*?```python\n(.*?)```.*?</details>", _source(cell), flags=re.S)
        for cell in _cells(path, "markdown")
    ]
    code = [match[1] for match in solutions if match]
    graders = re.findall(
        r"^checks\.(\w+)\((\w+)\)", "\n".join(_source(c) for c in _cells(path, "code")), flags=re.M
    )
    assert graders and len(code) == len(graders)
    for solution, (grader, name) in zip(code, graders, strict=True):
        scope: dict = {}
        exec("import numpy as np\n" + solution, scope)
        verdict = getattr(checks, grader)(scope[name])
        assert verdict, verdict


def test_inline_code_is_checked_against_the_library(path):
    code = "\n".join(
        line
        for cell in _cells(path, "code")
        for line in _source(cell).splitlines()
        if not line.startswith(("%", "!"))
    )
    asserts = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Assert)]
    assert len(asserts) >= 2
