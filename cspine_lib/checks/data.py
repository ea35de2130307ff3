"""Graders of notebook 01: the order of slices, and stored values to HU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import (
    Mistakes,
    Verdict,
    answer,
    diagnosis,
    wrong,
)

Array = npt.NDArray[Any]

# --- the order of slices -----------------------------------------------------------------------


def slice_order(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(positions_mm, orientation)``: (N,) indices of slices, head to feet.

    ``positions_mm`` is (N, 3), ImagePositionPatient in LPS mm; ``orientation`` (6,) is
    ImageOrientationPatient.  DICOM PS3.3 C.7.6.2.1.1.
    """
    for note, positions, orientation in _stacks():
        got, failure = answer(fn, positions, orientation)
        if failure is not None:
            return failure
        height = positions @ _upward_normal(orientation)
        if got.shape == height.shape and np.array_equal(np.sort(got), np.arange(len(height))):
            if (np.diff(height[got.astype(int)]) <= 1e-9).all():
                continue
            want = np.argsort(-height, kind="stable")
            return diagnosis(got, want, _ORDER_MISTAKES, (positions, orientation), note=note)
        return _no_order(got, positions, orientation, note)
    return Verdict(
        True, "head to feet, for flipped and tilted stacks too, and doubled slices all stay."
    )


def _upward_normal(orientation: Array) -> Array:
    """Unit normal of the slices that points to the head (+z in LPS)."""
    x1, y1, z1, x2, y2, z2 = orientation
    normal = np.array([y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2])
    return normal * np.sign(normal[2]) / np.sqrt((normal**2).sum())


def _stacks() -> list[tuple[str, Array, Array]]:
    rng = np.random.default_rng(1)
    flat, mirrored = np.array([1.0, 0, 0, 0, 1, 0]), np.array([-1.0, 0, 0, 0, 1, 0])
    tilt = np.radians(20)
    tilted = np.array([1.0, 0, 0, 0, np.cos(tilt), -np.sin(tilt)])
    cases = []
    for note, orientation, n, top, slip, twin in (
        ("", flat, 12, 40.0, 5.0, False),
        ("positions below the scanner's origin: ", flat, 15, -500.0, 5.0, False),
        ("a mirrored stack, whose row × column points to the feet: ", mirrored, 9, 3.0, 5.0, False),
        ("a tilted stack, its images shifted in their planes: ", tilted, 11, 20.0, 30.0, False),
        ("a slice that is there twice: ", flat, 8, 4.0, 5.0, True),
        ("a single slice: ", flat, 1, 7.0, 5.0, False),
    ):
        normal = _upward_normal(orientation)
        depth = 1.5 * np.arange(n)
        if twin:
            depth[3] = depth[2]
        start = top * normal + np.array([-110.0, -95.0, 0.0])
        # Within the plane of each slice, which changes nothing in the order.
        shift = rng.uniform(-slip, slip, (n, 2)) @ orientation.reshape(2, 3)
        positions = start - depth[:, None] * normal + shift
        cases.append((note, rng.permutation(positions), orientation))
    return cases


def _no_order(got: Array, positions: Array, orientation: Array, note: str) -> Verdict:
    n = len(positions)
    if got.shape == positions.shape:
        return wrong(f"{note}return the order, (N,) indices; you returned the positions.")
    if got.shape != (n,):
        return wrong(f"{note}the result has shape {got.shape}; {n} slices have {(n,)} indices.")
    if np.array_equal(np.sort(got), np.arange(1, n + 1)):
        return wrong(f"{note}your indices start at 1; Python counts from 0.")
    if len(np.unique(got)) < n:
        return wrong(f"{note}a slice comes twice and another is lost; each index must come once.")
    return wrong(f"{note}that is no order: each of 0 … {n - 1} must come once.")


def _row_by_column(positions: Array, orientation: Array) -> Array:
    return positions @ np.cross(orientation[:3], orientation[3:])


_ORDER_MISTAKES: Mistakes = [
    # The first two are right for the first stack; where they fail they look like what follows.
    (
        lambda p, o: np.argsort(-_row_by_column(p, o)),
        "the sign is wrong here: row × column can point to the head or to the feet; "
        "look at the normal's z and turn it.",
    ),
    (
        lambda p, o: np.argsort(-np.abs(p[:, 2])),
        "you sorted by the size of z without its sign; positions can be negative.",
    ),
    (
        lambda p, o: np.argsort(p[:, 2]),
        "this runs from feet to head: z grows towards the head in DICOM (LPS), so start with "
        "the largest.",
    ),
    (
        lambda p, o: np.argsort(np.argsort(-(p @ _upward_normal(o)))),
        "this is each slice's rank (which place it takes); asked is the order (which slice "
        "comes first, second, …): one argsort, not two.",
    ),
    (
        lambda p, o: np.argsort(p @ _upward_normal(o)),
        "this runs from feet to head; the normal that you project on points to the head, "
        "so start with the largest.",
    ),
    (
        lambda p, o: np.argsort(-p[:, 2]),
        "z alone is not the place of a tilted slice: its first pixel can be shifted within its "
        "plane. Project the positions on the normal of the slices.",
    ),
    (
        lambda p, o: np.arange(len(p)),
        "you kept the order in which the files came; that is the order of their names.",
    ),
    (lambda p, o: np.argsort(p[:, 0]), "you sorted by x, which runs to the patient's left."),
    (lambda p, o: np.argsort(p[:, 1]), "you sorted by y, which runs to the patient's back."),
    (
        lambda p, o: np.argsort(-np.linalg.norm(p, axis=1)),
        "you sorted by the distance from the scanner's origin, which may lie in the patient's "
        "feet or beyond; project on the normal.",
    ),
    (
        lambda p, o: np.argsort(np.linalg.norm(p, axis=1)),
        "you sorted by the distance from the scanner's origin, which may lie in the patient's "
        "feet or beyond; project on the normal.",
    ),
]

