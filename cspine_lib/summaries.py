"""Recorded runs in words and for programs: what ``cspine results`` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from cspine_lib.comparison import Group
from cspine_lib.metrics import Interval
from cspine_lib.results import CONSTANT_NOTE, NO_RECORDS
from cspine_lib.runs import RunRecord


def shown(groups: Sequence[Group], as_json: bool = False) -> str:
    """What ``cspine results`` prints."""
    if as_json:
        return json.dumps(as_objects(groups), indent=1, ensure_ascii=False)
    return "\n\n\n".join(map(as_text, groups)) or NO_RECORDS


def as_objects(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """For programs: one object per method and profile, plain JSON types.

    ``minus`` has the paired difference to every other method of the group;
    ``seconds_per_study`` is None where prediction was not timed (training is not meant).
    """
    return [_object(group, record) for group in groups for record in group.records]


def _object(group: Group, record: RunRecord) -> dict[str, Any]:
    s = record.scores
    known = [m for m in group.methods if m in group.p and group.y is not None]
    return {
        "method": record.method,
        "profile": record.profile,
        "data": record.data,
        "fingerprint": record.fingerprint,
        "n_studies": s["n_studies"],
        "n_folds": record.n_folds,
        "loss": s["loss"],
        "ci95": s["ci95"],
        "constant_loss": s["constant_loss"],
        "loss_minus_constant": s["loss_minus_constant"],
        "loss_minus_constant_ci95": s["loss_minus_constant_ci95"],
        "level_auroc": s["level_auroc"],
        "level_auroc_ci95": s["level_auroc_ci95"],
        "seconds_per_study": s.get("seconds_per_study"),
        "training_seconds": record.seconds,
        "device": record.device,
        "weights": record.weights,
        "minus": {
            other: _plain(group.difference(record.method, other))
            for other in known
            if record.method in known and other != record.method
        },
    }


def _plain(interval: Interval) -> dict[str, Any]:
    value, low, high = (round(float(v), 5) for v in interval)
    return {"difference": value, "ci95": [low, high]}


def as_text(group: Group) -> str:
    """The tables of a group for a terminal."""
    lines = [group.title]
    if group.records[0].data.startswith("phantom"):
        lines.append("measured on simulated scans: not an RSNA score")
    lines += ["", group.table().to_string(index=False), CONSTANT_NOTE.lstrip("\\")]
    seconds = {r.method: r.scores.get("seconds_per_study") for r in group.records}
    told = [f"{method} {value:.2f}" for method, value in seconds.items() if value is not None]
    if told:
        lines += ["", "seconds per study, from files to probabilities: " + ", ".join(told)]
    if len(group.p) > 1 and group.y is not None:
        lines += ["", "difference of loss, paired by study, 95% interval"]
        for (a, b), interval in group.pairs().items():
            clear = "" if interval.excludes_zero else "   not clear"
            lines.append(f"  {a} − {b}: {str(interval).replace('-', '−')}{clear}")
    return "\n".join(lines)


def order_table(groups: Sequence[Group]) -> pd.DataFrame:
    """Place and loss of each method, a column per group: does the order hold on other data?"""
    columns = {}
    for group in groups:
        column = {}
        for place, record in enumerate(group.records, start=1):
            loss = Interval(record.scores["loss"], *record.scores["ci95"])
            column[record.method] = f"{place}.  {loss}"
        first = group.records[0]
        columns[f"{first.data} ({first.profile}, {len(group.ids)} studies)"] = column
    return pd.DataFrame(columns).fillna("not run")
