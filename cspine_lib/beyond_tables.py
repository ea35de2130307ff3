"""Tables of the chapter on our own system, drawn from records and recorded predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib import metrics
from cspine_lib.comparison import Group, load_groups, main_group
from cspine_lib.context_rules import FOLDS, fit_rules
from cspine_lib.metrics import Interval
from cspine_lib.results import results_home
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import read_json
from cspine_lib.sequence_tables import cell
from cspine_lib.splits import patient_folds

BEST = "beyond"
RIVALS = ("first_place", "first_place_study", "second_place", "salehinejad", "crop_bilstm")
"""The winners' systems, and deck B's."""
Array = npt.NDArray[np.floating]


# --- the ablations ---------------------------------------------------------------------------


def read_beyond(profile: str, folder: str | Path | None = None) -> dict[str, Any] | None:
    """What ``beyond_lab`` left for a profile, else for another one, else None."""
    place = Path(folder or results_home() / "beyond")
    for path in (place / f"{profile}.json", *sorted(place.glob("*.json"))):
        if path.exists():
            return read_json(path)
    return None


def beyond_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """One row per variant, as text; differences are paired, to the reference."""
    rows = [
        {
            "variant": row["says"],
            "asks about": row["question"],
            "loss [95%]": cell(row, "loss"),
            "minus reference [95%]": cell(row, "loss_minus_full"),
            "AUROC [95%]": cell(row, "auroc"),
            "AUROC minus reference [95%]": cell(row, "auroc_minus_full"),
            "images": f"{row['images']} of {row['px']} px",
            "multiply-adds, 10⁹": f"{row['multiply_adds'] / 1e9:.2f}",
            "s to train": f"{row['seconds_training']:.0f}",
            "s per study": f"{row['seconds_per_study']:.2f}",
        }
        for row in report["variants"]
    ]
    rows += [
        {"variant": row["says"], "asks about": row["question"]}
        | {"loss [95%]": f"not run: {row['why']}"}
        for row in report["not_run"]
    ]
    return pd.DataFrame(rows).set_index("variant").fillna("")


# --- the rules -------------------------------------------------------------------------------


def ruled(y: npt.ArrayLike, p: npt.ArrayLike, seed: int = 0) -> Array:
    """Recorded probabilities (N, 8) of one network, after rules that are fitted without the study.

    The networks behind the other studies' predictions may have seen the study; the rules, of
    nine numbers, have not.

    Raises:
        CspineError: too few broken or whole necks to fit rules on.
    """
    labels, said = np.asarray(y).astype(int), np.asarray(p, dtype=np.float64)
    z = metrics.logit(said[:, 1:], clip=1e-4)
    fold = patient_folds([str(i) for i in range(len(z))], labels.tolist(), FOLDS, seed)
    out = np.empty(said.shape)
    for k in range(FOLDS):
        here = fold == k
        out[here] = fit_rules(z[~here], labels[~here, 1:], seed)(z[here])
    return out


def rules_table(group: Group) -> pd.DataFrame:
    """What learned rules would give every recorded method, paired; without the system that has
    them, and without methods whose levels are not judged one by one."""
    assert group.y is not None
    rows = {}
    for method, p in group.p.items():
        if method == BEST or np.ptp(p[:, 1:], axis=1).max() < 1e-9:
            continue
        after = ruled(group.y, p)
        difference = metrics.loss_ci(group.y, after, minus=p)
        rows[method] = {
            "as recorded": str(metrics.loss_ci(group.y, p)),
            "with rules": str(metrics.loss_ci(group.y, after)),
            "with − without [95%]": _signed(difference),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


# --- all systems -----------------------------------------------------------------------------


def recorded(dataset: RsnaDataset, wanted: Sequence[str]) -> tuple[Group | None, Group | None]:
    """Recorded out-of-fold runs, and the runs on the set ``final``; None where there are none.

    What is missing is printed, a line each.

    Args:
        dataset: whose labels serve where records may not hold any; its own records come first.
        wanted: methods that should be there.
    """
    labels = None
    if not dataset.is_phantom:
        rows = {uid: dataset.labels(uid) for uid in dataset.train_ids}
        labels = {uid: np.r_[int(row.any()), row] for uid, row in rows.items()}
    groups = load_groups(labels=labels)
    out: list[Group | None] = []
    for words, final in (("out of fold", False), ("on the set final", True)):
        some = [g for g in groups if ("final" in g.records[0].data) == final]
        group = main_group(some, dataset.fingerprint())
        lacking = [name for name in wanted if group is None or name not in group.methods]
        if lacking:
            print(f"not recorded yet, {words}: {', '.join(lacking)}")
        out.append(group)
    return out[0], out[1]


def points(group: Group) -> dict[str, tuple[float, Interval]]:
    """Method → (seconds per study, loss) of the records that were timed."""
    losses = {r.method: Interval(r.scores["loss"], *r.scores["ci95"]) for r in group.records}
    return {method: (s, losses[method]) for method, s in seconds_of(group).items()}


def seconds_of(group: Group) -> dict[str, float]:
    """Method → recorded seconds per study, from files to probabilities."""
    found = {r.method: r.scores.get("seconds_per_study") for r in group.records}
    return {method: float(value) for method, value in found.items() if value is not None}


def against_best(group: Group, best: str = BEST) -> pd.DataFrame:
    """Every method: its loss, its distance to our best system, its seconds per study.

    The difference is that method's loss minus ours, so that above 0 ours is the better one.
    """
    seconds = seconds_of(group)
    known = best in group.p and group.y is not None
    rows = {}
    for record in group.records:
        s, method = record.scores, record.method
        pair = group.difference(method, best) if known and method in group.p else None
        itself = method == best
        clear = pair is not None and pair.excludes_zero
        rows[method] = {
            "loss [95%]": _signed(Interval(s["loss"], *s["ci95"])),
            f"minus {best} [95%]": "" if itself or pair is None else _signed(pair),
            "zero is outside": "" if itself or pair is None else ("yes" if clear else "no"),
            "level AUROC": f"{s['level_auroc']:.3f}" if s.get("level_auroc") else "n/a",
            "s per study": f"{seconds[method]:.2f}" if method in seconds else "not timed",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def verdicts(group: Group, rivals: Sequence[str], best: str = BEST) -> list[str]:
    """In words: which rivals our system is clearly below, and where it falls short, by how much."""
    if best not in group.p or group.y is None:
        return [f"{best} is not recorded on these studies: cspine run --methods {best} --record"]
    seconds, said = seconds_of(group), []
    for rival in rivals:
        if rival not in group.p:
            said.append(f"{rival}: not recorded on these studies")
            continue
        pair = group.difference(best, rival)
        how = "not told apart"
        if pair.excludes_zero:
            how = "clearly below" if pair.value < 0 else "falls short: clearly above"
        time = ""
        if best in seconds and rival in seconds:
            time = f"; {seconds[best] / seconds[rival]:.2f} times its seconds per study"
        said.append(f"{best} − {rival}: {_signed(pair)}, {how}{time}")
    return said


def front_of(points: Mapping[str, tuple[float, Interval]]) -> list[str]:
    """The methods of :func:`points` that no other one beats in seconds and loss."""
    stays = pareto_front([s for s, _ in points.values()], [v.value for _, v in points.values()])
    return [name for name, yes in zip(points, stays, strict=True) if yes]


def pareto_front(seconds: npt.ArrayLike, loss: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which of M methods no other one beats, (M,).

    Another one beats a method when it is at most as slow and at most as bad, and in one of the
    two better.
    """
    s, v = np.asarray(seconds, dtype=float), np.asarray(loss, dtype=float)
    no_worse = (s[None] <= s[:, None]) & (v[None] <= v[:, None])
    better = (s[None] < s[:, None]) | (v[None] < v[:, None])
    return np.asarray(~(no_worse & better).any(axis=1))


# --- pieces ----------------------------------------------------------------------------------


def pieces_table(
    y: npt.ArrayLike, found: Mapping[str, tuple[Array, int]], split: Mapping[str, float]
) -> pd.DataFrame:
    """The live fold with pieces taken away, the whole system first.

    Args:
        y: (M, 8) of the held-out studies.
        found: name → probabilities (M, 8), and how often a network looks at a study.
        split: mean seconds of the whole system's steps.
    """
    labels = np.asarray(y)
    whole, looks = next(iter(found.values()))
    others = sum(split.values()) - split["classify"]
    rows = {}
    for name, (p, n) in found.items():
        same = p is whole
        difference = "" if same else _signed(metrics.loss_ci(labels, p, minus=whole))
        rows[name] = {
            "loss [95%]": str(metrics.loss_ci(labels, p)),
            "minus the whole [95%]": difference,
            "s per study": f"{others + split['classify'] * n / looks:.2f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _signed(interval: Interval) -> str:
    return str(interval).replace("-", "−")
