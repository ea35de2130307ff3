"""Clean-up of a segmentation: of every level the largest piece stays."""

import numpy as np
import pytest

from cspine_lib.components import cleaned, labelled
from cspine_lib.errors import CspineError


def _mask():
    mask = np.zeros((10, 12, 12), dtype=np.uint8)
    mask[1:4, 2:8, 2:8] = 1
    mask[4:7, 2:8, 2:8] = 2
    mask[7:9, 2:6, 2:6] = 8
    return mask


def test_a_planted_stray_goes_and_nothing_else():
    mask = _mask()
    strayed = mask.copy()
    strayed[8:10, 9:11, 9:11] = 1  # eight voxels of C1 at C3's place
    assert np.array_equal(cleaned(strayed), mask)
    assert not np.array_equal(strayed, mask), "the mask that was given is left alone"


def test_what_touches_at_a_corner_is_one_piece():
    mask = np.zeros((4, 4, 4), dtype=np.uint8)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = 3
    numbered, sizes = labelled(mask == 3)
    assert sizes.tolist() == [61, 3] and numbered.max() == 1
    assert np.array_equal(cleaned(mask), mask)


def test_a_share_keeps_pieces_that_are_large_enough():
    mask = np.zeros((3, 3, 30), dtype=np.uint8)
    mask[:, :, :10], mask[:, :, 15:19], mask[:, :, 25] = 4, 4, 4  # 90, 36 and 9 voxels
    assert sorted(np.unique(np.nonzero(cleaned(mask, 0.4))[2])) == [*range(10), *range(15, 19)]
    assert np.array_equal(cleaned(mask, 0.1), mask)
    assert (cleaned(mask) == 4).sum() == 90


def test_other_values_and_empty_masks_stay():
    mask = np.zeros((3, 5, 5), dtype=np.uint8)
    assert np.array_equal(cleaned(mask), mask)
    mask[0, 0, 0] = mask[2, 4, 4] = 9  # a thoracic level in two pieces
    assert np.array_equal(cleaned(mask), mask)
    with pytest.raises(CspineError, match="share runs from 0 to 1"):
        cleaned(mask, -0.1)
