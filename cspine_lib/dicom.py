"""A DICOM series → ``Volume``: slices ordered by where they lie in the patient.

Neither InstanceNumber nor the file's name says where a slice is; only
ImagePositionPatient does (DICOM PS3.3 C.7.6.2.1.1).  Whatever else a folder holds is
named in ``Series.issues``, and one bad file does not lose the study.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import HU_MIN
from cspine_lib.decode import check_claims, decode_hu, rescale
from cspine_lib.errors import CspineError
from cspine_lib.headers import (
    BadFile,
    Issue,
    SliceHeader,
    list_files,
    natural_key,
    quiet_pydicom,
    read_header,
)
from cspine_lib.stack import (
    InPlane,
    Stack,
    find_stack,
    in_plane_turn,
    regular_grid,
    stack_affine,
    tilt_issues,
)
from cspine_lib.volume import Volume

__all__ = ["Issue", "Series", "SliceHeader", "read_series", "scan_headers"]

MAX_VOXELS = 2**31
"""4 GiB of int16: some eight times the largest study of RSNA's set."""


@dataclass(frozen=True, eq=False)
class Series:
    """A CT series, read.

    Args:
        volume: HU and geometry, head to feet.
        files: file name of each slice in z order; empty where a slice was interpolated.
        slice_of_number: number at the end of a file's name → z index (boxes use it).
        issues: what was found wrong and what was done about it.
        reversed: whether file numbers run from feet to head.
        header: tags that name no person: scanner, kernel, encodings, spacing.
        in_plane: how image rows and columns were turned to the patient's axes.
    """

    volume: Volume
    files: tuple[str, ...]
    slice_of_number: dict[int, int]
    issues: tuple[Issue, ...]
    reversed: bool
    header: dict[str, str] = field(default_factory=dict)
    in_plane: InPlane = field(default_factory=InPlane)

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
                issues.append(Issue("warning", bad.code, bad.message, Path(path).name))
    return headers, issues


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
    headers, issues = scan_headers(source)
    headers = _usable(headers, issues)
    if not headers:
        raise CspineError(_nothing_usable(source, issues))
    stack = find_stack(headers, issues)
    if len(stack.headers) * stack.rows * stack.columns > MAX_VOXELS:
        raise CspineError(
            f"[too_large] {len(stack.headers)} slices of {stack.rows} × {stack.columns} pixels "
            "are no neck CT; give one series only"
        )
    turn = in_plane_turn(stack)
    shape_yx = turn.shape_yx(stack.rows, stack.columns)
    hu_zyx, bad = decode_stack(stack.headers, turn, shape_yx, workers)
    if bad:
        issues.extend(issue for _, issue in sorted(bad.items()))
        keep = [i for i in range(len(stack.headers)) if i not in bad]
        if not keep:
            raise CspineError(_nothing_usable(source, issues))
        stack, hu_zyx = stack.only(keep), hu_zyx[keep]
    return _assemble(stack, turn, hu_zyx, issues)


def _assemble(
    stack: Stack, turn: InPlane, hu_zyx: npt.NDArray[np.int16], issues: list[Issue]
) -> Series:
    """Put decoded slices on a regular grid and keep the book of which file went where."""
    grid = regular_grid(stack, issues)
    first, last = grid.kept
    affine_mm = stack_affine(stack, grid, turn)
    issues.extend(tilt_issues(stack, affine_mm))
    volume = Volume(grid.fill(hu_zyx[first : last + 1]), affine_mm)
    files = [""] * len(grid.lower)
    slice_of_number = {}
    for header, at in zip(
        stack.headers[first : last + 1], grid.slice_of_source.tolist(), strict=True
    ):
        files[at] = files[at] or header.name
        if header.number is not None:
            slice_of_number[header.number] = at
    for number, twin in stack.twins.items():
        if twin in slice_of_number:
            slice_of_number[number] = slice_of_number[twin]
    return Series(
        volume=volume,
        files=tuple(files),
        slice_of_number=slice_of_number,
        issues=tuple(_gathered(issues)),
        reversed=_runs_feet_to_head(slice_of_number),
        header=_summary(stack.headers),
        in_plane=turn,
    )


