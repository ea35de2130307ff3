"""Crops: placed right, at the right scale, resized once, in the deck's order."""

import numpy as np
import pytest

from cspine_lib.crops import crop_side_mm, crop_slices, cut_crops, padded_px
from cspine_lib.errors import CspineError
from cspine_lib.labels import LevelBox
from cspine_lib.volume import Volume, window


def make(shape=(60, 128, 128), spacing=(2.0, 1.0, 1.0)) -> Volume:
    affine = np.diag([*spacing, 1.0])[[2, 1, 0, 3]]
    affine[2] *= -1
    return Volume(np.full(shape, -1000, dtype=np.int16), affine)


def test_side_follows_the_box_between_its_bounds():
    spacing = (1.0, 0.5, 0.5)
    assert crop_side_mm(LevelBox("C4", 0, 1, 0, 0, 120, 100), spacing) == pytest.approx(69.0)
    assert crop_side_mm(LevelBox("C4", 0, 1, 0, 0, 10, 10), spacing) == 56.0
    assert crop_side_mm(LevelBox("C4", 0, 1, 0, 0, 400, 10), spacing) == 80.0


def test_frames_hold_the_evenly_spaced_slices_in_order():
    volume = make()
    volume.hu_zyx[:] = np.arange(60)[:, None, None] * 20
    box = LevelBox("C3", 5, 51, 40, 40, 88, 88)
    crops = cut_crops(volume, box, px=32)
    assert crops.shape == (8, 3, 32, 32) and crops.dtype == np.uint8
    expected = window(np.arange(5, 52, 2) * 20)
    assert crops.mean(axis=(2, 3)).ravel() == pytest.approx(expected.astype(float))


def test_a_short_sequence_and_a_short_level():
    box = LevelBox("C3", 58, 70, 40, 40, 88, 88)  # reaches beyond the last slice
    assert crop_slices(box, 60, 6).tolist() == [58, 58, 58, 59, 59, 59]
    assert cut_crops(make(), box, slices=6, frames=2, px=16).shape == (2, 3, 16, 16)
    with pytest.raises(CspineError):
        cut_crops(make(), LevelBox("C3", 60, 70, 40, 40, 88, 88), px=16)


def test_slices_must_be_three_per_frame():
    with pytest.raises(CspineError, match="3 ×"):
        cut_crops(make(), LevelBox("C3", 0, 9, 40, 40, 88, 88), slices=24, frames=6)


@pytest.mark.parametrize("spacing", [0.4, 1.0, 1.6])
@pytest.mark.parametrize("margin", [1.0, 1.15])
def test_a_point_lands_where_geometry_says(spacing, margin):
    """A bright disc of known place and size appears at the right pixel and in the right size."""
    volume = make((4, 160, 160), (2.0, spacing, spacing))
    y, x = np.mgrid[:160, :160]
    cy, cx, radius = 84.0, 73.0, 5.0  # mm radius; centre off the box's centre
    volume.hu_zyx[:, np.hypot(y - cy, x - cx) * spacing <= radius] = 1400
    box = LevelBox("C5", 0, 3, 80 - 25 / spacing, 80 - 20 / spacing, 80 + 25 / spacing, 99)
    px = 64
    crop = cut_crops(volume, box, px=px, margin=margin)[0, 0].astype(float) / 255
    side, size = crop_side_mm(box, volume.spacing_zyx_mm), padded_px(px, margin)
    mm_per_px = side / px
    rows, columns = np.mgrid[:size, :size]
    found_x, found_y = (crop * columns).sum() / crop.sum(), (crop * rows).sum() / crop.sum()
    middle_x, middle_y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    expect_x = ((cx + 0.5 - middle_x) * spacing) / mm_per_px + size / 2 - 0.5
    expect_y = ((cy + 0.5 - middle_y) * spacing) / mm_per_px + size / 2 - 0.5
    assert found_x == pytest.approx(expect_x, abs=0.15)
    assert found_y == pytest.approx(expect_y, abs=0.15)
    area_mm2 = crop.sum() * mm_per_px**2
    drawn_mm2 = (np.hypot(y - cy, x - cx) * spacing <= radius).sum() * spacing**2
    assert area_mm2 == pytest.approx(drawn_mm2, rel=0.03)


