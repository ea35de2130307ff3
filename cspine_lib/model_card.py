"""The numbers of the model card, drawn from the run records under ``results/``.

``python -m cspine_lib.model_card docs/model_card.md`` renews them.  The words are the page's own;
each table stands between ``<!-- drawn: NAME -->`` and ``<!-- end -->`` and comes from here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cspine_lib.anatomy import TARGETS
from cspine_lib.comparison import Group, load_groups
from cspine_lib.errors import CspineError
from cspine_lib.metrics import MIN_POSITIVES
from cspine_lib.results import how_scored, results_home
from cspine_lib.runs import RunRecord, atomic_write_text, read_json

METHOD = "crop_bilstm"
"""The method that the card is about."""

WATT_PER_CORE = (5.0, 15.0)
"""Assumed draw of a busy server core with its share of the machine; no meter was read."""

KG_CO2_PER_KWH = (0.03, 0.7)
"""Assumed emission of electricity, from a grid of hydropower to one of coal."""

BLOCK = re.compile(r"<!-- drawn: (\w+) -->\n.*?<!-- end -->", flags=re.S)
"""A drawn part of the page."""

Rows = Sequence[Sequence[str]]


def renewed(text: str, folder: str | Path | None = None) -> str:
    """The page with every drawn part made anew.

    Args:
        folder: of run records; None: ``results/``.

    Raises:
        CspineError: the page has no drawn part or an unknown one, or nothing was recorded.
    """
    folder = Path(folder or results_home())
    groups = [group for group in load_groups(folder) if METHOD in group.methods]
    if not groups:
        raise CspineError(f"no record of {METHOD} in {folder}: make one with 'cspine run --record'")
    found = BLOCK.findall(text)
    if not found:
        raise CspineError("the page has no part <!-- drawn: NAME --> … <!-- end --> to renew")
    unknown = set(found) - set(PARTS)
    if unknown:
        raise CspineError(f"no drawn part {sorted(unknown)}; there are {sorted(PARTS)}")

    def drawn(match: re.Match[str]) -> str:
        content = PARTS[match[1]](groups, folder)
        return f"<!-- drawn: {match[1]} -->\n{content}\n<!-- end -->"

    return BLOCK.sub(drawn, text)


def record_of(group: Group) -> RunRecord:
    """The card's method in a group."""
    return next(record for record in group.records if record.method == METHOD)


def _main(groups: Sequence[Group]) -> list[Group]:
    """Whole sets at the usual difficulty: out of fold, and the set ``final``."""
    usual = [g for g in groups if "difficulty" not in record_of(g).data]
    return [g for g in usual if record_of(g).n_folds > 1]


def _table(head: Sequence[str], rows: Rows) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _cell(scores: Mapping[str, Any], value: str, interval: str) -> str:
    """A value with its 95% interval; n/a where it was not computed."""
    if scores.get(value) is None:
        return "n/a"
    low, high = scores[interval]
    return f"{_number(scores[value])} [{_number(low)}, {_number(high)}]"


def _where(record: RunRecord) -> str:
    return f"{record.data} ({record.profile}; {how_scored(record)})"


# --- the parts --------------------------------------------------------------------------------


def _overall(groups: Sequence[Group], folder: Path) -> str:
    rows = []
    for group in groups:
        record = record_of(group)
        s = record.scores
        rows.append(
            [
                _where(record),
                str(s["n_studies"]),
                _cell(s, "loss", "ci95"),
                _cell(s, "constant_loss", "constant_ci95"),
                _cell(s, "loss_minus_constant", "loss_minus_constant_ci95"),
                _cell(s["targets"]["patient_overall"], "auroc", "auroc_ci95"),
                _cell(s, "level_auroc", "level_auroc_ci95"),
            ]
        )
    head = ["measured on", "studies", "loss", "best constant*", "difference (paired)"]
    return _table([*head, "AUROC, neck", "AUROC, mean of levels"], sorted(rows))


def _levels(groups: Sequence[Group], folder: Path) -> str:
    parts = []
    for group in _main(groups):
        record = record_of(group)
        rows = []
        for target in TARGETS:
            t = record.scores["targets"][target]
            auroc = _cell(t, "auroc", "auroc_ci95")
            rows.append([target, str(t["positives"]), _cell(t, "loss", "ci95"), auroc])
        title = f"{_where(record)}, {record.scores['n_studies']} studies:\n\n"
        parts.append(title + _table(["target", "broken", "weighted loss", "AUROC"], rows))
    return "\n\n".join(parts) + f"\n\nn/a: fewer than {MIN_POSITIVES} studies of one class."


