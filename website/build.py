"""Builds the website: ``python website/build.py [build/site]``.

Sources are laid out beside the result (``build/site-sources``), then Sphinx runs with warnings
as errors, then MathJax is put along.  No network is needed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from pages import ROOT, stage

HERE = Path(__file__).resolve().parent
MATHJAX_HASHES = HERE / "mathjax.sha256"
"""Hash and path of each file of MathJax that is served; lines as ``sha256sum`` writes them."""


def mathjax_files() -> dict[str, str]:
    """Path within MathJax → SHA-256, in hexadecimal digits."""
    lines = MATHJAX_HASHES.read_text(encoding="utf-8").splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def copy_mathjax(source: Path, target: Path) -> None:
    """Copy MathJax, file by file.

    Raises:
        SystemExit: a file is not the one that was pinned.
    """
    for path, digest in mathjax_files().items():
        content = (source / path).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise SystemExit(f"{path} of MathJax is not the pinned one: see {MATHJAX_HASHES.name}")
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(content)


def build(out: Path) -> int:
    """Build into ``out``; returns Sphinx's exit status."""
    sources = out.with_name(f"{out.name}-sources")
    stage(sources)
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-c", str(HERE), "-W", "--keep-going"]
    command += ["-q", "-d", f"{out}-doctrees", str(sources), str(out)]
    status = subprocess.run(command, cwd=ROOT).returncode
    package = metadata.distribution("sphinx-mathjax-offline")
    mathjax = Path(str(package.locate_file("sphinx-mathjax-offline/static/mathjax")))
    copy_mathjax(mathjax, out / "_static" / "mathjax")
    for template in (out / "_static").glob("*.html"):
        template.unlink()  # of the theme's own build; they are no pages
    if status == 0:
        print(f"the site is in {out}: open index.html, or serve the folder for its search")
    return status


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").resolve()))
