"""The traps of real files: which are planted, which are found, what each does to naive code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine_lib.anatomy import STUDY_COLUMN, TRUTH_FILE
from cspine_lib.facts import facts
from cspine_lib.headers import file_number, list_files
from cspine_lib.oddities import USUAL_MASK_AXES
from cspine_lib.rsna import RsnaDataset


@dataclass(frozen=True)
class Trap:
    """One property in which files differ.

    Args:
        name: in words.
        codes: of the check's issues that mean it.
        planted: whether a study of a phantom has it, from its planted traps.
        rsna: what is known of RSNA's set.
        naive: what it does to whoever does not expect it.
        here: what the reader of this kit does.
    """

    name: str
    codes: frozenset[str]
    planted: Callable[[Mapping[str, Any]], bool]
    rsna: Callable[[], str]
    naive: str
    here: str


def _seen(uid: str) -> Callable[[], str]:
    return lambda: "seen" if uid in facts("pixels")["transfer_syntaxes_seen"] else ""


def _axes() -> str:
    low, high = facts("masks")["other_orientation_than_solvers_assume"]
    return f"{low} or {high} of {facts('masks')['studies']} masks"


def _count(section: str, key: str) -> Callable[[], str]:
    return lambda: f"{facts(section)[key]} of {facts('labels')['studies']}"


def _said(text: str) -> Callable[[], str]:
    return lambda: text


TRAPS = (
    Trap(
        "JPEG Lossless pixels",
        frozenset({"compressed"}),
        lambda t: t["syntax"] == "jpeg",
        _seen("1.2.840.10008.1.2.4.70"),
        "np.frombuffer(PixelData) has the wrong length; without a plugin pydicom raises",
        "decodes with GDCM",
    ),
    Trap(
        "implicit VR",
        frozenset({"implicit_vr"}),
        lambda t: t["syntax"] == "implicit",
        _seen("1.2.840.10008.1.2"),
        "a home-made parser that expects types reads nonsense",
        "leaves parsing to pydicom",
    ),
    Trap(
        "stored without a sign",
        frozenset({"unsigned"}),
        lambda t: not t["signed"],
        _said("seen"),
        "stored − 1024 wraps around: air becomes the densest thing in the image",
        "widens before it subtracts",
    ),
    Trap(
        "several display windows",
        frozenset({"several_windows"}),
        lambda t: t["multi_window"],
        _said("seen"),
        "float(ds.WindowCenter) raises TypeError",
        "uses windows of its own",
    ),
    Trap(
        "slices overlap",
        frozenset({"overlapping_slices"}),
        lambda t: t["overlapping_slices"],
        _said("not counted"),
        "SliceThickness taken for the distance stretches the neck",
        "measures the distance between positions",
    ),
    Trap(
        "numbered feet to head",
        frozenset({"feet_first"}),
        lambda t: t["feet_first"],
        _count("slices", "studies_numbered_feet_to_head"),
        "the volume stands on its head; C1 is looked for at C7",
        "sorts by position",
    ),
    Trap(
        "numbers do not start at 1",
        frozenset({"late_start"}),
        lambda t: t["late_start"],
        _said("seen"),
        "slices[number − 1] is another slice, or IndexError",
        "keeps a table: number → slice",
    ),
    Trap(
        "a number is skipped",
        frozenset({"numbers_skipped"}),
        lambda t: t["skipped_number"],
        _said("seen"),
        "from there on every box is one slice off",
        "keeps a table: number → slice",
    ),
    Trap(
        "a file cannot be read",
        frozenset({"truncated", "unreadable"}),
        lambda t: t["unreadable_file"],
        _count("pixels", "studies_with_an_unreadable_file"),
        "the loop over the files stops with an error",
        "names the file, fills the slice from its neighbours",
    ),
    Trap(
        "no cervical level in view",
        frozenset({"chest", "no_cervical_level"}),
        lambda t: t["no_cervical"],
        _count("pixels", "studies_without_cervical_level"),
        "levels are 'found' in a chest",
        "warns where the middle slice shows lungs, or a mask has no C1–C7",
    ),
    Trap(
        "C1 cut off at the top",
        frozenset({"cut_top"}),
        lambda t: t["cut_top"],
        _said("not counted"),
        "a level's box touches the edge; 'seven levels' is assumed",
        "warns where a mask shows it; else only stage 1 can tell",
    ),
    Trap(
        "C7 cut off at the bottom",
        frozenset({"cut_bottom"}),
        lambda t: t["cut_bottom"],
        _said("not counted"),
        "the same at the other end",
        "warns where a mask shows it; else only stage 1 can tell",
    ),
    Trap(
        f"mask axes other than {USUAL_MASK_AXES}",
        frozenset({"mask_axes"}),
        lambda t: t["mask_axes"] not in (None, USUAL_MASK_AXES),
        _axes,
        "a fixed flip lays the mask onto the wrong side, without an error",
        "goes by the affine (chapter 03)",
    ),
)
"""Every trap that the phantom plants and the check looks for."""


def planted_traps(dataset: RsnaDataset) -> dict[str, dict[str, Any]] | None:
    """Study → its planted traps; None for a set of real scans, where nobody knows."""
    path = Path(dataset.root) / TRUTH_FILE
    if not dataset.is_phantom or not path.is_file():
        return None
    studies = json.loads(path.read_text(encoding="utf-8"))["studies"]
    return {uid: study["traps"] for uid, study in studies.items()}


def found_in(studies: pd.DataFrame, trap: Trap) -> set[str]:
    """Studies in which the check found a trap.

    Args:
        studies: of a ``CheckReport``.
    """
    has = studies["issues"].map(lambda text: bool(trap.codes & set(str(text).split(", "))))
    return set(studies.loc[has, STUDY_COLUMN])


def trap_table(dataset: RsnaDataset, studies: pd.DataFrame) -> pd.DataFrame:
    """Trap by trap: planted, found, false alarms, RSNA's count, what it does, what is done.

    Args:
        studies: of a ``CheckReport`` of the data set.
    """
    planted = planted_traps(dataset)
    rows = []
    for trap in TRAPS:
        found = found_in(studies, trap)
        row = {"trap": trap.name}
        if planted is not None:
            has = {uid for uid, traps in planted.items() if trap.planted(traps)}
            row["planted"] = _planted(has, planted, trap)
            row["found"] = str(len(found & has))
            row["false alarms"] = str(len(found - has))
        else:
            row["found"] = str(len(found))
        row |= {"RSNA": trap.rsna(), "naive code": trap.naive, "this kit": trap.here}
        rows.append(row)
    return pd.DataFrame(rows).set_index("trap")


def _planted(has: set[str], planted: Mapping[str, Mapping[str, Any]], trap: Trap) -> str:
    if not trap.codes <= {"cut_top", "cut_bottom"}:
        return str(len(has))
    masked = sum(planted[uid]["mask_axes"] is not None for uid in has)
    return f"{len(has)}, {masked} with a mask"


def example_of(index: pd.DataFrame, code: str) -> str | None:
    """A training study (else a test study) of usual size in whose issues a code stands, or None."""
    has = index["issues"].map(lambda text: code in str(text).split(", "))
    found = index[has & (index["error"] == "")]
    if (found["part"] == "train").any():
        found = found[found["part"] == "train"]
    if found.empty:
        return None
    unusual = (found["files"] - index["files"].median()).abs()
    return str(found[STUDY_COLUMN].iloc[int(unusual.to_numpy().argmin())])


def placed_by_counting(dataset: RsnaDataset, index: pd.DataFrame) -> pd.DataFrame:
    """Where ``volume[number - 1]`` puts each box in a volume sorted head to feet.

    Needs no pixel and no header: file names and the index suffice.

    Returns:
        One row per box with a file: ``StudyInstanceUID, number, counted, right`` (slice
        indices; ``counted`` takes numbers for 1, 2, … from head to feet) and ``off_mm``, NaN
        where the volume has no slice of that index.
    """
    known = index.set_index(STUDY_COLUMN)
    rows = []
    for uid, boxes in dataset.boxes.groupby(STUDY_COLUMN, sort=False):
        if uid not in known.index or not isinstance(known.at[uid, "feet_first"], (bool, np.bool_)):
            continue
        files, _ = list_files(dataset.study_folder(str(uid)))
        numbers = sorted(n for n in map(file_number, files) if n is not None)
        if known.at[uid, "feet_first"]:
            numbers.reverse()
        right = {number: z for z, number in enumerate(numbers)}
        for number in boxes["slice_number"]:
            if number in right:
                z, counted = right[number], number - 1
                off = abs(counted - z) * known.at[uid, "dz_mm"]
                rows.append((uid, number, counted, z, off if counted < len(right) else np.nan))
    columns = [STUDY_COLUMN, "number", "counted", "right", "off_mm"]
    return pd.DataFrame(rows, columns=columns)
