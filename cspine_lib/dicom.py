"""A DICOM series → ``Volume``: slices ordered by where they lie in the patient.

Neither InstanceNumber nor the file's name says where a slice is; only
ImagePositionPatient does (DICOM PS3.3 C.7.6.2.1.1).  Whatever else a folder holds is
named in ``Series.issues``, and one bad file does not lose the study.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import HU_MIN
from cspine_lib.decode import RAW_SYNTAXES, decode_hu
from cspine_lib.errors import CspineError
from cspine_lib.grid import Grid, regular_grid, stack_affine, tilt_issues
from cspine_lib.headers import SliceHeader, list_files, natural_key, quiet_pydicom, read_header
from cspine_lib.issues import BadFile, Issue, gathered, warning
from cspine_lib.stack import InPlane, Stack, find_stack, in_plane_turn, usable_slices
from cspine_lib.volume import Volume

__all__ = [
    "Geometry",
    "Issue",
    "Series",
    "SliceHeader",
    "read_geometry",
    "read_series",
    "scan_headers",
]

MIN_SLICES_PER_WORKER = 200
"""Fewer compressed slices (about a second of work) are done before another process has started."""

MAX_VOXELS = 2**31
"""4 GiB of int16: some eight times the largest study of RSNA's set."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """What the headers of a series tell: everything but the pixels.

    Args:
        shape_zyx, affine_mm: of the volume, head to feet.
        files: file name of each slice in z order; empty where a slice is interpolated.
        slice_of_number: number at the end of a file's name → z index (boxes use it).
        issues: what was found wrong and what was done about it.
        reversed: whether file numbers run from feet to head.
        header: tags that name no person: scanner, kernel, encodings, thickness.
        in_plane: how image rows and columns are turned to the patient's axes.
    """

    shape_zyx: tuple[int, int, int]
    affine_mm: npt.NDArray[np.float64]
    files: tuple[str, ...]
    slice_of_number: dict[int, int]
    issues: tuple[Issue, ...]
    reversed: bool
    header: dict[str, str]
    in_plane: InPlane


@dataclass(frozen=True, eq=False)
class Series:
    """A CT series, read.  See ``Geometry`` for what is not the volume."""

    volume: Volume
    files: tuple[str, ...]
    slice_of_number: dict[int, int]
    issues: tuple[Issue, ...]
    reversed: bool
    header: dict[str, str]
    in_plane: InPlane

    def __repr__(self) -> str:
        order = ", file numbers run feet to head" if self.reversed else ""
        return f"Series({self.volume!r}, {len(self.issues)} issues{order})"


def scan_headers(
    source: str | Path | Sequence[str | Path],
) -> tuple[list[SliceHeader], list[Issue]]:
    """Headers of all DICOM files in a folder (or of the given files), and what was passed over.

    Raises:
        CspineError: the folder does not exist or cannot be read.
    """
    if isinstance(source, (str, Path)):
        folder = Path(source)
        if not folder.is_dir():
            raise CspineError(f"{folder} is not a folder; give the folder of one DICOM series")
        try:
            paths, issues = list_files(folder)
        except OSError as error:
            raise CspineError(f"{folder} cannot be read: {error.strerror}") from None
    else:
        paths, issues = sorted(map(str, source), key=natural_key), []
    headers = []
    with quiet_pydicom():
        for path in paths:
            try:
                headers.append(read_header(path))
            except BadFile as bad:
                issues.append(bad.issue(Path(path).name))
    return headers, issues


def read_geometry(source: str | Path | Sequence[str | Path]) -> Geometry:
    """What ``read_series`` would find, from the headers alone.

    Raises:
        CspineError: no CT slice with a position in space.
    """
    stack, issues = _find(source)
    return _lay_out(stack, issues)[1]


def read_series(source: str | Path | Sequence[str | Path], *, workers: int = 1) -> Series:
    """Read the (largest axial CT) series of a folder.

    Args:
        source: folder of DICOM files with any names, or the files themselves.
        workers: processes that decode; 1 starts none.

    Returns:
        Series: its issues say what was passed over, filled or straightened.

    Raises:
        CspineError: no CT slice with a position in space can be read.
    """
    stack, issues = _find(source)
    hu_zyx, bad = decode_stack(stack, workers)
    if bad:
        issues.extend(issue for _, issue in sorted(bad.items()))
        keep = [i for i in range(len(stack.headers)) if i not in bad]
        if not keep:
            raise CspineError(_nothing_usable(source, issues))
        stack, hu_zyx = stack.only(keep), hu_zyx[keep]
    grid, found = _lay_out(stack, issues)
    first, last = grid.kept
    volume = Volume(grid.fill(hu_zyx[first : last + 1]), found.affine_mm)
    return Series(
        volume,
        found.files,
        found.slice_of_number,
        found.issues,
        found.reversed,
        found.header,
        found.in_plane,
    )


def _find(source: str | Path | Sequence[str | Path]) -> tuple[Stack, list[Issue]]:
    headers, issues = scan_headers(source)
    headers = usable_slices(headers, issues)
    if not headers:
        raise CspineError(_nothing_usable(source, issues))
    return find_stack(headers, issues), issues


def _lay_out(stack: Stack, issues: list[Issue]) -> tuple[Grid, Geometry]:
    """Put slices on a regular grid and keep the book of which file went where."""
    grid, turn = regular_grid(stack, issues), in_plane_turn(stack)
    affine_mm = stack_affine(stack, grid, turn)
    issues.extend(tilt_issues(stack, affine_mm))
    shape = (len(grid.lower), *turn.shape_yx(stack.rows, stack.columns))
    _check_size(shape)
    first, last = grid.kept
    files = [""] * len(grid.lower)
    slice_of_number: dict[int, int] = {}
    for header, z in zip(
        stack.headers[first : last + 1], grid.slice_of_source.tolist(), strict=True
    ):
        files[z] = files[z] or header.name
        if header.number is not None:
            slice_of_number.setdefault(header.number, z)
    for number, twin in stack.twins.items():
        if twin in slice_of_number:
            slice_of_number.setdefault(number, slice_of_number[twin])
    geometry = Geometry(
        shape,
        affine_mm,
        tuple(files),
        slice_of_number,
        tuple(gathered(issues)),
        _runs_feet_to_head(slice_of_number),
        _summary(stack.headers),
        turn,
    )
    return grid, geometry


def _check_size(shape_zyx: tuple[int, int, int]) -> None:
    if shape_zyx[0] * shape_zyx[1] * shape_zyx[2] > MAX_VOXELS:
        raise CspineError(
            f"[too_large] {' × '.join(map(str, shape_zyx))} voxels are no neck CT; "
            "give one series only"
        )


def _nothing_usable(source: object, issues: list[Issue]) -> str:
    where = source if isinstance(source, (str, Path)) else "the given files"
    if not issues:
        return f"[empty] no file in {where}; give a folder of DICOM files"
    code, count = Counter(i.code for i in issues).most_common(1)[0]
    example = next(i for i in issues if i.code == code)
    return (
        f"[{code}] no usable CT slice in {where}: {count} of {len(issues)} files like "
        f"{example.file or '?'}: {example.message}"
    )


def decode_stack(stack: Stack, workers: int = 1) -> tuple[npt.NDArray[np.int16], dict[int, Issue]]:
    """HU (Z, Y, X) of all slices, turned to the patient, and an issue for each that failed."""
    turn, headers = in_plane_turn(stack), stack.headers
    shape = (len(headers), *turn.shape_yx(stack.rows, stack.columns))
    _check_size(shape)
    try:
        return _decoded(headers, shape, turn, workers)
    except MemoryError:
        raise CspineError(
            f"[too_large] {' × '.join(map(str, shape))} voxels do not fit into memory"
        ) from None


def _decoded(
    headers: Sequence[SliceHeader], shape: tuple[int, int, int], turn: InPlane, workers: int
) -> tuple[npt.NDArray[np.int16], dict[int, Issue]]:
    compressed = sum(h.transfer_syntax not in RAW_SYNTAXES for h in headers)
    # Uncompressed slices are read faster than a process starts.
    workers = min(workers, compressed // MIN_SLICES_PER_WORKER)
    if workers <= 1:
        hu_zyx = np.full(shape, HU_MIN, dtype=np.int16)
        return hu_zyx, _decode_into(hu_zyx, headers, 0, turn)
    from joblib import Parallel, delayed

    # Workers write into one file-backed array: no slice is pickled on its way back.
    with tempfile.TemporaryDirectory(prefix="cspine_") as folder:
        path = Path(folder) / "hu.raw"
        shared = np.memmap(path, dtype=np.int16, mode="w+", shape=shape)
        bounds = np.linspace(0, len(headers), 4 * workers + 1).astype(int)
        jobs = (
            delayed(_decode_part)(path, shape, headers[a:b], int(a), turn)
            for a, b in pairwise(bounds)
        )
        bad: dict[int, Issue] = {}
        for part in Parallel(n_jobs=workers)(jobs):
            bad.update(part)
        hu_zyx = np.array(shared)
        del shared
    return hu_zyx, bad


def _decode_part(
    path: Path,
    shape: tuple[int, int, int],
    headers: Sequence[SliceHeader],
    first: int,
    turn: InPlane,
) -> dict[int, Issue]:
    shared = np.memmap(path, dtype=np.int16, mode="r+", shape=shape)
    return _decode_into(shared, headers, first, turn)


def _decode_into(
    hu_zyx: npt.NDArray[np.int16], headers: Sequence[SliceHeader], first: int, turn: InPlane
) -> dict[int, Issue]:
    bad = {}
    with quiet_pydicom():
        for z, header in enumerate(headers, start=first):
            try:
                hu_zyx[z] = turn.apply(decode_hu(header))
            except BadFile as error:
                bad[z] = error.issue(header.name)
            except OSError as error:
                bad[z] = warning("unreadable", f"{error.strerror}; skipped", header.name)
    return bad


def _runs_feet_to_head(slice_of_number: dict[int, int]) -> bool:
    """Whether z falls as the file number rises."""
    if len(slice_of_number) < 2:
        return False
    z = [slice_of_number[number] for number in sorted(slice_of_number)]
    return bool(np.sum(np.sign(np.diff(z))) < 0)


def _summary(headers: Sequence[SliceHeader]) -> dict[str, str]:
    """Tags of the first slice, and encodings and bits of all."""
    first = headers[0]
    syntaxes = sorted({h.transfer_syntax for h in headers})
    bits = sorted({f"{h.bits_stored} {'signed' if h.signed else 'unsigned'}" for h in headers})
    out = dict(first.info)
    out["ConvolutionKernel"] = first.kernel
    out["SliceThickness"] = "" if first.thickness_mm is None else f"{first.thickness_mm:g}"
    out["TransferSyntaxUID"] = ", ".join(syntaxes)
    out["BitsStored"] = ", ".join(bits)
    return out
