"""Folders that are called after a patient, and files with writing in their pixels.

Identifying tags are read here for one purpose: to find out whether what would be printed
holds one of them.  Their values go no further than this module.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pydicom
from pydicom.tag import Tag

from cspine_lib.errors import printable
from cspine_lib.headers import list_files, quiet_pydicom
from cspine_lib.issues import Issue, warning
from cspine_lib.rawtags import any_data_set

NAMES = (
    *("PatientName", "OtherPatientNames", "PatientBirthName", "ReferringPhysicianName"),
    *("PerformingPhysicianName", "OperatorsName", "InstitutionName"),
)
"""Tags of which a single word identifies."""
NUMBERS = (
    *("PatientID", "AccessionNumber", "PatientBirthDate", "StudyDate", "StudyID"),
    *("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
)
"""Tags that identify as a whole (DICOM PS3.15, annex E)."""
SIZE = ("Rows", "Columns")
SHORTEST = 3
"""Words of fewer letters are in every folder's name."""
TRIED = 20
"""Files that are looked at until one is DICOM."""


def first_header(folder: str | Path) -> pydicom.Dataset | None:
    """Identifying tags of the first DICOM file of a folder, or None if there is none."""
    try:
        paths, _ = list_files(folder)
    except OSError:
        return None
    names = [*NAMES, *NUMBERS, "BurnedInAnnotation"]
    with quiet_pydicom():
        for path in paths[:TRIED]:
            try:
                with open(path, "rb") as handle:
                    # By its size the reader knows an image; nobody else asks for it.
                    header = any_data_set(handle, [Tag(name) for name in [*names, *SIZE]])
                for name in SIZE:
                    header.pop(name, None)
                return header
            except Exception:  # the parser meets arbitrary bytes and raises arbitrary errors
                continue
    return None


def printable_name(folder: str | Path) -> str:
    """What a scan is called in results: its folder's name, unless that identifies somebody.

    Then it is ``scan-`` and eight digits of a hash of the study's identifier, the same each time.
    """
    name = Path(folder).resolve().name
    header = first_header(folder)
    if header is None or not _tells(name, header):
        return printable(name)
    digest = hashlib.sha256(_value(header, "StudyInstanceUID").encode()).hexdigest()
    return f"scan-{digest[:8]}"


def burned_in(folder: str | Path) -> list[Issue]:
    """A warning where the files say that writing is part of their pixels."""
    header = first_header(folder)
    if header is None or _value(header, "BurnedInAnnotation").upper() != "YES":
        return []
    return [warning("burned_in", "BurnedInAnnotation is YES: writing is part of the pixels")]


def _tells(name: str, header: pydicom.Dataset) -> bool:
    """Whether a name holds a word or a number that identifies."""
    words = {
        word
        for tag in NAMES
        for word in re.split(r"[\W_]+", _value(header, tag).casefold())
        if len(word) >= SHORTEST
    }
    here = name.casefold()
    if any(word in here for word in words):
        return True
    return any(number in here for number in _numbers(header))


def _numbers(header: pydicom.Dataset) -> set[str]:
    found = {tag: _value(header, tag).casefold() for tag in NUMBERS}
    if found["PatientID"] == found["StudyInstanceUID"]:
        # Sets that were made public are named by made-up identifiers; RSNA's is one.
        del found["PatientID"], found["StudyInstanceUID"]
    return {value for value in found.values() if len(value) >= SHORTEST}


def _value(header: pydicom.Dataset, tag: str) -> str:
    try:
        return str(header.get(tag, "") or "").strip()
    except Exception:  # a broken value raises when it is looked at
        return ""
