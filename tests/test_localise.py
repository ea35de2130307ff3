"""Slice predictions → levels, alone and in order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cspine_lib.anatomy import LEVELS
from cspine_lib.errors import CspineError
from cspine_lib.labels import LevelBox
from cspine_lib.localise import box_iou, decode_levels, truth_errors

BOX = np.array([40.0, 50.0, 90.0, 110.0])
CENTRES_MM = np.array([30.0, 45.0, 66.0, 83.0, 100.0, 117.0, 134.0])
HALF_MM = np.array([11.0, 19.0, 12.0, 12.0, 12.0, 12.5, 13.5])


def neck(n: int, dz: float, shift: float = 0.0, sharp: float = 3.0) -> np.ndarray:
    """(n, 7) probabilities of a plausible neck: soft-edged runs around known centres."""
    z = np.arange(n)[:, None] * dz
    inside = HALF_MM - np.abs(z - (CENTRES_MM + shift))
    return 1 / (1 + np.exp(-np.clip(inside * sharp, -6, 6)))


def boxes(n: int) -> np.ndarray:
    return np.tile(BOX, (n, 1))


def centres(levels: dict[str, LevelBox], dz: float) -> dict[str, float]:
    return {k: (v.z0 + v.z1) / 2 * dz for k, v in levels.items()}


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("dz", [0.5, 1.75, 3.5])
def test_clear_predictions_are_read_off(ordered, dz):
    n = int(170 / dz)
    levels = decode_levels(neck(n, dz), boxes(n), np.arange(n), (dz, 1, 1), ordered=ordered)
    assert list(levels) == list(LEVELS)
    for k, level in enumerate(LEVELS):
        assert abs(levels[level].z0 * dz - (CENTRES_MM - HALF_MM)[k]) <= dz + 0.5
        assert abs(levels[level].z1 * dz - (CENTRES_MM + HALF_MM)[k]) <= dz + 0.5
        assert levels[level].box_px == pytest.approx(tuple(BOX))
        assert levels[level].score > 0.8


def test_every_second_slice_gives_ranges_in_native_slices():
    dz, n = 1.0, 170
    prob = neck(n, dz)
    whole = decode_levels(prob, boxes(n), np.arange(n), (dz, 1, 1))
    half = decode_levels(prob[::2], boxes(n)[::2], np.arange(0, n, 2), (dz, 1, 1))
    for level in LEVELS:
        assert abs(whole[level].z0 - half[level].z0) <= 1
        assert abs(whole[level].z1 - half[level].z1) <= 1


def test_order_mends_a_false_run_and_a_weak_level():
    dz, n = 1.0, 180
    prob = neck(n, dz)
    prob[150:175, 2] = 0.99  # "C3" again far below C7, longer than the real one
    prob[:, 4] *= 0.3  # C5 never reaches the threshold
    alone = decode_levels(prob, boxes(n), np.arange(n), (dz, 1, 1), ordered=False)
    chain = decode_levels(prob, boxes(n), np.arange(n), (dz, 1, 1), ordered=True)
    assert "C5" not in alone
    assert centres(alone, dz)["C3"] > 140
    found = centres(chain, dz)
    assert list(found) == list(LEVELS)
    assert abs(found["C3"] - CENTRES_MM[2]) < 3
    assert abs(found["C5"] - CENTRES_MM[4]) < 4
    assert list(found.values()) == sorted(found.values())


@pytest.mark.parametrize("first,last", [(0, 4), (2, 6), (1, 5)])
def test_a_scan_that_shows_some_levels_claims_only_these(first, last):
    dz = 1.0
    prob = neck(180, dz)
    start, stop = int(CENTRES_MM[first] - 7), int(CENTRES_MM[last] + 7)
    part = prob[start:stop]
    n = len(part)
    levels = decode_levels(part, boxes(n), np.arange(n), (dz, 1, 1))
    assert set(LEVELS[first : last + 1]) <= set(levels)
    extra = set(levels) - set(LEVELS[first : last + 1])
    for level in extra:  # a neighbour whose edge is in view may be claimed, at the very edge
        assert part[:, LEVELS.index(level)].max() >= 0.5


def test_a_level_that_is_in_view_but_never_likely_at_the_end_is_left_out():
    """C1 cannot be seen, and the scan ends right above C2: nothing to claim."""
    prob = neck(180, 1.0)
    prob[:, 0] = 0.001
    levels = decode_levels(prob[26:], boxes(154), np.arange(154), (1.0, 1, 1))
    assert list(levels) == list(LEVELS[1:])


@pytest.mark.parametrize("ordered", [False, True])
def test_a_study_without_a_cervical_level_gives_none(ordered):
    prob = np.full((90, 7), 0.03)
    assert decode_levels(prob, boxes(90), np.arange(90), (2, 1, 1), ordered=ordered) == {}


def test_a_few_sure_slices_do_not_make_a_neck():
    prob = np.full((90, 7), 0.03)
    prob[[10, 50, 51], [2, 6, 6]] = 0.9
    assert decode_levels(prob, boxes(90), np.arange(90), (2, 1, 1)) == {}


def test_order_places_levels_that_are_all_unsure():
    """On scans unlike the training ones nothing may reach the threshold."""
    prob = neck(180, 1.0) * 0.42
    assert decode_levels(prob, boxes(180), np.arange(180), (1, 1, 1), ordered=False) == {}
    found = centres(decode_levels(prob, boxes(180), np.arange(180), (1, 1, 1)), 1.0)
    assert np.abs(np.array(list(found.values())) - CENTRES_MM).max() < 2 and len(found) == 7


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_order_stays_right_under_noise(seed):
    rng = np.random.default_rng(seed)
    dz = float(rng.uniform(0.8, 3.0))
    shift = float(rng.uniform(-5, 15))
    n = int(185 / dz)
    clean = neck(n, dz, shift)
    logit = np.log(clean / (1 - clean)) * 0.7 + rng.normal(0, 1.5, clean.shape)
    levels = decode_levels(1 / (1 + np.exp(-logit)), boxes(n), np.arange(n), (dz, 1, 1))
    found = centres(levels, dz)
    assert list(found) == list(LEVELS)
    error = np.array(list(found.values())) - (CENTRES_MM + shift)
    assert np.abs(error).max() < 9 and np.abs(error).mean() < 4.5


def test_the_box_ignores_single_wild_slices():
    n = 170
    wild = boxes(n)
    wild[[60, 70, 84]] = [0, 0, 128, 128]
    wild[65] = np.nan
    levels = decode_levels(neck(n, 1.0), wild, np.arange(n), (1, 1, 1))
    for box in levels.values():
        assert box.box_px == pytest.approx(tuple(BOX), abs=4)


def test_levels_without_any_box_are_not_claimed():
    assert decode_levels(neck(170, 1.0), np.full((170, 4), np.nan), range(170), (1, 1, 1)) == {}


def test_wrong_input_is_refused():
    prob, box, z = neck(20, 2.0), boxes(20), np.arange(20)
    for args in [
        (prob[:, :6], box, z),
        (prob, box[:5], z),
        (prob + 1, box, z),
        (prob * np.nan, box, z),
        (prob, box, z[::-1]),
        (prob[:0], box[:0], z[:0]),
    ]:
        with pytest.raises(CspineError):
            decode_levels(*args, (2.0, 1.0, 1.0))
    with pytest.raises(CspineError):
        decode_levels(prob, box, z, (2.0, 1.0, 1.0), threshold=1.0)


def test_errors_against_truth():
    true = {"C2": LevelBox("C2", 10, 19, 0, 0, 10, 10), "C3": LevelBox("C3", 20, 25, 0, 0, 4, 4)}
    pred = {"C2": LevelBox("C2", 12, 21, 5, 0, 15, 10), "C7": LevelBox("C7", 50, 60, 0, 0, 4, 4)}
    table = truth_errors(pred, true, (1.5, 0.5, 0.5)).set_index("level")
    assert list(table.index) == ["C2", "C3", "C7"]
    assert table.loc["C2", "centre_error_mm"] == pytest.approx(3.0)
    assert table.loc["C2", "centre_distance_mm"] == pytest.approx(np.hypot(3.0, 2.5))
    assert table.loc["C2", "slice_iou"] == pytest.approx(8 / 12)
    assert table.loc["C2", "box_iou"] == pytest.approx(1 / 3)
    assert not table.loc["C3", "found"] and not table.loc["C7", "present"]
    assert np.isnan(table.loc["C7", "centre_error_mm"])
    assert box_iou(true["C2"], true["C2"]) == 1.0
