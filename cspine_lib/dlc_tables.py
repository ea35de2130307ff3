"""Deck A's claims in tables, from recorded runs: who beats whom, and the grid of backbones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.comparison import Group, load_groups
from cspine_lib.metrics import Interval, macro_auroc_ci
from cspine_lib.results import results_home
from cspine_lib.runs import read_json

METHODS = ("dlc", "single_classifier", "forest_classifier")
CLAIMS = {
    "DLC beats the single classifier": ("dlc", "single_classifier"),
    "DLC beats the forest-enhanced one": ("dlc", "forest_classifier"),
    "forests improve the single classifier": ("forest_classifier", "single_classifier"),
}
"""What is claimed → whose loss should be the lower one; the third is what the second rests on."""


def groups_of(profile: str, folder: str | Path | None = None) -> list[Group]:
    """Recorded runs of a profile's own sets that have at least two of the three methods."""
    found = [g for g in load_groups(folder) if g.records[0].profile == profile]
    return [g for g in found if sum(method in g.p for method in METHODS) > 1]


def missing_records(profile: str, folder: str | Path | None = None) -> list[str]:
    """Files of the three methods that are not recorded yet, out of fold and on ``final``."""
    place = Path(folder or results_home())
    names = [f"{method}-{profile}-{tag}.json" for method in METHODS for tag in ("cv", "final")]
    return [name for name in names if not (place / name).exists()]


def claim_table(groups: Sequence[Group]) -> pd.DataFrame:
    """Each claim on each group: paired differences of loss and AUROC, and what they say."""
    rows = []
    for group in groups:
        for claim, (one, other) in CLAIMS.items():
            if group.y is None or not {one, other} <= set(group.p):
                continue
            loss = group.difference(one, other)
            area = auroc_difference(group.y, group.p[one], group.p[other])
            rows.append(
                {
                    "measured on": group.title,
                    "claim": claim,
                    "loss, first − second [95%]": _words(loss),
                    "level AUROC, first − second [95%]": _words(area),
                    "verdict by loss": verdict(loss),
                }
            )
    columns = ["measured on", "claim"]
    return pd.DataFrame(rows).set_index(columns) if rows else pd.DataFrame()


def auroc_difference(
    y: npt.ArrayLike, p: npt.NDArray[np.float64], other: npt.NDArray[np.float64]
) -> Interval:
    """Mean AUROC over the seven levels of one method minus that of another, paired."""
    levels = np.asarray(y)[:, 1:]
    return macro_auroc_ci(levels, p[:, 1:], minus=other[:, 1:])


def verdict(difference: Interval) -> str:
    """What a difference of losses says of "the first beats the second"."""
    if not difference.excludes_zero:
        return "not told apart"
    return "holds" if difference.value < 0 else "the other way round"


def _words(value: Interval) -> str:
    return str(value).replace("-", "−")


# --- the grid ------------------------------------------------------------------------------------


def read_grid(profile: str, folder: str | Path | None = None) -> dict[str, Any] | None:
    """What ``python -m cspine_lib.norm_grid`` has written for a profile, or None."""
    path = Path(folder or results_home()) / "norm_grid" / f"{profile}.json"
    return read_json(path) if path.exists() else None


def grid_table(grid: dict[str, Any]) -> pd.DataFrame:
    """Backbone and weights in rows, normalisations in columns: AUROC with its interval, as text.

    A cell that was not run says why.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cell in grid["cells"]:
        row = rows.setdefault((cell["backbone"].split(".")[0], cell["weights"]), {})
        row[cell["normalisation"]] = _cell(cell)
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis(["backbone", "weights"])


def _cell(cell: dict[str, Any]) -> str:
    if cell["status"] != "trained":
        return str(cell["status"])
    low, high = cell["auroc_ci95"]
    if cell["auroc"] is None or low is None:
        return "n/a"
    return f"{cell['auroc']:.3f} [{low:.3f}, {high:.3f}]"
