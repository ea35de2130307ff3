"""Names that everything else agrees on: levels, mask values, windows, file names.

Layout and column names are those of the RSNA 2022 Cervical Spine Fracture
Detection data set (kaggle.com/competitions/rsna-2022-cervical-spine-fracture-detection).
"""

from typing import Final

LEVELS: Final = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")
"""Cervical levels, head to feet."""

N_LEVELS: Final = len(LEVELS)

OVERALL: Final = "patient_overall"
"""Name of the study-level label: 1 if any cervical level is broken."""

TARGETS: Final = (OVERALL, *LEVELS)
"""The eight competition targets in the column order of train.csv."""

MASK_VALUE: Final = {level: i + 1 for i, level in enumerate(LEVELS)}
"""Mask value of each cervical level: C1 = 1 … C7 = 7."""

THORACIC_MASK_VALUE: Final = {f"T{i}": 7 + i for i in range(1, 13)}
"""Mask value of each thoracic level: T1 = 8 … T12 = 19."""

WINDOWS: Final = {
    "bone": (1800.0, 500.0),
    "soft": (400.0, 40.0),
    "wide": (2500.0, 400.0),
    "narrow": (300.0, 80.0),
    "middle": (650.0, 400.0),
}
"""CT display windows as (width, level) in HU.

Bone and soft-tissue values are the usual ones of radiology departments; see
e.g. Murphy & Feger, "Windowing (CT)", Radiopaedia rID-52108.  ``narrow`` and ``middle`` are,
beside ``bone``, the windows that others quote for Salehinejad et al. (arXiv 2010.13336).
"""

AIR_HU: Final = -1000
WATER_HU: Final = 0
HU_MIN: Final = -1024
"""Lowest HU that a scanner with intercept -1024 and unsigned storage can write."""
HU_MAX: Final = 3071
"""Highest HU of 12-bit storage with intercept -1024."""

# File and column names of the competition's layout.
TRAIN_CSV: Final = "train.csv"
BOXES_CSV: Final = "train_bounding_boxes.csv"
TEST_CSV: Final = "test.csv"
SAMPLE_SUBMISSION_CSV: Final = "sample_submission.csv"
TRAIN_IMAGES: Final = "train_images"
TEST_IMAGES: Final = "test_images"
SEGMENTATIONS: Final = "segmentations"
STUDY_COLUMN: Final = "StudyInstanceUID"
TRAIN_COLUMNS: Final = (STUDY_COLUMN, *TARGETS)
BOX_COLUMNS: Final = (STUDY_COLUMN, "x", "y", "width", "height", "slice_number")
TEST_COLUMNS: Final = ("row_id", STUDY_COLUMN, "prediction_type")
SUBMISSION_COLUMNS: Final = ("row_id", "fractured")

# Files that only a phantom has.
PHANTOM_JSON: Final = "phantom.json"
TRUTH_FILE: Final = "phantom_truth.json"
"""What was drawn for each study, and the answers for test_images.  No training code reads it."""


def row_id(study_uid: str, target: str) -> str:
    """Competition row name, e.g. ``1.2.826…_C1``."""
    return f"{study_uid}_{target}"