# --- stored values to HU -----------------------------------------------------------------------


def to_hu(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(raw, signed, slope, intercept)``: bytes of a slice → (n,) HU, int16.

    ``raw`` are little-endian 16-bit values; every HU fits into int16 (DICOM PS3.3 C.11.1).
    """
    rng = np.random.default_rng(2)
    for signed, slope, intercept, low, high in (
        (False, 1.0, -1024.0, 0, 4096),
        (True, 1.0, 0.0, -1024, 3072),
        (True, 1.0, -1024.0, 0, 4096),
        (False, 2.0, -1000.0, 0, 2000),
        (False, 0.5, -16384.0, 0, 65536),
        (True, 0.3, 12.0, -4000, 9000),
    ):
        stored = np.concatenate([[low, high - 1], rng.integers(low, high, 40)])
        raw = stored.astype("<i2" if signed else "<u2").tobytes()
        got, failure = answer(fn, raw, signed, slope, intercept)
        if failure is not None:
            return failure
        kind = "with" if signed else "without"
        note = f"stored {kind} a sign, slope {slope:g}, intercept {intercept:g}: "
        want = stored * slope + intercept
        verdict = _judge_hu(got, want, (stored, signed, slope, intercept), note)
        if verdict is not None:
            return verdict
    return Verdict(True, "sign, slope and intercept are right, and nothing overflows.")


def _judge_hu(got: Array, want: Array, args: tuple[Any, ...], note: str) -> Verdict | None:
    near = got.shape == want.shape and bool((np.abs(got - want) <= 0.5 + 1e-6).all())
    if near and got.dtype == np.int16:
        return None
    if near:
        return wrong(f"{note}the values are right, but {got.dtype}; HU are kept as np.int16.")
    return diagnosis(got, np.rint(want), _HU_MISTAKES, args, note=note, atol=0.51)


def _as_bits(stored: Array, kind: str, signed: bool) -> Array:
    """What the same bytes are when they are read as another kind of 16-bit number."""
    return stored.astype("<i2" if signed else "<u2").view(kind).astype(np.float64)


_HU_MISTAKES: Mistakes = [
    (
        lambda s, signed, a, b: s * a,
        "the intercept is missing: HU = slope × stored + intercept.",
    ),
    (
        lambda s, signed, a, b: s + b,
        "the slope is missing: HU = slope × stored + intercept.",
    ),
    (
        lambda s, signed, a, b: np.maximum(s * a + b, 0),
        "negative HU are gone: air is −1000 HU and fat −100, so do not clip at 0.",
    ),
    (
        lambda s, signed, a, b: (s * a + b) % 65536,
        "it wraps around: −1 became 65535, so air is the densest thing in the image. "
        "Widen (float or int32) before you add the intercept.",
    ),
    (
        lambda s, signed, a, b: (s + b) * a,
        "you add before you multiply: HU = slope × stored + intercept.",
    ),
    (
        lambda s, signed, a, b: s * a - b,
        "the intercept has the wrong sign: it is added as it stands in the file, −1024 and all.",
    ),
    (
        lambda s, signed, a, b: _as_bits(s, "<u2" if signed else "<i2", signed) * a + b,
        "the bytes are read with the wrong sign: PixelRepresentation 1 means int16, 0 uint16.",
    ),
    (
        lambda s, signed, a, b: _as_bits(s, ">i2" if signed else ">u2", signed) * a + b,
        "the two bytes of each value are swapped: the file is little-endian, '<i2' or '<u2'.",
    ),
    (
        lambda s, signed, a, b: s * int(a) + b,
        "the slope was cut to a whole number; it can be 0.3.",
    ),
    (
        lambda s, signed, a, b: np.trunc(s * a + b),
        "values are cut off instead of rounded: np.rint before you convert to int16.",
    ),
    (
        lambda s, signed, a, b: np.floor(s * a + b),
        "values are rounded down, half a HU too low on average: np.rint before you convert.",
    ),
    (
        lambda s, signed, a, b: np.frombuffer(s.astype("<i4").astype("<u2").tobytes(), np.uint8),
        "you read the bytes one by one; each value takes two of them.",
    ),
]
