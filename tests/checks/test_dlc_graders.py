"""Graders of notebook 12: right answers pass, usual mistakes are called by their names."""

import numpy as np
import pytest
import torch

from cspine_lib import checks
from cspine_lib.dlc_slices import DlcSlices


def right_sure(p, sure):
    far = np.maximum(p, 1 - p) >= sure - 1e-12
    return np.where(far.all(axis=1)[:, None], (p >= 0.5).astype(float), np.nan)


def other_sure(p, sure):
    out = np.round(p)
    out[(np.abs(p - 0.5) < sure - 0.5 - 1e-9).any(axis=1)] = np.nan
    return out


def right_offset(visible, label, chance):
    whole = visible * (1 - label)
    total = whole.sum(axis=0)
    share = np.where(total > 0, (chance[:, None] * whole).sum(axis=0) / np.maximum(total, 1e-9), 1)
    return -np.log(share)


def library_offset(visible, label, chance):
    """The data set's own, which knows two chances: 1, and that of the others."""
    data = DlcSlices.__new__(DlcSlices)
    data.rows = [("s", i) for i in range(len(visible))]
    data.visible, data.fracture = visible, label
    data.always = np.flatnonzero(chance == 1).tolist()
    return data._offsets(float(chance.min())).numpy().astype(float)


def right_forest(said, part):
    own = said[part, np.arange(said.shape[1])]
    return np.where(part < 0, said.mean(axis=0), own)


def other_forest(said, part):
    return [said[p, i] if p >= 0 else np.mean(said[:, i]) for i, p in enumerate(part)]


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("sure_slices", right_sure),
        ("sure_slices", other_sure),
        ("choice_offset", right_offset),
        ("choice_offset", library_offset),
        ("unseen_forest", right_forest),
        ("unseen_forest", other_forest),
    ],
)
def test_right_answers_pass(name, right):
    verdict = getattr(checks, name)(right)
    assert verdict, verdict
    assert repr(verdict).startswith("Right: ")


def _far(p, sure):
    return np.maximum(p, 1 - p) >= sure - 1e-12


def _rows(keep, values):
    return np.where(keep, values * 1.0, np.nan)


def _whole(v, y, c):
    return (c[:, None] * v * (1 - y)).sum(0), (v * (1 - y)).sum(0)


def _guarded(top, bottom):
    return -np.log(np.where(bottom > 0, top / np.maximum(bottom, 1e-9), 1))


def _own(s, p):
    return s[p, np.arange(len(p))]


