"""Random turns and mirror images of volumes, on the device that trains.

A turn is about the patient's axes, in millimetres.  The slides resize every volume to a
cube, so that a voxel is three or four times as tall as it is wide, or the other way
round: a rotation of the *array* would shear the neck.  Here the turn is made in mm and
brought back: S⁻¹ R S, with S the size of the cube in mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

AXES = ((0, 1), (0, 2), (1, 2))
"""Planes of rotation of the coordinates (x, y, z): axial, coronal, sagittal."""


@dataclass(frozen=True)
class Turns:
    """How far a view may be from the plain one.

    Mirroring left and right keeps the label: RSNA's labels name the level that is broken,
    not its side, and a vertebra is nearly its own mirror image.
    """

    axial_deg: float = 10.0
    coronal_deg: float = 5.0
    sagittal_deg: float = 10.0
    mirror: float = 0.5


def rotations(angles_rad: Tensor) -> Tensor:
    """(B, 3) angles in the planes of ``AXES`` → (B, 3, 3) rotations of (x, y, z)."""
    out = torch.eye(3).repeat(len(angles_rad), 1, 1)
    for k, (a, b) in enumerate(AXES):
        turn = torch.eye(3).repeat(len(angles_rad), 1, 1)
        cos, sin = torch.cos(angles_rad[:, k]), torch.sin(angles_rad[:, k])
        turn[:, a, a], turn[:, b, b] = cos, cos
        turn[:, a, b], turn[:, b, a] = -sin, sin
        out = out @ turn
    return out


def view_matrices(
    size_xyz_mm: Tensor, generator: torch.Generator, turns: Turns = Turns()
) -> Tensor:
    """Random views (B, 3, 4) for ``affine_grid``, drawn on the CPU.

    Args:
        size_xyz_mm: (B, 3) extent of each cube along x, y, z.
    """
    n = len(size_xyz_mm)
    limits = torch.tensor([turns.axial_deg, turns.coronal_deg, turns.sagittal_deg])
    angles = (torch.rand((n, 3), generator=generator) * 2 - 1) * limits * (math.pi / 180)
    size = size_xyz_mm.detach().cpu().float()
    matrix = rotations(angles) * size[:, None, :] / size[:, :, None]  # S⁻¹ R S
    mirrored = torch.rand(n, generator=generator) < turns.mirror
    matrix[mirrored, :, 0] *= -1
    return torch.cat([matrix, torch.zeros(n, 3, 1)], dim=2)


def turn_volumes(volumes: Tensor, matrices: Tensor) -> Tensor:
    """Volumes (B, 1, D, H, W) read along views (B, 3, 4); air (0) outside."""
    grid = functional.affine_grid(
        matrices.to(volumes.device), list(volumes.shape), align_corners=False
    )
    return functional.grid_sample(volumes, grid, mode="bilinear", align_corners=False)


class CubeTransform:
    """8-bit cubes → floats in 0..1, augmented where a generator is given (fit loop's form)."""

    def __init__(self, turns: Turns = Turns()) -> None:
        self.turns = turns

    def __call__(
        self, inputs: tuple[Tensor, ...], targets: Tensor, generator: torch.Generator | None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """((cubes uint8 (B, 1, D, H, W), size_xyz_mm (B, 3)), targets) → ((floats,), targets)."""
        cubes, size_xyz_mm = inputs
        volumes = cubes.float() / 255.0
        if generator is not None:
            volumes = turn_volumes(volumes, view_matrices(size_xyz_mm, generator, self.turns))
        return (volumes,), targets
