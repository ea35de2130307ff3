"""What the networks are given: right labels, right boxes, the same for the same seed."""

import math

import numpy as np
import pytest
import torch
from fake_studies import FakeDataset
from torch.utils.data import DataLoader

from cspine_lib.cache import build_cache
from cspine_lib.cropstore import build_crops
from cspine_lib.datasets import (
    CropDataset,
    InferenceSliceDataset,
    SampledCropDataset,
    SliceDataset,
    training_slices,
)
from cspine_lib.errors import CspineError
from cspine_lib.labels import visible_levels


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    data = FakeDataset()
    return build_cache(data, tmp_path_factory.mktemp("c"), data.ids, low_px=32, pitch_mm=4.0)


@pytest.fixture(scope="module")
def store(cache, tmp_path_factory):
    levels = {uid: cache.true_levels(uid) for uid in cache.masked_ids}
    del levels["s1"]["C7"]
    return build_crops(cache, levels, tmp_path_factory.mktemp("k"), frames=2, px=24)


def test_slices_carry_the_masks_levels_and_the_box_of_the_image(cache):
    data = SliceDataset(cache, ["s0", "s2"], slices_per_level=3)
    truth = {uid: visible_levels(FakeDataset().draw(uid)[1]) for uid in ("s0", "s2")}
    assert len(data) == 2 * 8 * 3
    for i in range(len(data)):
        image, target = data[i]
        assert image.shape == (3, 32, 32) and image.dtype == torch.uint8
        expected = truth[data.uids[i]][data.z[i]]
        assert np.array_equal(target["levels"].numpy(), expected.astype(np.float32))
        assert bool(target["has_box"]) == expected.any()
        if expected.any():
            x0, y0, x1, y1 = (target["box"] * 32).round().int().tolist()
            inside = image[1, y0:y1, x0:x1].float().mean()
            assert inside > 100, "the box is around the bright block"
            left, right = image[1, :, : x0 - 1], image[1, :, x1 + 1 :]
            assert left.max() < 100 and right.max() < 100


def test_some_slices_show_no_level(cache):
    data = SliceDataset(cache, ["s0"], slices_per_level=4)
    empty = [i for i in range(len(data)) if not data[i][1]["levels"].any()]
    assert len(empty) == 4
    assert {int(data.z[i]) for i in empty} & set(range(4))
    assert {int(data.z[i]) for i in empty} & set(range(39, 42))


def test_a_slice_of_two_levels_trains_once():
    visible = np.zeros((12, 7), dtype=bool)
    visible[2:7, 1] = True
    visible[5:10, 2] = True
    assert training_slices(visible, 24).tolist() == list(range(12))
    assert training_slices(visible, 2).tolist() == [0, 2, 5, 6, 9, 11]


def test_training_slices_need_masks(cache):
    with pytest.raises(CspineError, match="no mask"):
        SliceDataset(cache, ["s5"])
    with pytest.raises(CspineError, match="got none"):
        SliceDataset(cache, [])


@pytest.mark.parametrize("pitch,expected", [(4.0, 42), (8.0, 21), (1.0, 42)])
def test_prediction_looks_at_all_studies_at_the_pitch(cache, pitch, expected):
    data = InferenceSliceDataset(cache, ["s5", "s0"], pitch)
    assert len(data) == 2 * expected
    assert data.rows["s0"] == slice(expected, 2 * expected)
    step = 42 // expected
    assert data.z_index["s0"].tolist() == list(range(0, 42, step))
    image, index = data[expected + 3]
    assert index == expected + 3
    assert np.array_equal(image[1].numpy(), cache.slices("s0")[3 * step])


def test_sequences_carry_level_and_label(cache, store):
    labels = {uid: np.eye(7)[i] for i, uid in enumerate(store.ids)}
    data = CropDataset(store, ["s1", "s0"], labels)
    assert len(data) == 13
    assert ("s1", 6) not in data.rows
    for i, (uid, level) in enumerate(data.rows):
        (frames, k), label = data[i]
        assert k == level and float(label) == labels[uid][level]
        assert frames.shape == (2, 3, 28, 28) and frames.dtype == torch.uint8
        middle = frames[:, :, 12:16, 12:16].float().mean()
        hu = FakeDataset().draw(uid)[0]
        assert abs(float(middle) - (510 + 60 * k + 400) / 1800 * 255) < 4
        assert hu.max() < 1400
    batch = next(iter(DataLoader(data, batch_size=4)))
    assert batch[0][0].shape == (4, 2, 3, 28, 28) and batch[0][1].tolist() == [0, 1, 2, 3]


def test_values_go_back_to_their_study_and_level(store):
    data = CropDataset(store, ["s1", "s0"])
    table = data.table(np.arange(13) / 10)
    assert table.shape == (2, 7) and np.isnan(table[0, 6])
    assert table[0, :6].tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert table[1].tolist() == pytest.approx((np.arange(6, 13) / 10).tolist())
    with pytest.raises(CspineError):
        data.table(np.zeros(5))


def test_labels_of_the_wrong_shape_are_refused(store):
    with pytest.raises(CspineError, match="labels"):
        CropDataset(store, ["s0"], {"s0": np.zeros(8)})


def test_every_broken_level_and_a_share_of_the_whole_ones(store):
    labels = {uid: np.eye(7)[i] for i, uid in enumerate(store.ids)}
    data = SampledCropDataset(store, ["s1", "s0"], labels, share=0.25)
    broken = [i for i in range(len(data)) if data.labels[i] > 0]
    assert data.always == broken and len(broken) >= 1
    whole = len(data) - len(broken)
    used = data.per_epoch - len(broken)
    assert used == round(0.25 * whole)
    # The shift of the log-odds when only `used` of `whole` negatives are looked at.
    assert math.exp(data.offset) == pytest.approx(whole / used)
    _, (label, offset) = data[broken[0]]
    assert float(label) == 1 and float(offset) == pytest.approx(data.offset)
    assert SampledCropDataset(store, ["s1", "s0"], labels).offset == 0
    with pytest.raises(CspineError, match="share"):
        SampledCropDataset(store, ["s1"], labels, share=0)
