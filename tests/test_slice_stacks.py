"""Whole slices with pseudo-labels: which are chosen, what they are told."""

import numpy as np
import pytest
from fake_studies import FakeDataset

from cspine_lib.cache import build_cache
from cspine_lib.errors import CspineError
from cspine_lib.slice_stacks import FractureSlices, SliceStacks, chosen_positions


@pytest.fixture(scope="module", params=["volume", "low"])
def stacks(request, tmp_path_factory):
    data = FakeDataset()
    place = tmp_path_factory.mktemp(request.param)
    cache = build_cache(data, place / "c", data.ids, mode=request.param, low_px=16)
    made = SliceStacks(cache, place / "s", 24)
    made.build(cache.ids)
    return made


def test_stacks_hold_every_slice_at_the_size_asked_for_or_the_caches(stacks):
    uid = stacks.cache.ids[0]
    px = 24 if stacks.whole else 16
    assert stacks.stack(uid).shape == (len(stacks.z_index(uid)), px, px)
    images = stacks.images(uid, [0, 5])
    assert images.shape == (2, 3, px, px) and images.dtype == np.uint8
    assert np.array_equal(images[1, 1], stacks.stack(uid)[5])
    if stacks.whole:
        assert len(stacks.z_index(uid)) == stacks.cache.shape_zyx(uid)[0]


def test_chosen_positions_stand_for_each_level_and_for_none():
    visible = np.zeros((40, 7))
    visible[10:20, 2], visible[18:30, 3] = 0.9, 0.6
    chosen = chosen_positions(visible, 3)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert {10, 19, 18, 29, 0, 39} <= set(chosen.tolist())
    assert len(chosen_positions(np.zeros((40, 7)), 4)) == 4


def test_items_have_the_studys_labels_and_the_slices_visibility(stacks):
    uid = stacks.cache.ids[0]
    n = len(stacks.z_index(uid))
    visible = np.zeros((n, 7))
    visible[3:6, 1] = 0.8
    labels = {uid: np.array([0, 1, 0, 0, 0, 0, 1])}
    data = FractureSlices(stacks, [uid], labels, {uid: visible}, per_level=3)
    rows = {position: i for i, (_, position) in enumerate(data.rows)}
    image, target = data[rows[4]]
    assert image.shape[0] == 3
    assert target["visible"][1] == pytest.approx(0.8)
    assert target["fracture"].tolist() == [0, 1, 0, 0, 0, 0, 1]


def test_tables_that_do_not_fit_are_refused(stacks):
    uid = stacks.cache.ids[0]
    with pytest.raises(CspineError, match="do not fit"):
        FractureSlices(stacks, [uid], {uid: np.zeros(7)}, {uid: np.zeros((3, 7))}, 2)
    with pytest.raises(CspineError, match="got none"):
        FractureSlices(stacks, [], {}, {}, 2)
