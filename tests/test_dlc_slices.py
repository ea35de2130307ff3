"""Slices of deck A's classifiers: the cut, the pitch, what a slice is told, how often."""

from dataclasses import replace

import numpy as np
import pytest
from fake_studies import FakeDataset

from cspine_lib.cache import build_cache
from cspine_lib.config import get_profile
from cspine_lib.dlc_slices import BROKEN_SHARE, DlcSlices, OneStudy, cut
from cspine_lib.errors import CspineError
from cspine_lib.slice_stacks import SliceStacks

PROFILE = replace(get_profile("ci"), slice_px=24, dlc_px=16)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    data, place = FakeDataset(), tmp_path_factory.mktemp("dlc-slices")
    made = SliceStacks(build_cache(data, place / "c", data.ids, low_px=16), place / "s", 24)
    made.build(made.cache.ids)
    return made


def test_the_cut_keeps_the_scale_and_stays_inside():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    middle = replace(PROFILE, dlc_px=4, dlc_centre_yx=(0.6, 0.5))
    assert np.array_equal(cut(image, middle), image[4:8, 3:7])
    edge = replace(PROFILE, dlc_px=4, dlc_centre_yx=(1.0, 0.0))
    assert np.array_equal(cut(image, edge), image[6:10, 0:4])
    assert np.array_equal(cut(image, replace(PROFILE, dlc_px=50)), image)


def test_slices_are_looked_at_no_farther_apart_than_the_pitch():
    study = OneStudy(np.zeros((20, 8, 8), np.uint8), np.arange(20), 1.5)
    assert study.looked_at(3.4).tolist() == list(range(0, 20, 2))
    assert study.looked_at(1.0).tolist() == list(range(20))
    coarse = OneStudy(np.zeros((5, 8, 8), np.uint8), np.arange(0, 20, 4), 1.5)
    assert coarse.looked_at(3.4).tolist() == list(range(5))


def test_a_study_on_disk_and_a_new_one_give_the_same_slices(stacks):
    uid = stacks.cache.ids[0]
    there = OneStudy.of_stacks(stacks, uid)
    new = OneStudy.of_volume(stacks.cache.volume(uid), PROFILE)
    assert np.array_equal(there.images([0, 7, 20]), new.images([0, 7, 20]))


def _tables(stacks, ids, level=1):
    out = {}
    for uid in ids:
        table = np.zeros((len(stacks.z_index(uid)), 7))
        table[4:10, level], table[8:20, 3] = 0.9, 0.8
        out[uid] = table
    return out


def test_with_a_detector_a_slice_is_told_what_it_shows(stacks):
    ids = stacks.cache.ids[:2]
    labels = {ids[0]: np.eye(7)[1], ids[1]: np.zeros(7)}
    data = DlcSlices(stacks, ids, labels, _tables(stacks, ids), PROFILE, per_level=3)
    image, target = data[data.rows.index((ids[0], 4))]
    assert image.shape == (3, 16, 16)
    assert target["visible"][1] == pytest.approx(0.9) and target["visible"].sum() < 1
    assert target["fracture"].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert (target["offset"] == 0).all(), "all slices are looked at"


def test_without_one_every_slice_carries_its_studys_labels(stacks):
    ids = stacks.cache.ids[:2]
    labels = {ids[0]: np.eye(7)[1], ids[1]: np.zeros(7)}
    data = DlcSlices(stacks, ids, labels, None, PROFILE, per_level=3, per_epoch=5)
    of_first = [i for i, (uid, _) in enumerate(data.rows) if uid == ids[0]]
    assert len(of_first) == 24 and data.always == []
    assert (data.visible == 1).all() and (data.fracture[of_first, 1] == 1).all()
    assert (data.offset == 0).all(), "no slice is preferred to another"


def test_slices_of_broken_levels_are_in_every_epoch_and_the_offset_says_how_rare_others_are(stacks):
    ids = stacks.cache.ids[:4]
    labels = {uid: np.zeros(7) for uid in ids} | {ids[0]: np.eye(7)[1]}
    tables = _tables(stacks, ids)
    every = DlcSlices(stacks, ids, labels, tables, PROFILE, per_level=4)
    some = DlcSlices(stacks, ids, labels, tables, PROFILE, per_level=4, per_epoch=20)
    assert some.rows == every.rows
    broken = [i for i, (uid, z) in enumerate(some.rows) if uid == ids[0] and 4 <= z < 10]
    assert some.always == broken
    share = (20 - len(broken)) / (len(some) - len(broken))
    assert some.offset[1] == pytest.approx(-np.log(share)), "no whole slice of C2 is in all epochs"
    assert some.offset[5] == 0, "a level that is nowhere seen has no offset"
    assert 0 < some.offset[3] < some.offset[1], "some whole slices of C4 come with a broken C2"


def test_an_epoch_is_never_of_broken_levels_alone(stacks):
    ids = stacks.cache.ids[:3]
    labels = {uid: np.ones(7) for uid in ids}
    data = DlcSlices(stacks, ids, labels, _tables(stacks, ids), PROFILE, per_level=6, per_epoch=10)
    assert len(data.always) == int(BROKEN_SHARE * 10)
    assert len(data.visible) == len(data.fracture) == len(data.rows)
    assert len(data.rows) > len(data.always)


def test_tables_that_do_not_fit_are_refused(stacks):
    uid = stacks.cache.ids[0]
    with pytest.raises(CspineError, match="do not fit"):
        DlcSlices(stacks, [uid], {uid: np.zeros(7)}, {uid: np.zeros((3, 7))}, PROFILE, per_level=2)
    with pytest.raises(CspineError, match="got none"):
        DlcSlices(stacks, [], {}, None, PROFILE, per_level=2)
