"""Augmentation of whole batches on their device: one random view per slice or sequence.

A view is a shift, a turn, a zoom and perhaps a mirror image, read by one interpolation,
then a change of brightness and contrast.  Mirroring left and right keeps the label:
RSNA's labels name the broken level and not its side, and a vertebra is nearly its own
mirror image.  Top and bottom of an axial image (front and back of the patient) are never
exchanged: no scan looks like that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Ranges:
    """How far a view may be from the plain one, each way."""

    shift: float = 0.05
    """Share of the side that is seen."""
    turn_deg: float = 10.0
    zoom: float = 0.08
    """Natural log of the magnification."""
    brightness: float = 0.06
    """Of the range 0..1: some 100 HU in the bone window."""
    contrast: float = 0.15
    mirror: float = 0.5
    """Probability of the mirror image."""


DEFAULT = Ranges()


def to_float(images: Tensor) -> Tensor:
    """8 bits → floats in 0..1."""
    return images.float() / 255.0


def centre(images: Tensor, px: int) -> Tensor:
    """The middle ``px`` × ``px`` of (…, S, S): what a network sees when it is not trained."""
    margin = (images.shape[-1] - px) // 2
    return images[..., margin : margin + px, margin : margin + px]


def augment_sequences(
    batch: Tensor, generator: torch.Generator | None, px: int, ranges: Ranges = DEFAULT
) -> Tensor:
    """A batch of crop sequences as the network sees them.

    Args:
        batch: uint8 (B, T, 3, S, S), S ≥ ``px``: the margin is what shifts and turns use.
        generator: on the CPU; None for the plain view (the middle).
        px: side of the result, at the batch's own scale.

    Returns:
        Floats (B, T, 3, px, px) in 0..1.  All frames of a sequence share one view.
    """
    if generator is None:
        return to_float(centre(batch, px))
    b, t, c, size, _ = batch.shape
    views = random_views(b, generator, ranges)
    images = to_float(batch).reshape(b, t * c, size, size)
    # Shifts are shares of what is seen, the grid is in halves of what is stored.
    seen = look(images, views.matrix(px / size), px)
    seen = views.brighten(seen)
    return seen.reshape(b, t, c, px, px)


def augment_slices(
    images: Tensor, boxes: Tensor, generator: torch.Generator | None, ranges: Ranges = DEFAULT
) -> tuple[Tensor, Tensor]:
    """A batch of 2.5D slices and their boxes as stage 1 sees them.

    Args:
        images: uint8 (B, 3, P, P).
        boxes: (B, 4) as x0, y0, x1, y1 in 0..1 of the image.
        generator: on the CPU; None for the plain view.

    Returns:
        Floats (B, 3, P, P) in 0..1, and the boxes in the new view, inside 0..1.  A turned
        box is the upright box around its turned ellipse, which fits a spine better
        than the one around its turned corners.
    """
    if generator is None:
        return to_float(images), boxes
    views = random_views(len(images), generator, ranges)
    matrix = views.matrix(1.0)
    seen = views.brighten(look(to_float(images), matrix, images.shape[-1]))
    return seen, _turn_boxes(boxes, matrix)


@dataclass(frozen=True)
class Views:
    """Random views of B images, on the CPU, (B,) each."""

    dx: Tensor
    dy: Tensor
    turn: Tensor
    zoom: Tensor
    mirror: Tensor
    brightness: Tensor
    contrast: Tensor

    def matrix(self, scale: float) -> Tensor:
        """(B, 2, 3): a point of the view in −1..1 → a point of the image in −1..1."""
        cos, sin = (
            torch.cos(self.turn) * scale / self.zoom,
            torch.sin(self.turn) * scale / self.zoom,
        )
        rows = [
            torch.stack([cos * self.mirror, -sin, 2 * self.dx * scale], dim=1),
            torch.stack([sin * self.mirror, cos, 2 * self.dy * scale], dim=1),
        ]
        return torch.stack(rows, dim=1)

    def brighten(self, images: Tensor) -> Tensor:
        """Brightness and contrast of (B, C, H, W), kept in 0..1."""
        gain = self.contrast.to(images.device)[:, None, None, None]
        offset = self.brightness.to(images.device)[:, None, None, None]
        return ((images - 0.5) * gain + 0.5 + offset).clamp_(0.0, 1.0)


def random_views(n: int, generator: torch.Generator, ranges: Ranges = DEFAULT) -> Views:
    """Draw ``n`` views."""
    u = torch.rand((7, n), generator=generator) * 2 - 1
    return Views(
        dx=u[0] * ranges.shift,
        dy=u[1] * ranges.shift,
        turn=u[2] * math.radians(ranges.turn_deg),
        zoom=torch.exp(u[3] * ranges.zoom),
        mirror=torch.where((u[4] + 1) / 2 < ranges.mirror, -1.0, 1.0),
        brightness=u[5] * ranges.brightness,
        contrast=1 + u[6] * ranges.contrast,
    )


def look(images: Tensor, matrix: Tensor, px: int) -> Tensor:
    """Read (B, C, S, S) along views (B, 2, 3) → (B, C, px, px); air outside."""
    b, c = images.shape[:2]
    grid = functional.affine_grid(matrix.to(images.device), [b, c, px, px], align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", align_corners=False)


def _turn_boxes(boxes: Tensor, matrix: Tensor) -> Tensor:
    """Boxes of the image → boxes of the view, both in 0..1."""
    m = matrix.to(boxes)
    inverse = torch.linalg.inv(m[:, :, :2])
    middle = boxes[:, :2] + boxes[:, 2:] - 1  # −1..1
    half = boxes[:, 2:] - boxes[:, :2]  # half the side in −1..1
    new_middle = (inverse @ (middle - m[:, :, 2])[:, :, None])[:, :, 0]
    # Half-widths of an ellipse under a linear map: root of the sum of squares of its axes.
    new_half = ((inverse * half[:, None, :]) ** 2).sum(dim=2).sqrt()
    edges = torch.cat([new_middle - new_half, new_middle + new_half], dim=1)
    return ((edges + 1) / 2).clamp(0.0, 1.0)


class SliceTransform:
    """``augment_slices`` in the form that the fit loop asks for."""

    def __init__(self, ranges: Ranges = DEFAULT) -> None:
        self.ranges = ranges

    def __call__(
        self, inputs: tuple[Tensor, ...], targets: Any, generator: torch.Generator | None
    ) -> tuple[tuple[Tensor, ...], Any]:
        """((images,), targets with "box") → the same, augmented if a generator is given."""
        if not isinstance(targets, dict):  # prediction: there is nothing to turn along
            return (to_float(inputs[0]),), targets
        images, boxes = augment_slices(inputs[0], targets["box"], generator, self.ranges)
        return (images,), {**targets, "box": boxes}


class SequenceTransform:
    """``augment_sequences`` in the form that the fit loop asks for."""

    def __init__(self, px: int, ranges: Ranges = DEFAULT) -> None:
        self.px = px
        self.ranges = ranges

    def __call__(
        self, inputs: tuple[Tensor, ...], targets: Any, generator: torch.Generator | None
    ) -> tuple[tuple[Tensor, ...], Any]:
        """((frames, level), targets) → the same, augmented if a generator is given."""
        frames, *rest = inputs
        return (augment_sequences(frames, generator, self.px, self.ranges), *rest), targets
