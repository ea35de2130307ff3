"""What the codes of the reader's findings mean for whoever reads a prediction."""

from __future__ import annotations

import re

MEANING: dict[str, str] = {
    "missing": "The study's images are not in the data folder.",
    "unsafe_name": "The study's name is no StudyInstanceUID, so no folder is opened by it.",
    "late": "The time allowed was over before this study's turn; the same command goes on with it.",
    "failed": "The method failed on this study.",
    "empty": "The folder holds no file.",
    "not_dicom": "Other files lay among the slices. They are no part of the scan.",
    "unreadable": "A file is damaged, and its slice is missing from the scan. Copy it again.",
    "truncated": "A file ends too early: a copy or download broke off. Copy it again.",
    "no_pixels": "A file holds no image, such as a dose report. It is no part of the scan.",
    "multi_frame": "A file holds several images, which this reader does not take apart.",
    "colour": "A file holds a colour picture, such as a screenshot. It is no part of the scan.",
    "too_large": "The header claims more than a CT slice can be; the file was not believed.",
    "bad_bits": "The header contradicts itself about how pixels are stored.",
    "unknown_encoding": "The pixels are packed in a way that is not read here: convert the files.",
    "bad_rescale": "Without slope and intercept, stored values cannot become Hounsfield units.",
    "no_rescale": "Hounsfield units were guessed. Look whether air is black and bone is white.",
    "no_orientation": "The files do not say how the patient lay. Front and back may be swapped.",
    "not_ct": "Another kind of image lay in the folder. It is no part of the scan.",
    "localizer": "A scout view lay among the slices, as scanners send it. Nothing is lost.",
    "no_position": "A slice does not say where it lies, so it cannot be put in its place.",
    "bad_spacing": "A slice does not say how large its pixels are.",
    "bad_orientation": "A slice does not say how it lies in the patient.",
    "not_axial": "These are sagittal or coronal views; the axial series is wanted.",
    "mixed_series": "Several series lay in the folder; one was chosen. Is it the one you mean?",
    "duplicate_positions": "Slices came twice. One of each is used; nothing is lost.",
    "single_slice": "One slice is no scan: levels cannot be told apart in it.",
    "uneven_gaps": "Slices lie at uneven distances. What lies between was interpolated.",
    "split_stack": "A large part is missing in the middle, so only one side of it was read. "
    "Levels beyond the hole were not looked at.",
    "missing_slices": "Slices are missing. What stands in their place was interpolated, and a "
    "fracture there cannot be seen.",
    "gantry_tilt": "The scanner was tilted. Positions are right, the pictures look sheared.",
    "oblique": "The slices are turned against the body. Positions are right.",
    "symbolic_link": "A link to another place was not followed: put the file itself there.",
    "burned_in": "The files say that writing is burned into their pixels. It may name the patient: "
    "look at the pictures before you pass them on.",
}
"""Code of an issue → what it means, in one or two sentences."""

OTHER = "The reader met something unusual here and dealt with it as the message says."


def meaning(code: str) -> str:
    """What a finding means for whoever reads the prediction."""
    return MEANING.get(code, OTHER)


_STUDY = {"missing", "unsafe_name", "late", "failed", "empty", "not_axial"}


def of_study(code: str) -> str:
    """Why a whole study was not judged."""
    if code in _STUDY:
        return meaning(code)
    return f"None of its files is a usable slice. Of most of them: {meaning(code)}"


def code_of(error: Exception) -> str:
    """Code at the beginning of an error of the reader, ``failed`` if there is none.

    The rest of such an error names a folder and a file, whose names may be a patient's:
    where it is told to others than the one at the keyboard, the code must do.
    """
    match = re.match(r"\[(\w+)\]", str(error))
    return match.group(1) if match else "failed"
