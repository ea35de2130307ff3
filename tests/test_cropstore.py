"""Crops on disk: cut from what was asked, again only when something changed."""

import hashlib
import json

import numpy as np
import pytest
from fake_studies import FakeDataset

from cspine_lib.anatomy import LEVELS
from cspine_lib.cache import build_cache
from cspine_lib.crops import cut_crops
from cspine_lib.cropstore import CropStore, build_crops
from cspine_lib.errors import CspineError

SETTING = {"frames": 2, "px": 16, "margin": 1.25}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    data = FakeDataset()
    return build_cache(data, tmp_path_factory.mktemp("c"), data.ids, low_px=16)


@pytest.fixture
def levels(cache):
    return {uid: cache.true_levels(uid) for uid in cache.masked_ids}


def test_stored_crops_are_those_of_the_boxes(cache, levels, tmp_path):
    del levels["s2"]["C1"]
    store = build_crops(cache, levels, tmp_path, **SETTING)
    assert store.ids == ["s0", "s1", "s2"] and (store.px, store.size) == (16, 20)
    for uid in store.ids:
        assert store.levels(uid) == levels[uid]
        stored = store.sequences(uid)
        assert stored.shape == (7, 2, 3, 20, 20)
        for k, level in enumerate(LEVELS):
            if level in levels[uid]:
                box = levels[uid][level]
                cut = cut_crops(cache.volume(uid), box, slices=6, **SETTING)
                assert np.array_equal(stored[k], cut) and cut.any()
    assert not store.found("s2")[0] and store.found("s2")[1:].all()
    assert not store.sequences("s2")[0].any()


def test_low_mode_decodes_again_and_gives_the_same_crops(cache, levels, tmp_path):
    data = FakeDataset()
    low = build_cache(data, tmp_path / "low", data.ids, mode="low", low_px=16)
    with pytest.raises(CspineError, match="give the data set"):
        build_crops(low, levels, tmp_path / "a", **SETTING)
    a = build_crops(low, levels, tmp_path / "a", dataset=data, workers=2, **SETTING)
    b = build_crops(cache, levels, tmp_path / "b", **SETTING)
    for uid in a.ids:
        assert np.array_equal(a.sequences(uid), b.sequences(uid))


def test_only_what_changed_is_cut_again(cache, levels, tmp_path):
    build_crops(cache, levels, tmp_path, **SETTING)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.npy")}
    levels["s1"]["C4"] = levels["s1"]["C5"]
    (tmp_path / "s2.json").unlink()  # as if killed between array and note
    store = build_crops(cache, levels, tmp_path, **SETTING)
    after = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.npy")}
    assert [name for name in sorted(after) if after[name] != before[name]] == ["s1.npy", "s2.npy"]
    assert np.array_equal(store.sequences("s1")[3], store.sequences("s1")[4])
    build_crops(cache, levels, tmp_path, frames=2, px=20, margin=1.25)
    assert CropStore(tmp_path).sequences("s0").shape[-1] == 26


def test_missing_crops_say_so(cache, levels, tmp_path):
    with pytest.raises(CspineError, match="no crops in"):
        CropStore(tmp_path)
    build_crops(cache, levels, tmp_path, **SETTING)
    with pytest.raises(CspineError, match="no crops of study s5"):
        CropStore(tmp_path, ["s5"])
    assert CropStore(tmp_path).ids == ["s0", "s1", "s2"]
    assert json.loads((tmp_path / "crops.json").read_text())["px"] == 16


def test_other_views_are_stored_and_usual_notes_stay_what_they_were(cache, levels, tmp_path):
    usual = build_crops(cache, levels, tmp_path / "a", **SETTING)
    note = json.loads((tmp_path / "a" / "s0.json").read_text())
    plain = {"format": 1, **SETTING, "levels": note["levels"]}
    text = json.dumps(plain, sort_keys=True).encode()
    assert note["request"] == hashlib.sha256(text).hexdigest()[:20]
    for view in ({"crop": "whole"}, {"crop": "centre"}, {"neighbours": False}):
        other = build_crops(cache, levels, tmp_path / "b", **SETTING, **view)
        cut = cut_crops(cache.volume("s0"), levels["s0"]["C2"], slices=6, **SETTING, **view)
        assert np.array_equal(other.sequences("s0")[1], cut)
        assert not np.array_equal(other.sequences("s0"), usual.sequences("s0"))
    before = (tmp_path / "b" / "s0.npy").stat().st_mtime_ns
    build_crops(cache, levels, tmp_path / "b", **SETTING, neighbours=False)
    assert (tmp_path / "b" / "s0.npy").stat().st_mtime_ns == before
