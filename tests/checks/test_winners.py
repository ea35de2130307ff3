"""Graders of notebook 13: right answers in several styles pass, each usual slip is named."""

import numpy as np
import pytest

from cspine_lib import checks
from cspine_lib.segmenters import dice_by_level
from cspine_lib.winners_lab import pairs_within

# --- right answers -------------------------------------------------------------------------------


def right_dice(found, truth):
    out = np.full(7, np.nan)
    for v in range(1, 8):
        a, b = found == v, truth == v
        if a.any() or b.any():
            out[v - 1] = 2 * (a & b).sum() / (a.sum() + b.sum())
    return out


def dice_by_counts(found, truth):
    both = np.bincount(found[found == truth].ravel(), minlength=9)[1:8]
    size = sum(np.bincount(m.ravel(), minlength=9)[1:8] for m in (found, truth))
    return [2 * b / s if s else np.nan for b, s in zip(both, size, strict=True)]


def right_stack(slices, outline, centres, channels):
    z = np.clip(centres[:, None] + np.arange(channels) - channels // 2, 0, len(slices) - 1)
    return np.concatenate([slices[z], outline[centres][:, None]], axis=1)


def stack_by_loop(slices, outline, centres, channels):
    h = channels // 2
    padded = np.concatenate([slices[:1]] * h + [slices] + [slices[-1:]] * h)
    return np.stack(
        [np.concatenate([padded[z : z + channels], outline[z : z + 1]]) for z in centres]
    )


def right_order(y, p):
    won = pairs = 0.0
    for labels, said in zip(y, p, strict=True):
        gap = said[labels == 1][:, None] - said[labels == 0]
        won, pairs = won + (gap > 0).sum() + (gap == 0).sum() / 2, pairs + gap.size
    return won / pairs if pairs else np.nan


def order_by_library(y, p):
    won, pairs = pairs_within(y, p).sum(axis=0)
    return won / pairs if pairs else float("nan")


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("dice_per_level", right_dice),
        ("dice_per_level", dice_by_level),
        ("dice_per_level", dice_by_counts),
        ("outlined_stack", right_stack),
        ("outlined_stack", stack_by_loop),
        ("order_within_neck", right_order),
        ("order_within_neck", order_by_library),
    ],
)
def test_right_answers_pass(name, right):
    verdict = getattr(checks, name)(right)
    assert verdict, verdict
    assert repr(verdict).startswith("Right: ")


# --- slips ---------------------------------------------------------------------------------------


def _sizes(found, truth):
    parts = [[(found == v) & (truth == v), found == v, truth == v] for v in range(1, 8)]
    return np.array([[m.sum() for m in row] for row in parts], dtype=float).T


def _overflow(found, truth):
    """Sizes kept in 8 bits."""
    both, a, b = _sizes(found, truth).astype(np.uint8)
    return 2.0 * both / (a + b)


def _per_slice(found, truth):
    return np.nanmean([right_dice(a, b) for a, b in zip(found, truth, strict=True)], axis=0)


def _shares(y, p, empty=None):
    out = []
    for labels, said in zip(y, p, strict=True):
        gap = said[labels == 1][:, None] - said[labels == 0]
        if gap.size:
            out.append(((gap > 0) + (gap == 0) / 2).mean())
        elif empty is not None:
            out.append(empty)
    return np.mean(out)


def _pooled(y, p):
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(y.ravel(), p.ravel())


def _columns(y, p):
    from sklearn.metrics import roc_auc_score

    return np.mean([roc_auc_score(y[:, k], p[:, k]) for k in range(7)])


def _ties(y, p, worth):
    won = pairs = 0.0
    for labels, said in zip(y, p, strict=True):
        gap = said[labels == 1][:, None] - said[labels == 0]
        won, pairs = won + (gap > 0).sum() + worth * (gap == 0).sum(), pairs + gap.size
    return won / pairs if pairs else np.nan


