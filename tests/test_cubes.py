"""Cubes: the whole study stretched, or the spine at a fixed size in mm."""

import numpy as np
import pytest
import torch
from fake_studies import FakeDataset

from cspine_lib.cache import build_cache
from cspine_lib.cubes import CubeDataset, CubeSpec, build_cubes, neck_cube, spine_cube
from cspine_lib.errors import CspineError
from cspine_lib.volume import Volume

NECK = CubeSpec((8, 16, 16))
SPINE = CubeSpec((16, 16, 16), (96.0, 48.0, 48.0))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    data = FakeDataset()
    return build_cache(data, tmp_path_factory.mktemp("c"), data.ids, low_px=16)


def test_neck_cube_holds_the_whole_study_whatever_its_shape():
    hu = np.full((20, 40, 30), -1000, np.int16)
    hu[10:, :, :] = 1000  # the lower half
    affine = np.array([[0, 0, 1.0, 0], [0, 0.5, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]])
    cube, size_mm = neck_cube(Volume(hu, affine), (8, 16, 16))
    assert cube.shape == (8, 16, 16) and cube.dtype == np.uint8
    assert size_mm == pytest.approx((60, 20, 30))
    assert (cube[:3] == 0).all() and (cube[5:] > 190).all()


def test_spine_cube_is_centred_on_the_levels_at_a_fixed_scale(cache):
    uid = "s0"
    volume, levels = cache.volume(uid), cache.true_levels(uid)
    cube, size_mm = spine_cube(volume, levels, SPINE)
    assert cube.shape == (16, 16, 16)
    assert size_mm == pytest.approx(SPINE.field_mm)
    bright = np.argwhere(cube > 100)
    assert np.abs(bright.mean(axis=0) - 7.5).max() < 1.5
    nowhere, _ = spine_cube(volume, {}, SPINE)
    assert nowhere.shape == (16, 16, 16)


def test_cubes_are_made_once_and_again_when_boxes_change(cache, tmp_path):
    levels = {uid: cache.true_levels(uid) for uid in cache.masked_ids}
    ids = list(levels)
    store = build_cubes(cache, ids, tmp_path, SPINE, levels=levels)
    stamps = {uid: (tmp_path / f"{uid}.npy").stat().st_mtime_ns for uid in ids}
    levels[ids[0]] = {k: b.moved(6, 0) for k, b in levels[ids[0]].items()}
    again = build_cubes(cache, ids, tmp_path, SPINE, levels=levels)
    changed = [u for u in ids if (tmp_path / f"{u}.npy").stat().st_mtime_ns != stamps[u]]
    assert changed == [ids[0]]
    assert again.voxel_zyx_mm(ids[1]) == pytest.approx((6, 3, 3))
    assert np.array_equal(store.cube(ids[1]), again.cube(ids[1]))


def test_items_have_cube_size_and_labels(cache, tmp_path):
    ids = cache.ids[:2]
    store = build_cubes(cache, ids, tmp_path, NECK)
    labels = {uid: np.eye(8, dtype=int)[i] for i, uid in enumerate(ids)}
    data = CubeDataset(store, ids, labels)
    (cube, size), label = data[1]
    assert cube.shape == (1, 8, 16, 16) and cube.dtype == torch.uint8
    assert size.tolist() == pytest.approx(list(store.size_zyx_mm(ids[1]))[::-1])
    assert label.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    with pytest.raises(CspineError, match=r"\(8,\)"):
        CubeDataset(store, ids, {uid: np.zeros(7) for uid in ids})


def test_what_cannot_be_made_is_said(cache, tmp_path):
    with pytest.raises(CspineError, match="stage 1"):
        build_cubes(cache, cache.ids, tmp_path, SPINE)
    with pytest.raises(CspineError, match="at least 8"):
        CubeSpec((4, 16, 16))
