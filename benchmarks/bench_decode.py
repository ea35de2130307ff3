"""How fast, how right and how sturdy the DICOM decoders are: the figures of ``decode.md``.

    python benchmarks/bench_decode.py [--files FOLDER] [--damaged 400] [--slices 300]

Without ``--files`` it times one 512 × 512 slice of its own.  dicomsdl and imagecodecs take
part where they are installed; the library needs neither.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from scipy import ndimage

from cspine_lib.decode import decode_hu, stored_pixels
from cspine_lib.dicom import read_geometry, read_series
from cspine_lib.headers import quiet_pydicom, read_header

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from dicom_factory import write_slice
from test_decode import recoded

SYNTAXES = {
    "JPEG Lossless SV1": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "RLE": gdcm.TransferSyntax.RLELossless,
    "JPEG-LS": gdcm.TransferSyntax.JPEGLSLossless,
    "JPEG 2000": gdcm.TransferSyntax.JPEG2000Lossless,
}


def by_pydicom(path: str) -> np.ndarray:
    return pydicom.dcmread(path).pixel_array


def by_gdcm(path: str) -> np.ndarray:
    reader = gdcm.ImageReader()
    reader.SetFileName(path)
    if not reader.Read():
        raise ValueError("GDCM cannot read it")
    image = reader.GetImage()
    kind = np.int16 if image.GetPixelFormat().GetPixelRepresentation() else np.uint16
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(buffer, kind).reshape(image.GetDimension(1), image.GetDimension(0))


def by_dicomsdl(path: str) -> np.ndarray:
    import dicomsdl

    return dicomsdl.open(path).pixelData(storedvalue=True)


def by_imagecodecs(path: str) -> np.ndarray:
    import imagecodecs

    frame = next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))
    return imagecodecs.jpegsof3_decode(frame)


def by_cspine(path: str) -> np.ndarray:
    return stored_pixels(read_header(path))


DECODERS: dict[str, Callable[[str], np.ndarray]] = {
    "cspine_lib": by_cspine,
    "pydicom + GDCM": by_pydicom,
    "GDCM": by_gdcm,
    "dicomsdl": by_dicomsdl,
    "imagecodecs": by_imagecodecs,
}


def neck_like_slice(seed: int = 0) -> np.ndarray:
    """512 × 512 HU that compress as a CT does: air, an ellipse of tissue, bone, noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:512, :512]
    radius = ((y - 256) / 180) ** 2 + ((x - 256) / 220) ** 2
    hu = np.where(radius < 1, 40.0, -1000.0) + 900 * (((y - 280) ** 2 + (x - 256) ** 2) < 45**2)
    noise = ndimage.gaussian_filter(rng.normal(size=(512, 512)), 0.7) * 60
    return np.clip(hu + noise, -1024, 3000).astype(np.int16)


def best_ms(call: Callable[[], object], repeats: int = 15) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def time_files(files: dict[str, Path]) -> None:
    print(f"{'ms per file (best of 15)':34s}" + "".join(f"{name:>16s}" for name in DECODERS))
    for name, path in files.items():
        cells = []
        reference = by_pydicom(str(path))
        for decoder in DECODERS.values():
            try:
                found = decoder(str(path))
                same = "" if np.array_equal(found.view(reference.dtype), reference) else " WRONG"
                cells.append(f"{best_ms(lambda d=decoder, p=path: d(str(p))):.2f}{same}")  # type: ignore[misc]
            except Exception as error:
                cells.append(type(error).__name__[:15])
        print(f"{name:34s}" + "".join(f"{cell:>16s}" for cell in cells))
    path = str(next(iter(files.values())))
    stored, header = by_cspine(path), read_header(path)
    print(f"{'of which header (cspine_lib)':34s}{best_ms(lambda: read_header(path)):>16.2f}")
    print(f"{'decode and rescale to HU':34s}{best_ms(lambda: decode_hu(header)):>16.2f}")
    assert stored.shape == (header.rows, header.columns)