def _difficulty(groups: Sequence[Group], folder: Path) -> str:
    rows = []
    for group in groups:
        record = record_of(group)
        found = re.search(r"difficulty ([\d.]+)", record.data)
        folds = record.config.get("folds", [])
        if not found and (len(folds) < 2 or "final" in record.data):
            continue
        s = record.scores
        rows.append(
            [
                found[1] if found else "0.5 (default)",
                _where(record),
                str(s["n_studies"]),
                _cell(s, "loss_minus_constant", "loss_minus_constant_ci95"),
                _cell(s, "level_auroc", "level_auroc_ci95"),
            ]
        )
    head = ["difficulty", "measured on", "studies", "loss − constant", "AUROC, mean of levels"]
    return _table(head, sorted(rows))


def _points(groups: Sequence[Group], folder: Path) -> str:
    parts = []
    for group in _main(groups):
        if group.y is None or METHOD not in group.p:
            continue
        alone = Group((record_of(group),), group.ids, group.y, {METHOD: group.p[METHOD]})
        said = {**alone.operating_points().loc[METHOD], **alone.calibration().loc[METHOD]}
        rows = [[str(name), str(value).replace("-", "−")] for name, value in said.items()]
        title = f"{_where(record_of(group))}:\n\n"
        parts.append(title + _table(["of the probabilities", "value [95%]"], rows))
    return "\n\n".join(parts)


def _time(groups: Sequence[Group], folder: Path) -> str:
    rows = []
    for group in groups:
        record = record_of(group)
        per_study = record.scores.get("seconds_per_study")
        training = "the same models" if "final" in record.data else _hours(record.seconds)
        shown = "n/a" if per_study is None else _number(per_study, 1)
        rows.append([_where(record), record.device, _cores(record), training, shown])
    head = ["run", "device", "cores", "training, hours", "seconds per study, from files"]
    hours, kwh, kg = footprint(folder)
    watt, factor = WATT_PER_CORE, KG_CO2_PER_KWH
    total = (
        f"All recorded trainings of all methods together: {_number(hours, 1)} hours. No meter "
        f"was read. At an assumed {watt[0]:.0f} to {watt[1]:.0f} W per busy core that is "
        f"{kwh[0]:.2f} to {kwh[1]:.2f} kWh, and at {factor[0]} to {factor[1]} kg of CO₂ per kWh "
        f"{kg[0]:.3f} to {kg[1]:.2f} kg. Searches on the tune set and runs that were not "
        "recorded are not in it."
    )
    return _table(head, sorted(rows)) + "\n\n" + total


def footprint(folder: Path) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """Hours of recorded training on CPUs, and bounds of its energy (kWh) and emission (kg CO₂)."""
    hours, core_hours = 0.0, 0.0
    for path in sorted(folder.glob("*.json")):
        content = read_json(path)
        # Ablations have a file of their own; ``final`` only averages models that are there.
        if "parts" not in content or "final" in content["data"]:
            continue
        hours += content["seconds"] / 3600
        if content["device"] == "cpu":
            core_hours += content["seconds"] / 3600 * int(content["environment"].get("cpus", 1))
    kwh = tuple(core_hours * watt / 1000 for watt in WATT_PER_CORE)
    kg = tuple(k * factor for k, factor in zip(kwh, KG_CO2_PER_KWH, strict=True))
    return hours, (kwh[0], kwh[1]), (kg[0], kg[1])


def _hours(seconds: float) -> str:
    return _number(seconds / 3600, 2)


def _cores(record: RunRecord) -> str:
    return record.environment.get("cpus", "n/a")


def _setting(groups: Sequence[Group], folder: Path) -> str:
    rows = []
    for profile in sorted({record_of(g).profile for g in _main(groups)}):
        record = next(r for g in _main(groups) if (r := record_of(g)).profile == profile)
        size, recipe = record.config["profile"], record.config["recipe"]["sequence"]
        rows.append(
            [
                profile,
                f"{size['backbone']}, {record.weights}",
                f"{size['localiser_px']} px every {size['localiser_pitch_mm']:g} mm",
                f"{recipe['frames'] or size['frames']} crops of {size['crop_px']} px a level",
                f"{size['localiser_epochs']} and {size['classifier_epochs']}",
                f"{record.environment['torch']}, {record.environment.get('commit', 'n/a')}",
            ]
        )
    head = ["profile", "encoder, weights", "stage 1 sees", "stage 2 sees", "epochs"]
    return _table([*head, "torch, commit"], rows)


PARTS: dict[str, Callable[[Sequence[Group], Path], str]] = {
    "overall": _overall,
    "levels": _levels,
    "difficulty": _difficulty,
    "points": _points,
    "time": _time,
    "setting": _setting,
}
"""Name of a drawn part → what draws it."""


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m cspine_lib.model_card docs/model_card.md")
    page = Path(sys.argv[1])
    atomic_write_text(page, renewed(page.read_text(encoding="utf-8")))
