"""Graders of notebook 09: attention with a mask, seven probabilities to one.

The oracles are loops in plain Python and use nothing of the library's own code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis

Array = npt.NDArray[Any]
LEVELS = 7

# --- attention with a mask ---------------------------------------------------------------------


def masked_attention(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(h, score, present)``: (N, T, D), (N, T), (N, T) bool → (N, D) (09)."""
    for note, h, score, present in _attention_cases():
        got, failure = answer(fn, h, score, present)
        if failure is not None:
            return failure
        want = _attend_by_hand(h, score, present)
        if not agrees(got, want, atol=1e-7):
            return diagnosis(
                got, want, _ATTENTION_MISTAKES, (h, score, present), note=note, atol=1e-7
            )
    return Verdict(
        True, "absent frames weigh nothing, large scores do not overflow, no frame gives zeros."
    )


def _attention_cases() -> list[tuple[str, Array, Array, Array]]:
    rng = np.random.default_rng(92)
    cases = []
    for note, n, t, d in (("", 5, 6, 4), ("for one sequence: ", 1, 8, 3), ("", 4, 4, 4)):
        present = rng.uniform(size=(n, t)) < 0.6
        present[:, 1] = True
        present[0, -1] = False
        cases.append((note, rng.normal(size=(n, t, d)), rng.normal(size=(n, t)), present))
    _, h, score, present = cases[0]
    cases.append(("where all frames are present: ", h, score, np.ones_like(present)))
    cases.append(("with scores around 1000: ", h, score + 1000, present))
    cases.append(("with scores around −1000: ", h, score - 1000, present))
    cases.append(
        ("where absent frames have large scores: ", h, np.where(present, score, 2e3), present)
    )
    nothing = present.copy()
    nothing[2] = False
    cases.append(("where a sequence has no frame at all: ", h, score, nothing))
    return cases


def _attend_by_hand(h: Array, score: Array, present: Array) -> Array:
    out = np.zeros((h.shape[0], h.shape[2]))
    for i, row in enumerate(score.tolist()):
        here = [t for t in range(len(row)) if present[i, t]]
        if not here:
            continue
        largest = max(row[t] for t in here)
        raw = {t: math.exp(row[t] - largest) for t in here}
        total = math.fsum(raw.values())
        for j in range(h.shape[2]):
            out[i, j] = math.fsum(raw[t] / total * float(h[i, t, j]) for t in here)
    return out


def _pooled(weight: Array, h: Array) -> Array:
    return np.einsum("nt,ntd->nd", weight, h)


