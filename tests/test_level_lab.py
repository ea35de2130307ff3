"""Stage 1 from the inside: errors, answers, intervals, boxes put off."""

import numpy as np
import pandas as pd
import pytest

from cspine_lib import level_lab as lab
from cspine_lib.anatomy import LEVELS
from cspine_lib.labels import LevelBox

SPACING = (2.0, 0.5, 1.0)


def box(level, z0, z1, x0=40.0, y0=50.0, x1=100.0, y1=170.0):
    return LevelBox(level, z0, z1, x0, y0, x1, y1)


def neck(first=5, height=10):
    return {name: box(name, first + 8 * k, first + 8 * k + height) for k, name in enumerate(LEVELS)}


def truth(levels, n=90):
    visible = np.zeros((n, 7), dtype=bool)
    boxes = np.full((n, 4), np.nan)
    for name, one in levels.items():
        visible[one.z0 : one.z1 + 1, LEVELS.index(name)] = True
        boxes[one.z0 : one.z1 + 1] = one.box_px
    return lab.Truth(levels, visible, boxes)


def looked(levels, n=90, every=2):
    z = np.arange(0, n, every)
    prob = np.where(truth(levels, n).visible[z], 0.9, 0.1)
    boxes = np.tile([40.0, 50.0, 100.0, 170.0], (len(z), 1))
    return lab.Looked(z, prob, boxes, (n, 300, 200), SPACING)


def test_a_perfect_claim_has_no_error():
    table = lab.level_errors("a", neck(), truth(neck()), SPACING)
    assert table["level"].tolist() == list(LEVELS)
    assert table["counted"].all() and table["found"].all()
    assert (table["centre_error_mm"] == 0).all() and (table["slice_iou"] == 1).all()


def test_a_miscount_fits_well_and_has_the_wrong_name():
    one_up = lab.put_off(neck(), lab.Shift("up", level_up=True), SPACING, 90)
    table = lab.level_errors("a", one_up, truth(neck()), SPACING).set_index("level")
    assert not table.loc["C2":, "counted"].any()
    assert (table.loc["C2":, "centre_error_mm"] == -16).all()  # 8 slices of 2 mm, to the head
    assert (table.loc["C2":, "box_iou"] == 1).all()


def test_a_level_that_is_not_found_is_not_counted_and_one_made_up_is_no_row():
    some = {k: v for k, v in neck().items() if k != "C3"}
    table = lab.level_errors("a", some, truth(neck()), SPACING).set_index("level")
    assert not table.loc["C3", "found"] and not table.loc["C3", "counted"]
    assert np.isnan(table.loc["C3", "centre_error_mm"]) and np.isnan(table.loc["C3", "in_crop"])
    table = lab.level_errors("a", neck(), truth(some), SPACING)
    assert "C3" not in table["level"].tolist()


def test_what_a_crop_shows_of_the_true_box():
    # 60 × 60 mm; the crop around it is 1.15 times that, 4.5 mm more on each side.
    true = {"C4": box("C4", 10, 20)}
    for dx_px, share in ((0, 1.0), (4, 1.0), (14.5, 50 / 60), (90, 0.0)):
        claim = {"C4": true["C4"].moved(dx_px, 0)}
        table = lab.level_errors("a", claim, truth(true), SPACING)
        assert table["in_crop"].item() == pytest.approx(share)


def test_answers_are_compared_slice_by_slice():
    one = looked(neck())
    table = lab.slice_answers("a", one, truth(neck()))
    assert len(table) == 7 * len(one.z) and not table["wrong"].any()
    assert table["spine_iou"].dropna().eq(1).all()
    first = table[(table["level"] == "C1") & (table["z"] == 6)]
    assert first["edge_mm"].item() == 3.0  # C1 begins at the upper face of slice 5
    one.prob[10, 3] = 1 - one.prob[10, 3]
    table = lab.slice_answers("a", one, truth(neck()))
    assert table["wrong"].sum() == 1
    assert table.loc[table["wrong"], ["z", "level"]].to_numpy().tolist() == [[20, "C4"]]


