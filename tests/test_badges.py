"""Badges and install lines come from one setting; what is committed is what it generates."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cspine_lib import badges
from cspine_lib.badges import parse_repository, read_repository, rendered, write_badges
from cspine_lib.errors import CspineError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SET = parse_repository("https://github.com/ada/spine-course")


def sources(text, kind):
    cells = json.loads(text)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def links(text):
    return re.findall(r"\]\((https?://[^)]+)\)", sources(text, "markdown")[0])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_is_committed_is_what_the_setting_generates(path):
    text = path.read_text(encoding="utf-8")
    assert text == rendered(text, path.name, read_repository()), (
        "run: python -m cspine_lib.badges notebooks/*.ipynb"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_setting_and_clearing_the_address_leaves_no_trace(path):
    bare = rendered(path.read_text(encoding="utf-8"), path.name, None)
    with_badges = rendered(bare, path.name, SET)
    assert "open-in-kaggle" not in bare and "colab-badge" not in bare
    assert with_badges != bare
    assert rendered(with_badges, path.name, SET) == with_badges
    assert rendered(with_badges, path.name, None) == bare
    assert sources(with_badges, "markdown")[1:] == sources(bare, "markdown")[1:]
    assert sources(with_badges, "code")[1:] == sources(bare, "code")[1:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_badges_lead_to_this_notebook_in_the_repository(path):
    text = rendered(path.read_text(encoding="utf-8"), path.name, SET)
    title = sources(text, "markdown")[0]
    assert title.startswith("# ") and title.splitlines()[2].startswith("[![Open in Kaggle]")
    blob = f"ada/spine-course/blob/main/notebooks/{path.name}"
    assert links(text)[0].startswith(badges.KAGGLE_IMAGE) or blob in links(text)[0]
    assert f"https://kaggle.com/kernels/welcome?src=https://github.com/{blob}" in title
    assert f"https://colab.research.google.com/github/{blob}" in title
    assert (ROOT / "notebooks" / path.name).exists()
    assert len(sources(text, "code")[0].splitlines()) <= 10


@pytest.mark.parametrize(
    ("address", "clone", "branch"),
    [
        ("https://github.com/a/b", "https://github.com/a/b", "main"),
        ("https://github.com/a/b/", "https://github.com/a/b", "main"),
        ("https://github.com/a/b.git", "https://github.com/a/b", "main"),
        ("https://github.com/a/b.c/tree/dev", "https://github.com/a/b.c", "dev"),
        ("https://github.com/a/b/tree/feature/x", "https://github.com/a/b", "feature/x"),
    ],
)
def test_ways_to_write_the_address(address, clone, branch):
    found = parse_repository(address)
    assert (found.address, found.branch) == (clone, branch)
    assert f"/blob/{branch}/notebooks/x.ipynb" in found.badges("x.ipynb")
    assert ("@dev" in badges.install_line(found)) == (branch == "dev")


@pytest.mark.parametrize(
    "address",
    [
        "github.com/a/b",
        "http://github.com/a/b",
        "https://gitlab.com/a/b",
        "https://github.com/a",
        "https://github.com/OWNER/NAME",
        "https://github.com/a/b;rm -rf x",
        "https://github.com/a/b) [x](http://evil",
        'https://github.com/a/b" || curl x',
    ],
)
def test_other_addresses_are_refused(address):
    with pytest.raises(CspineError, match="OWNER/NAME"):
        parse_repository(address)


def test_no_address_no_badges(tmp_path):
    assert parse_repository("") is None and parse_repository(None) is None
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "x"\n')
    assert read_repository(project) is None
    project.write_text('[project.urls]\nRepository = "https://github.com/a/b"\n')
    assert read_repository(project) == parse_repository("https://github.com/a/b")
    with pytest.raises(CspineError, match="checkout"):
        read_repository(tmp_path / "none.toml")


def test_the_command_is_idempotent_and_names_what_it_did(tmp_path, monkeypatch, capsys):
    copy = tmp_path / NOTEBOOKS[0].name
    shutil.copy(NOTEBOOKS[0], copy)
    assert write_badges([copy], SET) == [copy] and write_badges([copy], SET) == []
    assert badges.main([str(copy)]) == 0
    assert "1 of 1" in capsys.readouterr().out
    assert badges.main([str(copy)]) == 0
    assert "0 of 1" in capsys.readouterr().out
    (tmp_path / "broken.ipynb").write_text("{}")
    for wrong in ([], [str(tmp_path / "broken.ipynb")], [str(tmp_path / "none.ipynb")]):
        assert badges.main(wrong) == 2
        assert capsys.readouterr().err.count("\n") == 1


def run_line(repository, folder, python_path):
    """What IPython would hand to the shell, with a pip that only notes what it is asked."""
    log = folder / "asked.txt"
    (folder / "bin").mkdir()
    fake = folder / "bin/pip"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexit 1\n')
    fake.chmod(0o755)
    line = badges.install_line(repository).removeprefix("!")
    line = line.replace('{__import__("sys").executable}', sys.executable)
    env = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "PYTHONPATH": python_path}
    work = folder / "kaggle/working"
    work.mkdir(parents=True)
    # Without site-packages the library is where PYTHONPATH says, or nowhere.
    line = line.replace(f"'{sys.executable}'", f"'{sys.executable}' -S")
    done = subprocess.run(["sh", "-c", line], cwd=work, env=env, capture_output=True, text=True)
    return done, log.read_text().splitlines() if log.exists() else []


def test_the_install_line_does_nothing_where_the_library_is(tmp_path):
    done, asked = run_line(SET, tmp_path, str(ROOT))
    assert (done.returncode, done.stdout, done.stderr, asked) == (0, "", "", [])


@pytest.mark.parametrize("mount", ["cspine-bundle", "datasets/ada/cspine-bundle"])
@pytest.mark.parametrize("repository", [None, SET])
def test_the_install_line_asks_the_bundle_then_the_repository(mount, repository, tmp_path):
    (tmp_path / "kaggle/input" / mount).mkdir(parents=True)
    done, asked = run_line(repository, tmp_path, "")
    assert done.returncode == 1
    assert "--no-index" in asked[0] and f"-f ../input/{mount}" in asked[0]
    assert asked[0].endswith("cspine-lib[weights,winners]")
    wanted = ["install -q cspine-lib[weights,winners] @ git+https://github.com/ada/spine-course"]
    assert asked[1:] == ([] if repository is None else wanted)


def test_ipython_expands_the_line_to_this_python():
    from IPython.utils.text import DollarFormatter

    line = badges.install_line(SET).removeprefix("!")
    expanded = DollarFormatter().vformat(line, args=[], kwargs={})
    assert expanded.startswith(f"'{sys.executable}' -c \"import cspine_lib\" 2>/dev/null || pip")
