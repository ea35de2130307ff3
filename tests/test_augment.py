"""Augmentation: one view per sequence, boxes turned along, the same for the same seed."""

import dataclasses

import numpy as np
import pytest
import torch

from cspine_lib.augment import (
    Ranges,
    SequenceTransform,
    SliceTransform,
    augment_sequences,
    augment_slices,
    random_views,
)

STILL = Ranges(shift=0, turn_deg=0, zoom=0, brightness=0, contrast=0, mirror=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=seeded(9), dtype=torch.uint8)


def test_without_a_generator_the_middle_is_seen():
    batch = noise(2, 4, 3, 28, 28)
    seen = augment_sequences(batch, None, 24)
    assert seen.shape == (2, 4, 3, 24, 24) and seen.dtype == torch.float32
    assert torch.equal(seen, batch[..., 2:26, 2:26].float() / 255)


def test_a_view_that_changes_nothing_is_the_plain_view():
    batch = noise(2, 4, 3, 28, 28)
    seen = augment_sequences(batch, seeded(), 24, STILL)
    assert torch.allclose(seen, augment_sequences(batch, None, 24), atol=1e-4)
    images, boxes = noise(3, 3, 20, 20), torch.rand(3, 4, generator=seeded())
    boxes[:, 2:] = boxes[:, :2] + 0.1 + 0.5 * (0.9 - boxes[:, :2])
    boxes = boxes.clamp(0, 1)
    same, where = augment_slices(images, boxes, seeded(), STILL)
    assert torch.allclose(same, images.float() / 255, atol=1e-4)
    assert torch.allclose(where, boxes, atol=1e-5)


def test_the_seed_decides_and_nothing_else():
    batch = noise(4, 2, 3, 28, 28)
    torch.manual_seed(1)
    first = augment_sequences(batch, seeded(3), 24)
    torch.manual_seed(2)
    assert torch.equal(first, augment_sequences(batch, seeded(3), 24))
    assert not torch.equal(first, augment_sequences(batch, seeded(4), 24))
    assert first.min() >= 0 and first.max() <= 1


def test_all_frames_of_a_sequence_share_one_view_and_sequences_differ():
    frame = noise(1, 1, 1, 28, 28)
    seen = augment_sequences(frame.expand(3, 5, 3, 28, 28), seeded(), 24)
    assert torch.allclose(seen[:, :1, :1].expand_as(seen), seen, atol=1e-6)
    assert not torch.allclose(seen[0], seen[1], atol=0.05)


def test_a_mirror_image_is_exactly_that():
    ranges = dataclasses.replace(STILL, mirror=1.0)
    images = noise(2, 3, 16, 16)
    boxes = torch.tensor([[0.1, 0.2, 0.4, 0.6], [0.5, 0.0, 0.9, 1.0]])
    seen, where = augment_slices(images, boxes, seeded(), ranges)
    assert torch.allclose(seen, images.flip(-1).float() / 255, atol=1e-4)
    expected = torch.tensor([[0.6, 0.2, 0.9, 0.6], [0.1, 0.0, 0.5, 1.0]])
    assert torch.allclose(where, expected, atol=1e-5)


def test_half_of_the_views_are_mirrored():
    mirrored = (random_views(2000, seeded()).mirror < 0).float().mean()
    assert 0.45 < float(mirrored) < 0.55


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_the_box_follows_its_ellipse(mirror):
    """An ellipse drawn inside a box is inside the new box, and fills it."""
    n, size = 24, 128
    rng = np.random.default_rng(0)
    y, x = (np.indices((size, size)) + 0.5) / size
    images, boxes = np.zeros((n, 3, size, size), dtype=np.uint8), np.zeros((n, 4), np.float32)
    for i in range(n):
        cx, cy, a, b = (*rng.uniform(0.4, 0.6, 2), *rng.uniform(0.1, 0.25, 2))
        images[i, :, ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1] = 255
        boxes[i] = cx - a, cy - b, cx + a, cy + b
    ranges = dataclasses.replace(Ranges(), turn_deg=20, zoom=0.15, mirror=mirror, contrast=0)
    ranges = dataclasses.replace(ranges, brightness=0)
    seen, where = augment_slices(
        torch.from_numpy(images), torch.from_numpy(boxes), seeded(5), ranges
    )
    moved = (where - torch.from_numpy(boxes)).abs().amax(dim=1)
    assert (moved > 0.01).all()
    for image, box in zip(seen[:, 0].numpy(), where.numpy(), strict=True):
        inside = image > 0.5
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / size
        assert np.abs(found - box).max() < 1.6 / size


def test_the_fit_loops_form():
    images, boxes = noise(2, 3, 16, 16), torch.tensor([[0.1, 0.2, 0.4, 0.6]] * 2)
    target = {"levels": torch.ones(2, 7), "box": boxes, "has_box": torch.ones(2)}
    (seen,), new = SliceTransform()((images,), target, seeded(1))
    expected, where = augment_slices(images, boxes, seeded(1))
    assert torch.equal(seen, expected) and torch.equal(new["box"], where)
    assert new["levels"] is target["levels"] and torch.equal(target["box"], boxes)
    (plain,), index = SliceTransform()((images,), torch.arange(2), None)
    assert torch.equal(plain, images.float() / 255) and index.tolist() == [0, 1]
    frames, level = noise(2, 4, 3, 28, 28), torch.tensor([0, 6])
    (seen, same), label = SequenceTransform(24)((frames, level), torch.ones(2), seeded(1))
    assert torch.equal(seen, augment_sequences(frames, seeded(1), 24))
    assert same is level and label.tolist() == [1, 1]