MUTANTS = {
    "sure_slices": [
        (lambda p, s: _rows(_far(p, s).any(1)[:, None], p >= 0.5), "all seven must be sure"),
        (lambda p, s: _rows(_far(p, s), p >= 0.5), "one by one"),
        (lambda p, s: _rows((p >= s).all(1)[:, None], p >= 0.5), "a sure no"),
        (lambda p, s: _rows((p.max(1) >= s)[:, None], p >= 0.5), "largest probability"),
        (lambda p, s: _rows(_far(p, s).all(1)[:, None], p), "were kept"),
        (lambda p, s: _rows(_far(p, s).all(1)[:, None], p < 0.5), "swapped"),
        (lambda p, s: _rows((np.maximum(p, 1 - p) > s).all(1)[:, None], p >= 0.5), ">="),
        (lambda p, s: _rows(~_far(p, s).all(1)[:, None], p >= 0.5), "doubts"),
        (lambda p, s: np.where(_far(p, s).all(1)[:, None], p >= 0.5, 0.0), "became zeros"),
        (lambda p, s: _rows((np.maximum(p, 1 - p).mean(1) >= s)[:, None], p >= 0.5), "mean over"),
        (lambda p, s: (p >= 0.5) * 1.0, "every slice was taken"),
        (lambda p, s: right_sure(p, s)[_far(p, s).all(1)], "in place"),
        (lambda p, s: right_sure(p, s) * 2, "it should be"),
        (lambda p, s: right_sure(p, s)[:, :6], "shape"),
        (
            lambda p, s: right_sure(p.clip(0, 1, out=p), s) if p.put(0, 0.5) is None else p,
            "changes",
        ),
    ],
    "choice_offset": [
        (lambda v, y, c: -right_offset(v, y, c), "turned round"),
        (lambda v, y, c: right_offset(np.ones_like(v), y, c), "weigh by visible"),
        (lambda v, y, c: right_offset(v, 0 * y, c), "1 − label"),
        (lambda v, y, c: right_offset(v, 1 - y, c), "these are the broken"),
        (lambda v, y, c: np.full(7, -np.log(c.mean())), "one number for all levels"),
        (lambda v, y, c: np.full(7, -np.log(c.min())), "smallest chance"),
        (lambda v, y, c: -np.log(_whole(v, y, c)[0] / _whole(v, y, c)[1]), "0 / 0"),
        (lambda v, y, c: _whole(v, y, c)[0] / _whole(v, y, c)[1], "share that is seen"),
        (lambda v, y, c: 1 - _whole(v, y, c)[0] / _whole(v, y, c)[1], "left out; the offset"),
        (lambda v, y, c: np.repeat(-np.log(c)[:, None], 7, 1), "one number a slice"),
        (lambda v, y, c: right_offset((v >= 0.5) * 1.0, y, c), "cut at 0.5"),
        (lambda v, y, c: right_offset(v, y, c) * 1.1, "it should be"),
        (lambda v, y, c: right_offset(v, y, c)[:6], "shape"),
    ],
    "unseen_forest": [
        (lambda s, p: s.mean(0), "training fit"),
        (
            lambda s, p: np.where(p < 0, s.mean(0), (s.sum(0) - _own(s, p)) / (len(s) - 1)),
            "the honest one",
        ),
        (_own, "from the end"),
        (lambda s, p: np.where(p < 0, np.nan, _own(s, p)), "told nothing"),
        (lambda s, p: np.where(p < 0, 0, _own(s, p)), "told 0"),
        (lambda s, p: np.where(p < 0, s.mean(0), _own(s, (p + 1) % len(s))), "off by one"),
        (lambda s, p: np.where(p < 0, s.mean(0), s[0]), "hears the first forest"),
        (lambda s, p: np.where(p < 0, s.mean(0), s.max(0)), "most suspicious"),
        (lambda s, p: np.where(p < 0, s.max(0), _own(s, p)), "not the maximum"),
        (lambda s, p: np.where(p < 0, np.median(s, 0), _own(s, p)), "not the median"),
        (lambda s, p: np.where(p < 0, s[0], _own(s, p)), "not the first one"),
        (lambda s, p: s[p], "one number each"),
        (lambda s, p: right_forest(s, p) + 0.01, "it should be"),
        (lambda s, p: right_forest(s, p)[:-1], "shape"),
    ],
}


@pytest.mark.parametrize(
    ("name", "wrong", "word"),
    [(name, fn, word) for name, rows in MUTANTS.items() for fn, word in rows],
)
def test_mistakes_are_found_and_named(name, wrong, word):
    verdict = getattr(checks, name)(wrong)
    assert not verdict
    assert word in verdict.message, verdict


def test_the_offset_is_what_the_loss_needs():
    """A network that says the odds of all slices is right on the chosen ones with the offset."""
    rng = np.random.default_rng(7)
    label = (rng.uniform(size=20000) < 0.2).astype(float)
    chance = np.where(label > 0, 1.0, 0.25)
    drawn = rng.uniform(size=len(label)) < chance
    offset = right_offset(np.ones((len(label), 1)), label[:, None], chance)[0]
    seen = torch.sigmoid(torch.tensor(np.log(0.2 / 0.8) + offset)).item()
    assert label[drawn].mean() == pytest.approx(seen, abs=0.01)
