"""Stage 1 around its network: wide fields of view, and boxes that come back to where they were."""

import numpy as np
import pytest

from cspine_lib.config import get_profile
from cspine_lib.labels import LevelBox
from cspine_lib.localise import decode_levels
from cspine_lib.recipes import LocaliserRecipe
from cspine_lib.stage1 import FIELD_MM, locate_volume, neck_field
from cspine_lib.volume import Volume


def person(px=300, mm=1.5, centre=(160, 120)):
    """Head over neck over shoulders: ellipses of tissue in air, the neck narrowest."""
    hu = np.full((30, px, px), -1000, np.int16)
    y, x = np.mgrid[:px, :px] * mm
    for z in range(30):
        width = 75 if z < 10 else 50 if z < 20 else 150
        inside = ((y - centre[0]) / 60) ** 2 + ((x - centre[1]) / width) ** 2 < 1
        hu[z][inside] = 40
    affine = np.array([[0, 0, mm, 0], [0, mm, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]])
    return Volume(hu, affine)


def test_wide_field_is_cut_to_the_neck():
    volume = person()
    part, (y0, x0) = neck_field(volume)
    side = round(FIELD_MM / 1.5)
    assert part.shape_zyx == (30, side, side)
    assert (y0 + side / 2) * 1.5 == pytest.approx(160, abs=4)
    assert (x0 + side / 2) * 1.5 == pytest.approx(120, abs=4)
    assert np.array_equal(part.hu_zyx, volume.hu_zyx[:, y0 : y0 + side, x0 : x0 + side])


def test_usual_field_is_left_alone():
    volume = person(px=160, mm=1.2, centre=(90, 90))
    assert neck_field(volume) == (volume, (0, 0))


def test_field_at_the_edge_stays_inside_and_air_alone_is_no_neck():
    part, (y0, x0) = neck_field(person(centre=(10, 440)))
    assert y0 == 0 and x0 + part.shape_zyx[2] == 300
    air = Volume(np.full((4, 300, 300), -1000, np.int16), person().affine_mm)
    assert neck_field(air)[1] == (0, 0)


def test_boxes_of_a_cut_field_lie_in_the_whole_one(monkeypatch):
    """Stands in for the network: it sees every level around the middle of what it is shown."""
    volume = person()

    def seen(models, images):
        prob = np.zeros((len(images), 7))
        for k in range(7):
            prob[4 * k : 4 * k + 4, k] = 1
        return prob, np.tile([0.4, 0.4, 0.6, 0.6], (len(images), 1))

    monkeypatch.setattr("cspine_lib.stage1.slice_predictions", seen)
    levels = locate_volume([], volume, LocaliserRecipe(ordered=False), get_profile("ci"))
    part, (y0, x0) = neck_field(volume)
    middle = part.shape_zyx[1] / 2
    assert len(levels) >= 6
    for box in levels.values():
        assert (box.y0 + box.y1) / 2 == pytest.approx(y0 + middle, abs=0.6)
        assert (box.x0 + box.x1) / 2 == pytest.approx(x0 + middle, abs=0.6)


def test_moved_box_keeps_its_size_and_slices():
    box = LevelBox("C3", 4, 9, 10.0, 20.0, 30.0, 50.0, 0.7)
    assert box.moved(5, -2) == LevelBox("C3", 4, 9, 15.0, 18.0, 35.0, 48.0, 0.7)


def test_weak_signs_of_seven_levels_beat_one_strong_sign_at_the_end():
    """The top of a head can look like C7 to a net that knows necks alone."""
    n, dz = 90, 3.0
    prob = np.full((n, 7), 0.05)
    prob[0:4, 6] = 0.6
    for k in range(7):
        prob[44 + 6 * k : 51 + 6 * k, k] = 0.45
    box = np.tile([10.0, 10, 60, 60], (n, 1))
    found = decode_levels(prob, box, np.arange(n), (dz, 1, 1))
    assert len(found) == 7
    assert found["C4"].z0 <= 65 <= found["C4"].z1
