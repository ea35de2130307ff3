"""Signed distances against closed forms; frames there and back; partial volume."""

from __future__ import annotations

import numpy as np
import pytest

from cspine_lib.phantom.sdf import (
    Frame,
    Grid,
    capsule,
    coverage,
    ellipsoid,
    rotation,
    round_box,
    union,
)

GRID = Grid((40, 44, 48), (1.0, 0.9, 0.8), np.array([-19.0, -19.4, -20.0]), np.zeros((40, 2)))
WORLD = Frame(np.zeros(3), np.eye(3))
TURNED = Frame(np.array([1.0, -2.0, 0.5]), rotation(20, -10, 35))
WHOLE = (slice(0, 40), slice(0, 44), slice(0, 48))


def _volume_mm3(parts, frame=WORLD):
    xyz = frame.coordinates(GRID, WHOLE)
    d = union(GRID, frame, WHOLE, parts, xyz, 2.0)
    return float(coverage(d, GRID.edge_mm).sum() * np.prod(GRID.spacing_zyx_mm))


@pytest.mark.parametrize("frame", [WORLD, TURNED])
def test_volumes_against_closed_forms(frame):
    sphere = 4 / 3 * np.pi
    assert _volume_mm3([ellipsoid((0, 0, 0), (6, 6, 6))], frame) == pytest.approx(
        sphere * 216, rel=0.02
    )
    rod = _volume_mm3([capsule((-5, 0, 0), (5, 0, 0), 4.0)], frame)
    assert rod == pytest.approx(np.pi * 16 * 10 + sphere * 64, rel=0.02)
    box = _volume_mm3([round_box((0, 0, 0), (5, 6, 7), 0.2)], frame)
    assert box == pytest.approx(10 * 12 * 14, rel=0.03)


def test_carving_and_clipping():
    whole = ellipsoid((0, 0, 0), (8, 8, 8))
    half = _volume_mm3([whole.clipped((0, 0, 1), (0, 0, 0))])
    assert half == pytest.approx(_volume_mm3([whole]) / 2, rel=0.02)
    hole = ellipsoid((0, 0, 0), (5, 5, 5), carve=True)
    shell = _volume_mm3([whole, hole])
    assert shell == pytest.approx(4 / 3 * np.pi * (512 - 125), rel=0.02)


def test_frames_go_there_and_back():
    points = np.random.default_rng(0).normal(0, 20, (50, 3))
    assert np.allclose(TURNED.to_local(TURNED.to_world(points)), points)
    assert np.allclose(TURNED.axes.T @ TURNED.axes, np.eye(3))
    u, v, w = TURNED.coordinates(GRID, WHOLE)
    at = np.array([GRID.axis_mm(2)[7], GRID.axis_mm(1)[30], GRID.axis_mm(0)[11]])
    assert np.allclose(TURNED.to_local(at), [c[11, 30, 7] for c in (u, v, w)], atol=1e-4)


def test_positive_sagittal_tilt_moves_the_foot_end_back():
    assert (rotation(20, 0, 0) @ [0, 0, 1])[1] > 0


def test_motion_shifts_a_slice():
    shift = np.zeros((40, 2))
    shift[20:] = (2.0, 0.0)
    moved = Grid(GRID.shape_zyx, GRID.spacing_zyx_mm, GRID.origin_xyz_mm, shift)
    part = [ellipsoid((0, 0, 0), (6, 6, 9))]
    xyz = WORLD.coordinates(moved, WHOLE)
    inside = union(moved, WORLD, WHOLE, part, xyz, 2.0) < 0
    x = GRID.axis_mm(2)
    centre = [(inside[z].sum(axis=0) @ x) / inside[z].sum() for z in (18, 22)]
    assert centre[1] - centre[0] == pytest.approx(2.0, abs=0.15)
