"""Grader of notebook 14: a rule that is fitted to the competition's own loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Mistakes, Verdict, agrees, answer, diagnosis

Array = npt.NDArray[np.float64]

SEED = 72
NEAR = 0.02
"""How far the two numbers may be from the best ones: nobody's solver is exact."""
STEPS = 60


def metric_platt(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(z, y)``: logits (N, 8), labels (N, 8) → (scale, bias) (14).

    Of σ(scale · z + bias), the one with the lowest competition loss, averaged per exam: the
    weights of an exam's rows sum to one.  The neck is the first column.
    """
    rng = np.random.default_rng(SEED)
    for n, stretch, shift in ((260, 1.0, 0.0), (200, 2.5, 1.0), (300, 0.4, -0.8)):
        z, y = _exams(rng, n, stretch, shift)
        got, failure = answer(fn, z, y)
        if failure is not None:
            return failure
        want = _newton(z, y, _weights(y))
        if not agrees(got, want, atol=NEAR):
            return diagnosis(got, want, _MISTAKES, (z, y), atol=NEAR)
    return Verdict(True, "every row counts in the fit what it counts in the score.")


def _exams(rng: np.random.Generator, n: int, stretch: float, shift: float) -> tuple[Array, Array]:
    """Logits that are too sure (or not enough), of necks with none to several broken levels."""
    y = np.zeros((n, 8))
    broken = rng.random(n) < 0.5
    y[:, 1:] = broken[:, None] & (rng.random((n, 7)) < 0.35)
    y[:, 0] = y[:, 1:].any(axis=1)
    z = 1.6 * (y - 0.5) + rng.normal(0, 1.3, size=y.shape) - 0.8
    z[:, 0] += 0.9  # the neck's logit lies elsewhere: weighing it more moves the fit
    return stretch * z + shift, y


def _weights(y: Array) -> Array:
    """Exam by exam, row by row: 1 and 2 for levels, 7 and 14 for the neck, sum one."""
    out = np.zeros(y.shape)
    for i, row in enumerate(y.tolist()):
        raw = [(7 if k == 0 else 1) * (2 if label else 1) for k, label in enumerate(row)]
        out[i] = np.array(raw) / sum(raw)
    return out


def _newton(z: Array, y: Array, w: Array, penalty: float = 0.0, *, scaled: bool = True) -> Array:
    """Scale and bias of the weighted logistic regression, by Newton's method.

    Args:
        penalty: on scale²/2, of the sum over rows whose weights are 1 on average.
        scaled: False: the scale stays 1.
    """
    x = np.column_stack([z.ravel(), np.ones(z.size)])
    label, weight = y.ravel(), w.ravel() / w.mean()
    free = np.array([scaled, True])
    at = np.array([1.0 if not scaled else 0.0, 0.0])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ at, -30, 30)))
        slope = x.T @ (weight * (p - label)) + penalty * at * [1, 0]
        curve = (x * (weight * p * (1 - p))[:, None]).T @ x + np.diag([penalty, 0.0])
        step = np.linalg.solve(curve[np.ix_(free, free)], slope[free])
        at[free] -= np.clip(step, -1, 1)
    return at


def _raw(y: Array) -> Array:
    """Weights as the rules name them, not shared out within an exam."""
    return np.where(np.arange(8) == 0, 7.0, 1.0) * np.where(y > 0.5, 2.0, 1.0)


def _neck_only(z: Array, y: Array) -> Array:
    return _newton(z[:, :1], y[:, :1], np.ones((len(y), 1)))


def _no_bias(z: Array, y: Array) -> Array:
    """The best scale without a bias, by trying."""
    w, best = _weights(y), (np.inf, 0.0)
    for scale in np.geomspace(0.02, 20, 4000):
        p = np.clip(1 / (1 + np.exp(-np.clip(scale * z, -30, 30))), 1e-12, 1 - 1e-12)
        loss = float(-(w * (y * np.log(p) + (1 - y) * np.log(1 - p))).sum())
        best = min(best, (loss, float(scale)))
    return np.array([best[1], 0.0])


_MISTAKES: Mistakes = [
    (
        lambda z, y: _newton(z, y, np.ones(y.shape)),
        "every row counts the same in your fit; in the loss a broken one counts twice and the neck "
        "seven times.",
    ),
    (
        lambda z, y: _newton(z, y, _raw(y)),
        "you weigh rows by 1, 2, 7 and 14 over all exams; per exam the weights of its rows sum to "
        "one, so that an exam with many broken levels counts no more than another.",
    ),
    (
        lambda z, y: _newton(z, y, np.where(y > 0.5, 2.0, 1.0)),
        "the neck's row weighs seven times what a level's does: yours weighs the same.",
    ),
    (
        lambda z, y: _newton(z, y, np.where(np.arange(8) == 0, 7.0, 1.0) * np.ones(y.shape)),
        "broken rows weigh twice: yours weigh the same.",
    ),
    (
        lambda z, y: _newton(z, y, 1 / _weights(y)),
        "you divide by the weights: a row that counts more should pull more.",
    ),
    (
        lambda z, y: _newton(z, y, _weights(y) ** 2),
        "your weights come in twice.",
    ),
    (
        lambda z, y: _newton(z, y, _weights_last(y)),
        "the neck is the first column, not the last.",
    ),
    (lambda z, y: _newton(z, y, _weights(y))[::-1], "the order is scale first, then bias."),
    (
        lambda z, y: _newton(z, y, _weights(y), scaled=False),
        "your scale is 1: it is to be fitted as well.",
    ),
    (_no_bias, "your bias is 0: it is to be fitted as well."),
    (
        lambda z, y: _newton(z, 1 - y, _weights(y)),
        "your fit is upside down: it gives the probability of a whole bone.",
    ),
    (
        lambda z, y: _newton(z, y, _weights(y), penalty=1.0),
        "your fit pays a penalty for a large scale (scikit-learn's default is C=1): there are "
        "two numbers here and many rows, switch it off (C=np.inf).",
    ),
    (
        lambda z, y: _newton(z, y, _weights(y), penalty=1.0 / _weights(y).mean()),
        "your fit pays a penalty for a large scale (scikit-learn's default is C=1), and a large "
        "one, for your weights are small: switch it off (C=np.inf).",
    ),
    (_neck_only, "you fit the neck alone: all eight rows of an exam are scored."),
    (
        lambda z, y: _newton(z[:, 1:], y[:, 1:], _weights(y)[:, 1:]),
        "you fit the levels alone: the neck's row is scored as well.",
    ),
    (lambda z, y: np.array([1.0, 0.0]), "this leaves the logits as they are."),
]


def _weights_last(y: Array) -> Array:
    """As if the neck were the last column."""
    w = np.where(np.arange(8) == 7, 7.0, 1.0) * np.where(y > 0.5, 2.0, 1.0)
    return w / w.sum(axis=1, keepdims=True)
