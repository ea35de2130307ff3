"""Graders of notebook 00 beyond the window: a voxel's place, and volumes of levels."""

import numpy as np
import pytest

from cspine_lib import checks


def place(affine, zyx):
    return (affine @ np.array([*zyx, 1]))[:3]


def place_by_parts(affine, zyx):
    return affine[:3, :3] @ np.array(zyx) + affine[:3, 3]


def volumes(mask, spacing):
    return np.array([(mask == k).sum() for k in range(1, 8)]) * np.prod(spacing) / 1000


def volumes_by_bincount(mask, spacing):
    return list(np.bincount(mask.ravel(), minlength=8)[1:8] * np.prod(spacing) / 1e3)


@pytest.mark.parametrize("fn", [place, place_by_parts, lambda a, v: tuple(place(a, v))])
def test_a_right_place_passes(fn):
    assert checks.voxel_to_mm(fn)


@pytest.mark.parametrize("fn", [volumes, volumes_by_bincount])
def test_right_volumes_pass(fn):
    assert checks.level_volumes_ml(fn)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda a, v: a @ np.array([*v, 1]), "four numbers"),
        (lambda a, v: a[:3, :3] @ np.array(v), "the shift is missing"),
        (lambda a, v: place(a, v[::-1]), "you gave x, y, z"),
        (lambda a, v: place(a, v)[::-1], "order z, y, x"),
        (lambda a, v: (np.array([*v, 1]) @ a)[:3], "multiplied from the left"),
        (lambda a, v: (np.linalg.inv(a) @ np.array([*v, 1]))[:3], "the other way"),
        (lambda a, v: place(a, v) * [-1, -1, 1], "wrong sign"),
        (
            lambda a, v: np.abs(a[:3, :3]).max(axis=0)[::-1] * np.array(v[::-1]) + a[:3, 3],
            "lost the directions",
        ),
        (lambda a, v: place(a, v) + 1, "it should be"),
        (lambda a, v: place(a, v)[:2], "shape (2,)"),
        (lambda a, v: "here", "no array of numbers"),
        (lambda a, v: np.full(3, np.nan), "nan"),
    ],
)
def test_mistakes_of_the_place_are_named(wrong, words):
    verdict = checks.voxel_to_mm(wrong)
    assert not verdict and words in verdict.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda m, s: [(m == k).sum() for k in range(1, 8)], "you count voxels"),
        (lambda m, s: volumes(m, s) * 1000, "those are mm³"),
        (lambda m, s: volumes(m, (1, 1, 1)), "volume of a voxel is missing"),
        (lambda m, s: volumes(m, s) * 10, "cubic centimetre"),
        (lambda m, s: volumes(m, (1, 1, 1)) * sum(s), "not their sum"),
        (lambda m, s: volumes(m, (1, *s[1:])), "that is an area"),
        (lambda m, s: volumes(m, (s[0],) * 3), "three spacings differ"),
        (
            lambda m, s: [(m == k).sum() * np.prod(s) / 1000 for k in range(8)],
            "value 0 is the background",
        ),
        (lambda m, s: [(m == k).sum() * np.prod(s) / 1000 for k in range(7)], "off by one"),
        (lambda m, s: [(m == k).sum() * np.prod(s) / 1000 for k in range(1, 20)], "thoracic"),
        (
            lambda m, s: [m[m == k].astype(int).sum() * np.prod(s) / 1000 for k in range(1, 8)],
            "summed the mask's values",
        ),
        (
            lambda m, s: np.unique(m[m > 0], return_counts=True)[1] * np.prod(s) / 1000,
            "thoracic",
        ),
        (lambda m, s: None, "None"),
    ],
)
def test_mistakes_of_the_volumes_are_named(wrong, words):
    verdict = checks.level_volumes_ml(wrong)
    assert not verdict and words in verdict.message


def test_levels_that_are_absent_count_zero():
    """Right on full masks only: the second case, with five values, finds it."""

    def only_those_there(mask, spacing):
        found = [(mask == k).sum() for k in np.unique(mask) if 1 <= k <= 7]
        return np.array(found) * np.prod(spacing) / 1000

    verdict = checks.level_volumes_ml(only_those_there)
    assert not verdict and "shape (5,), it should have (7,)" in verdict.message
