"""Graders of notebook 08: overlap of boxes, signed centre errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cspine_lib.checks.base import Array, Mistakes, Verdict, agrees, answer, diagnosis, wrong

# --- overlap -------------------------------------------------------------------------------


def overlap(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(a, b)`` → IoU of two boxes (2, D), edges in mm, in any number of axes (08)."""
    pairs, answers = _box_pairs(), []
    for told, a, b in pairs:
        got, failure = answer(fn, a, b)
        if failure is not None:
            return failure
        if got.shape != ():
            return wrong(f"{told}: the result has shape {got.shape}, it should be one number.")
        answers.append(float(got))
    for (told, a, b), number in zip(pairs, answers, strict=True):
        if not agrees(np.array(number), np.array(_iou(a, b))):
            # One pair alone cannot tell the smaller box from the first one: a mistake must
            # explain all answers.
            mistakes = [m for m in _OVERLAP_MISTAKES if _explains(m[0], pairs, answers)]
            want = np.array(_iou(a, b))
            return diagnosis(np.array(number), want, mistakes, (a, b), note=f"{told}: ")
    return Verdict(True, "apart, touching, nested or alike, along one axis, two or three.")


def _explains(
    compute: Callable[..., Any], pairs: list[tuple[str, Array, Array]], answers: list[float]
) -> bool:
    with np.errstate(all="ignore"):
        values = [float(compute(a, b)) for _, a, b in pairs]
    return np.allclose(values, answers, atol=1e-9, equal_nan=True)


def _box_pairs() -> list[tuple[str, Array, Array]]:
    """Pairs that overlap first, for they tell most mistakes apart; then the edges."""
    rng = np.random.default_rng(8)
    pairs = []
    for d in (2, 1, 3):
        start = rng.uniform(-50, 50, d)
        size, more = rng.uniform(20, 60, (2, d))
        shift = rng.uniform(0.2, 0.6, d) * size
        a, b = np.stack([start, start + size]), np.stack([start + shift, start + shift + more])
        inner = np.stack([start + 0.25 * size, start + 0.5 * size])
        apart = b + 200
        one_apart = b.copy()
        one_apart[:, 0] += 200
        touching = np.stack([a[1], a[1] + more])
        kind = f"two boxes in {d} axes" if d > 1 else "two intervals on one axis"
        pairs += [
            (f"{kind} that overlap", a, b),
            (f"{kind}, the other one first", b, a),
            (f"{kind}, one inside the other", a, inner),
            (f"{kind}, the outer one second", inner, a),
            (f"{kind}, the same twice", a, a.copy()),
            (f"{kind} that are apart along every axis", a, apart),
            (f"{kind} that are apart along the first axis", a, one_apart),
            (f"{kind} that touch", a, touching),
        ]
    return pairs


def _iou(a: Array, b: Array) -> float:
    """Axis by axis in plain numbers."""
    common = size_a = size_b = 1.0
    for (a0, a1), (b0, b1) in zip(a.T.tolist(), b.T.tolist(), strict=True):
        common *= max(min(a1, b1) - max(a0, b0), 0.0)
        size_a *= a1 - a0
        size_b *= b1 - b0
    return common / (size_a + size_b - common)


def _sides(a: Array, b: Array) -> Array:
    """Side by side, the common part; negative where the boxes are apart."""
    return np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])


def _common(a: Array, b: Array) -> float:
    return float(np.prod(np.maximum(_sides(a, b), 0)))


def _size(a: Array) -> float:
    return float(np.prod(a[1] - a[0]))


def _hull(a: Array, b: Array) -> float:
    return float(np.prod(np.maximum(a[1], b[1]) - np.minimum(a[0], b[0])))


def _ratio(common: float, a: Array, b: Array) -> float:
    return float(common / (_size(a) + _size(b) - common))


def _giou(a: Array, b: Array) -> float:
    common = _common(a, b)
    union = _size(a) + _size(b) - common
    return common / union - (_hull(a, b) - union) / _hull(a, b)


def _per_axis(a: Array, b: Array) -> Array:
    return np.array([_iou(a[:, [i]], b[:, [i]]) for i in range(a.shape[1])])


