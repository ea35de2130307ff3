"""Tables of the chapter on stage 2: ablations, agreement of attention and boxes, levels.

Everything is read from files or given as arrays; nothing here runs a network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import TARGETS
from cspine_lib.metrics import Interval, ratio_ci
from cspine_lib.results import ABLATIONS, read_predictions, recorded_home
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import RunRecord, read_json
from cspine_lib.scoring import score_arrays

SURE_FRAMES = 0.999
"""A level whose boxed frames are all of them cannot tell attention from chance."""


# --- ablations -------------------------------------------------------------------------------


def read_ablations(profile: str, folder: str | Path | None = None) -> dict[str, Any] | None:
    """What ``cspine ablate`` left for a profile, else for another one, else None."""
    place = Path(folder or recorded_home())
    others = sorted(place.glob(f"{ABLATIONS}*.json"))
    for path in (place / f"{ABLATIONS}{profile}.json", *others):
        if path.exists():
            return read_json(path)
    return None


def ablation_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """One row per variant, as text; differences are paired, to the full model."""
    rows = [
        {
            "variant": row["says"],
            "method": row["method"],
            "loss [95%]": cell(row, "loss"),
            "minus full [95%]": cell(row, "loss_minus_full"),
            "AUROC [95%]": cell(row, "auroc"),
            "AUROC minus full [95%]": cell(row, "auroc_minus_full"),
            "s to train": f"{row['seconds_training']:.0f}",
            "s per study": f"{row['seconds_per_study']:.2f}",
        }
        for row in report["variants"]
    ]
    return pd.DataFrame(rows).set_index("variant")


def cell(row: Mapping[str, Any], name: str) -> str:
    """A value of a report with its interval, as text; empty where the row has none."""
    if name not in row:
        return ""
    low, high = row[f"{name}_ci95"]
    return str(Interval(row[name], low, high)).replace("-", "−")


def ablation_verdicts(report: Mapping[str, Any], name: str = "auroc") -> dict[str, list[str]]:
    """What the paired intervals allow to say: which variants are worse, better, undecided.

    Args:
        name: ``loss`` or ``auroc``.
    """
    worse_sign = 1 if name == "loss" else -1
    out: dict[str, list[str]] = {"worse": [], "better": [], "not told apart": []}
    for row in report["variants"]:
        if f"{name}_minus_full" not in row:
            continue
        low, high = row[f"{name}_minus_full_ci95"]
        if not (low > 0 or high < 0):
            out["not told apart"].append(row["says"])
        else:
            out["worse" if low * worse_sign > 0 else "better"].append(row["says"])
    return out


# --- attention and boxes ---------------------------------------------------------------------


def boxed_levels(table: pd.DataFrame) -> pd.DataFrame:
    """The broken levels of which some frames, and not all, hold a slice with a fracture box."""
    some = table["boxed"].map(lambda hit: 0 < np.mean(hit) < SURE_FRAMES)
    return table[table["broken"] & some]


def habits(table: pd.DataFrame) -> dict[int, npt.NDArray[np.float64]]:
    """Per fold the mean weights (T,) of levels without any boxed slice: attention by habit."""
    free = table[~table["boxed"].map(np.any) & ~table["broken"]]
    folds = sorted(set(free["fold"]))
    return {k: np.stack(list(free.loc[free["fold"] == k, "weights"])).mean(axis=0) for k in folds}


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Share of the weight that falls on frames with a boxed slice, level by level.

    Args:
        table: of ``sequence_lab.boxed_attention``.

    Returns:
        Rows of :func:`boxed_levels` with ``attention``; ``flat``, what equal weights would
        give; and ``habit``, what the fold's mean weights of levels without a box would.
    """
    usual, rows = habits(table), boxed_levels(table).copy()
    rows["attention"] = [
        float(w[hit].sum()) for w, hit in zip(rows["weights"], rows["boxed"], strict=True)
    ]
    rows["flat"] = rows["boxed"].map(np.mean).astype(float)
    rows["habit"] = [
        float(usual[fold][hit].sum()) if fold in usual else math.nan
        for fold, hit in zip(rows["fold"], rows["boxed"], strict=True)
    ]
    return rows


def by_study(table: pd.DataFrame, values: npt.ArrayLike) -> Interval:
    """Mean over rows with its 95% interval, studies drawn with all of their rows."""
    each = pd.DataFrame(
        {"study": table["study"].to_numpy(), "value": np.asarray(values, dtype=float)}
    )
    sums = each.dropna().groupby("study")["value"].agg(["sum", "size"])
    if sums.empty:
        return Interval(math.nan, math.nan, math.nan)
    return ratio_ci(sums["sum"], sums["size"])


def agreement_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean shares over the levels of :func:`agreement`, and attention minus each chance."""
    shares = {name: str(by_study(rows, rows[name])) for name in ("attention", "habit", "flat")}
    minus = {
        name: str(by_study(rows, rows["attention"] - rows[name])) for name in ("habit", "flat")
    }
    return pd.DataFrame(
        {
            "share of the weight on boxed frames [95%]": shares,
            "attention minus it [95%]": {"attention": "", **minus},
        }
    )


def falls_summary(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean of ``fall`` or ``move`` by rank of the frame, with 95% intervals over studies.

    Args:
        table: of ``sequence_lab.falls_by_rank``.

    Returns:
        ``rank``, ``value``, ``low``, ``high``.
    """
    rows = [
        {"rank": rank, **by_study(part, part[column])._asdict()}
        for rank, part in table.groupby("rank")
    ]
    return pd.DataFrame(rows, columns=["rank", "value", "low", "high"])


def first_minus_others(table: pd.DataFrame, column: str) -> Interval:
    """``fall`` or ``move`` without the frame of largest weight minus the mean without another."""
    first = table[table["rank"] == 1].set_index(["study", "level"])[column]
    others = table[table["rank"] > 1].groupby(["study", "level"])[column].mean()
    each = (first - others).dropna().rename("value").reset_index()
    return by_study(each, each["value"])


# --- levels ----------------------------------------------------------------------------------


def recorded_cv(
    method: str, profile: str, dataset: RsnaDataset, folder: str | Path | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None:
    """Labels and out-of-fold probabilities (N, 8) of a recorded run on this data set, or None."""
    place = Path(folder or recorded_home())
    path = place / f"{method}-{profile}-cv.json"
    if not path.exists():
        return None
    record = RunRecord.read(path)
    if record.fingerprint != dataset.fingerprint():
        return None
    table = read_predictions(place / record.predictions)
    levels = np.array([dataset.labels(uid) for uid in table.index])
    y = np.column_stack([levels.any(axis=1), levels]).astype(np.int64)
    return y, table[list(TARGETS)].to_numpy()


def level_table(**scored: tuple[npt.ArrayLike, npt.ArrayLike]) -> pd.DataFrame:
    """AUROC of each target for some sets of predictions; n/a under five positives.

    Args:
        scored: name → labels (N, 8) and probabilities (N, 8).
    """
    columns: dict[str, Sequence[str]] = {}
    for name, (y, p) in scored.items():
        score = score_arrays(y, p)
        targets = [score.targets[target] for target in TARGETS]
        columns[f"broken, {name}"] = [str(t.positives) for t in targets]
        columns[f"AUROC, {name} [95%]"] = [
            "n/a" if math.isnan(t.auroc.value) else str(t.auroc) for t in targets
        ]
    return pd.DataFrame(columns, index=list(TARGETS))
