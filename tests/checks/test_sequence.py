"""Graders of notebook 09: right answers in several styles pass, each usual slip is named."""

import numpy as np
import pytest

from cspine_lib import checks
from cspine_lib.labels import evenly_spaced
from cspine_lib.metrics import overall_noisy_or

# --- right answers -------------------------------------------------------------------------------


def right_frames(slices, frames):
    k = 3 * frames
    index = np.floor(np.arange(k) * (len(slices) - 1) / (k - 1) + 0.5).astype(int)
    return slices[index].reshape(frames, 3, *slices.shape[1:])


def frames_by_library(slices, frames):
    index = evenly_spaced(len(slices), 3 * frames).reshape(frames, 3)
    return [[slices[z] for z in row] for row in index]


def frames_one_by_one(slices, frames):
    out = np.empty((frames, 3, *slices.shape[1:]))
    for i in range(3 * frames):
        out[i // 3, i % 3] = slices[int(i * (len(slices) - 1) / (3 * frames - 1) + 0.5)]
    return out


def right_attention(h, score, present):
    s = np.where(present, score, -np.inf)
    top = np.where(present.any(axis=1), s.max(axis=1), 0)[:, None]
    weight = np.exp(s - top)
    total = weight.sum(axis=1, keepdims=True)
    return np.einsum("nt,ntd->nd", weight / np.where(total > 0, total, 1), h)


def attention_in_torch(h, score, present):
    import torch

    s = torch.tensor(score).masked_fill(~torch.tensor(present), -torch.inf)
    return torch.nan_to_num(s.softmax(1)).unsqueeze(1).bmm(torch.tensor(h)).squeeze(1).numpy()


def attention_by_loop(h, score, present):
    out = []
    for vectors, scores, here in zip(h, score, present, strict=True):
        if here.any():
            w = np.exp(scores[here] - scores[here].max())
            out.append(w @ vectors[here] / w.sum())
        else:
            out.append(np.zeros(h.shape[2]))
    return out


def right_top_n(p, n):
    return 1 - np.prod(1 - np.sort(p, axis=1)[:, -n:], axis=1)


def top_n_by_partition(p, n):
    return 1 - np.exp(np.log1p(-(-np.partition(-p, n - 1, axis=1)[:, :n]).clip(0, 1)).sum(axis=1))


@pytest.mark.parametrize("fn", [right_frames, frames_by_library, frames_one_by_one])
def test_right_frames_pass(fn):
    assert checks.stack_frames(fn), checks.stack_frames(fn)


@pytest.mark.parametrize("fn", [right_attention, attention_in_torch, attention_by_loop])
def test_right_attention_passes(fn):
    assert checks.masked_attention(fn), checks.masked_attention(fn)


@pytest.mark.parametrize("fn", [right_top_n, overall_noisy_or, top_n_by_partition])
def test_right_top_n_passes(fn):
    with np.errstate(divide="ignore"):
        assert checks.top_n_overall(fn), checks.top_n_overall(fn)


# --- slips ---------------------------------------------------------------------------------------


def _index(slices, index, frames):
    return slices[np.asarray(index).astype(int)].reshape(frames, 3, *slices.shape[1:])


def _third(s, t):
    k = 3 * t
    index = np.floor(np.arange(k) * (len(s) - 1) / (k - 1) + 0.5).astype(int)
    return s[index.reshape(3, t).T]


def _neighbours(s, t):
    middle = np.floor(np.arange(t) * (len(s) - 1) / max(t - 1, 1) + 0.5).astype(int)
    return np.stack([s[np.clip(middle + d, 0, len(s) - 1)] for d in (-1, 0, 1)], axis=1)


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        (_third, "a third of the level apart"),
        (lambda s, t: np.moveaxis(right_frames(s, t), 1, -1), "channels come last"),
        (lambda s, t: right_frames(s, t).swapaxes(0, 1), "exchanged"),
        (lambda s, t: right_frames(s, t).reshape(3 * t, *s.shape[1:]), "one by one"),
        (lambda s, t: _index(s, np.linspace(0, len(s) - 1, 3 * t), t), "cuts off"),
        (lambda s, t: _index(s, np.round(np.linspace(0, len(s) - 1, 3 * t)), t), "even number"),
        (lambda s, t: _index(s, np.arange(3 * t) * len(s) / (3 * t), t), "last slice is never"),
        (lambda s, t: _index(s, np.minimum(np.arange(3 * t), len(s) - 1), t), "first slices"),
        (_neighbours, "direct neighbours"),
        (lambda s, t: right_frames(s, t)[:, [1, 1, 1]], "same slice"),
        (lambda s, t: right_frames(s[::-1], t), "feet to the head"),
        (lambda s, t: s[: 3 * t].reshape(t, 3, *s.shape[1:]), "first slices"),
        (lambda s, t: right_frames(s, t) / 255, "it should be"),
    ],
)
def test_slips_of_frames_are_named(slip, words):
    verdict = checks.stack_frames(slip)
    assert not verdict and words in verdict.message, verdict


def _softmax(s, axis=1):
    e = np.exp(s - s.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _pool(weight, h):
    return (weight[..., None] * h).sum(axis=1)


def _unstable(h, s, m):
    e = np.exp(s) * m
    return _pool(e / e.sum(axis=1, keepdims=True), h)


def _wrong_top(h, s, m):
    e = np.exp(s - s.max(axis=1, keepdims=True)) * m
    return _pool(e / e.sum(axis=1, keepdims=True), h)


def _in_place(h, s, m):
    s[~m] = -np.inf
    return _pool(_softmax(s), h)


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        (lambda h, s, m: _pool(_softmax(s), h), "mask is not used"),
        (lambda h, s, m: _pool(_softmax(np.where(m, s, 0)), h), "e⁰ is 1"),
        (lambda h, s, m: _pool(_softmax(s) * m, h), "less than 1"),
        (lambda h, s, m: _pool(_softmax(np.where(m, s, -np.inf), 0), h), "mixes patients"),
        (lambda h, s, m: _softmax(np.where(m, s, -np.inf)), "these are the weights"),
        (lambda h, s, m: _pool(m / m.sum(axis=1, keepdims=True), h), "plain mean"),
        (lambda h, s, m: h[np.arange(len(h)), np.where(m, s, -9e9).argmax(1)], "one frame"),
        (_unstable, "overflows"),
        (_wrong_top, "absent ones included"),
        (lambda h, s, m: _pool(_softmax(np.where(m, s, -np.inf)), h), "0 divided by 0"),
        (
            lambda h, s, m: _pool(_softmax(np.where(m, s, -np.inf)), h) / m.sum(1, keepdims=True),
            "do not divide again",
        ),
        (_in_place, "in place"),
        (lambda h, s, m: h.mean(axis=1), "it should be"),
    ],
)
def test_slips_of_attention_are_named(slip, words):
    verdict = checks.masked_attention(slip)
    assert not verdict and words in verdict.message, verdict


def test_the_last_cases_of_top_n_find_what_the_first_ones_do_not():
    def unsure_only(p, n):  # fails where a level is sure
        return 1 - np.exp(np.log(np.maximum(1 - np.sort(p, axis=1)[:, -n:], 1e-3)).sum(axis=1))

    verdict = checks.top_n_overall(unsure_only)
    assert not verdict and "levels at 0 and 1" in verdict.message

    def distinct(p, n):  # ties are taken once
        return [1 - np.prod([1 - v for v in sorted(set(row))[-n:]]) for row in p.tolist()]

    verdict = checks.top_n_overall(distinct)
    assert not verdict and "with ties" in verdict.message
