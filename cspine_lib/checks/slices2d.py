"""Graders of notebook 06: the 14 targets of a slice, what a weight does, slices to levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis

Array = npt.NDArray[np.float64]
Case = tuple[str, tuple[Any, ...]]
"""What to say before the message, and the inputs."""


def grade(
    fn: Callable[..., Any],
    cases: Sequence[Case],
    oracle: Callable[..., Any],
    mistakes: Mistakes,
    praise: str,
    *,
    atol: float = 1e-6,
) -> Verdict:
    """Try a function on all cases; the first one that it fails decides what is said."""
    for note, args in cases:
        got, failure = answer(fn, *args)
        if failure is not None:
            raised = failure.message.startswith("your function raised")
            return Verdict(False, note + failure.message) if raised else failure
        want = np.asarray(oracle(*args))
        if not agrees(got, want, atol):
            return diagnosis(got, want, mistakes, args, note=note, atol=atol)
    return Verdict(True, praise)


# --- the 14 targets ----------------------------------------------------------------------------


def slice_targets(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(labels, visible)``: (7,), (N, 7) → (N, 14), visibility then fracture (06)."""
    rng = np.random.default_rng(61)
    cases: list[Case] = [
        ("", (_some_broken(rng), rng.uniform(size=(n, N_LEVELS)).round(3))) for n in (5, 14, 7)
    ]
    seen = rng.uniform(size=(4, N_LEVELS)).round(3)
    cases += [
        ("for a whole neck: ", (np.zeros(N_LEVELS, dtype=int), seen)),
        ("for a neck with every level broken: ", (np.ones(N_LEVELS, dtype=int), seen)),
        ("for a study of one slice: ", (_some_broken(rng), seen[:1])),
    ]
    return grade(
        fn,
        cases,
        _targets,
        _TARGET_MISTAKES,
        "seven pseudo-labels, then each level's fracture where the slice shows that level.",
    )