def _around(s, c, n, mode="clip"):
    return np.take(s, c[:, None] + np.arange(n) - n // 2, axis=0, mode=mode)


def _with(planes, o, c):
    return np.concatenate([planes, o[c][:, None]], axis=1)


MUTANTS = {
    "dice_per_level": [
        (lambda a, b: _sizes(a, b)[0] / (_sizes(a, b)[1:].sum(0) - _sizes(a, b)[0]), "IoU"),
        (lambda a, b: right_dice(a, b) / 2, "the 2 is missing"),
        (lambda a, b: _sizes(a, b)[0] / _sizes(a, b)[1], "precision"),
        (lambda a, b: _sizes(a, b)[0] / _sizes(a, b)[2], "sensitivity"),
        (
            lambda a, b: np.full(
                7, 2 * ((a > 0) & (b > 0)).sum() / ((a > 0).sum() + (b > 0).sum())
            ),
            "all bone",
        ),
        (lambda a, b: np.nanmean(right_dice(a, b)), "all seven"),
        (lambda a, b: right_dice(a + 1, b + 1), "you started at 0"),
        (lambda a, b: [right_dice(a + 1, b + 1)[0], *right_dice(a, b)], "eight numbers"),
        (lambda a, b: np.nan_to_num(right_dice(a, b)), "counts as a miss"),
        (lambda a, b: np.nan_to_num(right_dice(a, b), nan=1), "raise the mean"),
        (
            lambda a, b: [
                d if (b == v + 1).any() else np.nan for v, d in enumerate(right_dice(a, b))
            ],
            "made up",
        ),
        (_per_slice, "mean over slices"),
        (lambda a, b: [float(((a == v) == (b == v)).mean()) for v in range(1, 8)], "background"),
        (_overflow, "it should be"),
        (lambda a, b: right_dice(a, b)[::-1], "it should be"),
        (lambda a, b: b.__imul__(a == b), "changes the array"),
    ],
    "outlined_stack": [
        (lambda s, o, c, n: _with(_around(s, c, n, "wrap"), o, c), "from the other end"),
        (
            lambda s, o, c, n: _with(_around(np.pad(s, ((2, 2), (0, 0), (0, 0))), c + 2, n), o, c),
            "you put zeros",
        ),
        (lambda s, o, c, n: right_stack(s, o, c, n)[:, [n, *range(n)]], "comes first"),
        (
            lambda s, o, c, n: np.concatenate([_around(s, c, n), _around(o, c, n)], 1),
            "sixth channel",
        ),
        (lambda s, o, c, n: _around(s, c, n), "outline is missing"),
        (lambda s, o, c, n: np.moveaxis(right_stack(s, o, c, n), 1, 3), "channels come last"),
        (lambda s, o, c, n: right_stack(s, o, c, n).swapaxes(0, 1), "exchanged"),
        (lambda s, o, c, n: _with(_around(s[c], np.arange(len(c)), n), o, c), "chosen slices"),
        (
            lambda s, o, c, n: _with(
                np.take(s, c[:, None] + np.arange(n), axis=0, mode="clip"), o, c
            ),
            "channels // 2",
        ),
        (lambda s, o, c, n: _with(_around(s, c, n)[:, ::-1], o, c), "foot to head"),
        (lambda s, o, c, n: _with(np.repeat(s[c][:, None], n, 1), o, c), "the same slice"),
        (
            lambda s, o, c, n: np.concatenate([_around(s, c, n), _around(o, c, n)[:, -1:]], 1),
            "last neighbour",
        ),
        (
            lambda s, o, c, n: np.concatenate([_around(s, c, n), _around(o, c, n)[:, :1]], 1),
            "first neighbour",
        ),
        (lambda s, o, c, n: _with(_around(s, c, n) * (o[c][:, None] > 0), o, c), "scissors"),
        (lambda s, o, c, n: right_stack(s, o, c, 5), "use the argument"),
        (lambda s, o, c, n: s[c[:, None] + np.arange(n) - n // 2], "outline is missing"),
        (lambda s, o, c, n: right_stack(s, o, c, n) / 255, "it should be"),
    ],
    "order_within_neck": [
        (lambda y, p: _ties(y, p, 0), "worse than a coin"),
        (lambda y, p: _ties(y, p, 1), "saying the same"),
        (_pooled, "within one row"),
        (_columns, "columns"),
        (lambda y, p: 1 - right_order(y, p), "upside down"),
        (_shares, "6 pairs"),
        (lambda y, p: _shares(y, p, 0), "all wrong"),
        (lambda y, p: _shares(y, p, 0.5), "as a coin"),
        (lambda y, p: _shares(y, p, 1), "all right"),
        (
            lambda y, p: np.mean([r[s.argmax()] for r, s in zip(y, p, strict=True) if r.any()]),
            "second broken level",
        ),
        (
            lambda y, p: np.mean(
                [s[r == 1].min() > s[r == 0].max() for r, s in zip(y, p, strict=True) if r.any()]
            ),
            "Count pairs",
        ),
        (lambda y, p: pairs_within(y, p)[:, 0].sum(), "divide by the number"),
        (lambda y, p: np.nan_to_num(right_order(y, p)), "no share"),
        (lambda y, p: np.nan_to_num(right_order(y, p), nan=0.5), "claim a coin"),
        (lambda y, p: np.full(len(y), right_order(y, p)), "shape"),
    ],
}


@pytest.mark.parametrize(
    ("name", "mutant", "words"),
    [(name, fn, words) for name, rows in MUTANTS.items() for fn, words in rows],
    ids=[f"{name}-{i}" for name, rows in MUTANTS.items() for i in range(len(rows))],
)
def test_mistakes_are_named(name, mutant, words):
    verdict = getattr(checks, name)(mutant)
    assert not verdict
    assert words in verdict.message, verdict


@pytest.mark.parametrize("name", MUTANTS)
def test_an_unsolved_exercise_is_no_error(name):
    def unsolved(*args):
        raise NotImplementedError

    verdict = getattr(checks, name)(unsolved)
    assert not verdict and "nothing to check" in verdict.message