def test_an_absent_level_has_no_edge():
    some = {k: v for k, v in neck().items() if k != "C7"}
    table = lab.slice_answers("a", looked(some), truth(some))
    assert table.loc[table["level"] == "C7", "edge_mm"].isna().all()


def test_intervals_draw_studies_not_rows():
    table = pd.DataFrame(
        {"uid": ["a"] * 7 + ["b"] * 7, "level": [*LEVELS] * 2, "v": [0] * 7 + [1] * 7}
    )
    value, low, high = lab.value_ci(table, "v")
    assert (value, low, high) == (0.5, 0.0, 1.0)
    same = lab.difference(table, table, "v")
    assert (same.low, same.value, same.high) == (0, 0, 0)
    better = lab.difference(table.assign(v=table["v"] + 1), table.iloc[::-1], "v")
    assert (better.low, better.value, better.high) == (1, 1, 1)


def test_nan_is_left_out_of_a_mean():
    table = pd.DataFrame({"uid": ["a", "a", "b"], "level": ["C1", "C2", "C1"], "v": [1, np.nan, 3]})
    assert lab.value_ci(table, "v").value == 2


def test_upside_down_twice_is_as_before():
    one = truth(neck())
    turned = lab.upside_down(one)
    assert turned.levels["C1"].z0 > turned.levels["C7"].z1
    assert turned.visible[turned.levels["C2"].z0 : turned.levels["C2"].z1 + 1, 1].all()
    assert turned.visible[:, 1].sum() == 11
    assert lab.upside_down(turned).levels == one.levels


def test_fewer_slices_are_counted_and_still_decoded():
    studies = {"a": looked(neck()), "b": looked(neck(9))}
    table = lab.at_pitch(studies, {"a": truth(neck()), "b": truth(neck(9))}, (1, 2))
    assert table["pitch_mm"].tolist() == [4, 8]
    assert table["slices"].tolist() == [45, 23]
    assert table["found"].tolist() == [1, 1] and (table["off_mm"] < 4).all()


def test_boxes_are_put_off_in_mm():
    start = neck()
    aside = lab.put_off(start, lab.Shift("a", side_mm=10, back_mm=5), SPACING, 90)
    assert all(aside[k].x0 - start[k].x0 == 10 and aside[k].y1 - start[k].y1 == 10 for k in LEVELS)
    assert all(aside[k].z0 == start[k].z0 for k in LEVELS)
    down = lab.put_off(start, lab.Shift("d", feet_mm=-10), SPACING, 90)
    assert all(down[k].z1 - start[k].z1 == -5 for k in LEVELS)


def test_a_level_that_leaves_the_scan_is_left_out():
    assert "C7" not in lab.put_off(neck(), lab.Shift("d", feet_mm=80), SPACING, 90)
    up = lab.put_off(neck(first=0), lab.Shift("u", level_up=True), SPACING, 90)
    assert list(up) == list(LEVELS[1:])  # nothing of the scan is above this C1
    assert (up["C2"].z0, up["C2"].level) == (0, "C2")


def test_a_fracture_in_view():
    mark = pd.DataFrame({"level": "C4", "z": [10, 11], "x0": 60, "y0": 60, "x1": 80, "y1": 80})
    here = box("C4", 5, 20)
    assert lab.fracture_in_view(mark, here, SPACING) == 1
    assert lab.fracture_in_view(mark, box("C4", 11, 20), SPACING) == 0.5
    assert lab.fracture_in_view(mark, None, SPACING) == 0
    assert np.isnan(lab.fracture_in_view(mark.iloc[:0], here, SPACING))
    # The crop is 69 mm wide around x = 70.
    assert lab.fracture_in_view(mark, here.moved(44.5, 0), SPACING) == 0
    assert lab.fracture_in_view(mark, here.moved(34.5, 0), SPACING) == pytest.approx(0.5)


def test_the_names_of_shifts_are_unique_and_the_first_does_nothing():
    names = [shift.name for shift in lab.SHIFTS]
    assert len(set(names)) == len(names)
    assert lab.put_off(neck(), lab.SHIFTS[0], SPACING, 90) == neck()
