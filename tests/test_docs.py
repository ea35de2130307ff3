"""What the pages say is what the code does: links, commands, profiles, counts, versions."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cspine_lib import metrics
from cspine_lib.cli import app
from cspine_lib.config import PROFILES
from cspine_lib.facts import facts
from cspine_lib.recipes import RECIPES

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "data/README.md",
    "CONTRIBUTING.md",
    "docs/scaling.md",
    "docs/kaggle_and_colab.md",
    "docs/bad_input.md",
)


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", _text(page))
    inside = [t for t in targets if "://" not in t]
    missing = [t for t in inside if not ((ROOT / page).parent / t).exists()]
    assert not missing


def test_every_notebook_that_exists_is_linked() -> None:
    linked = set(re.findall(r"\]\(notebooks/([^)]+)\)", _text("README.md")))
    assert linked == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    announced = re.findall(r"^\| \[?(\d\d)_\w+", _text("README.md"), flags=re.M)
    assert announced == [f"{i:02d}" for i in range(16)]


def test_commands_are_the_ones_that_exist() -> None:
    known = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    named = {
        name
        for page in PAGES
        for name in re.findall(r"^(?:CSPINE_\w+=\S+ )?cspine (\w+)", _text(page), flags=re.M)
    }
    assert named <= known
    assert {"phantom", "check", "train", "predict", "score", "demo"} <= named
    for line in re.findall(r"^cspine .*", _text("README.md"), flags=re.M):
        name, options = line.split()[1], set(re.findall(r"--[\w-]+", line))
        shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert shown.exit_code == 0
        assert all(option in shown.output for option in options), f"{name}: {options}"


def test_methods_that_pages_name_exist() -> None:
    named = {m for page in PAGES for m in re.findall(r"cspine train ([a-z]\w+)", _text(page))}
    assert named
    assert named <= set(RECIPES)


def test_phantom_sizes_are_those_of_the_profiles() -> None:
    for name, profile in PROFILES.items():
        if profile.phantom is None:
            assert f"| `{name}` |" in _text("README.md")
            continue
        size = profile.phantom
        shape = " × ".join(str(n) for n in size.shape_zyx)
        row = f"| `{name}` | {size.train} + {size.test} | {shape} | {size.masked} |"
        assert row in _text("data/README.md")
        total = re.search(rf"^\| `{name}`.*?phantom of (\d+) ", _text("README.md"), flags=re.M)
        assert total is not None
        assert int(total[1]) == size.train + size.test


def test_counts_of_the_real_set_are_those_of_the_facts() -> None:
    text = _text("data/README.md")
    labels, slices = facts("labels"), facts("slices")
    for sentence in (
        f"{labels['studies']} rows",
        f"{labels['patient_overall_positive']} studies have a fracture",
        f"C7 is broken in {labels['level_positive']['C7']}, C3 in {labels['level_positive']['C3']}",
        f"{facts('boxes')['rows']} rows",
        f"of {facts('boxes')['studies']} studies",
        f"{facts('masks')['studies']} studies:",
        f"{slices['total']:,} in all".replace(",", " "),
        f"{slices['min']} to {slices['max']} per study (median {slices['median']})",
        f"in {slices['studies_numbered_feet_to_head']} studies the file numbers",
    ):
        assert sentence in re.sub(r"\s+", " ", text), sentence


def test_constants_in_the_readme_are_computed_ones() -> None:
    y = metrics.pattern_labels()
    for title, constant in (
        ("0.5 everywhere", lambda n: [0.5] * 8),
        ("the mean of each label", lambda n: y.mean(axis=0)),
        ("the best constants of that normalisation", lambda n: metrics.best_constants(y, n)),
    ):
        values = [metrics.weighted_log_loss(y, constant(n), n) for n in metrics.NORMALISATIONS]
        row = "| " + " | ".join([title, *(f"{v:.4f}" for v in values)]) + " |"
        assert row in _text("README.md")


def test_trap_shares_are_those_of_the_design() -> None:
    from cspine_lib.phantom import design

    text = _text("data/README.md")
    for name, shares in (
        ("stored feet first", [design.feet_first_share()]),
        ("other matrix than nominal", [design.OTHER_MATRIX_SHARE]),
        ("masks with another axis order than most", [design.OTHER_MASK_AXES_SHARE]),
        ("JPEG Lossless; implicit VR", [design.JPEG_SHARE, design.IMPLICIT_SHARE]),
        ("signed, else 12 bits in unsigned 16", [design.SIGNED_SHARE]),
        ("several values in `WindowCenter`", [design.MULTI_WINDOW_SHARE]),
        ("slices thicker than their distance", [design.OVERLAP_SHARE]),
        ("numbering that does not start at 1", [design.LATE_START_SHARE, design.SKIP_SHARE]),
        ("field of view cut off at the top", [design.CUT_SHARE, design.CUT_SHARE]),
    ):
        row = re.search(rf"^\| {re.escape(name)}[^|]*\| ([^|]*)\|$", text, flags=re.M)
        assert row is not None, name
        stated = [float(v) / 100 for v in re.findall(r"([\d.]+)%", row[1])]
        assert stated[: len(shares)] == pytest.approx(shares, abs=0.0005), name
    assert design.SPECIALS_FROM == 10


def test_install_line_for_cpu_names_the_pinned_versions() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    line = re.search(r"torch==(\S+) torchvision==(\S+) --index-url", _text("README.md"))
    assert line is not None
    assert f"torch=={line[1]}" in pins
    assert f"torchvision=={line[2]}" in pins
