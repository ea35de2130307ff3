"""Graders of notebook 05: right answers in two styles pass, each usual mistake is named."""

import numpy as np
import pytest

from cspine_lib import checks
from cspine_lib.checks import pseudo_labels, pseudo_leaks
from cspine_lib.label_scores import edge_distance_mm


def _rejected(verdict, words):
    assert not verdict
    assert words in verdict.message, verdict


# --- wrong_mm


def by_ends(shows, p, dz):
    ends = np.flatnonzero(np.diff(shows.astype(int))) + 0.5
    wrong = np.flatnonzero((p >= 0.5) != shows)
    return np.abs(wrong[:, None] - ends[None]).min(axis=1) * dz


def by_loops(shows, p, dz):
    out = []
    for z in range(len(shows)):
        if bool(p[z] >= 0.5) == bool(shows[z]):
            continue
        step = 1
        while True:
            near = [i for i in (z - step, z + step) if 0 <= i < len(shows)]
            if any(bool(shows[i]) != bool(shows[z]) for i in near):
                break
            step += 1
        out.append((step - 0.5) * dz)
    return out


def by_library(shows, p, dz):
    return edge_distance_mm(shows, dz)[(p >= 0.5) != shows]


@pytest.mark.parametrize("right", [by_ends, by_loops, by_library])
def test_distances_from_the_true_ends_pass(right):
    verdict = checks.wrong_mm(right)
    assert verdict, verdict


def _mutant(where=None, points=None, scale=True, threshold=0.5):
    def fn(shows, p, dz):
        ends = np.flatnonzero(np.diff(shows.astype(int))) + 0.5
        said = p >= threshold
        wrong = np.flatnonzero(said != shows) if where is None else where(shows, said)
        to = np.asarray(ends if points is None else points(shows, ends), dtype=float)
        return np.abs(wrong[:, None] - to[None]).min(axis=1) * (dz if scale else 1)

    return fn


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (_mutant(scale=False), "in slices"),
        (_mutant(where=lambda s, q: np.arange(len(s))), "every slice"),
        (_mutant(where=lambda s, q: np.flatnonzero(q == s)), "slices that are right"),
        (_mutant(threshold=0.5 + 1e-12), "just 0.5"),
        (_mutant(where=lambda s, q: np.flatnonzero(s & ~q)), "only slices that were missed"),
        (_mutant(where=lambda s, q: np.flatnonzero(q & ~s)), "only slices that were wrongly"),
        (
            _mutant(points=lambda s, e: np.flatnonzero(s)[[0, -1]]),
            "half a slice further",
        ),
        (
            _mutant(points=lambda s, e: np.flatnonzero(s)[[0, -1]] + [-0.5, 0.5]),
            "the scan's edge is no end",
        ),
        (_mutant(points=lambda s, e: [np.flatnonzero(s).mean()]), "middle of the level"),
        (_mutant(points=lambda s, e: e[:1]), "upper end alone"),
        (_mutant(points=lambda s, e: e[-1:]), "lower end alone"),
        (_mutant(points=lambda s, e: np.flatnonzero(s)), "nearest slice of the level"),
        (lambda s, p, dz: by_ends(p >= 0.5, s.astype(float), dz), "ends that the model claims"),
        (lambda s, p, dz: np.sort(by_ends(s, p, dz)), "sorted"),
        (lambda s, p, dz: np.flatnonzero((p >= 0.5) != s), "numbers of the wrong slices"),
        (lambda s, p, dz: -by_ends(s, p, dz), "entry"),
        (lambda s, p, dz: by_ends(s, p, dz).mean(), "shape"),
    ],
)
def test_mistakes_of_distance_are_named(mutant, words):
    _rejected(checks.wrong_mm(mutant), words)


def test_levels_that_a_scan_cuts_are_tried():
    cases = pseudo_labels._level_cases()
    assert any(shows[0] for shows, _, _ in cases) and any(shows[-1] for shows, _, _ in cases)
    assert any((p == 0.5).any() for _, p, _ in cases)
    assert any(len(pseudo_labels._wrong(s, p)) == 0 for s, p, _ in cases)


# --- honest_models


def by_arrays(trained, stopped, test):
    return ~((trained | stopped) & test).any(axis=1)