def _softmax(score: Array, axis: int = 1) -> Array:
    e = np.exp(score - score.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _plain(h: Array, score: Array, present: Array) -> Array:
    """Without taking off the maximum."""
    e = np.exp(score) * present
    return _pooled(e / e.sum(axis=1, keepdims=True), h)


def _safe(h: Array, score: Array, present: Array) -> Array:
    """Right, but for a sequence without a frame, where it is NaN."""
    e = np.where(present, np.exp(score - np.where(present, score, -np.inf).max(1)[:, None]), 0.0)
    return _pooled(e / e.sum(axis=1, keepdims=True), h)


def _largest_of_all(h: Array, score: Array, present: Array) -> Array:
    e = np.exp(score - score.max(axis=1, keepdims=True)) * present
    return _pooled(e / e.sum(axis=1, keepdims=True), h)


def _mean_present(h: Array, score: Array, present: Array) -> Array:
    return _pooled(present / present.sum(axis=1, keepdims=True), h)


_ATTENTION_MISTAKES: Mistakes = [
    (
        lambda h, s, m: _pooled(_softmax(s), h),
        "absent frames still have weight: the mask is not used.",
    ),
    (
        lambda h, s, m: _pooled(_softmax(s * m), h),
        "a score of 0 is no absence: e⁰ is 1.  An absent frame needs the score −∞, "
        "or the weight 0 after exp.",
    ),
    (
        lambda h, s, m: _pooled(_softmax(s) * m, h),
        "the weights of the present frames sum to less than 1: mask first, then divide by the sum.",
    ),
    (
        lambda h, s, m: _pooled(_softmax(np.where(m, s, -np.inf), axis=0), h),
        "the softmax runs over the sequences of the batch, which mixes patients; "
        "it runs over the frames, axis 1.",
    ),
    (
        lambda h, s, m: _pooled(
            np.where(m, np.exp(s - s[m].max()), 0) / np.exp(s - s[m].max())[m].sum(), h
        ),
        "the weights of all sequences together sum to 1; those of each sequence should.",
    ),
    (
        lambda h, s, m: (
            _pooled(np.where(m, _softmax(np.where(m, s, -np.inf)), 0), h) / m.sum(1)[:, None]
        ),
        "a weighted sum with weights that sum to 1 is a mean already: do not divide again.",
    ),
    (_mean_present, "this is the plain mean of the present frames: the scores are not used."),
    (
        lambda h, s, m: _softmax(np.where(m, s, -np.inf)),
        "these are the weights; what is asked is the weighted mean of h, (N, D).",
    ),
    (
        lambda h, s, m: _pooled(np.where(m, s, 0) / np.where(m, s, 0).sum(1)[:, None], h),
        "these are the scores divided by their sum, which can be negative: exp comes first.",
    ),
    (
        lambda h, s, m: h[np.arange(len(h)), np.where(m, s, -np.inf).argmax(axis=1)],
        "this takes the one frame with the largest score; all present frames have a part.",
    ),
    (
        _safe,
        "the sequence without a frame gives NaN, 0 divided by 0: it should be zeros.",
    ),
    (
        _largest_of_all,
        "you take off the largest score of all frames, the absent ones included; next to that "
        "all present ones vanish: take off the largest of the present ones.",
    ),
    (
        _plain,
        "exp of such scores overflows (or all become 0) and gives NaN: take the largest "
        "score off before exp, which changes no weight.",
    ),
]

# --- seven probabilities → one -----------------------------------------------------------------


def top_n_overall(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(p, n)``: (N, 7) level probabilities → (N,), noisy-or of the n highest (09)."""
    for note, p in _level_cases():
        for n in (LEVELS, 1, 2, 5):
            got, failure = answer(fn, p, n)
            if failure is not None:
                return failure
            want = np.array([_any_by_hand(row, n) for row in p.tolist()])
            if agrees(got, want):
                continue
            return diagnosis(got, want, _TOP_N_MISTAKES, (p, n), note=f"{note}for n = {n}: ")
    return Verdict(True, "right for n = 1, 2, 5 and 7, with ties, sure levels and a single study.")


def _level_cases() -> list[tuple[str, Array]]:
    rng = np.random.default_rng(9)
    return [
        ("", rng.uniform(0.02, 0.7, size=(6, LEVELS))),
        ("for one study, ", rng.uniform(0.02, 0.7, size=(1, LEVELS))),
        ("with ties, ", rng.choice([0.1, 0.5], size=(8, LEVELS))),
        ("with levels at 0 and 1, ", rng.choice([0.0, 0.3, 1.0], size=(9, LEVELS))),
    ]


def _any_by_hand(row: list[float], n: int) -> float:
    return 1 - math.prod(1 - p for p in sorted(row, reverse=True)[:n])


def _largest(p: Array, n: int) -> Array:
    return np.sort(p, axis=1)[:, -n:]


_TOP_N_MISTAKES: Mistakes = [
    (
        lambda p, n: np.prod(1 - _largest(p, n), axis=1),
        "this is the probability that nothing is broken; what is asked is its complement, 1 − Π.",
    ),
    (
        lambda p, n: np.prod(_largest(p, n), axis=1),
        "this is the probability that all of them are broken at once; "
        "multiply the chances that each is whole, 1 − p.",
    ),
    (
        lambda p, n: 1 - np.prod(1 - p, axis=1),
        "you use all seven levels whatever n is; keep the n highest only.",
    ),
    (
        lambda p, n: p.max(axis=1),
        "this is the largest probability, which is right for n = 1 only: "
        "two levels at 0.5 make a broken neck likelier than one.",
    ),
    (
        lambda p, n: 1 - np.prod(1 - p[:, :n], axis=1),
        "you took the first n levels, C1 downwards, not the n most likely ones: sort each row.",
    ),
    (
        lambda p, n: 1 - np.prod(1 - np.sort(p, axis=1)[:, :n], axis=1),
        "np.sort is ascending, so the first n are the least likely levels; take the last n.",
    ),
    (
        lambda p, n: 1 - np.prod(1 - np.sort(p, axis=0)[:, -n:], axis=1),
        "you sorted along the studies, which mixes patients; sort along axis 1, the levels.",
    ),
    (
        lambda p, n: np.minimum(_largest(p, n).sum(axis=1), 1),
        "probabilities of events that can happen together do not add up; use 1 − Π(1 − p).",
    ),
    (
        lambda p, n: _largest(p, n).sum(axis=1),
        "probabilities of events that can happen together do not add up; use 1 − Π(1 − p).",
    ),
]
