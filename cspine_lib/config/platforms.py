"""Which platform this is (Kaggle, Colab, some Jupyter, none): mounts, GPUs, where to write.

Everything is told from environment variables and folders.  torch is not imported: whether it
can use a GPU is another question, which ``config.device_name`` answers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Name = Literal["kaggle", "colab", "jupyter", "plain"]

ROOT = "CSPINE_ROOT"
"""Variable that names a folder to look at in place of ``/``: a rehearsal of another platform."""

KAGGLE_RUN = "KAGGLE_KERNEL_RUN_TYPE"
"""``Interactive`` in Kaggle's editor, ``Batch`` when a version is run and saved."""
COLAB_SIGNS = ("COLAB_RELEASE_TAG", "COLAB_GPU", "COLAB_BACKEND_VERSION")

BUNDLE = "cspine-bundle"
"""Name of the Kaggle data set that ``make kaggle`` writes, hence of the folder it is mounted as."""

TITLES: dict[Name, str] = {
    "kaggle": "Kaggle",
    "colab": "Colab",
    "jupyter": "Jupyter",
    "plain": "no notebook",
}


@dataclass(frozen=True)
class Platform:
    """Where this process runs, and what the place offers."""

    name: Name
    root: Path
    batch: bool = False
    """Nobody sits in front of it."""

    @property
    def hosted(self) -> bool:
        """Whether the machine is lent for a session, with its own torch and its own mounts."""
        return self.name in ("kaggle", "colab")

    @property
    def keep(self) -> Path | None:
        """Folder whose contents outlive the session, else the session's own; None: anywhere."""
        return self.root / _KEEP[self.name] if self.hosted else None

    @property
    def scratch(self) -> Path | None:
        """Folder for what can be made again: on Kaggle it is not saved with the notebook."""
        return self.root / _SCRATCH[self.name] if self.hosted else None


_KEEP = {"kaggle": "kaggle/working", "colab": "content"}
# Kaggle saves all of working/ (20 GB at most) with each version; thousands of phantom slices
# do not belong there.
_SCRATCH = {"kaggle": "kaggle/temp", "colab": "content"}


def root_folder(env: Mapping[str, str] | None = None) -> Path:
    """``/``, or the folder that ``CSPINE_ROOT`` puts in its place."""
    return Path((os.environ if env is None else env).get(ROOT) or "/")


def find_platform(env: Mapping[str, str] | None = None, root: Path | None = None) -> Platform:
    """The platform that this process runs on.

    Args:
        env: environment variables; None: this process's.
        root: folder in place of ``/``; None: see ``CSPINE_ROOT``.
    """
    env = os.environ if env is None else env
    root = root_folder(env) if root is None else root
    return Platform(_name(env, root), root, batch=env.get(KAGGLE_RUN) == "Batch")


def _name(env: Mapping[str, str], root: Path) -> Name:
    """Kaggle's image is made from Colab's, so that Kaggle's own variable is asked first;
    and Colab can mount Kaggle's data sets, so that the folder is asked after Colab's variables."""
    if env.get(KAGGLE_RUN):
        return "kaggle"
    if any(env.get(sign) for sign in COLAB_SIGNS):
        return "colab"
    if (root / "kaggle/input").is_dir():
        return "kaggle"
    if _has_google_colab():
        return "colab"
    return "jupyter" if "ipykernel" in sys.modules else "plain"


def _has_google_colab() -> bool:
    if "google.colab" in sys.modules:
        return True
    try:
        return find_spec("google.colab") is not None
    except (ImportError, ValueError):  # no package "google" at all, or a broken one
        return False


# --- what is mounted


def competition_mounts(name: str, root: Path | None = None) -> tuple[Path, ...]:
    """Where Kaggle mounts a competition's data, in older and newer sessions."""
    inputs = (root or root_folder()) / "kaggle/input"
    return inputs / name, inputs / "competitions" / name


def drive_mounts(name: str, root: Path | None = None) -> tuple[Path, ...]:
    """Where a data set would be on a Google Drive that Colab has mounted; empty without one."""
    drive = (root or root_folder()) / "content/drive/MyDrive"
    return (drive / name,) if drive.is_dir() else ()


# --- GPUs


def gpu_names(env: Mapping[str, str] | None = None, root: Path | None = None) -> tuple[str, ...]:
    """Models of the NVIDIA GPUs that the driver shows and ``CUDA_VISIBLE_DEVICES`` leaves."""
    env = os.environ if env is None else env
    root = root_folder(env) if root is None else root
    described = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    names = [_model(path) for path in described]
    if not names:  # some containers have the devices only
        names = ["NVIDIA GPU"] * len(list((root / "dev").glob("nvidia[0-9]*")))
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(names)
    return _visible(names, [part.strip() for part in visible.split(",")])


def _visible(names: list[str], chosen: list[str]) -> tuple[str, ...]:
    """As CUDA reads the variable: up to the first entry that is no device."""
    left = []
    for part in chosen:
        if part.isdecimal():
            if int(part) >= len(names):
                break
            left.append(names[int(part)])
        elif part.startswith(("GPU-", "MIG-")) and names:
            left.append(names[0])
        else:
            break
    return tuple(left)


def _model(information: Path) -> str:
    """The line ``Model: …`` of a file of the driver."""
    try:
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return models[0] if models and models[0] else "NVIDIA GPU"


# --- where to write


def home_folder() -> Path:
    """Folder for runs where there is no checkout to hold them: the platform's, else the current."""
    return find_platform().keep or Path.cwd()


def scratch_folder() -> Path | None:
    """Folder for what can be made again, if the platform has one of its own."""
    return find_platform().scratch


def in_words(platform: Platform, gpus: tuple[str, ...], device: str) -> str:
    """One line about a hosted platform: its GPUs, whether torch uses them, what is kept.

    Args:
        device: what ``config.device_name`` says.
    """
    kinds = [f"{gpus.count(name)} × {name}" for name in dict.fromkeys(gpus)]
    words = [f"{TITLES[platform.name]}, {' and '.join(kinds) or 'no GPU'}"]
    if gpus and device == "cpu":
        words.append("its torch cannot use the GPU")
    if not gpus:
        words.append("a GPU is switched on in the session's settings")
    if platform.name == "kaggle":
        words.append("runs are saved with the notebook, data and caches are not")
    else:
        words.append("what is written goes with the session")
    return "; ".join(words)
