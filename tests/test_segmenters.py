"""U-Nets that name levels: shapes, start, loss, Dice, and a library that is missing."""

import sys

import numpy as np
import pytest
import torch

from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.segmenters import (
    SliceSegmenter,
    VoxelSegmenter,
    dice_by_level,
    segmentation_loss,
)

BACKBONE = get_profile("ci").backbone
SHARES = np.array([0.9, 0.02, 0.02, 0.01, 0.01, 0.02, 0.01, 0.01])


@pytest.fixture(scope="module")
def slices():
    return SliceSegmenter(BACKBONE, "random", SHARES).eval()


def test_a_cube_gives_eight_logits_a_voxel():
    net = VoxelSegmenter().eval()
    with torch.inference_mode():
        assert net(torch.rand(2, 1, 24, 24, 24)).shape == (2, 8, 24, 24, 24)


@pytest.mark.parametrize("side", [48, 64])
def test_a_slice_gives_eight_logits_a_pixel_whatever_its_side(slices, side):
    with torch.inference_mode():
        assert slices(torch.rand(2, 3, side, side)).shape == (2, 8, side, side)


def test_both_start_at_the_shares_of_the_classes(slices):
    """An untrained net's mean answer is the shares, and not one class in eight."""
    torch.manual_seed(0)
    voxels = VoxelSegmenter(SHARES)
    assert torch.allclose(voxels.bias.softmax(0), torch.tensor(SHARES).float(), atol=1e-4)
    head = slices.net.segmentation_head[0].bias
    assert torch.allclose(head.softmax(0), torch.tensor(SHARES).float(), atol=1e-4)
    even = VoxelSegmenter().bias.softmax(0)
    assert torch.allclose(even, torch.full((8,), 1 / 8))
    cubes = torch.zeros(1, 1, 24, 24, 24)
    target = torch.zeros(1, 24, 24, 24)
    with torch.inference_mode():
        said = voxels.eval()(cubes)
        assert segmentation_loss(said, target) < 0.5
        said -= voxels.bias[:, None, None, None]
        assert segmentation_loss(said, target) > 1.5  # what it would have had to learn first


def test_a_class_without_a_voxel_does_not_start_at_minus_infinity():
    bias = VoxelSegmenter([1, 0, 0, 0, 0, 0, 0, 0]).bias
    assert torch.isfinite(bias).all()


def test_the_2d_encoder_is_filled_whole_or_not_at_all(slices):
    from cspine_lib.segmenters import _copy_encoder

    target = slices.net.encoder.model
    _copy_encoder(target, target)
    with pytest.raises(CspineError, match="choose another backbone"):
        _copy_encoder(torch.nn.Linear(1, 1), target)


@pytest.mark.parametrize(
    ("module", "package", "build"),
    [
        ("monai.networks.nets.unet", "monai", VoxelSegmenter),
        (
            "segmentation_models_pytorch",
            "segmentation-models-pytorch",
            lambda: SliceSegmenter(BACKBONE, "random"),
        ),
    ],
)
def test_a_missing_library_is_one_line(monkeypatch, module, package, build):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CspineError, match=f"pip install {package}") as caught:
        build()
    assert "\n" not in str(caught.value) and caught.value.__suppress_context__


def test_the_loss_falls_towards_the_truth_and_ignores_absent_levels():
    torch.manual_seed(1)
    labels = torch.zeros(2, 6, 6, dtype=torch.uint8)
    labels[:, :3, :3] = 2
    right = 30 * torch.nn.functional.one_hot(labels.long(), 8).movedim(-1, 1).float()
    assert segmentation_loss(right, labels) < 1e-3
    wrong = right.roll(1, dims=1)
    assert segmentation_loss(wrong, labels) > 10
    flat = torch.zeros_like(right)
    # Uniform: entropy ln 8; C2's soft Dice by hand, with 1 added above and below.
    both, size = 18 / 8, 72 / 8 + 18
    by_hand = np.log(8) + 1 - (2 * both + 1) / (size + 1)
    assert float(segmentation_loss(flat, labels)) == pytest.approx(by_hand, abs=1e-5)
    nothing = torch.zeros(1, 4, 4)
    assert float(segmentation_loss(torch.zeros(1, 8, 4, 4), nothing)) == pytest.approx(np.log(8))


def test_dice_by_hand():
    truth, found = np.zeros((4, 4), int), np.zeros((4, 4), int)
    truth[0, :], found[0, 1:], found[1, 0] = 1, 1, 1  # 4 and 4 pixels, 3 shared
    truth[3, 0] = 2  # missed
    found[3, 3] = 3  # made up
    dice = dice_by_level(found, truth)
    assert dice[:3].tolist() == [0.75, 0.0, 0.0] and np.isnan(dice[3:]).all()
    with pytest.raises(CspineError, match="one shape"):
        dice_by_level(truth, truth[:2])
