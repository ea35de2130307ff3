"""Leaks of each kind, planted in a clean record, must all be found."""

from dataclasses import replace

import pytest

from cspine_lib.errors import CspineError
from cspine_lib.leakage import check_leakage
from cspine_lib.runs import Part, RunRecord

FOLDS = {0: ["a0", "a1", "a2"], 1: ["b0", "b1", "b2"], 2: ["c0", "c1", "c2"]}


def _clean() -> RunRecord:
    """Three folds; per fold localiser → pseudo-labels → sequence net → calibration."""
    parts = []
    for k, test in FOLDS.items():
        rest = [s for other, ids in FOLDS.items() if other != k for s in ids]
        train, val = rest[:-2], rest[-2:]
        parts += [
            Part(f"stage1/fold{k}", train, val, fold=k),
            Part(f"labels/fold{k}", [], uses=[f"stage1/fold{k}"], kind="pseudo_labels", fold=k),
            Part(f"stage2/fold{k}", train, val, uses=[f"labels/fold{k}"], fold=k),
            Part(
                f"platt/fold{k}",
                val,
                test=test,
                uses=[f"stage2/fold{k}"],
                kind="calibration",
                fold=k,
            ),
        ]
    scored = [s for ids in FOLDS.values() for s in ids]
    return RunRecord("m", "ci", 0, "d", "f", "random", "cpu", parts=parts, scored=scored)


def _with(record: RunRecord, name: str, **changes) -> RunRecord:
    record.parts = [replace(p, **changes) if p.name == name else p for p in record.parts]
    return record


def _codes(record: RunRecord) -> set[tuple[str, str]]:
    return {(leak.code, leak.source) for leak in check_leakage(record)}


def test_a_clean_run_has_none() -> None:
    assert check_leakage(_clean(), raise_on_leak=True) == []


@pytest.mark.parametrize(
    ("part", "field", "code"),
    [
        ("stage2/fold0", "train", "trained_on_test"),  # the net itself
        ("stage2/fold0", "val", "stopped_on_test"),  # early stopping
        ("stage1/fold0", "train", "trained_on_test"),  # localiser, two links up
        ("stage1/fold0", "val", "stopped_on_test"),
        ("labels/fold0", "train", "trained_on_test"),  # pseudo-labels
        ("platt/fold0", "train", "trained_on_test"),  # calibration
        ("platt/fold0", "val", "stopped_on_test"),  # choice of N
    ],
)
def test_a_test_study_in_a_list_is_found(part, field, code) -> None:
    record = _clean()
    known = getattr(record.part(part), field)
    record = _with(record, part, **{field: [*known, "a1"]})
    assert (code, part) in _codes(record)
    [leak] = [leak for leak in check_leakage(record) if leak.code == code]
    assert leak.part == "platt/fold0"
    assert leak.studies == ("a1",)
    assert "a1" in leak.message
    assert part in leak.message
    with pytest.raises(CspineError, match="a1"):
        check_leakage(record, raise_on_leak=True)


def test_averaging_all_folds_labels_is_found() -> None:
    """The deck's way: pseudo-labels as the mean of all five models, for every fold."""
    record = _with(_clean(), "labels/fold0", uses=[f"stage1/fold{k}" for k in FOLDS])
    assert ("trained_on_test", "stage1/fold1") in _codes(record)
    assert ("trained_on_test", "stage1/fold2") in _codes(record)


def test_another_study_of_a_test_patient_is_found() -> None:
    record = _clean()
    assert check_leakage(record) == []
    record.patients = {"a0": "patient 7", "b0": "patient 7"}
    assert ("trained_on_test", "stage2/fold0") in _codes(record)


def test_stopping_on_training_studies_is_found() -> None:
    part = _clean().part("stage2/fold1")
    record = _with(_clean(), "stage2/fold1", val=[*part.val, part.train[0]])
    assert _codes(record) == {("val_in_train", "stage2/fold1")}


def test_a_record_with_holes_proves_nothing() -> None:
    record = _clean()
    record.parts = [p for p in record.parts if p.name != "stage1/fold2"]
    assert _codes(record) == {("unknown_part", "stage1/fold2")}
    record = _clean()
    record.scored.append("z9")
    assert [leak.studies for leak in check_leakage(record)] == [("z9",)]
    record = replace(_clean(), scored=[], scores={"loss": 0.3})
    assert [leak.code for leak in check_leakage(record)] == ["unaccounted"]


def test_impossible_records_end_and_are_named() -> None:
    record = _with(_clean(), "stage1/fold0", uses=["platt/fold0"])
    assert ("circular", "platt/fold0") in _codes(record)
    record = _clean()
    record.parts.append(record.parts[0])
    assert ("doubled_part", "stage1/fold0") in _codes(record)
