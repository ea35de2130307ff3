"""Graders of notebook 05: models that may label a fold, and leaks along a chain of parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.checks.base import Array, Mistakes, Verdict, agrees, answer, call, diagnosis, wrong

Bools = npt.NDArray[np.bool_]
FoldCase = tuple[Bools, Bools, Bools]
"""Trained on (M, N), stopped on (M, N), held out (N,)."""


# --- models that may label a fold --------------------------------------------------------------


def honest_models(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(trained, stopped, test)`` → (M,) bool, which models may label this fold (05)."""
    cases, answers = _fold_cases(), []
    for case in cases:
        got, failure = answer(fn, *case)
        if failure is not None:
            return failure
        answers.append(got)
    wants = [_honest(*case) for case in cases]
    where = [np.flatnonzero(want) for want in wants]
    if not all(map(agrees, answers, wants)):
        if all(
            got.dtype.kind in "iu" and agrees(got, w) for got, w in zip(answers, where, strict=True)
        ):
            return wrong("these are the numbers of the models; return one True or False for each.")
        return _explained(answers, wants, cases)
    if any(got.dtype != np.bool_ for got in answers):
        return wrong(f"the values are right, but of type {answers[0].dtype}; return booleans.")
    return Verdict(True, "a model may label a fold if it has met none of its studies in any way.")


def _explained(answers: list[Array], wants: list[Array], cases: list[FoldCase]) -> Verdict:
    """The usual mistake that explains every answer; else the first answer that is wrong."""
    for compute, words in _HONEST_MISTAKES:
        if all(agrees(got, compute(*case)) for got, case in zip(answers, cases, strict=True)):
            return wrong(words)
    for got, want, (trained, _, test) in zip(answers, wants, cases, strict=True):
        if not agrees(got, want):
            note = f"with {len(trained)} models and {test.sum()} of {len(test)} studies held out: "
            return diagnosis(got, want, [], (), note=note)
    raise AssertionError("asked to explain answers that are right")


def _honest(trained: Bools, stopped: Bools, test: Bools) -> Bools:
    held_out = {i for i, is_test in enumerate(test) if is_test}
    met = [{i for i, m in enumerate(t | s) if m} for t, s in zip(trained, stopped, strict=True)]
    return np.array([not (known & held_out) for known in met])


def _fold_cases() -> list[FoldCase]:
    """Five folds with masks on some; then a fold without masks, a spoilt split, and chance."""
    rng = np.random.default_rng(505)
    cases = []
    fold_of, masked = np.arange(40) % 5, rng.random(40) < 0.5
    fits = np.stack([masked & (fold_of != k) for k in range(5)])
    stops = fits & (rng.random(fits.shape) < 0.2)
    stopped_only = np.zeros((5, 40), dtype=bool)
    stopped_only[2, np.flatnonzero(fold_of == 2)[0]] = True  # trained elsewhere, stopped in fold 2
    cases.append((fits & ~stops, stops | stopped_only, fold_of == 2))
    for k in (0, 3):
        cases.append((fits & ~stops, stops, fold_of == k))
    cases.append((fits & ~stops, stops, ~masked & (fold_of == 1)))
    for _ in range(8):
        m, n = (int(v) for v in rng.integers((2, 6), (7, 16)))
        role = rng.choice(3, size=(m, n), p=[0.75, 0.15, 0.1])
        cases.append((role == 1, role == 2, rng.random(n) < 0.3))
    return cases


_HONEST_MISTAKES: Mistakes = [
    (
        lambda t, s, x: ~_honest(t, s, x),
        "it is the other way round: these are the models that have met a held-out study.",
    ),
    (
        lambda t, s, x: _honest(t, t & False, x),
        "early stopping is forgotten: a model that was stopped on a held-out study was chosen by "
        "its mask, and has met it.",
    ),
    (
        lambda t, s, x: _honest(s, s & False, x),
        "training is forgotten: you look at the studies for early stopping only.",
    ),
    (
        lambda t, s, x: np.ones(len(t), dtype=bool),
        "every model comes out honest: no study is both trained on and stopped on, and no model "
        "has met all studies. One held-out study that was met in one way is enough.",
    ),
    (
        lambda t, s, x: ~((t | s) | ~x).all(axis=1),
        "a model that has missed one of the held-out studies may still have met the others: "
        "one is too many.",
    ),
    (
        lambda t, s, x: _honest(t, s, ~x),
        "you look at the studies that are not held out; a model may, and must, know those.",
    ),
    (
        lambda t, s, x: ~(t | s).any(axis=1),
        "these are the models that have met no study at all; only the held-out ones matter.",
    ),
    (
        lambda t, s, x: np.arange(len(t)) == ((t | s) & x).sum(axis=1).argmin(),
        "you take the one model that has met fewest; there can be several that have met none, "
        "or no such model.",
    ),
    (
        lambda t, s, x: ((t | s) & x).sum(axis=1),
        "these are counts of held-out studies that each model has met; 0 makes a model honest.",
    ),
    (
        lambda t, s, x: ~(t | s)[:, x],
        "this is a table of models and held-out studies; combine each model's row.",
    ),
    (
        lambda t, s, x: ~((t | s) & x).any(axis=0),
        "you combined the models for each study (axis 0); combine the studies for each model.",
    ),
]


