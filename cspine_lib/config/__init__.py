"""Profiles, folders, seed: what differs between a smoke run and the real experiment.

A profile is data.  ``CSPINE_PROFILE`` names one, ``CSPINE_DATA`` names a data
folder, ``CSPINE_RUNS`` and ``CSPINE_HOME`` move what is written.
"""

from __future__ import annotations

import os
from pathlib import Path

from cspine_lib.config.platforms import home_folder, scratch_folder
from cspine_lib.config.presets import PROFILES
from cspine_lib.config.profile import NOT_FOR, PhantomSize, Profile, Weights, settings_of
from cspine_lib.errors import CspineError

__all__ = [
    "DEFAULT_PROFILE",
    "DEFAULT_SEED",
    "NOT_FOR",
    "PROFILES",
    "PhantomSize",
    "Profile",
    "Weights",
    "data_home",
    "device_name",
    "experiment_folder",
    "get_profile",
    "home",
    "runs_home",
    "settings_of",
]

DEFAULT_PROFILE = "laptop"
DEFAULT_SEED = 2022


def get_profile(name: str | None = None) -> Profile:
    """The named profile, else the one in ``CSPINE_PROFILE``, else ``laptop``.

    Raises:
        CspineError: no profile of that name.
    """
    name = name or os.environ.get("CSPINE_PROFILE") or DEFAULT_PROFILE
    if name not in PROFILES:
        raise CspineError(f"unknown profile {name!r}; known profiles: {', '.join(PROFILES)}")
    return PROFILES[name]


def home() -> Path:
    """Folder that holds ``data/`` and ``runs/``: ``CSPINE_HOME``, else the checkout, else the
    place where the platform (Kaggle, Colab) keeps what is written, else here."""
    return _chosen_home() or home_folder()


def _chosen_home() -> Path | None:
    """``CSPINE_HOME``, or a checkout that can be written to: one that is mounted cannot."""
    if os.environ.get("CSPINE_HOME"):
        return Path(os.environ["CSPINE_HOME"])
    checkout = Path(__file__).resolve().parent.parent.parent
    found = (checkout / "pyproject.toml").exists() and os.access(checkout, os.W_OK)
    return checkout if found else None


def data_home() -> Path:
    """Folder under which data sets and caches are made and looked for.

    On Kaggle not beside the runs, but where nothing is saved: it can all be made again.
    """
    return (_chosen_home() or scratch_folder() or home()) / "data"


def runs_home() -> Path:
    """Folder under which training leaves its runs: ``CSPINE_RUNS``, else ``runs/``."""
    return Path(os.environ["CSPINE_RUNS"]) if os.environ.get("CSPINE_RUNS") else home() / "runs"


def experiment_folder(profile: Profile, fingerprint: str) -> Path:
    """Folder of the five-fold runs of a data set under a profile."""
    return runs_home() / f"cv-{profile.name}-{fingerprint[:8]}"


def device_name() -> str:
    """``cuda``, ``mps`` or ``cpu``: the best that torch finds, or ``CSPINE_DEVICE``."""
    if os.environ.get("CSPINE_DEVICE"):
        return os.environ["CSPINE_DEVICE"]
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
