"""How fast `build_index` reads headers, against plain pydicom loops over the same files.

    python benchmarks/bench_index.py [--studies 16] [--rounds 5]

Draws one series of 300 slices of 512 × 512 twice: with the header of RSNA's files (some 35
tags) and with that of a hospital's archive (some 200, private ones and sequences among them),
and links it into study folders.  All files are read once before anything is timed, so that
the disk is not in the figures; every round times every way, and the best round counts.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from cspine_lib.index import build_index

SLICES, SIDE = 300, 512
UID = "1.2.826.0.1.3680043.10.7"
USED = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("Rows", "Columns", "BitsStored", "PixelRepresentation", "RescaleIntercept", "WindowCenter"),
)


def rsna_header() -> Dataset:
    """What a de-identified slice of RSNA's set carries."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.Modality, ds.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY"]
    for empty in ("StudyDate", "StudyTime", "AccessionNumber", "Manufacturer", "PatientName"):
        setattr(ds, empty, "")
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = UID, f"{UID}.1", f"{UID}.2"
    ds.PatientID, ds.PatientPosition, ds.BodyPartExamined, ds.KVP = "1", "HFS", "CSPINE", "120"
    ds.SliceThickness, ds.PixelSpacing = "1", ["0.4", "0.4"]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = SIDE
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = ["500", "40"], ["1800", "400"]
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    return ds


def hospital_header() -> Dataset:
    """The same as an archive has it: technique, codes, history, a maker's private tags."""
    ds = rsna_header()
    ds.Manufacturer, ds.ManufacturerModelName = "A maker of scanners", "A model"
    ds.StudyDescription = ds.SeriesDescription = ds.ProtocolName = "HWS nativ 1.0 Br59 S3"
    ds.ConvolutionKernel, ds.FilterType, ds.ScanOptions = "Br59d", "FLAT", "HELIX"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", "CT of the neck"
    for name in ("ProcedureCodeSequence", "RequestedProcedureCodeSequence"):
        setattr(ds, name, Sequence([copy.deepcopy(code)]))
    images = []
    for k in range(12):
        image = Dataset()
        image.ReferencedSOPClassUID = CTImageStorage
        image.ReferencedSOPInstanceUID = f"{UID}.9.{k}"
        images.append(image)
    ds.ReferencedImageSequence = Sequence(images)
    for group in (0x0019, 0x0021, 0x0029):
        block = ds.private_block(group, "A MAKER OF SCANNERS", create=True)
        for k in range(45):
            block.add_new(k, "LO", f"private value {k} of this maker's reconstruction")
        block.add_new(0xF0, "OB", bytes(2048))
    return ds


def write_studies(root: Path, header: Dataset, studies: int) -> list[list[str]]:
    """One series drawn, the others linked to it; paths of all files, study by study."""
    rng = np.random.default_rng(0)
    folders = [root / "train_images" / f"{UID}.{k}" for k in range(studies)]
    for folder in folders:
        folder.mkdir(parents=True)
    for z in range(SLICES):
        header.SOPInstanceUID, header.InstanceNumber = f"{UID}.3.{z}", z + 1
        header.ImagePositionPatient = ["-102.4", "-102.4", f"{300 - z}"]
        header.PixelData = rng.integers(0, 4096, (SIDE, SIDE)).astype("<u2").tobytes()
        header["PixelData"].VR = "OW"
        header.save_as(folders[0] / f"{z + 1}.dcm", enforce_file_format=True)
    for folder in folders[1:]:
        for z in range(SLICES):
            os.link(folders[0] / f"{z + 1}.dcm", folder / f"{z + 1}.dcm")
    return [[str(folder / f"{z + 1}.dcm") for z in range(SLICES)] for folder in folders]


def ways(root: Path, files: list[list[str]], kept: Path) -> dict[str, Callable[[], object]]:
    """Name of each way → what is timed."""
    flat = [path for study in files for path in study]

    def loop(**options: object) -> None:
        for path in flat:
            ds = pydicom.dcmread(path, **options)
            for keyword in USED:
                getattr(ds, keyword)

    return {
        "pydicom.dcmread, whole file, ten tags": loop,
        "pydicom.dcmread(stop_before_pixels=True), ten tags": lambda: loop(stop_before_pixels=True),
        "build_index, 1 process": lambda: build_index(root),
        "build_index, 2 processes": lambda: build_index(root, workers=2),
        "build_index again, rows kept": lambda: build_index(root, cache=kept),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    for what, header in (("RSNA's header", rsna_header()), ("a hospital's", hospital_header())):
        with tempfile.TemporaryDirectory() as place:
            root, kept = Path(place), Path(place) / "index.csv"
            files = write_studies(root, header, asked.studies)
            first = pydicom.dcmread(files[0][0])
            tags, size = len(list(first.iterall())), os.path.getsize(files[0][0]) - 2 * SIDE**2
            build_index(root, workers=2, cache=kept)
            timed = ways(root, files, kept)
            best = dict.fromkeys(timed, float("inf"))
            for _ in range(asked.rounds):
                for name, run in timed.items():
                    start = time.perf_counter()
                    run()
                    best[name] = min(best[name], time.perf_counter() - start)
        count = SLICES * asked.studies
        base = best["pydicom.dcmread(stop_before_pixels=True), ten tags"]
        print(f"\n| {what}: {tags} tags, {size} bytes | headers per second | ratio |")
        print("| --- | --- | --- |")
        for name, seconds in best.items():
            print(f"| {name} | {count / seconds:,.0f} | {base / seconds:.2f} |")


if __name__ == "__main__":
    main()
