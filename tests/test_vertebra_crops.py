"""Crops of segmented vertebrae: the right slices, neighbours, outlines, on disk and resumed."""

import json

import numpy as np
import pytest
from fake_studies import FakeDataset

from cspine_lib.crops import crop_field, crop_slices, cut_plane
from cspine_lib.errors import CspineError
from cspine_lib.label_maps import LabelMap
from cspine_lib.vertebra_crops import VertebraStore, View, build_vertebrae, cut_vertebrae

VIEW = View(frames=3, channels=5, outline=True, px=16, margin=1.25)
DATA = FakeDataset()


def _read(uid):
    return DATA.read_study(uid).volume


def _segment(volume, shift=0):
    """The drawn mask of whichever study this is."""
    for uid in ("s0", "s1", "s2"):
        hu, mask = DATA.draw(uid)
        if np.array_equal(hu, volume.hu_zyx):
            mask = np.roll(np.where(mask <= 7, mask, 0), shift, axis=2)
            return LabelMap(mask.astype(np.uint8), (1.0, 1.0, 1.0), len(hu))
    raise AssertionError("no study of this test")


@pytest.fixture(scope="module")
def study():
    volume = _read("s0")
    found = _segment(volume)
    return volume, found, cut_vertebrae(volume, found, VIEW)


def test_the_middle_channel_is_the_slice_and_the_others_its_native_neighbours(study):
    volume, found, crops = study
    for k, (name, box) in enumerate(found.levels().items()):
        images = crops[k]
        assert images.shape == (3, 6, VIEW.size, VIEW.size) and images.dtype == np.uint8
        edges = crop_field(volume, box, VIEW.px, VIEW.size)
        for t, z in enumerate(crop_slices(box, 42, 3).tolist()):
            for c in range(5):
                near = min(max(z + c - 2, 0), 41)
                cut = cut_plane(volume.hu_zyx[near], *edges, VIEW.size)
                assert np.array_equal(images[t, c], cut)
            outline = found.outline(name, z, *edges, VIEW.size)
            assert np.array_equal(images[t, 5], outline) and outline.any()


def test_neighbours_are_clipped_at_the_ends_of_the_study():
    volume = _read("s0")
    cells = np.zeros(volume.shape_zyx, dtype=np.uint8)
    cells[0:2, 20:44, 20:40], cells[40:42, 20:44, 20:40] = 1, 7
    crops = cut_vertebrae(volume, LabelMap(cells, (1, 1, 1), 42), VIEW)
    top, bottom = crops[0][0], crops[6][-1]  # around slices 0 and 41
    assert np.array_equal(top[0], top[2]) and np.array_equal(top[1], top[2])
    assert not np.array_equal(top[3], top[2])
    assert np.array_equal(bottom[4], bottom[2]) and np.array_equal(bottom[3], bottom[2])
    assert crops.found.tolist() == [True, *[False] * 5, True]


def test_without_an_outline_there_is_no_channel_more(study):
    volume, found, crops = study
    view = View(3, 5, False, 16, 1.25)
    plain = cut_vertebrae(volume, found, view)
    assert plain.planes.shape[0] == 1 and view.depth == 5
    for k in range(7):
        assert np.array_equal(plain[k], crops[k][:, :5])


def test_each_slice_is_kept_once(study):
    _, found, crops = study
    reach = [{int(z) for row in crops.index[name] for z in row} for name in found.levels()]
    assert crops.planes.shape[1] == sum(map(len, reach)) < 7 * 3 * 5


def test_a_study_without_a_level_has_no_crops():
    volume = _read("s0")
    crops = cut_vertebrae(volume, LabelMap(np.zeros((4, 4, 4), np.uint8), (11, 16, 16), 42), VIEW)
    assert not crops.found.any() and crops.planes.shape == (2, 0, VIEW.size, VIEW.size)


@pytest.mark.parametrize(("frames", "channels"), [(0, 3), (3, 0), (3, 4)])
def test_a_view_that_makes_no_sense_is_refused(frames, channels):
    with pytest.raises(CspineError, match="odd number of channels"):
        View(frames, channels, False, 16)


class Counted:
    def __init__(self, shift=0):
        self.calls, self.shift = 0, shift

    def __call__(self, volume):
        self.calls += 1
        return _segment(volume, self.shift)


def test_what_is_cut_is_found_again_and_cut_anew_when_something_changes(tmp_path):
    def build(ids, segment, view=VIEW, by="a"):
        return build_vertebrae(_read, segment, ids, tmp_path, view, by=by)

    first = Counted()
    store = build(["s0"], first)
    again = build(["s0", "s1"], first)
    assert first.calls == 2, "s0 was there"
    for uid in ("s0", "s1"):
        cut = cut_vertebrae(_read(uid), _segment(_read(uid)), VIEW)
        stored = again.sequences(uid)
        assert again.levels(uid) == cut.levels and again.found(uid).all()
        assert all(np.array_equal(stored[k], cut[k]) for k in range(7))
    assert np.array_equal(store.sequences("s0")[3], again.sequences("s0")[3])
    other = Counted(shift=4)
    moved = build(["s0", "s1"], other, by="b")  # another U-Net
    assert other.calls == 2
    assert moved.levels("s0")["C3"].x0 == again.levels("s0")["C3"].x0 + 4
    smaller = View(2, 3, False, 16)
    seen = build(["s0", "s1"], other, smaller, by="b")
    assert other.calls == 4 and seen.sequences("s0")[0].shape == (2, 3, smaller.size, smaller.size)


def test_a_study_that_was_cut_halfway_is_cut_again(tmp_path):
    def broken(volume):
        if np.array_equal(volume.hu_zyx, DATA.draw("s1")[0]):
            raise KeyboardInterrupt
        return _segment(volume)

    with pytest.raises(KeyboardInterrupt):
        build_vertebrae(_read, broken, ["s0", "s1"], tmp_path, VIEW, by="a")
    with pytest.raises(CspineError, match="build them first"):
        VertebraStore(tmp_path, ["s0", "s1"])
    assert VertebraStore(tmp_path, ["s0"]).found("s0").all()
    after = Counted()
    build_vertebrae(_read, after, ["s0", "s1"], tmp_path, VIEW, by="a")
    assert after.calls == 1
    note = json.loads((tmp_path / "s1.json").read_text())
    assert set(note) == {"request", "levels", "index"}


def test_no_crops_are_named(tmp_path):
    with pytest.raises(CspineError, match="build them first"):
        VertebraStore(tmp_path / "nothing", ["s0"])