def by_rows(trained, stopped, test):
    out = []
    for t, s in zip(trained, stopped, strict=True):
        out.append(t[test].sum() + s[test].sum() == 0)
    return np.array(out)


@pytest.mark.parametrize("right", [by_arrays, by_rows])
def test_honest_models_pass(right):
    verdict = checks.honest_models(right)
    assert verdict, verdict


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (lambda t, s, x: ((t | s) & x).any(axis=1), "other way round"),
        (lambda t, s, x: ~(t & x).any(axis=1), "early stopping is forgotten"),
        (lambda t, s, x: ~(s & x).any(axis=1), "training is forgotten"),
        (lambda t, s, x: ~(t & s & x).any(axis=1), "every model comes out honest"),
        (lambda t, s, x: ~(t | s)[:, x].all(axis=1), "one is too many"),
        (lambda t, s, x: ~((t | s) & x).all(axis=1), "every model comes out honest"),
        (lambda t, s, x: ~((t | s) & ~x).any(axis=1), "not held out"),
        (lambda t, s, x: ~(t | s).any(axis=1), "no study at all"),
        (
            lambda t, s, x: np.arange(len(t)) == ((t | s) & x).sum(axis=1).argmin(),
            "several that have met none",
        ),
        (lambda t, s, x: ((t | s) & x).sum(axis=1), "counts"),
        (lambda t, s, x: np.flatnonzero(by_arrays(t, s, x)), "True or False"),
        (lambda t, s, x: by_arrays(t, s, x).astype(int), "booleans"),
        (lambda t, s, x: ~((t | s) & x).any(axis=0), "axis 0"),
        (lambda t, s, x: ~(t | s)[:, x], "combine each model's row"),
    ],
)
def test_mistakes_of_honesty_are_named(mutant, words):
    _rejected(checks.honest_models(mutant), words)


def test_folds_of_every_kind_are_tried():
    wants = [pseudo_leaks._honest(*case) for case in pseudo_leaks._fold_cases()]
    counts = {int(want.sum()) for want in wants}
    assert 0 in counts and 1 in counts and max(counts) > 1


# --- leaking


def by_recursion(parts, name, test):
    part = parts[name]
    found = {study for study in [*part["train"], *part["val"]] if study in test}
    for used in part["uses"]:
        found |= by_recursion(parts, used, test)
    return found


def by_stack(parts, name, test):
    waiting, known = [name], []
    while waiting:
        part = parts[waiting.pop()]
        known += part["train"] + part["val"]
        waiting += part["uses"]
    return [study for study in test if study in known]


@pytest.mark.parametrize("right", [by_recursion, by_stack])
def test_the_whole_chain_passes(right):
    verdict = checks.leaking(right)
    assert verdict, verdict


def _of(parts, names, kinds=("train", "val")):
    return {study for name in names for kind in kinds for study in parts[name][kind]}


def _all_of(parts, name):
    return {name}.union(*(_all_of(parts, used) for used in parts[name]["uses"]))


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (lambda r, n, t: _of(r, {n}) & t, "own lists only"),
        (lambda r, n, t: _of(r, {n, *r[n]["uses"]}) & t, "one step only"),
        (lambda r, n, t: _of(r, r[n]["uses"]) & t, "not at the part itself"),
        (lambda r, n, t: _of(r, _all_of(r, n), ("train",)) & t, "(val) are forgotten"),
        (lambda r, n, t: _of(r, _all_of(r, n), ("val",)) & t, "training are forgotten"),
        (lambda r, n, t: _of(r, _all_of(r, n) - {n}) & t, "own lists are forgotten"),
        (lambda r, n, t: _of(r, _all_of(r, n)), "only the held-out ones"),
        (lambda r, n, t: t - _of(r, _all_of(r, n)), "does not know"),
        (lambda r, n, t: _of(r, r) & t, "every part of the record"),
        (lambda r, n, t: _all_of(r, n), "names of parts"),
        (lambda r, n, t: bool(by_recursion(r, n, t)), "return a set"),
        (lambda r, n, t: [1, 2], "no study's name"),
        (lambda r, n, t: set(), "not named"),
    ],
)
def test_mistakes_along_the_chain_are_named(mutant, words):
    _rejected(checks.leaking(mutant), words)
