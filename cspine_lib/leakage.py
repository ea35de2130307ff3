"""Proof from a run record that no scored study reached the training of what scored it.

A part knows a study when it was fitted or stopped early on it, or when a part
whose outputs it uses does.  This follows the chain to its start: localiser →
pseudo-labels and boxes → sequence net → calibration → choice of N.
"""

from __future__ import annotations

from dataclasses import dataclass

from cspine_lib.errors import CspineError
from cspine_lib.runs import Part, RunRecord


@dataclass(frozen=True)
class Leak:
    """One violation."""

    code: str
    """``trained_on_test``, ``stopped_on_test``, ``val_in_train``, ``unknown_part``,
    ``circular``, ``doubled_part`` or ``unaccounted``."""
    part: str
    """The part at whose prediction the violation shows."""
    source: str
    """The part that learned from the studies: ``part`` itself or one upstream."""
    studies: tuple[str, ...]
    message: str


def check_leakage(record: RunRecord, *, raise_on_leak: bool = False) -> list[Leak]:
    """All leaks of a run; an empty list is the proof that there is none.

    Checked for every part: its test studies (or other studies of the same
    patients) are in no training or validation list of its own or upstream; its
    validation studies were not also trained on; the parts it uses are in the
    record.  And every scored study was predicted by some part.

    Args:
        record: the run.
        raise_on_leak: raise instead of returning.

    Raises:
        CspineError: a leak was found and ``raise_on_leak`` is set.
    """
    by_name = {part.name: part for part in record.parts}
    leaks = _doubled_parts(record)
    for part in record.parts:
        leaks += _own_split(part, record)
        leaks += _broken_chain(part, by_name)
        for source in _upstream(part, by_name):
            leaks += _overlap(part, source, record)
    leaks += _unaccounted(record)
    if leaks and raise_on_leak:
        more = f" (and {len(leaks) - 1} more)" if len(leaks) > 1 else ""
        raise CspineError(f"leak in {record.method}: {leaks[0].message}{more}")
    return leaks


def _upstream(part: Part, by_name: dict[str, Part]) -> list[Part]:
    """The part itself and all that it uses, directly or through others, each once."""
    found: dict[str, Part] = {part.name: part}
    waiting = list(part.uses)
    while waiting:
        name = waiting.pop()
        if name not in found and name in by_name:
            found[name] = by_name[name]
            waiting += by_name[name].uses
    return list(found.values())


def _patients(studies: list[str], record: RunRecord) -> set[str]:
    return {record.patients.get(study, study) for study in studies}


def _shared(test: list[str], known: list[str], record: RunRecord) -> tuple[str, ...]:
    """Test studies whose patient is among the known studies' patients."""
    patients = _patients(known, record)
    return tuple(study for study in test if record.patients.get(study, study) in patients)


def _overlap(part: Part, source: Part, record: RunRecord) -> list[Leak]:
    leaks = []
    how = "" if source is part else f", which {part.name} uses,"
    for code, verb, known in (
        ("trained_on_test", "was trained", source.train),
        ("stopped_on_test", "was stopped or chosen", source.val),
    ):
        studies = _shared(part.test, known, record)
        if studies:
            message = (
                f"{source.name} ({source.kind}){how} {verb} on {len(studies)} of the studies that "
                f"{part.name} predicts, the first is {studies[0]}"
            )
            leaks.append(Leak(code, part.name, source.name, studies, message))
    return leaks


def _own_split(part: Part, record: RunRecord) -> list[Leak]:
    studies = _shared(part.val, part.train, record)
    if not studies:
        return []
    message = (
        f"{part.name} was stopped on {len(studies)} studies that it was trained on, "
        f"the first is {studies[0]}"
    )
    return [Leak("val_in_train", part.name, part.name, studies, message)]


def _broken_chain(part: Part, by_name: dict[str, Part]) -> list[Leak]:
    leaks = []
    for name in part.uses:
        if name not in by_name:
            message = f"{part.name} uses {name}, of which the record says nothing"
            leaks.append(Leak("unknown_part", part.name, name, (), message))
        elif part in _upstream(by_name[name], by_name):
            message = f"{part.name} uses {name}, which uses {part.name}: the record cannot be right"
            leaks.append(Leak("circular", part.name, name, (), message))
    return leaks


def _doubled_parts(record: RunRecord) -> list[Leak]:
    names = [part.name for part in record.parts]
    return [
        Leak("doubled_part", name, name, (), f"the record has several parts named {name}")
        for name in sorted({n for n in names if names.count(n) > 1})
    ]


def _unaccounted(record: RunRecord) -> list[Leak]:
    """Scored studies that no part lists as test: of them the record proves nothing."""
    if "loss" in record.scores and not record.scored:
        message = "the record has a loss but no list of the studies that it was computed on"
        return [Leak("unaccounted", "", "", (), message)]
    predicted = {study for part in record.parts for study in part.test}
    studies = tuple(study for study in record.scored if study not in predicted)
    if not studies:
        return []
    message = f"{len(studies)} scored studies are in no part's test list, the first is {studies[0]}"
    return [Leak("unaccounted", "", "", studies, message)]
