"""The small slices of stage 1: place, averaging, pitch, neighbours."""

import numpy as np
import pytest

from cspine_lib.slices import low_stack, neighbour_step, stack_25d
from cspine_lib.volume import Volume, window


def test_small_slices_average_keep_place_and_stay_square():
    hu = np.full((3, 40, 80), -1000, dtype=np.int16)
    hu[:, 10:20, 40:60] = 1400
    stack, z = low_stack(Volume(hu, np.diag([-1.0, 1.0, 1.0, 1.0])), 20, None)
    assert stack.shape == (3, 20, 20) and z.tolist() == [0, 1, 2]
    inside = stack[0] > 127
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (2, 4, 10, 14)
    assert (stack[0][10:] == 0).all(), "below a wide image there is air"
    checker = np.where(np.indices((3, 64, 64)).sum(axis=0) % 2, 1400, -400).astype(np.int16)
    grey, _ = low_stack(Volume(checker, np.eye(4)), 16, None)
    assert np.abs(grey.astype(float) - 127.5).max() < 8
    assert window(1400) == 255 and window(-400) == 0


@pytest.mark.parametrize("dz,pitch,step", [(1.0, 2.0, 2), (0.3, 1.0, 3), (3.5, 2.0, 1), (2, 2, 1)])
def test_pitch_is_never_exceeded_where_the_scan_allows(dz, pitch, step):
    volume = Volume(np.zeros((20, 8, 8), dtype=np.int16), np.diag([-dz, 1.0, 1.0, 1.0]))
    assert low_stack(volume, 8, pitch)[1].tolist() == list(range(0, 20, step))


def test_neighbours_are_about_two_millimetres_away():
    assert neighbour_step(np.arange(0, 30), 0.5) == 4
    assert neighbour_step(np.arange(0, 30, 2), 0.5) == 2
    assert neighbour_step(np.arange(30), 3.5) == 1
    assert neighbour_step(np.array([0]), 1.0) == 2


def test_a_stack_runs_from_head_to_feet_and_repeats_the_ends():
    slices = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), dtype=np.uint8)
    assert stack_25d(slices, 3, 2)[:, 0, 0].tolist() == [1, 3, 5]
    both = stack_25d(slices, np.array([0, 5]), 1)
    assert both.shape == (2, 3, 2, 2)
    assert both[:, :, 0, 0].tolist() == [[0, 0, 1], [4, 5, 5]]
