"""Which files are CT slices, which of them belong together, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from cspine_lib.decode import check_claims, rescale
from cspine_lib.errors import CspineError
from cspine_lib.headers import SliceHeader, natural_key
from cspine_lib.issues import BadFile, Issue, warning

AXIAL: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
SAME_DIRECTION = 2e-3
"""Direction cosines that differ by less belong to one stack (0.1°; scanners round them)."""
SAME_SPACING = 1e-3
SAME_PLACE = 0.01
"""Slices nearer than this fraction of the usual gap are the same slice twice."""
MAX_TILT_DEG = 45.0
MODALITIES = {
    *("CR", "DOC", "DX", "ES", "KO", "MG", "MR", "NM", "OT", "PR", "PT", "REG", "RF", "RTDOSE"),
    *("RTIMAGE", "RTPLAN", "RTSTRUCT", "SC", "SEG", "SR", "US", "XA"),
}
"""Terms of DICOM PS3.3 C.7.3.1.1.1 that lie beside CT slices."""
FARTHEST_MM = 1e5
"""A position further from the scanner's origin is no position."""


@dataclass(frozen=True)
class InPlane:
    """How an image's rows and columns turn into y (front→back) and x (patient right→left)."""

    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False

    def shape_yx(self, rows: int, columns: int) -> tuple[int, int]:
        """Shape of the turned image."""
        return (columns, rows) if self.transpose else (rows, columns)

    def apply(self, image: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        """(rows, columns) → (Y, X), a view."""
        turned = image.T if self.transpose else image
        return turned[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

    def box(
        self, x: float, y: float, width: float, height: float, shape_yx: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """A box (x, y, width, height) in pixels of the file → the same in the turned image."""
        if self.transpose:
            x, y, width, height = y, x, height, width
        if self.flip_y:
            y = shape_yx[0] - y - height
        if self.flip_x:
            x = shape_yx[1] - x - width
        return x, y, width, height


@dataclass(frozen=True)
class Stack:
    """Slices of one series, head to feet."""

    headers: list[SliceHeader]
    place_mm: npt.NDArray[np.float64]
    """Position of each slice along the slice normal, falling or rising, sorted head → feet."""
    normal: npt.NDArray[np.float64]
    """Unit normal that points to the feet."""
    twins: dict[int, int] = field(default_factory=dict)
    """File number of a dropped duplicate → number of the file that was kept in its place."""

    @property
    def rows(self) -> int:
        return self.headers[0].rows

    @property
    def columns(self) -> int:
        return self.headers[0].columns

    @property
    def axes(self) -> npt.NDArray[np.float64]:
        """(2, 3): direction of a growing column index, and of a growing row index."""
        return _axes(self.headers[0])

    @property
    def positions_mm(self) -> npt.NDArray[np.float64]:
        """(Z, 3) LPS centres of the slices' first pixels."""
        return np.array([h.position_mm for h in self.headers], dtype=np.float64)

    def only(self, keep: Sequence[int]) -> Stack:
        """The stack of some of the slices."""
        headers = [self.headers[i] for i in keep]
        return replace(self, headers=headers, place_mm=self.place_mm[list(keep)])


def _axes(header: SliceHeader) -> npt.NDArray[np.float64]:
    axes = np.reshape(header.orientation or AXIAL, (2, 3)).astype(np.float64)
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


def _tilt_deg(axes: npt.NDArray[np.float64]) -> float:
    """Angle between the slice normal and the body's long axis."""
    return float(np.degrees(np.arccos(min(1.0, abs(np.cross(*axes)[2])))))


def usable_slices(headers: list[SliceHeader], issues: list[Issue]) -> list[SliceHeader]:
    """Headers that can become a CT slice; the rest turns into issues."""
    kept = []
    for header in headers:
        try:
            _check_is_ct(header)
            check_claims(header)
            rescale(header)
            _check_place(header)
        except BadFile as bad:
            issues.append(bad.issue(header.name))
        else:
            kept.append(header)
    absent = [h for h in kept if h.rescale_absent]
    if absent:
        issues.append(
            warning(
                "no_rescale",
                f"{len(absent)} files have no RescaleSlope and RescaleIntercept; signed values are "
                "taken for HU, unsigned ones for HU + 1024",
                absent[0].name,
            )
        )
    if any(h.orientation is None for h in kept):
        issues.append(
            warning("no_orientation", "no ImageOrientationPatient; taken for axial, supine")
        )
    return kept


def _check_is_ct(h: SliceHeader) -> None:
    if h.rows < 1 or h.columns < 1:
        raise BadFile("no_pixels", "no image in it; passed over")
    if h.modality not in ("CT", ""):
        # Text of a file is repeated where it is a known term only: it could be anything.
        kind = f"modality {h.modality}" if h.modality in MODALITIES else "another modality"
        raise BadFile("not_ct", f"{kind}, not CT; passed over")
    if {"LOCALIZER", "SCOUT"} & set(h.image_type):
        raise BadFile("localizer", "a localizer (scout view), not a slice; passed over")


def _check_place(h: SliceHeader) -> None:
    if h.position_mm is None:
        raise BadFile("no_position", "no ImagePositionPatient, so its place is unknown; skipped")
    if max(map(abs, h.position_mm)) > FARTHEST_MM:
        raise BadFile("no_position", "its ImagePositionPatient is beyond 100 m; skipped")
    if h.spacing_yx_mm is None or not all(1e-3 < s < 100 for s in h.spacing_yx_mm):
        raise BadFile("bad_spacing", "PixelSpacing is missing or absurd; skipped")
    if h.orientation is not None:
        row, column = np.reshape(h.orientation, (2, 3))
        lengths = np.linalg.norm(row), np.linalg.norm(column)
        if not np.allclose(lengths, 1, atol=0.02) or abs(row @ column) > 0.02:
            raise BadFile("bad_orientation", "ImageOrientationPatient is no pair of axes; skipped")


def find_stack(headers: Sequence[SliceHeader], issues: list[Issue]) -> Stack:
    """The largest stack of axial slices that share series, matrix, spacing and direction.

    Raises:
        CspineError: no axial slices.
    """
    groups = _groups(headers)
    axial = [g for g in groups if _tilt_deg(_axes(g[0])) <= MAX_TILT_DEG]
    if not axial:
        raise CspineError(
            "[not_axial] the slices are sagittal or coronal reformats; give the axial series"
        )
    group = max(axial, key=len)
    if len(groups) > 1:
        others = [h for g in groups if g is not group for h in g]
        issues.append(
            warning(
                "mixed_series",
                f"{len(groups)} series, sizes, kernels or directions in one folder; the largest "
                f"axial stack ({len(group)} files) is read, {len(others)} files are left out",
                others[0].name,
            )
        )
    return _without_twins(_sorted(group), issues)


def _groups(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    groups: list[list[SliceHeader]] = []
    for header in headers:
        for group in groups:
            if _together(group[0], header):
                group.append(header)
                break
        else:
            groups.append([header])
    return groups


def _together(a: SliceHeader, b: SliceHeader) -> bool:
    # Plain numbers: this runs once per file, and numpy's calls would cost more than the parser.
    if (a.series_uid, a.rows, a.columns, a.kernel) != (b.series_uid, b.rows, b.columns, b.kernel):
        return False
    assert a.spacing_yx_mm is not None and b.spacing_yx_mm is not None
    spacings = zip(a.spacing_yx_mm, b.spacing_yx_mm, strict=True)
    turns = zip(a.orientation or AXIAL, b.orientation or AXIAL, strict=True)
    return all(abs(p - q) <= SAME_SPACING * p for p, q in spacings) and all(
        abs(p - q) < SAME_DIRECTION for p, q in turns
    )


def _sorted(headers: list[SliceHeader]) -> Stack:
    normal = np.cross(*_axes(headers[0]))
    normal = normal / np.linalg.norm(normal)
    normal = -normal if normal[2] > 0 else normal
    place = np.array([h.position_mm for h in headers]) @ normal
    order = sorted(range(len(headers)), key=lambda i: (place[i], natural_key(headers[i].name)))
    return Stack([headers[i] for i in order], place[order], normal)


def _without_twins(stack: Stack, issues: list[Issue]) -> Stack:
    """Drop slices that lie in the place of another; the first by file name stays."""
    gaps = np.diff(stack.place_mm)
    usual = float(np.median(gaps[gaps > 1e-3])) if (gaps > 1e-3).any() else 0.0
    limit = max(SAME_PLACE * usual, 1e-3)
    keep, twins, dropped = [0], {}, []
    for i in range(1, len(stack.headers)):
        kept = stack.headers[keep[-1]]
        if stack.place_mm[i] - stack.place_mm[keep[-1]] > limit:
            keep.append(i)
            continue
        dropped.append(stack.headers[i])
        number = stack.headers[i].number
        if number is not None and kept.number is not None:
            twins[number] = kept.number
    if dropped:
        issues.append(
            warning(
                "duplicate_positions",
                f"{len(dropped)} slices lie exactly where another one lies; the first by file "
                "name is kept",
                dropped[0].name,
            )
        )
    return replace(stack.only(keep), twins=twins)


def in_plane_turn(stack: Stack) -> InPlane:
    """Flips (and a transpose) after which rows run front→back and columns right→left."""
    along_x, along_y = stack.axes  # patient directions of growing column and row index
    transpose = bool(abs(along_x[1]) > abs(along_x[0]))
    if transpose:
        along_x, along_y = along_y, along_x
    return InPlane(transpose, flip_y=bool(along_y[1] < 0), flip_x=bool(along_x[0] < 0))