def spoil(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut, flip bits, or overwrite a stretch, as a broken disk or transfer does."""
    spoiled = bytearray(content)
    kind = rng.integers(3)
    if kind == 0:
        return bytes(spoiled[: rng.integers(200, len(spoiled))])
    if kind == 1:
        for at in rng.integers(132, len(spoiled), rng.integers(1, 20)):
            spoiled[at] ^= 1 << int(rng.integers(8))
    else:
        at = int(rng.integers(300, len(spoiled) - 600))
        spoiled[at : at + 500] = rng.bytes(500)
    return bytes(spoiled)


def child(decoder: str, paths: list[str]) -> None:
    """Decode each path; what happened goes to stdout line by line."""
    with quiet_pydicom():
        for path in paths:
            print("start", flush=True)
            try:
                DECODERS[decoder](path)
                print("decoded", flush=True)
            except Exception:
                print("error", flush=True)


def outcomes(decoder: str, paths: list[str]) -> Counter[str]:
    """What became of each file; a process that dies is counted, and the rest goes on."""
    counts: Counter[str] = Counter()
    while paths:
        command = [sys.executable, __file__, "--child", decoder, *paths]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        lines = run.stdout.split()
        started = lines.count("start")
        counts.update(line for line in lines if line != "start")
        if started == len(paths) and lines[-1] != "start":
            return counts
        counts["process died"] += 1
        paths = paths[max(started, 1) :]
    return counts


def break_files(files: dict[str, Path], folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    contents = [path.read_bytes() for path in files.values()]
    paths = []
    for i in range(count):
        path = folder / f"{i}.dcm"
        path.write_bytes(spoil(contents[i % len(contents)], rng))
        paths.append(str(path))
    print(f"\n{count} damaged files:")
    for name in DECODERS:
        if name != "imagecodecs":  # it sees the codestream only
            print(f"  {name:16s} {dict(outcomes(name, paths))}")


def time_series(folder: Path, source: Path, slices: int) -> None:
    """One study of ``slices`` copies of a file, each in its own place."""
    dataset = pydicom.dcmread(source)
    for z in range(slices):
        dataset.ImagePositionPatient = [0, 0, -0.5 * z]
        dataset.save_as(folder / f"{z + 1}.dcm")
    paths = [str(path) for path in folder.iterdir()]
    print(f"\n{slices} slices of {source.name}, seconds:")

    def told(what: str, call: Callable[[], object]) -> None:
        start = time.perf_counter()
        call()
        print(f"  {what:34s} {time.perf_counter() - start:6.2f}")

    told("headers only (read_geometry)", lambda: read_geometry(folder))
    told("read_series, workers=1", lambda: read_series(folder))
    told("read_series, workers=2 (cold)", lambda: read_series(folder, workers=2))
    told("read_series, workers=2 (warm)", lambda: read_series(folder, workers=2))
    with ThreadPoolExecutor(2) as pool:
        told("decoding in 2 threads", lambda: list(pool.map(by_cspine, paths)))
    told("decoding in 1 thread", lambda: [by_cspine(path) for path in paths])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=Path, help="folder of DICOM files to time")
    parser.add_argument("--damaged", type=int, default=400)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], asked.child[1:])
        return
    for package in ("pydicom", "python-gdcm", "dicomsdl", "imagecodecs"):
        try:
            print(f"{package} {version(package)}")
        except PackageNotFoundError:
            print(f"{package} not installed")
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plain = write_slice(folder / "explicit.dcm", neck_like_slice(), (0, 0, 0))
        files = {"uncompressed": plain}
        files |= {name: recoded(plain, syntax) for name, syntax in SYNTAXES.items()}
        jpeg = files["JPEG Lossless SV1"]
        if asked.files:
            timed = {p.name[-34:]: p for p in sorted(asked.files.iterdir())}
            time_files({name: p for name, p in timed.items() if _readable(p)})
        else:
            time_files(files)
        for name in ("damaged", "series"):
            (folder / name).mkdir()
        if asked.damaged:
            break_files(files, folder / "damaged", asked.damaged)
        time_series(folder / "series", jpeg, asked.slices)


def _readable(path: Path) -> bool:
    try:
        by_pydicom(str(path))
    except Exception:
        return False
    return True


if __name__ == "__main__":
    main()