def _some_broken(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Labels (7,) with two or three broken levels."""
    labels = np.zeros(N_LEVELS, dtype=np.int64)
    labels[rng.choice(N_LEVELS, size=int(rng.integers(2, 4)), replace=False)] = 1
    return labels


def _targets(labels: Array, visible: Array) -> Array:
    rows = []
    for slice_ in visible:
        broken = [v if y == 1 else 0.0 for y, v in zip(labels, slice_, strict=True)]
        rows.append([*slice_, *broken])
    return np.array(rows)


def _beside(first: Any, second: Any) -> Array:
    return np.hstack([first, np.broadcast_to(second, np.shape(first))])


_TARGET_MISTAKES: Mistakes = [
    (
        lambda y, v: _beside(v, y),
        "every slice gets the study's label, also where the level is not in it: a slice of C2 "
        "would be told that it shows a broken C6. Multiply the label by the visibility.",
    ),
    (lambda y, v: _beside(v * y, v), "the halves are swapped: visibility first, then fracture."),
    (
        lambda y, v: _beside(v * y, v * y),
        "the first half is multiplied by the label too: a whole level is no less visible.",
    ),
    (
        lambda y, v: _beside(v, v * np.max(y)),
        "every level gets the neck's label; take each level's own.",
    ),
    (
        lambda y, v: _beside((v >= 0.5), (v >= 0.5) * y),
        "the pseudo-labels were rounded to 0 and 1: they are probabilities, and a slice at the "
        "edge of a level is in doubt. Leave them as they are.",
    ),
    (
        lambda y, v: _beside(v, (v >= 0.5) * y),
        "the fracture half is rounded to 0 and 1: keep the doubt of the pseudo-label, label × p.",
    ),
    (
        lambda y, v: _beside(v, np.maximum(v, y)),
        "visible AND broken is asked, not visible OR broken.",
    ),
    (
        lambda y, v: _beside(v, (1 - v) * y),
        "the fracture sits in the slices that do not show the level: multiply by v, not by 1 − v.",
    ),
    (
        lambda y, v: np.stack([v, v * y], axis=-1).reshape(len(v), -1),
        "the columns alternate, C1 visible, C1 broken, C2 visible, …; first seven of the one, "
        "then seven of the other.",
    ),
    (
        lambda y, v: np.stack([v, v * y], axis=1),
        "the halves are stacked as (N, 2, 7); one row of 14 is asked: np.concatenate on axis 1.",
    ),
    (
        lambda y, v: np.concatenate([v, v * y]),
        "the halves lie one below the other, (2N, 7); put them side by side: axis=1.",
    ),
    (lambda y, v: v * y, "only the fracture half is there; visibility comes before it."),
]


# --- what a weight of positives does -----------------------------------------------------------


def undo_pos_weight(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(q, w)``: what a net trained with ``pos_weight=w`` says → probability (06)."""
    rng = np.random.default_rng(62)
    q = rng.uniform(0.02, 0.98, size=9).round(3)
    cases: list[Case] = [(f"for w = {w:g}: ", (q, w)) for w in (7.0, 50.0, 0.5, 1.0)]
    ends = np.array([0.0, 0.5, 1.0])
    cases.append(("for q = 0, 0.5 and 1 with w = 4: ", (ends, 4.0)))
    return grade(
        fn,
        cases,
        lambda q, w: np.array([x / (x + w * (1 - x)) for x in q.tolist()]),
        _WEIGHT_MISTAKES,
        "the odds divided by w, and back; sure answers stay sure.",
        atol=1e-7,
    )


_WEIGHT_MISTAKES: Mistakes = [
    (lambda q, w: q, "nothing has changed: a positive that counts w times raises the odds w-fold."),
    (
        lambda q, w: q / w,
        "you divided the probability by w; it is the odds, q / (1 − q), that are w times too high.",
    ),
    (
        lambda q, w: w * q / (w * q + 1 - q),
        "the wrong way round: this weighs once more; divide the odds by w.",
    ),
    (lambda q, w: q / (1 - q) / w, "these are odds; a probability is odds / (1 + odds)."),
    (
        lambda q, w: q / (1 - q) / w / (1 + q / (1 - q) / w),
        "q = 1 has infinite odds, and ∞ / ∞ is not a number: "
        "multiply through, q / (q + w (1 − q)).",
    ),
    (lambda q, w: np.log(q / (1 - q)) - np.log(w), "this is the logit; put it through a sigmoid."),
    (lambda q, w: 1 - q / (q + w * (1 - q)), "this is the probability of a whole level: 1 − p."),
    (
        lambda q, w: 1 / (1 + np.exp(-(np.log(q / (1 - q)) - w))),
        "the weight multiplies the odds, so the logit goes down by ln w, not by w.",
    ),
    (lambda q, w: q / (q + w), "in the denominator w multiplies 1 − q: q / (q + w (1 − q))."),
]


# --- from slices to levels ---------------------------------------------------------------------


def level_from_slices(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(visible, fracture)``: (N, 7), (N, 7) → (7,), mean weighted by visibility (06)."""
    rng = np.random.default_rng(63)
    cases: list[Case] = []
    for n in (30, 7):
        where = np.abs(np.arange(n)[:, None] / n - np.linspace(0.1, 0.9, N_LEVELS))
        visible = np.clip(1.3 - 6 * where, 0, 1) * rng.uniform(0.7, 1, size=(n, N_LEVELS)) + 0.01
        cases.append(("", (visible, rng.uniform(size=(n, N_LEVELS)))))
    visible, fracture = cases[0][1]
    faint, absent = visible.copy(), visible.copy()
    faint[:, 2] *= 0.01
    absent[:, 6] = 0.0
    cases += [
        ("where C3 is only faintly seen: ", (faint, fracture)),
        ("where C7 is in no slice at all: ", (absent, fracture)),
    ]
    return grade(
        fn,
        cases,
        _levels,
        _LEVEL_MISTAKES,
        "each slice counts as much as it shows of the level; a level that is not there gets 0.",
        atol=1e-5,
    )


def _levels(visible: Array, fracture: Array) -> Array:
    out = []
    for k in range(visible.shape[1]):
        total = sum(visible[:, k].tolist())
        found = sum(v * f for v, f in zip(visible[:, k], fracture[:, k], strict=True))
        out.append(found / total if total > 0 else 0.0)
    return np.array(out)


_LEVEL_MISTAKES: Mistakes = [
    (
        lambda v, f: f.mean(axis=0),
        "a plain mean over all slices: most do not show the level, and outvote those that do.",
    ),
    (
        lambda v, f: (v * f).mean(axis=0),
        "divided by the number of slices; divide by the sum of the weights, visible.sum(axis=0).",
    ),
    (lambda v, f: (v * f).sum(axis=0), "a sum is no mean: divide by visible.sum(axis=0)."),
    (
        lambda v, f: (v * f).sum(axis=0) / v.sum(),
        "divided by the visibility of all levels together; each has a sum of its own: axis=0.",
    ),
    (
        lambda v, f: (v / v.sum(axis=1, keepdims=True) * f).sum(axis=0),
        "the weights were made to sum to 1 within a slice (axis 1); it is over the slices, axis 0.",
    ),
    (
        lambda v, f: (v * f).sum(axis=1) / v.sum(axis=1),
        "you averaged over the levels, a number for each slice; average over the slices: axis=0.",
    ),
    (
        lambda v, f: f.max(axis=0),
        "this is the maximum over all slices: one wrong slice, of whatever level, decides.",
    ),
    (
        lambda v, f: (v * f).max(axis=0),
        "this is the largest product: a mean over the slices is asked, weighted by visibility.",
    ),
    (
        lambda v, f: ((v >= 0.5) * f).sum(axis=0) / (v >= 0.5).sum(axis=0),
        "visibility was cut at 0.5: use it as the weight that it is.",
    ),
    (
        lambda v, f: (v * f).sum(axis=0) / v.sum(axis=0),
        "0 / 0 is not a number: let the sum of the weights be at least a tiny number, 1e-9.",
    ),
    (
        lambda v, f: (v * f).sum(axis=0) / np.maximum(v.sum(axis=0), 1),
        "a sum of weights below 1 was raised to 1, which makes a faintly seen level look whole: "
        "guard against 0 alone, with 1e-9.",
    ),
]