def test_margin_adds_surroundings_and_leaves_the_middle_as_it_was():
    rng = np.random.default_rng(0)
    volume = make((6, 128, 128))
    volume.hu_zyx[:] = rng.integers(-400, 1400, volume.shape_zyx)
    box = LevelBox("C5", 0, 5, 40, 40, 90, 90)
    plain = cut_crops(volume, box, px=64)
    wide = cut_crops(volume, box, px=64, margin=1.15)
    assert padded_px(64, 1.15) == 74 and wide.shape[-1] == 74
    difference = plain.astype(int) - wide[..., 5:-5, 5:-5]
    assert np.abs(difference).max() <= 1


def test_shrinking_averages_instead_of_picking():
    """A one-pixel checkerboard is grey when halved, not black or white."""
    volume = make((3, 400, 400), (1.0, 0.3, 0.3))
    volume.hu_zyx[:] = np.where(np.indices((400, 400)).sum(axis=0) % 2, 1400, -400)
    crop = cut_crops(volume, LevelBox("C5", 0, 2, 100, 100, 300, 300), px=64)
    assert np.abs(crop[0, 0].astype(float) - 127.5).max() < 12


def test_outside_the_scan_is_air():
    volume = make((4, 60, 60))
    volume.hu_zyx[:] = 1400
    crop = cut_crops(volume, LevelBox("C7", 0, 3, -10, 20, 30, 60), px=48)[0, 0]
    assert (crop[:, :10] == 0).all() and (crop[5:30, 20:] == 255).all()


def test_a_centre_crop_is_as_large_and_in_the_middle_of_the_slice():
    volume = make((6, 128, 128))
    volume.hu_zyx[:] = np.random.default_rng(1).integers(-400, 1400, volume.shape_zyx)
    box = LevelBox("C5", 0, 5, 20, 10, 70, 60)
    middle = LevelBox("C5", 0, 5, 39, 39, 89, 89)  # 50 px wide, around (64, 64)
    centre = cut_crops(volume, box, px=32, margin=1.15, crop="centre")
    assert np.array_equal(centre, cut_crops(volume, middle, px=32, margin=1.15))
    assert not np.array_equal(centre, cut_crops(volume, box, px=32, margin=1.15))


def test_a_whole_slice_fills_the_view_and_keeps_its_shape():
    volume = make((3, 64, 128), (1.0, 0.5, 0.5))
    volume.hu_zyx[:] = 1400
    crop = cut_crops(volume, LevelBox("C5", 0, 2, 5, 5, 30, 30), px=32, crop="whole")[0, 0]
    assert (crop[9:23, 1:-1] == 255).all() and (crop[:7] == 0).all() and (crop[25:] == 0).all()
    wide = cut_crops(
        volume, LevelBox("C5", 0, 2, 5, 5, 30, 30), px=32, margin=1.25, crop="whole"
    )[0, 0]  # fmt: skip
    assert wide.shape == (40, 40) and (wide[:, :2] == 0).all() and (wide[18:22, 6:34] == 255).all()


def test_one_channel_is_the_middle_slice_three_times():
    volume = make()
    volume.hu_zyx[:] = np.arange(60)[:, None, None] * 20
    box = LevelBox("C3", 5, 51, 40, 40, 88, 88)
    three, one = cut_crops(volume, box, px=16), cut_crops(volume, box, px=16, neighbours=False)
    assert one.shape == three.shape and (three[:, 0] != three[:, 2]).all()
    assert all(np.array_equal(one[:, channel], three[:, 1]) for channel in range(3))


def test_an_unknown_crop_is_an_error():
    with pytest.raises(CspineError, match="box, centre or whole"):
        cut_crops(make(), LevelBox("C3", 0, 9, 40, 40, 88, 88), crop="corner")
