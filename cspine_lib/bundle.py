"""The bundle for Kaggle, made from a checkout: ``python -m cspine_lib.bundle``, or ``make kaggle``.

``dataset/`` becomes a Kaggle data set: the library's wheel, wheels of what Kaggle's image lacks,
ImageNet weights, and a trained run if one is named.  ``kernel/`` becomes a kernel that predicts
with it; without a run there is nothing to predict with, and no kernel.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cspine_lib.bundle_parts import (
    BROUGHT,
    CODE_FILE,
    GLIBC_TAGS,
    PYTHONS,
    checked_username,
    dataset_metadata,
    kernel_metadata,
)
from cspine_lib.errors import CspineError
from cspine_lib.runs import Part, RunRecord, atomic_write_text, read_json

CHECKOUT = Path(__file__).resolve().parent.parent
KERNEL_SOURCE = CHECKOUT / "kaggle" / CODE_FILE
DATASET_JSON, KERNEL_JSON, CONTENTS = "dataset-metadata.json", "kernel-metadata.json", "CONTENTS.md"
WEIGHTS = "model.safetensors"
"""What prediction needs of a trained network's folder."""


def build_bundle(
    out: Path,
    username: str | None,
    run: Path | None = None,
    *,
    pythons: Sequence[str] = PYTHONS,
) -> Path:
    """Make the bundle in ``out``, whole or not at all; an older bundle there is replaced.

    Args:
        username: Kaggle user name of the owner.
        run: folder of a finished run of ``cspine train``; None: no run and no kernel.
        pythons: versions of Python that compiled wheels are brought for.

    Raises:
        CspineError: no user name, no such run, ``out`` holds something else, no checkout, or pip
            could not get a wheel.
    """
    owner = checked_username(username)
    if not KERNEL_SOURCE.is_file():
        raise CspineError("a bundle is made in a checkout of the project: run this there")
    if out.exists() and not _is_bundle(out):
        raise CspineError(f"{out} holds something else: name a new folder with --out")
    making = out.with_name(f".making-{out.name}")
    shutil.rmtree(making, ignore_errors=True)
    dataset = making / "dataset"
    dataset.mkdir(parents=True)
    try:
        if run is not None:
            copy_run(run, dataset / "run")
            _write_kernel(making / "kernel", owner)
        _get_wheels(dataset, pythons)
        _write_json(dataset / DATASET_JSON, dataset_metadata(owner, with_run=run is not None))
        (dataset / CONTENTS).write_text(contents(dataset), encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        making.rename(out)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return out


def _is_bundle(folder: Path) -> bool:
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    return found <= {"dataset", "kernel"} and (not found or "dataset" in found)


def _write_kernel(folder: Path, owner: str) -> None:
    folder.mkdir()
    shutil.copyfile(KERNEL_SOURCE, folder / CODE_FILE)
    _write_json(folder / KERNEL_JSON, kernel_metadata(owner))


def _write_json(path: Path, content: dict[str, object]) -> None:
    import json

    atomic_write_text(path, json.dumps(content, indent=1) + "\n")


# --- the run


def copy_run(run: Path, to: Path) -> None:
    """Copy what prediction needs of a run, and nothing of the data that it was trained on.

    Crops, levels and the names of studies stay where they are: the terms of the data do not
    allow to pass them on.

    Raises:
        CspineError: no finished run of the two-stage pipeline.
    """
    if not (run / "run.json").is_file() or not (run / "two_stage.json").is_file():
        raise CspineError(f"{run} is no finished run of 'cspine train': name one with RUN=")
    facts = read_json(run / "two_stage.json")
    for name in (*facts["localisers"], "classifier"):
        if not (run / name).resolve().is_relative_to(run.resolve()):
            raise CspineError(f"{run} keeps its networks elsewhere: name a run of 'cspine train'")
        if not (run / name / WEIGHTS).is_file():
            raise CspineError(f"{run / name} has no {WEIGHTS}: run the training to its end")
        (to / name).mkdir(parents=True)
        shutil.copyfile(run / name / WEIGHTS, to / name / WEIGHTS)
    shutil.copyfile(run / "two_stage.json", to / "two_stage.json")
    without_studies(RunRecord.read(run / "run.json")).write(to / "run.json")


def without_studies(record: RunRecord) -> RunRecord:
    """The record without a single study's name, and without folders of this machine."""
    parts = [_without_studies(part) for part in record.parts]
    return replace(record, parts=parts, scored=[], patients={}, command="cspine train")


def _without_studies(part: Part) -> Part:
    return replace(part, train=[], val=[], test=[])


# --- the wheels


def _get_wheels(folder: Path, pythons: Sequence[str]) -> None:
    """The library's own wheel, and the others at the versions of ``constraints.txt``."""
    _pip("wheel", "--no-deps", "-w", folder, CHECKOUT)
    pins = _pins()
    names = [f"{part.name}=={pins[part.name]}" for part in BROUGHT]
    tags = [argument for tag in GLIBC_TAGS for argument in ("--platform", tag)]
    for python in pythons:
        binary = ("--only-binary", ":all:", "--python-version", python, *tags)
        _pip("download", "--no-deps", *binary, "-d", folder, *names)


def _pins() -> dict[str, str]:
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if "==" in line]
    return {name.lower().replace("_", "-"): version.strip() for name, version in pins}


def _pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise CspineError(
            f"pip could not get a wheel, is there a network? {' '.join(errors)[:300]}"
        )


def contents(dataset: Path) -> str:
    """``CONTENTS.md``: each wheel, its size, and why it is there."""
    why = {part.name.replace("-", "_"): part.why for part in BROUGHT}
    lines = ["| file | MB | why |", "| --- | --- | --- |"]
    for path in sorted(dataset.glob("*.whl")):
        name = re.split(r"-\d", path.name)[0].lower()
        size = path.stat().st_size / 1e6
        lines.append(f"| {path.name} | {size:.1f} | {why.get(name, 'the library')} |")
    if (dataset / "run").is_dir():
        size = sum(p.stat().st_size for p in (dataset / "run").rglob("*") if p.is_file()) / 1e6
        lines.append(f"| run/ | {size:.1f} | a trained run, without data of any study |")
    return "\n".join(lines) + "\n"


# --- the command


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the bundle that the arguments ask for; 2 for an expected error."""
    parser = argparse.ArgumentParser(prog="bundle", description="Make the bundle for Kaggle.")
    parser.add_argument("--out", type=Path, default=Path("dist/kaggle"))
    parser.add_argument("--run", type=Path, help="a finished run of 'cspine train'")
    options = parser.parse_args(arguments)
    try:
        out = build_bundle(options.out, os.environ.get("KAGGLE_USERNAME"), options.run)
    except CspineError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 2
    print((out / "dataset" / CONTENTS).read_text(encoding="utf-8"))
    print(f"upload:  kaggle datasets create -p {out / 'dataset'} --dir-mode zip")
    if options.run is None:
        print("no run was named (RUN=...), so there is no kernel: the bundle serves the notebooks")
    else:
        print(f"then:    kaggle kernels push -p {out / 'kernel'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
