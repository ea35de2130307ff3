"""The tables of a phantom set: RSNA's CSV files, the truth, and what is said of the whole."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from cspine_lib.anatomy import (
    BOX_COLUMNS,
    BOXES_CSV,
    LEVELS,
    SAMPLE_SUBMISSION_CSV,
    SUBMISSION_COLUMNS,
    TARGETS,
    TEST_COLUMNS,
    TEST_CSV,
    TRAIN_COLUMNS,
    TRAIN_CSV,
    TRUTH_FILE,
    row_id,
)
from cspine_lib.facts import facts
from cspine_lib.phantom.patterns import EXACT_FROM, MIN_PER_LEVEL, rates, rsna_rates
from cspine_lib.phantom.traits import StudyDesign

TEST_TRUTH_CSV = "phantom_test_truth.csv"
"""Answers for ``test_images`` in the columns of train.csv.  No training code reads it."""

Record = dict[str, Any]


def _csv(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> bytes:
    lines = [",".join(columns), *(",".join(str(cell) for cell in row) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def _labels(design: StudyDesign) -> list[int]:
    """The eight targets in the order of train.csv."""
    return [int(any(design.plan.broken)), *(int(b) for b in design.plan.broken)]


def write_tables(
    designs: list[StudyDesign], records: list[Record], request: dict[str, Any]
) -> dict[str, bytes]:
    """Content of every file of the set but images, masks and ``phantom.json``, by name."""
    train = [d for d in designs if d.part == "train"]
    test = [d for d in designs if d.part == "test"]
    boxes = (
        (design.uid, *(round(v, 5) for v in box[:4]), box[4])
        for design, record in zip(designs, records, strict=True)
        if design.boxed
        for box in record["boxes"]
    )
    asked = [(row_id(d.uid, target), d.uid, target) for d in test for target in TARGETS]
    truth = {
        "request": request,
        "studies": {
            design.uid: {
                "part": design.part,
                "labels": dict(zip(TARGETS, _labels(design), strict=True)),
                "boxed": design.boxed,
                "traps": design.traps(),
                **record["drawn"],
            }
            for design, record in zip(designs, records, strict=True)
        },
    }
    return {
        TRAIN_CSV: _csv(TRAIN_COLUMNS, ((d.uid, *_labels(d)) for d in train)),
        BOXES_CSV: _csv(BOX_COLUMNS, boxes),
        TEST_CSV: _csv(TEST_COLUMNS, asked),
        SAMPLE_SUBMISSION_CSV: _csv(SUBMISSION_COLUMNS, ((name, 0.5) for name, _, _ in asked)),
        TEST_TRUTH_CSV: _csv(TRAIN_COLUMNS, ((d.uid, *_labels(d)) for d in test)),
        TRUTH_FILE: (json.dumps(truth, ensure_ascii=False) + "\n").encode(),
    }


def _label_report(designs: list[StudyDesign]) -> dict[str, Any]:
    """How the labels of one part came about, and how far they are from RSNA's rates."""
    here, there = rates([d.plan.broken for d in designs]), rsna_rates()
    exact = len(designs) >= EXACT_FROM
    return {
        "studies": len(designs),
        "drawn": "RSNA's joint pattern counts by largest remainder"
        if exact
        else f"stratified: every level broken at least {MIN_PER_LEVEL} times where that can be",
        "rates": here,
        "rsna_rates": there,
        "largest_difference": max(abs(here[t] - there[t]) for t in TARGETS),
        "fewest_broken_of_a_level": min(
            sum(d.plan.broken[i] for d in designs) for i in range(len(LEVELS))
        ),
    }


def set_description(
    designs: list[StudyDesign], records: list[Record], request: dict[str, Any]
) -> dict[str, Any]:
    """What ``phantom.json`` says: parameters and totals of the set, nothing of one study."""
    train = [d for d in designs if d.part == "train"]
    test = [d for d in designs if d.part == "test"]
    traps: Counter[str] = Counter()
    for design in designs:
        for name, value in design.traps().items():
            if name in ("syntax", "mask_axes"):
                traps[f"{name}={value}"] += value is not None
            else:
                traps[name] += bool(value)
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode())
    for design, record in sorted(zip(designs, records, strict=True), key=lambda p: p[0].uid):
        digest.update(design.uid.encode() + record["sha256"].encode())
    masks = facts("masks")["studies"] / facts("labels")["studies"]
    boxed = [r for d, r in zip(designs, records, strict=True) if d.boxed]
    return {
        "what": "Simulated cervical spine CT in the layout of RSNA 2022; no patient is in it.",
        "request": request,
        "masked_share": round(sum(d.mask_axes is not None for d in train) / len(train), 4),
        "rsna_masked_share": round(masks, 4),
        "boxed_studies": len(boxed),
        "boxes": sum(len(r["boxes"]) for r in boxed),
        "labels": {
            part: _label_report(ds) for part, ds in (("train", train), ("test", test)) if ds
        },
        "traps": {name: count for name, count in sorted(traps.items()) if count},
        "fingerprint": digest.hexdigest()[:16],
    }
