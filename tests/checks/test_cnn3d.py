"""Graders of notebook 04: right answers in two styles pass, each usual mistake is named."""

import numpy as np
import pytest

from cspine_lib import checks
from cspine_lib.checks import cnn3d


def _rejected(verdict, words):
    assert not verdict
    assert words in verdict.message, verdict.message


# --- cube_voxel_mm


def by_array(n, s, m):
    return np.array(n) * np.array(s) / m


def by_loop(n, s, m):
    return [extent / m for extent in (a * b for a, b in zip(n, s, strict=True))]


@pytest.mark.parametrize("right", [by_array, by_loop])
def test_right_voxels_pass(right):
    assert checks.cube_voxel_mm(right)


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (lambda n, s, m: s, "spacing of the scan"),
        (lambda n, s, m: 1 / by_array(n, s, m), "per mm"),
        (lambda n, s, m: np.array(s) * m / np.array(n), "upside down"),
        (lambda n, s, m: np.array(n) * np.array(s), "extent in mm"),
        (lambda n, s, m: np.array(n) / m, "native voxels"),
        (lambda n, s, m: np.array(s) / m, "shape is missing"),
        (lambda n, s, m: (np.array(n) - 1) * np.array(s) / (m - 1), "face to face"),
        (lambda n, s, m: np.array(n) * np.array(s) / (m - 1), "m − 1"),
        (lambda n, s, m: np.array(n) // m * np.array(s), "remainder"),
        (lambda n, s, m: by_array(n, s, m)[::-1], "order is x, y, z"),
        (lambda n, s, m: by_array(n, s, m)[[0, 1, 1]], "rows for columns"),
        (lambda n, s, m: [max(by_array(n, s, m))] * 3, "no cube in mm"),
        (lambda n, s, m: np.prod(by_array(n, s, m)), "three lengths"),
        (lambda n, s, m: by_array(n, s, m)[:2], "shape"),
        (lambda n, s, m: np.round(by_array(n, s, m), 1), "should be"),
        (lambda n, s, m: by_array(n, s, m) * np.nan, "should be"),
    ],
)
def test_mistakes_about_voxels_are_named(mutant, words):
    _rejected(checks.cube_voxel_mm(mutant), words)


def test_voxels_are_tried_where_mistakes_show():
    cases = cnn3d._voxel_cases()
    assert any(n[1] != n[2] for n, _, _ in cases) and any(max(n) < m for n, _, m in cases)
    assert any(min(n) == 1 for n, _, _ in cases)


# --- turn_in_mm


def by_matrices(r, s):
    return np.diag(1 / s) @ r @ np.diag(s)


def by_broadcast(r, s):
    return r * s[None, :] / s[:, None]


@pytest.mark.parametrize("right", [by_matrices, by_broadcast])
def test_right_turns_pass(right):
    assert checks.turn_in_mm(right)


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (lambda r, s: r, "turns the array"),
        (lambda r, s: r * s[:, None] / s[None, :], "reversed"),
        (lambda r, s: r * s, "way back is missing"),
        (lambda r, s: r / s[:, None], "way to mm is missing"),
        (lambda r, s: np.diag(s) @ r, "on the right"),
        (lambda r, s: r / s, "on the right"),
        (lambda r, s: by_matrices(r.T, s), "other way"),
        (lambda r, s: np.diag(s) @ r @ np.diag(s), "both sides"),
        (lambda r, s: by_matrices(r, s[::-1]), "x first"),
        (lambda r, s: r * s / s.max(), "its own size"),
        (lambda r, s: by_matrices(r, s)[:2], "shape"),
        (lambda r, s: -by_matrices(r, s), "should be"),
        (lambda r, s: np.full((3, 3), np.nan), "should be"),
    ],
)
def test_mistakes_about_turns_are_named(mutant, words):
    _rejected(checks.turn_in_mm(mutant), words)


def test_turns_agree_with_the_librarys_views():
    import torch

    from cspine_lib.augment3d import rotations

    angles, size = torch.tensor([[0.1, -0.2, 0.3]]), np.array([80.0, 90.0, 150.0])
    rotation = rotations(angles)[0].double().numpy()
    theirs = rotation * size[None, :] / size[:, None]
    assert np.allclose(by_matrices(rotation, size), theirs)
    assert all(np.isclose(np.linalg.det(r), 1) for r, _ in cnn3d._turn_cases())


# --- head_weights


def by_eighths(n, c, h):
    return n[0] // 8 * (n[1] // 8) * (n[2] // 8) * c * h + h


def by_halving(n, c, h):
    for _ in range(3):
        n = [k // 2 for k in n]
    return (int(np.prod(n)) * c + 1) * h


@pytest.mark.parametrize("right", [by_eighths, by_halving])
def test_right_counts_pass(right):
    assert checks.head_weights(right)


def _over(k):
    return lambda n, c, h: int(np.prod([m // k for m in n])) * c * h + h


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (lambda n, c, h: by_eighths(n, c, h) - h, "biases are missing"),
        (lambda n, c, h: by_eighths(n, c, h) - h + 1, "not one for all"),
        (lambda n, c, h: by_eighths(n, c, 1) - 1, "each output"),
        (_over(1), "poolings are missing"),
        (_over(2), "pooled once"),
        (_over(3), "divided by 3"),
        (_over(6), "2 + 2 + 2"),
        (lambda n, c, h: int(np.prod(n)) // 8 * c * h + h, "512"),
        (lambda n, c, h: np.prod(np.array(n) / 8) * c * h + h, "half a cell"),
        (lambda n, c, h: int(np.prod(n)) // 512 * c * h + h, "its own remainder"),
        (lambda n, c, h: int(np.prod(np.ceil(np.array(n) / 8))) * c * h + h, "rounds down"),
        (lambda n, c, h: by_eighths(n, 1, h), "channels are missing"),
        (lambda n, c, h: (n[0] // 8) ** 3 * c * h + h, "need not be a cube"),
        (lambda n, c, h: by_eighths(n, c, h) + 1, "should be"),
        (lambda n, c, h: float("nan"), "should be"),
    ],
)
def test_mistakes_about_the_head_are_named(mutant, words):
    _rejected(checks.head_weights(mutant), words)


def test_the_count_is_that_of_a_real_layer():
    import torch
    from torch import nn

    from cspine_lib.models3d import ConvBlock3D

    blocks = nn.Sequential(ConvBlock3D(1, 2), ConvBlock3D(2, 3), ConvBlock3D(3, 5)).eval()
    with torch.inference_mode():
        flat = blocks(torch.zeros(1, 1, 30, 45, 17)).flatten(1).shape[1]
    layer = nn.Linear(flat, 7)
    assert sum(w.numel() for w in layer.parameters()) == by_eighths((30, 45, 17), 5, 7)
