"""Links that open a notebook on Kaggle and in Colab, and the line that installs the library there.

``python -m cspine_lib.badges notebooks/*.ipynb`` writes both into the notebooks, from one
setting: the address under ``[project.urls] Repository`` in ``pyproject.toml``.  While it is not
set there are no badges, and the line knows the attached bundle only.  Outputs stay as they are.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cspine_lib.config.platforms import BUNDLE
from cspine_lib.errors import CspineError
from cspine_lib.runs import atomic_write_text

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
FOLDER = "notebooks"

KAGGLE_IMAGE = "https://kaggle.com/static/images/open-in-kaggle.svg"
COLAB_IMAGE = "https://colab.research.google.com/assets/colab-badge.svg"

# The kernel's own Python, for a kernel need not be the "python" of the shell.  In a checkout,
# and wherever the library is installed, the line ends at its first command.
GUARD = """!'{__import__("sys").executable}' -c "import cspine_lib" 2>/dev/null"""
# Kaggle's working folder lies beside input/; an unattached folder is passed over with a warning.
FROM_BUNDLE = (
    f"pip install -q --no-index -f ../input/{BUNDLE} -f ../input/datasets/*/{BUNDLE} "
    '"cspine-lib[weights,winners]"'
)


@dataclass(frozen=True)
class Repository:
    """A repository on GitHub, the one host that Kaggle and Colab both open notebooks from."""

    owner: str
    name: str
    branch: str = "main"

    @property
    def address(self) -> str:
        """Where it is cloned from."""
        return f"https://github.com/{self.owner}/{self.name}"

    def badges(self, notebook: str) -> str:
        """The two links of a notebook in the folder of notebooks, as one line of Markdown."""
        path = f"{self.owner}/{self.name}/blob/{self.branch}/{FOLDER}/{quote(notebook)}"
        kaggle = f"https://kaggle.com/kernels/welcome?src=https://github.com/{path}"
        colab = f"https://colab.research.google.com/github/{path}"
        return (
            f"[![Open in Kaggle]({KAGGLE_IMAGE})]({kaggle}) "
            f"[![Open in Colab]({COLAB_IMAGE})]({colab})"
        )


def parse_repository(address: str | None) -> Repository | None:
    """The repository at an address such as ``https://github.com/OWNER/NAME``; None for none.

    ``…/tree/BRANCH`` names another branch than ``main``.

    Raises:
        CspineError: an address of another kind.
    """
    if not address:
        return None
    found = re.fullmatch(
        r"https://github\.com/([A-Za-z0-9-]+)/([\w.-]+?)(?:\.git)?(?:/tree/([\w./-]+?))?/?", address
    )
    if found is None or "OWNER" in found.groups():
        raise CspineError(
            f"{address!r} is no address that Kaggle and Colab can open: write "
            "https://github.com/OWNER/NAME (or …/tree/BRANCH) under [project.urls] Repository "
            "in pyproject.toml, or leave it out"
        )
    return Repository(found[1], found[2], found[3] or "main")


def read_repository(pyproject: Path = PYPROJECT) -> Repository | None:
    """The repository that ``pyproject.toml`` names, if it names one.

    Raises:
        CspineError: no such file, or an address of another kind.
    """
    try:
        content = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CspineError(f"{pyproject} cannot be read: run this in a checkout") from error
    return parse_repository(content.get("project", {}).get("urls", {}).get("Repository"))


def install_line(repository: Repository | None) -> str:
    """First line of a set-up cell: installs the library where it is not there yet."""
    parts = [GUARD, FROM_BUNDLE]
    if repository is not None:
        branch = "" if repository.branch == "main" else f"@{repository.branch}"
        source = f"git+{repository.address}{branch}"
        parts.append(f'pip install -q "cspine-lib[weights,winners] @ {source}"')
    return " || ".join(parts)


def rendered(text: str, name: str, repository: Repository | None) -> str:
    """A notebook's JSON with the badges and the install line of a repository, or of none.

    Args:
        text: what the file holds.
        name: its file name.

    Raises:
        CspineError: no notebook, or one without title and set-up cell.
    """
    try:
        content = json.loads(text)
        title = next(c for c in content["cells"] if c["cell_type"] == "markdown")
        set_up = next(c for c in content["cells"] if c["cell_type"] == "code")
    except (ValueError, KeyError, TypeError, StopIteration):
        raise CspineError(f"{name} is no notebook with a title and a set-up cell") from None
    _replace(title, _with_badges(_source(title), name, repository))
    _replace(set_up, _with_install(_source(set_up), repository))
    end = "\n" if text.endswith("\n") else ""
    return json.dumps(content, indent=1, ensure_ascii=False) + end


def _with_badges(source: str, name: str, repository: Repository | None) -> str:
    """The title's cell, badges under its first line."""
    bare = re.sub(r"^\[!\[Open in Kaggle\].*\n\n?", "", source, flags=re.M)
    if repository is None:
        return bare
    title, _, rest = bare.partition("\n")
    return f"{title}\n\n{repository.badges(name)}\n\n{rest.lstrip(chr(10))}"


def _with_install(source: str, repository: Repository | None) -> str:
    """The set-up cell, install line first."""
    lines = [line for line in source.splitlines() if not line.startswith(GUARD)]
    return "\n".join([install_line(repository), *lines])


def _source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def _replace(cell: dict[str, Any], source: str) -> None:
    """As notebooks keep it: a list of lines with their ends."""
    cell["source"] = source.splitlines(keepends=True)


def write_badges(paths: Sequence[Path], repository: Repository | None) -> list[Path]:
    """Bring notebooks up to date; returns those that were changed.

    Raises:
        CspineError: a file that cannot be read or is no notebook.
    """
    changed = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CspineError(f"{path} cannot be read: {error}") from error
        new = rendered(text, path.name, repository)
        if new != text:
            atomic_write_text(path, new)
            changed.append(path)
    return changed


def main(arguments: Sequence[str]) -> int:
    """Write the badges of the notebooks that are named; 2 for an expected error."""
    try:
        if not arguments:
            raise CspineError("name the notebooks: python -m cspine_lib.badges notebooks/*.ipynb")
        repository = read_repository()
        changed = write_badges([Path(name) for name in arguments], repository)
    except CspineError as error:
        print(f"badges: {error}", file=sys.stderr)
        return 2
    where = repository.address if repository else "none (no Repository in pyproject.toml)"
    print(f"repository: {where}; {len(changed)} of {len(arguments)} notebooks changed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
