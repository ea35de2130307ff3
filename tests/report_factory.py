"""A small scan, a model that needs no training, and results made by hand, for tests of reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

from cspine_lib.anatomy import LEVELS, OVERALL, TARGETS
from cspine_lib.labels import LevelBox
from cspine_lib.study_result import Frames, Judged, StudyResult
from cspine_lib.volume import Volume

PLANTED = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "MRN-4471193",
    "PatientBirthDate": "19481109",
    "PatientAddress": "Hauptstrasse 17",
    "OtherPatientNames": "Geborene^Kowalewski",
    "PatientTelephoneNumbers": "030-5550199",
    "AccessionNumber": "ACC77821",
    "StudyDate": "20211224",
    "SeriesDate": "20211225",
    "AcquisitionDate": "20211226",
    "ContentDate": "20211227",
    "StudyTime": "134455",
    "InstitutionName": "Charite Testklinik",
    "InstitutionAddress": "Chariteplatz 1",
    "ReferringPhysicianName": "Sauerbruch^Ferdinand",
    "PerformingPhysicianName": "Virchow^Rudolf",
    "OperatorsName": "Operatorix^Olga",
    "StationName": "STATION-XY9",
    "StudyDescription": "HWS nach Sturz Mustermann",
    "SeriesDescription": "Serie Erika 1mm",
    "PatientComments": "Nachbarin Schmidtke anrufen",
    "ProtocolName": "Protokoll Wernicke",
    "DeviceSerialNumber": "SN-908172",
    "Manufacturer": "Herstellerix",
    "ManufacturerModelName": "Modellix",
    "RequestAttributes": None,
}
"""Tag → what is planted there; none of it may be found again."""


def words_planted() -> set[str]:
    """Every planted word of three letters or more, in small letters."""
    values = " ".join(v for v in PLANTED.values() if v)
    for sign in "^-":
        values += " " + values.replace(sign, " ")
    known = {"nach", "anrufen", "1mm"}  # words that a report may use
    return {w.casefold() for w in values.split() if len(w) > 3} - known


def plant(folder: Path) -> None:
    """Write the planted tags into every DICOM file of a folder."""
    for path in folder.iterdir():
        try:
            ds = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError:
            continue
        for tag, value in PLANTED.items():
            if value is not None:
                setattr(ds, tag, value)
        block = ds.private_block(0x0009, "MUSTERMANN PRIVAT", create=True)
        block.add_new(0x01, "LO", "Mustermann Erika")
        ds.save_as(path)


def volume(shape: tuple[int, int, int] = (70, 64, 64), mm: float = 1.5) -> Volume:
    """Noise through the bone window: pictures of it are as large as pictures get."""
    hu = np.random.default_rng(1).integers(-400, 1400, shape).astype(np.int16)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = -mm, mm, mm, 1.0
    return Volume(hu, affine)


def levels(z: int = 70, side: int = 64) -> dict[str, LevelBox]:
    """Seven levels, each a seventh of the slices, boxes in the middle."""
    step = z // 7
    low, high = 0.3 * side, 0.7 * side
    return {
        name: LevelBox(name, i * step, (i + 1) * step - 1, low, low, high, high)
        for i, name in enumerate(LEVELS)
    }


def frames(boxes: dict[str, LevelBox], t: int = 8) -> dict[str, Frames]:
    """Frames whose weights grow towards the feet."""
    out = {}
    for name, box in boxes.items():
        z = np.linspace(box.z0, box.z1, 3 * t).round().astype(int).reshape(t, 3)
        weight = np.arange(1, t + 1) / (t * (t + 1) / 2)
        out[name] = Frames(z, weight)
    return out


def probability(**given: float) -> dict[str, float]:
    """Eight probabilities, 0.1 where nothing is given."""
    return {t: given.get(t, 0.6 if t == OVERALL else 0.1) for t in TARGETS}


def result(**given: object) -> StudyResult:
    """A judged study with seven levels and frames."""
    boxes = levels()
    usual: dict = {
        "probability": probability(C2=0.42),
        "levels": boxes,
        "frames": frames(boxes),
        "study": "study-1",
    }
    return StudyResult(**{**usual, **given})


class Model:
    """Says the same of every volume."""

    def __init__(self, trained_on: str = "phantom v1, seed 7", identity: str = "feed") -> None:
        self.trained_on, self.identity = trained_on, identity
        self.prior = probability(C2=0.2)
        self.seen = 0
        self.says = probability(C2=0.42)
        self.about = {"method": "a stand-in"}

    def judge_volume(self, volume: Volume):
        said = self.explain(volume)
        return said.probability, said.levels

    def explain(self, volume: Volume) -> Judged:
        self.seen += 1
        return Judged(self.says, {}, {})