# --- leaks along a chain -----------------------------------------------------------------------


def leaking(fn: Callable[..., Any]) -> Verdict:
    """Grade ``fn(parts, name, test)`` → set of test studies that a part knows, by any way (05)."""
    cases, answers = _chains(), []
    for case in cases:
        got, failure = call(fn, *case)
        if failure is not None:
            return failure
        studies, failure = _as_set(got)
        if failure is not None:
            return failure
        answers.append(studies)
    wants = [_leaking(*case) for case in cases]
    if answers == wants:
        words = "training and stopping, of the part itself and of all that it rests on."
        return Verdict(True, words)
    for compute, words in _LEAK_MISTAKES:
        if answers == [compute(*case) for case in cases]:
            return wrong(words)
    first = next(i for i, want in enumerate(wants) if answers[i] != want)
    return _first_difference(cases[first][1], answers[first], wants[first])


def _first_difference(name: str, got: set[str], want: set[str]) -> Verdict:
    missing, extra = sorted(want - got), sorted(got - want)
    if missing:
        words = f"{len(missing)} studies that leak are not named, such as {missing[0]}."
        return wrong(f"for {name}: {words}")
    return wrong(f"for {name}: you name {extra[0][:40]!r}, which does not leak.")


def _as_set(got: Any) -> tuple[set[str], Verdict | None]:
    if not isinstance(got, set | frozenset | list | tuple):
        return set(), wrong(
            f"your function returns a {type(got).__name__}; return a set of studies."
        )
    if not all(isinstance(item, str) for item in got):
        return set(), wrong("what you return holds something that is no study's name.")
    return set(got), None


def _part(train: str = "", val: str = "", uses: str = "") -> dict[str, list[str]]:
    return {"train": train.split(), "val": val.split(), "uses": uses.split()}


def _chains() -> list[tuple[dict[str, dict[str, list[str]]], str, set[str]]]:
    """The deck's chain, then chains of chance, in which a part rests on earlier ones."""
    deck = {
        "visibility/0": _part("c d", "e"),
        "visibility/1": _part("a d", "b f"),
        "average": _part(uses="visibility/0 visibility/1"),
        "classifier": _part("d e", "f", "average"),
        "calibration": _part("f", "", "classifier"),
        "bystander": _part("a b c"),
    }
    test = {"a", "b", "z"}
    names = ("classifier", "calibration", "average", "visibility/0", "visibility/1")
    cases = [(deck, name, test) for name in names]
    rng = np.random.default_rng(5)
    studies = [f"s{i:02d}" for i in range(18)]
    for _ in range(8):
        parts: dict[str, dict[str, list[str]]] = {}
        for i in range(7):
            train, val = (rng.choice(studies, size=n, replace=False).tolist() for n in (3, 2))
            uses = [name for name in parts if rng.random() < 0.35]
            parts[f"part{i}"] = {"train": train, "val": val, "uses": uses}
        held = set(rng.choice(studies, size=6, replace=False).tolist())
        shuffled = {name: parts[name] for name in rng.permutation(list(parts)).tolist()}
        cases += [(shuffled, "part6", held), (shuffled, "part4", held)]
    return cases


def _known(parts: Any, names: set[str], kinds: tuple[str, ...] = ("train", "val")) -> set[str]:
    return {study for name in names for kind in kinds for study in parts[name][kind]}


def _upstream(parts: Any, name: str) -> set[str]:
    """By growing until nothing is new."""
    found = {name}
    while True:
        more = found | {used for one in found for used in parts[one]["uses"]}
        if more == found:
            return found
        found = more


def _leaking(parts: Any, name: str, test: set[str]) -> set[str]:
    return _known(parts, _upstream(parts, name)) & test


_LEAK_MISTAKES: list[tuple[Callable[..., set[str]], str]] = [
    (
        lambda parts, name, test: _known(parts, {name}) & test,
        "you look at the part's own lists only; follow uses to what it rests on.",
    ),
    (
        lambda parts, name, test: _known(parts, {name, *parts[name]["uses"]}) & test,
        "you follow uses one step only; what it uses rests on other parts in turn.",
    ),
    (
        lambda parts, name, test: _known(parts, set(parts[name]["uses"])) & test,
        "you look at what the part uses, one step only, and not at the part itself.",
    ),
    (
        lambda parts, name, test: _known(parts, _upstream(parts, name), ("train",)) & test,
        "the studies for early stopping (val) are forgotten.",
    ),
    (
        lambda parts, name, test: _known(parts, _upstream(parts, name), ("val",)) & test,
        "the studies for training are forgotten.",
    ),
    (
        lambda parts, name, test: _known(parts, _upstream(parts, name) - {name}) & test,
        "the part's own lists are forgotten; it can know a held-out study by itself.",
    ),
    (
        lambda parts, name, test: _known(parts, _upstream(parts, name)),
        "these are all studies that it knows; only the held-out ones are leaks.",
    ),
    (
        lambda parts, name, test: test - _known(parts, _upstream(parts, name)),
        "these are the held-out studies that it does not know.",
    ),
    (
        lambda parts, name, test: _known(parts, set(parts)) & test,
        "you look at every part of the record; only those that this one rests on matter.",
    ),
    (
        lambda parts, name, test: _upstream(parts, name),
        "these are names of parts; asked are studies.",
    ),
]
