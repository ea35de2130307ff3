"""Graders of notebooks 06 and 07: right answers pass, usual mistakes are called by their names."""

import numpy as np
import pytest
import torch

from cspine_lib import checks
from cspine_lib.metrics import logit, macro_auroc, overall_noisy_or
from cspine_lib.slice_method import multi_head_loss, single_head_loss, study_levels


def bce(z, y):
    return np.logaddexp(0, z) - z * y


def right_targets(labels, visible):
    return np.concatenate([visible, labels * visible], axis=1)


def right_weight(q, w):
    return q / (q + w * (1 - q))


def right_levels(visible, fracture):
    return (visible * fracture).sum(0) / np.maximum(visible.sum(0), 1e-9)


def right_loss(zv, zf, v, y):
    return bce(zv, v).mean() + (v * bce(zf, y)).sum() / max(v.sum(), 1)


def right_any(p):
    least, most = p.max(axis=1), np.minimum(1, p.sum(axis=1))
    return np.stack([least, 1 - np.prod(1 - p, axis=1), most], axis=1)


def right_aurocs(y, p):
    from sklearn.metrics import roc_auc_score

    out = np.full(7, np.nan)
    for k in range(7):
        if min(y[:, k].sum(), len(y) - y[:, k].sum()) >= 5:
            out[k] = roc_auc_score(y[:, k], p[:, k])
    return out


# --- in other styles, of the library where it has the same ---------------------------------------


def other_targets(labels, visible):
    rows = np.zeros((len(visible), 14))
    rows[:, :7] = visible
    rows[:, 7:] = np.where(labels == 1, visible, 0)
    return rows


def other_weight(q, w):
    return 1 / (1 + np.exp(-(logit(q, clip=1e-12) - np.log(w))))


def library_levels(visible, fracture):
    p = 1 / (1 + np.exp(-study_levels(visible, fracture)))
    return np.where(visible.sum(axis=0) > 0, p, 0)


def library_loss(zv, zf, v, y):
    out = {"visible": torch.from_numpy(zv), "fracture": torch.from_numpy(zf)}
    target = {"visible": torch.from_numpy(v).float(), "fracture": torch.from_numpy(y).float()}
    return float(multi_head_loss(out, target))


def library_any(p):
    return np.c_[p.max(1), overall_noisy_or(p), p.sum(1).clip(max=1)]


def library_aurocs(y, p):
    return np.array([macro_auroc(y[:, [k]], p[:, [k]]) for k in range(7)])


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("slice_targets", right_targets),
        ("slice_targets", other_targets),
        ("undo_pos_weight", right_weight),
        ("undo_pos_weight", other_weight),
        ("level_from_slices", right_levels),
        ("level_from_slices", library_levels),
        ("two_part_loss", right_loss),
        ("two_part_loss", library_loss),
        ("any_bounds", right_any),
        ("any_bounds", library_any),
        ("level_aurocs", right_aurocs),
    ],
)
def test_right_answers_pass(name, right):
    verdict = getattr(checks, name)(right)
    assert verdict, verdict
    assert repr(verdict).startswith("Right: ")


def test_the_librarys_single_head_loss_is_another_and_is_named():
    def single(zv, zf, v, y):
        out = {"visible": torch.from_numpy(zv), "fracture": torch.from_numpy(zf)}
        target = {"visible": torch.from_numpy(v), "fracture": torch.from_numpy(y)}
        whole = float(single_head_loss(out, target))
        visible = float(bce(zv, v).mean())
        return visible + (whole - visible) / 7.0  # without the library's weight

    verdict = checks.two_part_loss(single)
    assert not verdict and "single head's loss" in verdict.message


