"""Graders of notebook 03: a level's box in a slice, and evenly spaced frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Array, Mistakes, Verdict, agrees, answer, call, diagnosis, wrong


def level_box(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(mask_yx, value)`` → x0, y0, x1, y1, half open, or None where absent (03)."""
    for plane, value in _box_cases():
        want = _box(plane == value)
        # In a tuple, for here None can be the right answer.
        got, failure = call(lambda m, v: (fn(m, v),), plane, value)
        if failure is not None:
            return failure
        verdict = _judge_box(got[0], want, plane, value)
        if verdict is not None:
            return verdict
    return Verdict(True, "half-open edges in px around the level's own pixels, None without any.")


def _box_cases() -> list[tuple[Array, int]]:
    """Levels side by side, one pixel, a level at the edge, none; then noise."""
    rng = np.random.default_rng(33)
    plane = np.zeros((20, 31), dtype=np.uint8)
    plane[1:3, 27:30] = 4
    plane[4:9, 6:17], plane[9:12, 3:25], plane[15:19, 1:29] = 5, 6, 8
    lone = np.zeros((12, 9), dtype=np.uint8)
    lone[5, 3] = 7
    edge = np.full((6, 10), 7, dtype=np.uint8)
    edge[0, 0] = 8
    cases = [(plane, 5), (plane, 6), (plane, 3), (lone, 7), (edge, 7), (np.zeros_like(lone), 1)]
    for _ in range(6):
        shape = rng.integers(8, 30, 2)
        noise = rng.choice([0, 0, 0, 0, 0, 0, 0, 1, 4, 7, 9], size=shape).astype(np.uint8)
        noise[: shape[0] // 3] = noise[:, : shape[1] // 4] = 0
        cases += [(noise, 4), (noise, 7)]
    return cases


def _box(inside: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    points = np.argwhere(inside)
    if not len(points):
        return None
    (y0, x0), (y1, x1) = points.min(axis=0), points.max(axis=0) + 1
    return int(x0), int(y0), int(x1), int(y1)


def _judge_box(got: Any, want: tuple[int, ...] | None, plane: Array, value: int) -> Verdict | None:
    """None when the answer is right."""
    if want is None:
        if got is None:
            return None
        return wrong("a slice without the level has no box: return None, not a box of something.")
    if got is None:
        return wrong("your function returns None where the level is there; is there a return?")
    edges, failure = answer(lambda x: x, got)
    if failure is not None:
        return failure
    if edges.shape != (4,):
        return wrong(f"a box is four numbers x0, y0, x1, y1; yours has the shape {edges.shape}.")
    if agrees(edges, np.array(want)):
        return None
    return diagnosis(edges, np.array(want), _BOX_MISTAKES, (plane, value))


def _of(box: tuple[int, ...] | None, *order: int) -> Array:
    """A box with its numbers in another order; nothing that any answer equals without a box."""
    return np.full(0, np.nan) if box is None else np.array(box)[list(order)]


def _shifted(inside: npt.NDArray[np.bool_], by: tuple[int, int, int, int]) -> Array:
    box = _box(inside)
    return np.full(0, np.nan) if box is None else np.array(box) + by


def _width_and_height(plane: Array, value: int) -> Array:
    x0, y0, x1, y1 = _box(plane == value) or (0, 0, 0, 0)
    return np.array([x0, y0, x1 - x0, y1 - y0])


_BOX_MISTAKES: Mistakes = [
    (
        lambda m, v: _shifted(m == v, (0, 0, -1, -1)),
        "x1 and y1 are off by one: half open means one past the last pixel, "
        "so that x1 − x0 is the width in pixels.",
    ),
    (
        lambda m, v: _of(_box(m == v), 1, 0, 3, 2),
        "x and y are swapped: argwhere and nonzero give rows (y) first.",
    ),
    (
        lambda m, v: _of(_box(m == v), 0, 2, 1, 3),
        "your order is x0, x1, y0, y1; asked is x0, y0, x1, y1.",
    ),
    (
        lambda m, v: _shifted((m == v).T, (0, 0, -1, -1)),
        "x and y are swapped, and x1 and y1 are off by one.",
    ),
    (_width_and_height, "you return x, y, width, height; asked is x0, y0, x1, y1."),
    (
        lambda m, v: _shifted(m > 0, (0, 0, 0, 0)),
        "this is the box around all bone, other levels and thoracic ones (8 and on) included; "
        "take the pixels of the one value.",
    ),
    (
        lambda m, v: _shifted((m > 0) & (m <= 7), (0, 0, 0, 0)),
        "this is the box around all cervical levels; take the pixels of the one value.",
    ),
    (
        lambda m, v: _shifted(m >= v, (0, 0, 0, 0)),
        "larger values are in the box too: those are the levels below and the thoracic ones "
        "(8 and on). Compare with ==.",
    ),
    (
        lambda m, v: np.array([0, 0, m.shape[1], m.shape[0]]),
        "this is the whole image.",
    ),
]


def spread_frames(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(n, k)`` → k evenly spaced indices into n slices, both ends included (03)."""
    sizes = [(50, 24), (47, 24), (24, 24), (2, 6), (1, 24), (30, 24), (9, 1), (401, 60)]
    sizes += [(int(n), int(k)) for n, k in np.random.default_rng(24).integers(2, 90, (12, 2))]
    for n, k in sizes:
        got, failure = answer(fn, n, k)
        if failure is not None:
            return failure
        verdict = _judge_frames(got, n, k)
        if verdict is not None:
            return verdict
    return Verdict(True, "47 slices give 0, 2, 4, …, 46, and one slice is shown 24 times.")


def _judge_frames(got: Array, n: int, k: int) -> Verdict | None:
    note = f"for n = {n}, k = {k}: "
    if got.shape != (k,):
        return wrong(
            f"{note}the result has shape {got.shape}, it should have ({k},): always k "
            "indices, repeated where there are fewer slices."
        )
    exact = np.arange(k) * (n - 1) / (k - 1) if k > 1 else np.array([(n - 1) / 2])
    good = np.isfinite(np.asarray(got, dtype=float)).all() and (
        # A half may go either way: no rule of rounding is asked for.
        np.abs(got - exact).max() <= 0.5 + 1e-9
    )
    if good and got.dtype.kind in "iu":
        return None
    if good:
        return wrong(
            f"{note}the result is {got.dtype}; an index is a whole number, so round and convert."
        )
    return diagnosis(got, np.rint(exact), _FRAME_MISTAKES, (n, k), note=note)


_FRAME_MISTAKES: Mistakes = [
    (
        lambda n, k: np.linspace(1, n, k).round(),
        "you count from 1; slices are counted from 0, so index n does not exist.",
    ),
    (
        lambda n, k: np.linspace(0, n, k).round(),
        "the last index is n, one beyond the end: of n slices the last is n − 1.",
    ),
    (
        lambda n, k: np.linspace(0, n, k).astype(int),
        "the last index is n, one beyond the end: of n slices the last is n − 1.",
    ),
    (
        lambda n, k: np.minimum(np.arange(k), n - 1),
        "these are the first k slices; they should be spread over all n.",
    ),
    (
        lambda n, k: np.arange(k) * n // k,
        "the last slice is never shown: the steps must be (n − 1) / (k − 1), not n / k.",
    ),
    (
        lambda n, k: np.linspace(0, n, k, endpoint=False).round(),
        "the last slice is never shown: the steps must be (n − 1) / (k − 1), not n / k.",
    ),
    (
        lambda n, k: np.linspace(0, n - 1, k).astype(int),
        "the fractions are cut off, which pulls the frames towards the head (and makes the last "
        "step the longest); round to the nearest.",
    ),
    (
        lambda n, k: np.arange(k) * max(n // k, 1),
        "a whole step, n // k, does not reach the end: the last slices are never shown.",
    ),
    (
        lambda n, k: np.arange(0, n, max(n // k, 1))[:k],
        "a whole step, n // k, does not reach the end: the last slices are never shown.",
    ),
    (
        lambda n, k: np.linspace(n - 1, 0, k).round(),
        "the order is turned round: from the first slice to the last.",
    ),
]
