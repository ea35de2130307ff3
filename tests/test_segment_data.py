"""What segmenters train on: labels at cell centres that move with their images."""

import numpy as np
import pytest
import torch
from fake_studies import FakeDataset

from cspine_lib.augment import Ranges
from cspine_lib.augment3d import Turns
from cspine_lib.cache import build_cache
from cspine_lib.cubes import CubeSpec, build_cubes
from cspine_lib.errors import CspineError
from cspine_lib.segment_data import (
    CubeViews,
    MaskedCubes,
    MaskedSlices,
    SliceViews,
    at_cell_centres,
    native_mask,
)


@pytest.fixture(scope="module")
def data():
    return FakeDataset()


@pytest.fixture(scope="module")
def cache(data, tmp_path_factory):
    return build_cache(data, tmp_path_factory.mktemp("c"), data.ids, low_px=16)


@pytest.fixture(scope="module")
def cubes(cache, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cubes")
    return build_cubes(cache, ["s0", "s1"], folder, CubeSpec((16, 16, 16)), dataset=data)


def test_a_mask_without_levels_above_c7_and_a_study_without_a_mask(cache, data):
    mask = native_mask("s0", cache, data)
    drawn = data.draw("s0")[1]
    assert np.array_equal(mask, np.where(drawn == 8, 0, drawn)) and (drawn == 8).any()
    with pytest.raises(CspineError, match="has no mask"):
        native_mask("s5", cache, data)


def test_labels_are_read_at_the_centres_of_cells():
    mask = np.arange(6, dtype=np.uint8).reshape(6, 1, 1)
    assert at_cell_centres(mask, (3, 1, 1), (6, 1, 1)).ravel().tolist() == [1, 3, 5]
    finer = at_cell_centres(mask, (12, 1, 1), (6, 1, 1)).ravel()
    assert finer.tolist() == np.repeat(range(6), 2).tolist()
    # A grid that is longer than the mask: nothing is there.
    assert at_cell_centres(mask, (4, 1, 1), (8, 1, 1)).ravel().tolist() == [1, 3, 5, 0]


def test_cubes_come_with_labels_shares_and_sizes(cubes, cache, data):
    items = MaskedCubes(cubes, ["s0", "s1"], cache, data)
    (cube, size_xyz_mm), labels = items[1]
    assert cube.shape == (1, 16, 16, 16) and labels.shape == (16, 16, 16)
    assert size_xyz_mm.tolist() == pytest.approx([128, 128, 168])
    mask = native_mask("s1", cache, data)
    shares = [(mask == k).mean() for k in range(8)]
    assert items.shares() == pytest.approx(shares, abs=0.02) and items.shares().sum() == 1
    bright = cube[0][labels > 0].float().mean() - cube[0][labels == 0].float().mean()
    assert bright > 30, "labels lie over the bone"
    with pytest.raises(CspineError, match="needs studies with masks"):
        MaskedCubes(cubes, [], cache, data)


def test_slices_come_with_their_own_labels(cache, data):
    items = MaskedSlices(cache, data, ["s0", "s1"], per_level=2)
    image, labels = items[0]
    assert image.shape == (3, 16, 16) and labels.shape == (16, 16)
    seen = {int(v) for i in range(len(items)) for v in items[i][1].unique()}
    assert seen == set(range(8)) and items.shares().sum() == pytest.approx(1)
    for i in range(len(items)):
        image, labels = items[i]
        if (labels > 0).any():
            middle = image[1].float()
            assert middle[labels > 0].mean() > middle[labels == 0].mean() + 30
    with pytest.raises(CspineError, match="needs studies with masks"):
        MaskedSlices(cache, data, [], per_level=2)


@pytest.mark.parametrize("dims", [2, 3])
def test_labels_move_with_what_they_label(dims):
    """A block that is 255 where its label is 5 stays so, whatever the view."""
    side, b = 24, 6
    labels = torch.zeros((b, *(side,) * dims), dtype=torch.uint8)
    labels[(slice(None), *(slice(6, 15),) * dims)] = 5
    images = (labels > 0).to(torch.uint8)[:, None] * 255
    generator = torch.Generator().manual_seed(0)
    if dims == 3:
        inputs = (images, torch.full((b, 3), 120.0))
        (seen,), moved = CubeViews(Turns())(inputs, labels, generator)
        (plain,), same = CubeViews(Turns())(inputs, labels, None)
    else:
        views = SliceViews(Ranges(shift=0.2, turn_deg=30, brightness=0, contrast=0))
        inputs = (images.expand(-1, 3, -1, -1),)
        (seen,), moved = views(inputs, labels, generator)
        (plain,), same = views(inputs, labels, None)
    assert torch.equal(same, labels) and torch.equal(plain[:, 0] > 0.5, labels > 0)
    assert set(moved.unique().tolist()) == {0, 5} and not torch.equal(moved, labels)
    differ = ((seen[:, 0] > 0.5) != (moved > 0)).float().mean()
    assert differ < 0.05, "no more than the rim may differ between linear and nearest"