MUTANTS = {
    "slice_targets": [
        (lambda y, v: np.hstack([v, np.tile(y, (len(v), 1))]), "C6"),
        (lambda y, v: np.hstack([y * v, v]), "swapped"),
        (lambda y, v: np.hstack([y * v, y * v]), "no less visible"),
        (lambda y, v: np.hstack([v, y.any() * v]), "each level's own"),
        (lambda y, v: np.hstack([v > 0.5, (v > 0.5) * y]), "rounded"),
        (lambda y, v: np.hstack([v, (v > 0.5) * y]), "keep the doubt"),
        (lambda y, v: np.hstack([v, np.maximum(v, y)]), "AND"),
        (lambda y, v: np.hstack([v, (1 - v) * y]), "1 − v"),
        (lambda y, v: np.dstack([v, y * v]).reshape(len(v), 14), "alternate"),
        (lambda y, v: np.stack([v, y * v], axis=1), "(N, 2, 7)"),
        (lambda y, v: np.concatenate([v, y * v]), "below the other"),
        (lambda y, v: v * y, "only the fracture half"),
        (lambda y, v: right_targets(y, v) * 0.9, "it should be"),
        (lambda y, v: right_targets(y, v)[:, :13], "shape"),
        (lambda y, v: v.__imul__(y), "changes the array"),
    ],
    "undo_pos_weight": [
        (lambda q, w: q, "w-fold"),
        (lambda q, w: q / w, "odds"),
        (lambda q, w: w * q / (w * q + 1 - q), "wrong way round"),
        (lambda q, w: q / (1 - q) / w, "odds / (1 + odds)"),
        (lambda q, w: (q / (1 - q) / w) / (1 + q / (1 - q) / w), "multiply through"),
        (lambda q, w: np.log(q / (1 - q)) - np.log(w), "sigmoid"),
        (lambda q, w: 1 - right_weight(q, w), "1 − p"),
        (lambda q, w: 1 / (1 + np.exp(w) * (1 - q) / q), "ln w, not by w"),
        (lambda q, w: q / (q + w), "1 − q"),
        (lambda q, w: right_weight(q, 7), "w = 50"),
        (lambda q, w: right_weight(q, w).mean(), "shape ()"),
    ],
    "level_from_slices": [
        (lambda v, f: f.mean(0), "outvote"),
        (lambda v, f: (v * f).mean(0), "number of slices"),
        (lambda v, f: (v * f).sum(0), "no mean"),
        (lambda v, f: (v * f).sum(0) / v.sum(), "axis=0"),
        (lambda v, f: (v / v.sum(1)[:, None] * f).sum(0), "within a slice"),
        (lambda v, f: np.average(f, weights=v, axis=1), "over the levels"),
        (lambda v, f: f.max(0), "one wrong slice"),
        (lambda v, f: (v * f).max(0), "largest product"),
        (lambda v, f: np.ma.masked_where(v < 0.5, f).mean(0).filled(0), "cut at 0.5"),
        (lambda v, f: (v * f).sum(0) / v.sum(0), "0 / 0"),
        (lambda v, f: (v * f).sum(0) / np.maximum(v.sum(0), 1), "faintly"),
        (lambda v, f: np.average(f, weights=v, axis=0), "C7 is in no slice"),
    ],
    "two_part_loss": [
        (lambda a, b, v, y: bce(a, v).mean() + bce(b, y).mean(), "all seven levels"),
        (lambda a, b, v, y: bce(a, v).mean() + (v * bce(b, y)).mean(), "divide by the sum"),
        (lambda a, b, v, y: bce(a, v).mean() + bce(b, v * y).mean(), "single head's"),
        (
            lambda a, b, v, y: bce(a, v).mean() + (v * bce(b, v * y)).sum() / max(1, v.sum()),
            "weight alone",
        ),
        (
            lambda a, b, v, y: bce(a, v).mean() + bce(b, y)[v > 0.5].sum() / (v > 0.5).sum(),
            "cut at 0.5",
        ),
        (lambda a, b, v, y: (v * (bce(a, v) + bce(b, y))).sum() / max(1, v.sum()), "weighed too"),
        (
            lambda a, b, v, y: bce(a, v).mean() + np.mean((v * bce(b, y)).sum(1) / v.sum(1)),
            "one vote",
        ),
        (lambda a, b, v, y: bce(a, v).mean() + (v * bce(b, y)).sum() / v.sum(), "0 / 0"),
        (
            lambda a, b, v, y: (
                -(v * np.log(s(a)) + (1 - v) * np.log(1 - s(a))).mean()
                - (v * (y * np.log(s(b)) + (1 - y) * np.log(1 - s(b)))).sum() / max(1, v.sum())
            ),
            "logaddexp",
        ),
        (lambda a, b, v, y: (v * bce(b, y)).sum() / max(1, v.sum()), "visibility head"),
        (lambda a, b, v, y: bce(a, v).mean(), "fracture head"),
        (lambda a, b, v, y: right_loss(a, b, v, y) / 2, "not their mean"),
        (lambda a, b, v, y: -right_loss(a, b, v, y), "sign"),
        (lambda a, b, v, y: bce(a, v).sum() + right_loss(a, b, v, y) - bce(a, v).mean(), "a sum"),
        (lambda a, b, v, y: np.full(7, right_loss(a, b, v, y)), "shape"),
    ],
    "any_bounds": [
        (lambda p: np.c_[p.max(1), overall_noisy_or(p), p.sum(1)], "over 1"),
        (lambda p: np.c_[p.min(1), right_any(p)[:, 1:]], "smallest"),
        (lambda p: np.c_[p.mean(1), right_any(p)[:, 1:]], "mean"),
        (lambda p: np.c_[p.max(1), p.prod(1), p.sum(1).clip(0, 1)], "at once"),
        (lambda p: np.c_[p.max(1), (1 - p).prod(1), p.sum(1).clip(0, 1)], "complement"),
        (lambda p: right_any(p)[:, ::-1], "turned round"),
        (lambda p: right_any(p)[:, [1, 0, 2]], "swapped"),
        (lambda p: right_any(p).T, "(N, 3)"),
        (lambda p: np.c_[right_any(p)[:, :2], np.ones(len(p))], "no bound"),
        (lambda p: right_any(p.T), "mixes patients"),
    ],
    "level_aurocs": [
        (library_aurocs, "np.nan"),
        (lambda y, p: np.where(y.sum(0) > 5, right_aurocs(y, p), np.nan), "five are enough"),
        (
            lambda y, p: np.array(
                [a(y[:, k], p[:, k]) if y[:, k].sum() > 4 else np.nan for k in range(7)]
            ),
            "broken ones only",
        ),
        (lambda y, p: ties(y, p, 0.0), "counts for nothing"),
        (lambda y, p: ties(y, p, 1.0), "counts as a win"),
        (lambda y, p: 1 - right_aurocs(y, p), "upside down"),
        (lambda y, p: np.nan_to_num(right_aurocs(y, p)), "all wrong"),
        (lambda y, p: np.nan_to_num(right_aurocs(y, p), nan=0.5), "claim a coin"),
        (lambda y, p: float(np.nanmean(right_aurocs(y, p))), "shape ()"),
    ],
}


def s(z):
    return 1 / (1 + np.exp(-z))


def a(y, p):
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(y, p)


def ties(y, p, worth):
    out = right_aurocs(y, p)
    for k in np.flatnonzero(np.isfinite(out)):
        broken, whole = p[y[:, k] == 1, k][:, None], p[y[:, k] == 0, k]
        out[k] = ((broken > whole) + worth * (broken == whole)).mean()
    return out


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
