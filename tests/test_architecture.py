"""The house stands as README.md says: floors, one-way imports, light imports, short modules."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "cspine_lib"
MODULES = sorted(LIBRARY.rglob("*.py"))
MAX_LINES = 320

GROUND = {"errors"}
"""May be imported from every floor, the lowest included."""

HEAVY = {
    "ablations",
    "augment",
    "augment3d",
    "batches",
    "checkpoint",
    "cost",
    "costing",
    "cubes",
    "datasets",
    "dlc_forests",
    "dlc_lab",
    "dlc_method",
    "dlc_predictors",
    "dlc_slices",
    "engine",
    "experiment",
    "fold_jobs",
    "fold_labels",
    "level_lab",
    "launch",
    "live",
    "leak_demo",
    "final_set",
    "fold_cnn3d",
    "fold_dlc",
    "fold_methods",
    "fold_predictors",
    "loops",
    "resident",
    "plan_probe",
    "plan_counts",
    "plan",
    "methods",
    "norm_grid",
    "models",
    "models3d",
    "predict",
    "rates",
    "scan_lab",
    "sequence_lab",
    "predictors",
    "resolution",
    "results_figures",
    "slice_lab",
    "slice_method",
    "slice_models",
    "slice_stacks",
    "stage1",
    "stage2",
    "submit",
    "trainer",
    "two_stage",
    "visibility",
    "weight_sources",
    "weights",
    "whole_neck",
    "segmenters",
    "vertebra_net",
    "vertebra_fit",
    "neck_windows",
    "fold_neck",
    "fold_winners",
    "segment_data",
    "segment",
    "winner_predictors",
    "plan_winners",
    "winners_lab",
    "beyond_lab",
    "beyond_members",
}
"""Modules that train or run a network: they may import torch.  No others may."""


def _floors() -> dict[str, int]:
    """Module → floor, from the table in README.md."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    floors = {}
    for floor, modules in re.findall(r"^\| (\d+) \| ((?:`\w+` ?)+)\|", text, flags=re.M):
        for name in re.findall(r"`(\w+)`", modules):
            assert name not in floors, f"{name} stands twice in README.md's table of floors"
            floors[name] = int(floor)
    return floors


def _room(path: Path) -> str:
    """Module of the library that a file belongs to; a package is one module."""
    return path.relative_to(LIBRARY).with_suffix("").parts[0]


def _imports(path: Path) -> set[str]:
    """All modules that a file imports, at its top or later, by full name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute here"
            module = node.module or ""
            found.add(module)
            # Names imported from a package can be its modules.
            found |= {f"{module}.{a.name}" for a in node.names if module.startswith("cspine_lib")}
    return found


def _rooms_of(names: set[str], floors: dict[str, int]) -> set[str]:
    rooms = {name.split(".")[1] for name in names if name.startswith("cspine_lib.")}
    return rooms & set(floors)


def test_every_module_has_a_floor_and_no_floor_an_absent_module() -> None:
    rooms = {_room(path) for path in MODULES} - {"__init__"}
    assert set(_floors()) == rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_imports_go_down(path: Path) -> None:
    floors, here = _floors(), _room(path)
    used = _rooms_of(_imports(path), floors) - GROUND - {here}
    if here == "__init__":
        assert not used, "the package itself imports nothing of its own"
        return
    wrong = {name: floors[name] for name in used if floors[name] >= floors[here]}
    assert not wrong, f"{here} is on floor {floors[here]} and imports {wrong}"


@pytest.mark.parametrize("package", ["checks", "metrics", "phantom"])
def test_a_package_has_no_circle(package: str) -> None:
    files = {p.stem: p for p in MODULES if _room(p) == package and p.stem != "__init__"}
    prefix = f"cspine_lib.{package}."
    uses = {
        name: {m.removeprefix(prefix).split(".")[0] for m in _imports(path) if prefix in m}
        & set(files)
        for name, path in files.items()
    }
    done: set[str] = set()
    while len(done) < len(files):
        ready = {name for name, used in uses.items() if name not in done and used <= done}
        assert ready, f"a circle among {sorted(set(files) - done)}"
        done |= ready


def test_modules_are_short() -> None:
    lengths = {
        str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES
    }
    long = {name: n for name, n in lengths.items() if n > MAX_LINES}
    assert not long, f"over {MAX_LINES} lines: {long}"


def _loaded(code: str) -> set[str]:
    """Top-level modules in memory after running code in a fresh interpreter."""
    code += "\nimport sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_the_package_imports_next_to_nothing() -> None:
    loaded = _loaded("import cspine_lib")
    assert not loaded & {"torch", "timm", "torchvision", "pandas", "numpy", "scipy", "matplotlib"}


def test_modules_without_a_network_do_not_import_torch() -> None:
    names = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for p in MODULES
        if _room(p) not in HEAVY
    ]
    assert {"cspine_lib.metrics", "cspine_lib.cli", "cspine_lib.rsna"} <= set(names)
    loaded = _loaded("\n".join(f"import {name}" for name in names))
    assert not loaded & {"torch", "timm", "torchvision", "accelerate"}


def test_heavy_modules_exist() -> None:
    assert {_room(path) for path in MODULES} >= HEAVY


def test_nothing_reads_outside_the_checkout() -> None:
    """At run time no file of the maintainers' shared folder is needed."""
    for path in MODULES:
        assert "../shared" not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
