"""Masks → levels, boxes, frames."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cspine_lib.errors import CspineError
from cspine_lib.labels import (
    LevelBox,
    evenly_spaced,
    level_areas,
    levels_from_json,
    slice_range,
    spine_boxes,
    true_levels,
    visible_levels,
)


def small_mask() -> np.ndarray:
    """C2 in slices 1–3, C3 in 3–4, T1 in 6; one voxel of C2 alone in slice 1."""
    mask = np.zeros((8, 20, 30), dtype=np.uint8)
    mask[1, 5, 7] = 2
    mask[2:4, 4:10, 6:12] = 2
    mask[3:5, 12:15, 10:20] = 3
    mask[6, 2:18, 2:28] = 8
    return mask


def test_the_decks_example_of_even_spacing():
    assert evenly_spaced(47, 24).tolist() == list(range(0, 47, 2))


@given(st.integers(1, 400), st.integers(1, 60))
def test_even_spacing_is_monotone_inside_and_even(n, k):
    index = evenly_spaced(n, k)
    assert len(index) == k and index.min() >= 0 and index.max() < n
    steps = np.diff(index)
    if k > 1:
        assert index[0] == 0 and index[-1] == n - 1
        assert steps.max() - steps.min() <= 1
    if k <= n:
        assert (steps > 0).all()
    else:
        assert set(index.tolist()) == set(range(n)) or k == 1


def test_fewer_slices_than_wanted_repeat():
    assert evenly_spaced(2, 6).tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(CspineError):
        evenly_spaced(0, 3)


def test_one_voxel_makes_a_level_visible_unless_more_are_asked():
    mask = small_mask()
    seen = visible_levels(mask)
    assert seen.shape == (8, 7)
    assert np.flatnonzero(seen[:, 1]).tolist() == [1, 2, 3]
    assert np.flatnonzero(seen[:, 2]).tolist() == [3, 4]
    assert not seen[6].any(), "thoracic levels are not cervical ones"
    assert np.flatnonzero(visible_levels(mask, min_voxels=2)[:, 1]).tolist() == [2, 3]


def test_areas_are_counted_slice_by_slice():
    areas = level_areas(small_mask())
    assert areas.shape == (8, 7) and areas.sum() == 1 + 2 * 36 + 2 * 30
    assert areas[:5, 1].tolist() == [0, 1, 36, 36, 0]
    assert level_areas(np.zeros((0, 3, 3), dtype=np.uint8)).shape == (0, 7)


def test_a_share_of_the_largest_area_is_asked_of_each_level():
    mask = small_mask()
    mask[5, 12, 10:13] = 3  # 3 of 30 pixels: exactly a tenth
    tenth = visible_levels(mask, min_share=0.1)
    assert np.flatnonzero(tenth[:, 1]).tolist() == [2, 3]
    assert np.flatnonzero(tenth[:, 2]).tolist() == [3, 4, 5]
    assert np.flatnonzero(visible_levels(mask, min_share=0.11)[:, 2]).tolist() == [3, 4]
    assert np.array_equal(visible_levels(mask, min_share=0.0), visible_levels(mask))
    assert not visible_levels(mask, min_share=1.0)[:, [0, 3, 4, 5, 6]].any(), "absent levels"
    both = visible_levels(mask, min_voxels=4, min_share=0.1)
    assert np.flatnonzero(both[:, 2]).tolist() == [3, 4], "both limits hold"
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(CspineError):
            visible_levels(mask, min_share=share)


def test_levels_by_share_have_the_box_of_their_own_slices():
    mask = small_mask()
    mask[1, 17, 27] = 2  # far from the level, in a slice that falls out of the range
    assert true_levels(mask)["C2"] == LevelBox("C2", 1, 3, 6.0, 4.0, 28.0, 18.0)
    assert true_levels(mask, min_share=0.1)["C2"] == LevelBox("C2", 2, 3, 6.0, 4.0, 12.0, 10.0)
    assert list(true_levels(mask, min_share=1.0)) == ["C2", "C3"]


def test_slice_range_is_inclusive_and_needs_a_slice():
    assert slice_range(visible_levels(small_mask())[:, 1]) == (1, 3)
    with pytest.raises(CspineError):
        slice_range(np.zeros(4, dtype=bool))


def test_spine_box_is_half_open_over_all_cervical_levels():
    boxes = spine_boxes(small_mask())
    assert boxes[1].tolist() == [7, 5, 8, 6]
    assert boxes[3].tolist() == [6, 4, 20, 15]
    assert np.isnan(boxes[[0, 5, 6, 7]]).all()


def test_true_levels_have_range_and_own_box():
    levels = true_levels(small_mask())
    assert list(levels) == ["C2", "C3"]
    assert levels["C2"] == LevelBox("C2", 1, 3, 6.0, 4.0, 12.0, 10.0)
    assert levels["C3"].centre_zyx == (3.5, 13.0, 14.5)
    assert true_levels(np.zeros((2, 3, 4), dtype=np.uint8)) == {}


def test_level_boxes_survive_json():
    levels = true_levels(small_mask())
    text = json.dumps({name: box.to_dict() for name, box in levels.items()})
    assert levels_from_json(json.loads(text)) == levels


@pytest.mark.parametrize(
    "wrong", [("C9", 0, 1, 0, 0, 1, 1), ("C1", 2, 1, 0, 0, 1, 1), ("C1", 0, 1, 3, 0, 3, 1)]
)
def test_impossible_boxes_are_refused(wrong):
    with pytest.raises(CspineError):
        LevelBox(*wrong)


def test_masks_must_be_whole_numbers_in_three_axes():
    with pytest.raises(CspineError):
        visible_levels(np.zeros((3, 4), dtype=np.uint8))
    with pytest.raises(CspineError):
        true_levels(np.zeros((3, 4, 5), dtype=np.float32))