_OVERLAP_MISTAKES: Mistakes = [
    (
        lambda a, b: _common(a, b) / (_size(a) + _size(b)),
        "you divide by the sum of both sizes, which counts the common part twice; "
        "the union is a + b − common.",
    ),
    (
        lambda a, b: 2 * _common(a, b) / (_size(a) + _size(b)),
        "this is the Dice coefficient, 2 · common / (a + b); IoU divides by the union.",
    ),
    (
        lambda a, b: _common(a, b) / min(_size(a), _size(b)),
        "you divide by the smaller box: then a tiny box inside a large one would be perfect.",
    ),
    (
        lambda a, b: _common(a, b) / max(_size(a), _size(b)),
        "you divide by the larger box; the union is a + b − common.",
    ),
    (
        lambda a, b: _common(a, b) / _size(a),
        "you divide by the first box; the measure must not depend on which box comes first.",
    ),
    (
        lambda a, b: _common(a, b) / _size(b),
        "you divide by the second box; the measure must not depend on which box comes first.",
    ),
    (
        lambda a, b: np.prod(_per_axis(a, b)),
        "this divides by the box around both (their hull), corners that belong to neither "
        "included; a product of one IoU per axis comes to the same. The union is a + b − common.",
    ),
    (
        lambda a, b: _per_axis(a, b).mean(),
        "this is the mean of one IoU per axis; multiply the sides of the common part first, "
        "and divide once.",
    ),
    (
        lambda a, b: _ratio(float(np.prod(_sides(a, b))), a, b),
        "no side of the common part can be negative: boxes that are apart share nothing, and two "
        "negative sides must not make a positive area. Cut at 0 side by side.",
    ),
    (
        lambda a, b: _ratio(max(float(np.prod(_sides(a, b))), 0.0), a, b),
        "you cut at 0 after multiplying, too late: two negative sides make a positive area. "
        "Cut each side at 0 first.",
    ),
    (
        lambda a, b: _ratio(float(np.prod(np.abs(_sides(a, b)))), a, b),
        "abs makes a gap between two boxes a common part; cut negative sides at 0.",
    ),
    (
        _giou,
        "this is GIoU, which falls below 0 for boxes that are apart; IoU stays at 0.",
    ),
    (
        lambda a, b: (
            np.prod(np.maximum(_sides(a, b) + 1, 0))
            / (
                np.prod(a[1] - a[0] + 1)
                + np.prod(b[1] - b[0] + 1)
                - np.prod(np.maximum(_sides(a, b) + 1, 0))
            )
        ),
        "the + 1 is for pixels counted from first to last; these are edges in mm.",
    ),
    (
        lambda a, b: 1 - _ratio(_common(a, b), a, b),
        "this is 1 − IoU, the loss; asked is the IoU itself.",
    ),
]

# --- centre errors -------------------------------------------------------------------------


def centre_errors_mm(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(claimed, true, dz)`` → (N,) signed mm, + to the feet, NaN if not found (08)."""
    for claimed, true, dz in _range_cases():
        want = _centre_errors(claimed, true, dz)
        got, failure = answer(fn, claimed, true, dz)
        if failure is not None:
            return failure
        if not agrees(got, want):
            note = f"for slices {dz:g} mm apart: "
            return diagnosis(got, want, _CENTRE_MISTAKES, (claimed, true, dz), note=note)
    return Verdict(True, "signed, in mm, positive to the feet, NaN for a level not found.")


def _range_cases() -> list[tuple[Array, Array, float]]:
    """Odd and even heights, thin and thick slices; with levels not found, one level, none found."""
    rng = np.random.default_rng(80)
    cases = []
    for n, dz, lost in ((7, 0.625, 0), (7, 2.5, 2), (1, 1.0, 0), (6, 0.8, 1), (7, 1.3, 7)):
        first = np.sort(rng.integers(0, 200, n)).astype(float)
        true = np.stack([first, first + rng.integers(8, 40, n)], axis=1)
        claimed = true + rng.integers(-12, 13, (n, 2))
        claimed[:, 1] = np.maximum(claimed[:, 1], claimed[:, 0])
        claimed[rng.permutation(n)[:lost]] = np.nan
        cases.append((claimed, true, dz))
    return cases


def _centre_errors(claimed: Array, true: Array, dz: float) -> Array:
    rows = zip(claimed.tolist(), true.tolist(), strict=True)
    return np.array([dz * ((c0 + c1) / 2 - (t0 + t1) / 2) for (c0, c1), (t0, t1) in rows])


_CENTRE_MISTAKES: Mistakes = [
    (
        lambda c, t, dz: -_centre_errors(c, t, dz),
        "the sign is turned round: slices are counted from head to feet, so claimed minus true "
        "is positive when the claim lies too far to the feet.",
    ),
    (
        lambda c, t, dz: np.abs(_centre_errors(c, t, dz)),
        "the sign is gone: leave abs out, or nobody sees that a model is always too low.",
    ),
    (
        lambda c, t, dz: _centre_errors(c, t, 1.0),
        "this is in slices; times their distance it is in mm.",
    ),
    (
        lambda c, t, dz: _centre_errors(c, t, 1.0) / dz,
        "you divide by the distance of the slices; slices times mm per slice gives mm.",
    ),
    (
        lambda c, t, dz: dz * (c[:, 0] - t[:, 0]),
        "these are the errors of the first slices; the middle also knows of the last ones.",
    ),
    (
        lambda c, t, dz: dz * (c[:, 1] - t[:, 1]),
        "these are the errors of the last slices; the middle also knows of the first ones.",
    ),
    (
        lambda c, t, dz: 2 * _centre_errors(c, t, dz),
        "twice too large: the middle is the sum of first and last divided by 2.",
    ),
    (
        lambda c, t, dz: dz * (c.sum(axis=1) // 2 - t.sum(axis=1) // 2),
        "// cuts off halves; a middle can lie between two slices.",
    ),
    (
        lambda c, t, dz: np.nan_to_num(_centre_errors(c, t, dz)),
        "a level that was not found has become 0 mm, a perfect hit; leave NaN.",
    ),
    (
        lambda c, t, dz: _centre_errors(c, t, dz)[~np.isnan(c[:, 0])],
        "rows without a claim are gone: keep a row per level, NaN where there is no claim, or "
        "nobody knows which level a row belongs to.",
    ),
    (
        lambda c, t, dz: _centre_errors(c, t, dz).mean(),
        "this is the mean over the levels; asked is one error per level.",
    ),
    (
        lambda c, t, dz: np.abs(_centre_errors(c, t, dz)).mean(),
        "this is a mean over the levels; asked is one signed error per level.",
    ),
]
