"""What was counted in RSNA's own files: label patterns, box sizes, published scores.

The figures are aggregates of the RSNA 2022 Cervical Spine Fracture Detection
training set and of public write-ups; ``facts.json`` names them.  They ship with
the package, so that a phantom can be drawn and a metric checked without the set.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _loaded() -> dict[str, Any]:
    text = files("cspine_lib").joinpath("facts.json").read_text(encoding="utf-8")
    return json.loads(text)


def facts(section: str) -> dict[str, Any]:
    """A copy of one section: labels, boxes, masks, slices, pixels, metric or published.

    Raises:
        KeyError: no section of that name.
    """
    return json.loads(json.dumps(_loaded()[section]))


def pattern_counts() -> dict[str, int]:
    """How many of the 2019 training studies have each joint pattern of broken levels.

    Keys are seven bits, C1 first: ``"0000011"`` is C6 and C7.
    """
    return dict(_loaded()["labels"]["pattern_counts"])


def boxed_share() -> float:
    """Share of the positive training studies that have bounding boxes (235 of 961)."""
    return _loaded()["boxes"]["studies"] / _loaded()["labels"]["patient_overall_positive"]


def feet_first_share() -> float:
    """Share of training studies whose file numbers run feet to head (197 of 2019)."""
    labels, slices = _loaded()["labels"], _loaded()["slices"]
    return slices["studies_numbered_feet_to_head"] / labels["studies"]
