"""Graders of notebook 13: Dice of each level, 2.5D images with an outline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.checks.base import Mistakes, Verdict
from cspine_lib.checks.slices2d import Case, grade

Array = npt.NDArray[Any]

# --- Dice of each level ------------------------------------------------------------------------


def dice_per_level(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(found, truth)``: two (Z, Y, X) of 0–7 → (7,), NaN where neither shows it (13)."""
    rng = np.random.default_rng(131)
    truth = _blocks(rng)
    found = np.roll(truth, (1, 0, 1), axis=(0, 1, 2))
    found[rng.uniform(size=found.shape) < 0.15] = 0
    missed, made_up, neither = found.copy(), truth.copy(), found.copy()
    missed[missed == 3] = 0
    made_up[made_up == 6] = 0
    gone = np.where(truth == 5, 0, truth)
    neither[neither == 5] = 0
    cases: list[Case] = [
        ("", (found, truth)),
        ("", (_blocks(rng), truth)),
        ("where the U-Net misses C3: ", (missed, truth)),
        ("where the U-Net makes up C6: ", (found, made_up)),
        ("where neither shows C5: ", (neither, gone)),
        ("with thoracic levels (8 and on) in the mask: ", (found, np.where(truth == 0, 8, truth))),
        ("for large levels in 8 bits: ", (np.repeat(found, 9, axis=2), np.repeat(truth, 9, 2))),
    ]
    return grade(
        fn,
        cases,
        _dice,
        _DICE_MISTAKES,
        "twice the shared voxels over all of both, level by level; missed or made up is 0, "
        "absent in both is no number.",
    )