def _usable(headers: list[SliceHeader], issues: list[Issue]) -> list[SliceHeader]:
    """Headers that can become a CT slice; the rest turns into issues."""
    kept = []
    for header in headers:
        try:
            _check_is_ct(header)
            check_claims(header)
            rescale(header)
            _check_place(header)
        except BadFile as bad:
            issues.append(Issue("warning", bad.code, bad.message, header.name))
        else:
            kept.append(header)
    absent = [h for h in kept if h.rescale_absent]
    if absent:
        issues.append(
            Issue(
                "warning",
                "no_rescale",
                f"{len(absent)} files have no RescaleSlope and RescaleIntercept; signed values are "
                "taken for HU, unsigned ones for HU + 1024",
                absent[0].name,
            )
        )
    if any(h.orientation is None for h in kept):
        issues.append(
            Issue(
                "warning", "no_orientation", "no ImageOrientationPatient; taken for axial, supine"
            )
        )
    return kept


def _check_is_ct(h: SliceHeader) -> None:
    if h.rows < 1 or h.columns < 1:
        raise BadFile("no_pixels", "no image in it; passed over")
    if h.modality not in ("CT", ""):
        raise BadFile("not_ct", f"modality {h.modality}, not CT; passed over")
    if {"LOCALIZER", "SCOUT"} & set(h.image_type):
        raise BadFile("localizer", "a localizer (scout view), not a slice; passed over")


def _check_place(h: SliceHeader) -> None:
    if h.position_mm is None:
        raise BadFile("no_position", "no ImagePositionPatient, so its place is unknown; skipped")
    if max(map(abs, h.position_mm)) > 1e5:
        raise BadFile("no_position", "its ImagePositionPatient is beyond 100 m; skipped")
    if h.spacing_yx_mm is None or not all(1e-3 < s < 100 for s in h.spacing_yx_mm):
        raise BadFile("bad_spacing", "PixelSpacing is missing or absurd; skipped")
    if h.orientation is not None:
        row, column = np.reshape(h.orientation, (2, 3))
        lengths = np.linalg.norm(row), np.linalg.norm(column)
        if not np.allclose(lengths, 1, atol=0.02) or abs(row @ column) > 0.02:
            raise BadFile("bad_orientation", "ImageOrientationPatient is no pair of axes; skipped")


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


def decode_stack(
    headers: Sequence[SliceHeader], turn: InPlane, shape_yx: tuple[int, int], workers: int
) -> tuple[npt.NDArray[np.int16], dict[int, Issue]]:
    """HU (Z, Y, X) of all slices, turned to the patient, and the slices that failed."""
    shape = (len(headers), *shape_yx)
    workers = min(workers, max(1, len(headers) // 16))
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
                bad[z] = Issue("warning", error.code, error.message, header.name)
            except OSError as error:
                bad[z] = Issue("warning", "unreadable", f"{error.strerror}; skipped", header.name)
    return bad


def _runs_feet_to_head(slice_of_number: dict[int, int]) -> bool:
    """Whether z falls as the file number rises."""
    if len(slice_of_number) < 2:
        return False
    z = [slice_of_number[number] for number in sorted(slice_of_number)]
    return bool(np.sum(np.sign(np.diff(z))) < 0)


def _gathered(issues: list[Issue], limit: int = 5) -> list[Issue]:
    """Many files with the same fault become one issue that counts them."""
    counts = Counter(i.code for i in issues if i.file)
    out, told = [], set()
    for issue in issues:
        if not issue.file or counts[issue.code] <= limit:
            out.append(issue)
        elif issue.code not in told:
            told.add(issue.code)
            more = f"{issue.message} ({counts[issue.code]} files, this is the first)"
            out.append(Issue(issue.severity, issue.code, more, issue.file))
    return out


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
