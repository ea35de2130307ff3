"""What the demonstration of the averaged labels has found, kept apart from all results.

``leak_demo`` makes it; one small JSON file per method and profile under ``results/leak/``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cspine_lib.metrics import Interval
from cspine_lib.results import recorded_home, results_home
from cspine_lib.runs import atomic_write_text, read_json

ARMS = {
    "deck_average": "the deck's mean of all models",
    "other_seed": "honest labels, another seed",
}
"""What is trained beside the honest run."""


def summary_path(method: str, profile: str, folder: Path | None = None) -> Path:
    """Where the summary of a method under a profile lies; not among the run records."""
    return (folder or results_home() / "leak") / f"{method}-{profile}.json"


def write_summary(summary: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Write what ``run_leak_demo`` returns as JSON."""
    path = summary_path(summary["method"], summary["profile"], folder)
    return atomic_write_text(path, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")


def read_summaries(folder: Path | None = None) -> list[dict[str, Any]]:
    """All summaries that have been recorded; empty where there is none."""
    return [
        read_json(path) for path in sorted((folder or recorded_home() / "leak").glob("[!.]*.json"))
    ]


def summary_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A summary as rows of ``notebook.result_table``: best constant, honest run, arms."""
    folds = ", ".join(map(str, summary["folds"]))
    data = f"{summary['data']}, fold {folds}, profile {summary['profile']}"
    runs = {
        "best constant, fitted on these labels": summary["constant"],
        f"{summary['method']}, honest labels": summary["honest"],
    } | {f"{summary['method']}, {ARMS[name]}": arm for name, arm in summary["arms"].items()}
    return [
        {
            "what": what,
            "measured on": data,
            "studies": str(summary["n_studies"]),
            "loss [95%]": str(Interval(*run["loss"])),
            "minus best constant [95%]": (
                "0" if run is summary["constant"] else str(Interval(*run["loss_minus_constant"]))
            ),
        }
        for what, run in runs.items()
    ]
