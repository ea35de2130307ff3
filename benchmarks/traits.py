"""For whom does it work less well?  Out-of-fold predictions, by what was drawn in each study.

    python benchmarks/traits.py results/crop_bilstm-laptop-cv.csv data/phantom-laptop OUT.md

The traits are those of ``phantom_truth.json``, which no training reads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine_lib import metrics
from cspine_lib.anatomy import LEVELS, TARGETS
from cspine_lib.metrics import Interval
from cspine_lib.results import read_predictions
from cspine_lib.runs import atomic_write_text, read_json

RESAMPLES = 2000
INTRODUCTION = """\
Out-of-fold predictions of `{name}` on the phantom, split by what was drawn in
each study; made by `benchmarks/traits.py`. Loss per exam, lower is better; AUROC over
all levels at once. The intervals resample studies on both sides. **Simulated scans**:
that a trait costs nothing here does not say that it costs nothing in patients, for the
traits are as mild as they were drawn. With {n} traits, one interval in twenty
misses zero by chance."""
TRAITS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "files stored feet first": lambda s: s["traps"]["feet_first"],
    "field of view cut off at the top or bottom": lambda s: (
        s["traps"]["cut_top"] or s["traps"]["cut_bottom"]
    ),
    "metal fillings in the teeth": lambda s: s["fillings"] > 0,
    "the patient moved": lambda s: s["motion"]["step_mm"] != 0,
    "soft kernel": lambda s: s["scanner"]["kernel"] == "soft",
    "noise above 20 HU": lambda s: s["scanner"]["noise_hu"] > 20,
    "slices overlap": lambda s: s["traps"]["overlapping_slices"],
    "aged 65 or more": lambda s: s["patient"]["age"] >= 65,
    "female": lambda s: s["patient"]["female"],
    "degeneration of 0.4 or more (0 to 1)": lambda s: s["patient"]["degeneration"] >= 0.4,
}


def mean_loss(y: np.ndarray, p: np.ndarray) -> float:
    """Competition loss per exam of (N, 8)."""
    return float(metrics.per_exam_loss(y, p).mean())


def pooled_auroc(y: np.ndarray, p: np.ndarray) -> float:
    """Over all seven levels of (N, 8) at once."""
    return metrics.auroc(y[:, 1:].ravel(), p[:, 1:].ravel())


def difference(
    statistic: Callable[..., float], y: np.ndarray, p: np.ndarray, has: np.ndarray
) -> Interval:
    """Statistic of the studies with a trait minus that of the others, resampled within both."""
    rng = np.random.default_rng(0)
    sides = [np.flatnonzero(has), np.flatnonzero(~has)]
    values = []
    for i in range(RESAMPLES + 1):
        a, b = (s if i == 0 else rng.choice(s, len(s)) for s in sides)
        values.append(statistic(y[a], p[a]) - statistic(y[b], p[b]))
    return Interval(values[0], *np.nanpercentile(values[1:], [2.5, 97.5]))


def by_trait(frame: pd.DataFrame, studies: dict[str, Any]) -> list[str]:
    """A row per trait."""
    y = frame[[f"true_{t}" for t in TARGETS]].to_numpy()
    p = frame[list(TARGETS)].to_numpy()
    rows = []
    for name, test in TRAITS.items():
        has = np.array([test(studies[uid]) for uid in frame.index])
        cells = [name, f"{has.sum()} of {len(has)}"]
        for statistic in (mean_loss, pooled_auroc):
            cells.append(f"{statistic(y[has], p[has]):.3f}")
            cells.append(str(difference(statistic, y, p, has)))
        rows.append("| " + " | ".join(cells).replace("-", "−") + " |")
    return rows


def by_fracture(frame: pd.DataFrame, studies: dict[str, Any]) -> list[str]:
    """How high broken levels stand among the whole ones, by kind and by width of their fracture."""
    whole = np.concatenate([frame.loc[frame[f"true_{k}"] == 0, k].to_numpy() for k in LEVELS])
    above = np.quantile(whole, 0.9)
    found = []
    for uid in frame.index:
        for level in LEVELS:
            here = [f for f in studies[uid]["fractures"] if f["level"] == level]
            if here:
                widest = max(here, key=lambda f: f["width_mm"])
                moved = max(f["displacement_mm"] for f in here)
                p = frame.loc[uid, level]
                found.append((widest["kind"], widest["width_mm"], moved, p > above))
    table = pd.DataFrame(found, columns=["kind", "width_mm", "moved_mm", "seen"])
    width = pd.cut(table["width_mm"], [0, 1, 1.5, 1.9, 3], right=False)
    groups = [
        ("gap below 1 mm", table[width.cat.codes == 0]),
        ("gap of 1 to 1.5 mm", table[width.cat.codes == 1]),
        ("gap of 1.5 to 1.9 mm", table[width.cat.codes == 2]),
        ("gap of 1.9 mm or more", table[width.cat.codes == 3]),
        ("nothing has moved", table[table["moved_mm"] == 0]),
        ("a piece has moved", table[table["moved_mm"] > 0]),
    ]
    kinds = table["kind"].value_counts()
    kinds = kinds[kinds >= 5].index
    groups += [(k.replace("_", " "), table[table["kind"] == k]) for k in sorted(kinds)]
    return [
        f"| {name} | {len(part)} | {int(part['seen'].sum())} ({part['seen'].mean():.0%}) |"
        for name, part in groups
        if len(part)
    ]


def page(frame: pd.DataFrame, studies: dict[str, Any], name: str) -> str:
    """Both tables in Markdown."""
    head = (
        "| the study | studies | loss | minus the others [95%] | AUROC | minus the others [95%] |"
    )
    return "\n".join(
        [
            "# For whom it works less well",
            "",
            INTRODUCTION.format(name=name, n=len(TRAITS)),
            "",
            head,
            "|" + " --- |" * 6,
            *by_trait(frame, studies),
            "",
            "Broken levels found at the threshold that one whole level in ten exceeds, by their",
            "widest fracture (kinds with five or more):",
            "",
            "| the fracture | broken levels | found |",
            "| --- | --- | --- |",
            *by_fracture(frame, studies),
            "",
        ]
    )


def main() -> None:
    predictions, data, out = (Path(a) for a in sys.argv[1:4])
    studies = read_json(data / "phantom_truth.json")["studies"]
    frame = read_predictions(predictions)
    atomic_write_text(out, page(frame, studies, predictions.stem))


if __name__ == "__main__":
    main()
