"""Small DICOM series to order, written by pydicom: the reader's opposite, made independently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
UID = "1.2.826.0.1.3680043.10.1"


def random_hu(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """HU between -1024 and 3000 without any symmetry, smooth along no axis."""
    return np.random.default_rng(seed).integers(-1024, 3000, shape).astype(np.int16)


def write_slice(
    path: Path,
    hu: np.ndarray,
    position: Sequence[float],
    *,
    directions: Sequence[Sequence[float]] = AXIAL,
    spacing: tuple[float, float] = (0.5, 0.4),
    signed: bool = False,
    bits: int = 12,
    high_bit: int | None = None,
    allocated: int = 16,
    slope: float = 1.0,
    intercept: float = -1024.0,
    syntax: str = ExplicitVRLittleEndian,
    change: Callable[[Dataset], None] | None = None,
) -> Path:
    """One CT slice; ``change`` may spoil the data set before it is written."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"{UID}.{abs(hash(path.name)) % 10**9}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = UID, f"{UID}.1"
    ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PatientName, ds.InstanceNumber = "Secret^Name", 1  # InstanceNumber tells nothing
    ds.ImagePositionPatient = [f"{p:.6g}" for p in position]
    ds.ImageOrientationPatient = [f"{v:.9g}" for v in np.ravel(directions)]
    ds.PixelSpacing, ds.SliceThickness = [f"{s:g}" for s in spacing], "9"
    ds.Rows, ds.Columns = hu.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored = allocated, bits
    ds.HighBit = bits - 1 if high_bit is None else high_bit
    ds.PixelRepresentation = int(signed)
    ds.RescaleSlope, ds.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
    stored = np.rint((hu.astype(float) - intercept) / slope).astype(np.int64)
    stored = (stored & ((1 << bits) - 1)) << (ds.HighBit + 1 - bits)
    big = syntax == "1.2.840.10008.1.2.2"
    kind = f"{'>' if big else '<'}u{allocated // 8}"
    ds.PixelData = stored.astype(kind).tobytes()
    ds["PixelData"].VR = "OW"
    if change is not None:
        change(ds)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    hu_zyx: np.ndarray,
    *,
    top: Sequence[float] = (-10.0, -20.0, 50.0),
    step: Sequence[float] = (0.0, 0.0, -2.0),
    names: Callable[[int], str] = lambda z: f"{z + 1}.dcm",
    places: Sequence[float] | None = None,
    **slice_options: object,
) -> list[Path]:
    """Slices 0, 1, … at ``top + places[z] · step`` (``places`` defaults to 0, 1, …)."""
    places = list(range(len(hu_zyx))) if places is None else list(places)
    paths = []
    for z, place in enumerate(places):
        position = np.asarray(top) + place * np.asarray(step)
        paths.append(write_slice(folder / names(z), hu_zyx[z], position, **slice_options))  # type: ignore[arg-type]
    return paths