def _blocks(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Seven blocks of different sizes, one below the other, at slightly different places."""
    mask = np.zeros((22, 9, 10), dtype=np.uint8)
    for k in range(N_LEVELS):
        y, x = rng.integers(0, 3, size=2)
        mask[3 * k : 3 * k + 3, y : y + 3 + k % 3, x : x + 4 + k % 4] = k + 1
    return mask


def _dice(found: Array, truth: Array) -> Array:
    out = []
    pairs = list(zip(found.ravel().tolist(), truth.ravel().tolist(), strict=True))
    for value in range(1, N_LEVELS + 1):
        both = sum(a == b == value for a, b in pairs)
        size = sum((a == value) + (b == value) for a, b in pairs)
        out.append(2 * both / size if size else float("nan"))
    return np.array(out)


def _counts(found: Array, truth: Array, first: int = 1) -> tuple[Array, Array, Array]:
    """Shared voxels, those found, those true, for seven values from ``first`` on."""
    values = range(first, first + N_LEVELS)
    rows = [((found == v) & (truth == v), found == v, truth == v) for v in values]
    both, a, b = np.array([[part.sum() for part in row] for row in rows], dtype=float).T
    return both, a, b


def _iou(found: Array, truth: Array) -> Array:
    both, a, b = _counts(found, truth)
    return both / (a + b - both)


def _by_slice(found: Array, truth: Array) -> Array:
    """Dice within each slice that shows the level, their mean."""
    planes = np.array([_dice(a, b) for a, b in zip(found, truth, strict=True)])
    shown = np.isfinite(planes)
    return np.where(shown, planes, 0).sum(axis=0) / shown.sum(axis=0)


def _bone(found: Array, truth: Array) -> Array:
    a, b = (found >= 1) & (found <= N_LEVELS), (truth >= 1) & (truth <= N_LEVELS)
    return np.full(N_LEVELS, 2 * (a & b).sum() / (a.sum() + b.sum()))


def _only_where_true(found: Array, truth: Array) -> Array:
    return np.where(_counts(found, truth)[2] > 0, _dice(found, truth), np.nan)


def _from_zero(found: Array, truth: Array) -> Array:
    both, a, b = _counts(found, truth, first=0)
    return 2 * both / (a + b)


_DICE_MISTAKES: Mistakes = [
    (
        _iou,
        "this is the IoU, shared over either. Dice divides twice the shared voxels by the "
        "sum of both sizes: 2 IoU / (1 + IoU).",
    ),
    (lambda a, b: _dice(a, b) / 2, "the 2 is missing: two equal masks should have a Dice of 1."),
    (
        lambda a, b: _counts(a, b)[0] / _counts(a, b)[1],
        "shared over found: that is the precision, and a U-Net that finds one sure voxel gets 1.",
    ),
    (
        lambda a, b: _counts(a, b)[0] / _counts(a, b)[2],
        "shared over true: that is the sensitivity, and a U-Net that calls everything C4 gets 1.",
    ),
    (_bone, "all levels got the same number, that of all bone; compare == 1, == 2, … one by one."),
    (
        lambda a, b: np.nanmean(_dice(a, b)),
        "one number came back; return all seven, for the mean hides which level fails.",
    ),
    (_from_zero, "you started at 0, which is everything else: C1 is 1 and C7 is 7."),
    (
        lambda a, b: np.concatenate([_from_zero(a, b)[:1], _dice(a, b)]),
        "eight numbers came back: leave out class 0, which is everything else.",
    ),
    (
        lambda a, b: np.nan_to_num(_dice(a, b)),
        "a level that neither mask shows has no Dice: np.nan, or an empty level counts as a miss.",
    ),
    (
        lambda a, b: np.nan_to_num(_dice(a, b), nan=1.0),
        "a level that neither mask shows has no Dice: np.nan, or empty levels raise the mean.",
    ),
    (
        _only_where_true,
        "a level that the U-Net made up is a mistake, Dice 0: NaN is for levels in neither mask.",
    ),
    (
        _by_slice,
        "you took the mean over slices; count the voxels of the whole level at once, or the small "
        "slices at its ends weigh as much as those in its middle.",
    ),
    (
        lambda a, b: np.array([(a == v).sum() == (b == v).sum() for v in range(1, 8)], dtype=float),
        "equal sizes are not equal places: count the voxels where both are v.",
    ),
    (
        lambda a, b: np.array([((a == v) == (b == v)).mean() for v in range(1, 8)]),
        "this is the share of voxels that agree, and nearly all of them are background: "
        "count those of the level alone.",
    ),
]


# --- 2.5D images with an outline ---------------------------------------------------------------


def outlined_stack(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(slices, outline, centres, channels)`` → (T, channels + 1, H, W) (13)."""
    rng = np.random.default_rng(132)
    slices = rng.integers(1, 200, size=(20, 3, 4)).astype(np.uint8)
    outline = np.where(rng.uniform(size=slices.shape) < 0.5, 255, 0).astype(np.uint8)
    middle, apart = np.array([6, 8, 9, 12]), np.array([4, 9, 14, 14, 15])
    cases: list[Case] = [
        ("", (slices, outline, middle, 5)),
        ("for three channels: ", (slices, outline, apart, 3)),
        ("where an image is the first slice: ", (slices, outline, np.array([0, 3, 7]), 5)),
        ("where an image is the last slice: ", (slices, outline, np.array([10, 13, 19]), 5)),
        ("for a single channel: ", (slices, outline, apart, 1)),
    ]
    return grade(
        fn,
        cases,
        _stack_by_hand,
        _STACK_MISTAKES,
        "native neighbours around each slice, the ends repeated, its own outline last.",
    )


def _stack_by_hand(slices: Array, outline: Array, centres: Array, channels: int) -> Array:
    images = []
    for z in centres.tolist():
        steps = range(-(channels // 2), channels // 2 + 1)
        planes = [slices[min(max(z + step, 0), len(slices) - 1)] for step in steps]
        images.append([*planes, outline[z]])
    return np.array(images, dtype=np.float64)


def _reach(channels: int) -> Array:
    return np.arange(channels) - channels // 2


def _put(slices: Array, outline: Array, where: Array, at: Array) -> Array:
    """Images of given slices (T, C), with the outlines of slices ``at`` (T,)."""
    return np.concatenate([slices[where], outline[at][:, None]], axis=1).astype(np.float64)


def _clipped(s: Array, c: Array, n: int) -> Array:
    return np.clip(c[:, None] + _reach(n), 0, len(s) - 1)


def _zeros_outside(s: Array, o: Array, c: Array, n: int) -> Array:
    out = _stack_by_hand(s, o, c, n)
    z = c[:, None] + _reach(n)
    out[:, :n][(z < 0) | (z >= len(s))] = 0
    return out


def _among_frames(s: Array, o: Array, c: Array, n: int) -> Array:
    """Neighbours among the chosen slices."""
    t = np.clip(np.arange(len(c))[:, None] + _reach(n), 0, len(c) - 1)
    return _put(s, o, c[t], c)


def _masked(s: Array, o: Array, c: Array, n: int) -> Array:
    out = _stack_by_hand(s, o, c, n)
    out[:, :n] *= out[:, n:] > 0
    return out


_STACK_MISTAKES: Mistakes = [
    (
        lambda s, o, c, n: _put(s, o, (c[:, None] + _reach(n)) % len(s), c),
        "beyond the first slice Python counts from the other end: a neck's top got slices of "
        "its foot. Clip the index to 0 … N − 1.",
    ),
    (
        _zeros_outside,
        "beyond the ends you put zeros; repeat the outermost slice: clip the index to 0 … N − 1.",
    ),
    (
        lambda s, o, c, n: np.roll(_stack_by_hand(s, o, c, n), 1, axis=1),
        "the outline comes first; put it behind the slices, as the last channel.",
    ),
    (
        lambda s, o, c, n: np.concatenate([s[_clipped(s, c, n)], o[_clipped(s, c, n)]], axis=1),
        "every slice brought its outline along; the sixth channel is that of the middle one only.",
    ),
    (
        lambda s, o, c, n: _stack_by_hand(s, o, c, n)[:, :n],
        "the outline is missing: it is one more channel, the last.",
    ),
    (
        lambda s, o, c, n: np.moveaxis(_stack_by_hand(s, o, c, n), 1, -1),
        "channels come last here; networks of this library want (T, C, H, W).",
    ),
    (
        lambda s, o, c, n: _stack_by_hand(s, o, c, n).swapaxes(0, 1),
        "the first two axes are exchanged: images first, then their channels.",
    ),
    (
        _among_frames,
        "you took neighbours among the chosen slices; those may lie millimetres apart. "
        "The channels are neighbours in the scan: centre − 2, − 1, 0, + 1, + 2.",
    ),
    (
        lambda s, o, c, n: _put(s, o, np.clip(c[:, None] + np.arange(n), 0, len(s) - 1), c),
        "the images begin at their slice instead of having it in the middle: "
        "subtract channels // 2.",
    ),
    (
        lambda s, o, c, n: _put(s, o, _clipped(s, c, n)[:, ::-1], c),
        "the neighbours run from foot to head: the slice above comes first.",
    ),
    (
        lambda s, o, c, n: _put(s, o, np.repeat(c[:, None], n, axis=1), c),
        "all channels are the same slice: add −2 … 2 to its index.",
    ),
    (
        lambda s, o, c, n: _put(s, o, _clipped(s, c, n), _clipped(s, c, n)[:, -1]),
        "the outline is that of the last neighbour; it should be the middle slice's.",
    ),
    (
        lambda s, o, c, n: _put(s, o, _clipped(s, c, n), _clipped(s, c, n)[:, 0]),
        "the outline is that of the first neighbour; it should be the middle slice's.",
    ),
    (
        _masked,
        "the images are black outside the outline: a fracture at the rim would be cut off. "
        "The outline is a hint in a channel of its own, not a pair of scissors.",
    ),
    (
        lambda s, o, c, n: _stack_by_hand(s, o, c, 5),
        "five channels whatever was asked: use the argument.",
    ),
]
