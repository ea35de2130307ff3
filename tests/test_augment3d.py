"""Turns of volumes are turns of the patient: in mm, also where voxels are not cubes."""

import numpy as np
import pytest
import torch

from cspine_lib.augment3d import CubeTransform, Turns, rotations, turn_volumes, view_matrices

SIZE = torch.tensor([[100.0, 100.0, 200.0]])  # x, y, z: voxels twice as tall as wide


def _rod(shape=(40, 40, 40), half=1):
    """A rod along z through the middle of a 1 × 1 × D × H × W volume."""
    out = torch.zeros((1, 1, *shape))
    out[..., 20 - half : 20 + half, 20 - half : 20 + half] = 1.0
    return out


def _length_and_angle(volume, size_xyz_mm):
    """Principal axis of a bright thing, in mm: (spread along it, degrees from z)."""
    points = np.argwhere(volume[0, 0].numpy() > 0.5)[:, ::-1]  # x, y, z
    mm = (points - points.mean(axis=0)) * (size_xyz_mm / np.array(volume.shape[:1:-1]))
    values, vectors = np.linalg.eigh(np.cov(mm.T))
    return np.sqrt(values[-1]), np.degrees(np.arccos(abs(vectors[2, -1])))


def test_rotations_are_rotations():
    r = rotations(torch.rand(5, 3) * 2 - 1)
    assert torch.allclose(r @ r.transpose(1, 2), torch.eye(3).expand(5, 3, 3), atol=1e-6)
    assert torch.allclose(torch.linalg.det(r), torch.ones(5), atol=1e-6)


def test_a_turn_in_mm_turns_a_rod_by_its_angle_and_keeps_its_length():
    """A rotation of the array would turn it by another angle: voxels are twice as tall."""
    angle = 20.0
    turn = rotations(torch.tensor([[0.0, 0.0, np.radians(angle)]]))  # sagittal
    matrix = torch.cat([turn * SIZE[:, None] / SIZE[:, :, None], torch.zeros(1, 3, 1)], dim=2)
    rod = _rod()
    rod[:, :, :10] = rod[:, :, 30:] = 0  # well inside, so that no end leaves the volume
    before, upright = _length_and_angle(rod, SIZE[0].numpy())
    after, turned = _length_and_angle(turn_volumes(rod, matrix), SIZE[0].numpy())
    assert upright == pytest.approx(0, abs=0.5)
    assert turned == pytest.approx(angle, abs=1.5)
    assert after == pytest.approx(before, rel=0.05)
    naive = torch.cat([turn, torch.zeros(1, 3, 1)], dim=2)
    _, wrong = _length_and_angle(turn_volumes(rod, naive), SIZE[0].numpy())
    assert abs(wrong - angle) > 5


def test_views_are_within_their_limits_and_come_from_the_generator():
    turns = Turns(axial_deg=10, coronal_deg=0, sagittal_deg=0, mirror=0.5)
    cube = torch.full((200, 3), 80.0)
    a = view_matrices(cube, torch.Generator().manual_seed(1), turns)
    b = view_matrices(cube, torch.Generator().manual_seed(1), turns)
    assert torch.equal(a, b)
    mirrored = torch.linalg.det(a[:, :, :3]) < 0
    assert 60 < mirrored.sum() < 140
    assert torch.allclose(a[:, 2, :3], torch.tensor([0.0, 0, 1]).expand(200, 3), atol=1e-6)
    angles = torch.rad2deg(torch.asin(a[:, 0, 1]))
    assert 8 < angles.abs().max() <= 10


def test_mirror_exchanges_left_and_right_only():
    cubes = torch.randint(0, 255, (1, 1, 6, 8, 10), dtype=torch.uint8)
    size = torch.tensor([[80.0, 80.0, 80.0]])
    transform = CubeTransform(Turns(0, 0, 0, mirror=1.0))
    (seen,), _ = transform((cubes, size), torch.zeros(1, 8), torch.Generator().manual_seed(0))
    assert torch.allclose(seen, (cubes.float() / 255).flip(-1), atol=1e-5)


def test_without_a_generator_nothing_is_turned():
    cubes = torch.randint(0, 255, (2, 1, 4, 4, 4), dtype=torch.uint8)
    (seen,), target = CubeTransform()((cubes, torch.ones(2, 3)), "y", None)
    assert target == "y" and torch.equal(seen, cubes.float() / 255)
