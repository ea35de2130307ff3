"""A drawn study: anatomy within published ranges, fractures, boxes, determinism."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from cspine_lib.anatomy import LEVELS
from cspine_lib.errors import CspineError
from cspine_lib.phantom.draw import draw_study
from cspine_lib.phantom.plan import DrawnStudy, StudyPlan

SMALL = {"shape_zyx": (96, 128, 128), "spacing_zyx_mm": (1.75, 1.125, 1.125)}
NONE = (False,) * 7
ALL = (True,) * 7


@cache
def study(index: int, broken: tuple[bool, ...] = NONE, fractures: bool = True) -> DrawnStudy:
    return draw_study(StudyPlan(11, index, broken, **SMALL), fractures)


def test_same_plan_same_bytes_another_index_another_patient():
    again = draw_study(StudyPlan(11, 0, ALL, **SMALL))
    first = study(0, ALL)
    assert again.hu_zyx.tobytes() == first.hu_zyx.tobytes()
    assert again.mask_zyx.tobytes() == first.mask_zyx.tobytes()
    assert again.boxes == first.boxes and again.truth == first.truth
    assert study(1).truth["patient"] != study(0, ALL).truth["patient"]


def test_arrays_have_the_plans_shape_and_ct_range():
    drawn = study(0, ALL)
    assert drawn.hu_zyx.shape == drawn.mask_zyx.shape == SMALL["shape_zyx"]
    assert drawn.hu_zyx.dtype == np.int16 and drawn.mask_zyx.dtype == np.uint8
    assert drawn.hu_zyx.min() >= -1024 and drawn.hu_zyx.max() <= 3071


@pytest.mark.parametrize("index", [0, 4])
def test_switching_fractures_off_changes_nothing_outside_their_regions(index):
    with_, without = study(index, ALL), study(index, ALL, fractures=False)
    assert not without.fractures and not without.boxes
    assert np.array_equal(with_.mask_zyx, without.mask_zyx)
    changed = with_.hu_zyx != without.hu_zyx
    allowed = np.zeros_like(changed)
    for z0, z1, y0, y1, x0, x1 in with_.fracture_regions:
        assert changed[z0:z1, y0:y1, x0:x1].any()
        allowed[z0:z1, y0:y1, x0:x1] = True
    assert not (changed & ~allowed).any()
    # Regions stay local: far less than the neck.
    assert allowed.mean() < 0.2


def test_unbroken_plan_equals_fractures_switched_off():
    assert np.array_equal(study(2).hu_zyx, study(2, ALL, fractures=False).hu_zyx)


def test_every_broken_level_has_a_fracture_and_no_other_has():
    broken = (True, False, True, False, False, True, True)
    drawn = study(3, broken)
    found = {f.level for f in drawn.fractures}
    assert found == {n for n, b in zip(LEVELS, broken, strict=True) if b}
    for f in drawn.fractures:
        assert 0.3 <= f.width_mm <= 2.0 and 0.3 <= f.contrast <= 1.0
        assert 0 <= f.displacement_mm <= 6.0
        k = LEVELS.index(f.level) + 1
        slices = np.nonzero((drawn.mask_zyx == k).any(axis=(1, 2)))[0]
        assert slices[0] - 3 <= min(e[0] for e in f.extent_px)
        assert max(e[0] for e in f.extent_px) <= slices[-1] + 3


def test_one_box_per_slice_around_every_fracture_of_the_slice():
    drawn = study(0, ALL)
    per_slice = [b[0] for b in drawn.boxes]
    assert per_slice == sorted(set(per_slice))
    assert set(per_slice) == {e[0] for f in drawn.fractures for e in f.extent_px}
    box_of = {b[0]: b[1:] for b in drawn.boxes}
    for z, x0, y0, w, h in (e for f in drawn.fractures for e in f.extent_px):
        bx, by, bw, bh = box_of[z]
        assert bx <= x0 + 1e-9 and by <= y0 + 1e-9
        assert bx + bw >= x0 + w - 1e-9 and by + bh >= y0 + h - 1e-9
        assert bw > 0 and bh > 0 and bx >= 0 and by >= 0
        assert bx + bw <= 128 + 1e-9 and by + bh <= 128 + 1e-9


def test_truth_is_json():
    text = json.dumps(study(0, ALL).truth)
    assert json.loads(text)["fractures"][0]["level"] == "C1"


def test_levels_run_head_to_feet():
    for index in (1, 2):
        mask = study(index).mask_zyx
        middle = [np.nonzero(mask == k)[0].mean() for k in range(1, 9)]
        assert np.all(np.diff(middle) > 0)


def test_volumes_and_heights_of_the_levels():
    """Volumes of CT segmentations: C3–C7 some 6–15 cm³, C1 and C2 10–20 cm³; body heights and
    C1–C7 lengths of 100–135 mm follow from Panjabi 1991 and Gilad & Nissan 1986."""
    voxel_cm3 = float(np.prod(SMALL["spacing_zyx_mm"])) / 1000
    for index in (0, 1, 2):
        mask = study(index).mask_zyx
        volume = np.bincount(mask.ravel(), minlength=20) * voxel_cm3
        assert np.all((volume[1:3] > 9) & (volume[1:3] < 21)), volume
        assert np.all((volume[3:7] > 5.5) & (volume[3:7] < 13)), volume
        assert 7 < volume[7] < 17
        z = [np.nonzero((mask == k).any(axis=(1, 2)))[0] for k in range(1, 8)]
        height = [(len(s)) * 1.75 for s in z]
        assert 15 <= height[0] <= 35 and 36 <= height[1] <= 60
        assert all(16 <= h <= 45 for h in height[2:])
        pitch = np.diff([np.nonzero(mask == k)[0].mean() * 1.75 for k in range(2, 8)])
        assert np.all((pitch > 9) & (pitch < 27)), pitch


def test_hu_of_tissues():
    drawn = draw_study(StudyPlan(11, 20, NONE, **SMALL))
    hu, mask = drawn.hu_zyx.astype(float), drawn.mask_zyx
    c4 = hu[mask == 4]
    assert 250 < c4.mean() < 900
    assert np.percentile(c4, 95) > 600
    smooth = ndimage.uniform_filter(hu, 5)
    muscle = smooth[(smooth > 20) & (smooth < 90) & (mask == 0)]
    fat = smooth[(smooth > -130) & (smooth < -70)]
    assert 40 < np.median(muscle) < 65 and muscle.size > 50_000
    assert -115 < np.median(fat) < -80
    assert hu[hu < -700].mean() < -950  # air around and within


def test_no_cervical_level_in_a_thorax():
    drawn = draw_study(StudyPlan(11, 5, NONE, no_cervical=True, **SMALL))
    values = set(np.unique(drawn.mask_zyx)) - {0}
    assert values and min(values) >= 8


def test_cut_top_and_bottom_leave_every_level_partly_in_view():
    top = draw_study(StudyPlan(11, 6, (True, *NONE[1:]), cut_top=True, **SMALL))
    assert (top.mask_zyx[:3] == 1).any() or (top.mask_zyx[:3] == 2).any()
    assert top.fractures
    bottom = draw_study(StudyPlan(11, 7, (*NONE[1:], True), cut_bottom=True, **SMALL))
    assert (bottom.mask_zyx[-3:] >= 7).any()
    assert {f.level for f in bottom.fractures} == {"C7"}


def test_a_level_far_outside_the_field_of_view_cannot_be_broken():
    with pytest.raises(CspineError, match="field of view"):
        draw_study(StudyPlan(11, 8, (*NONE[1:], True), (20, 64, 64), (1.0, 2.0, 2.0)))


def test_difficulty_hides_fractures():
    def change(difficulty: float) -> float:
        total = 0.0
        for index in (1, 4):
            plan = StudyPlan(11, index, ALL, difficulty=difficulty, **SMALL)
            difference = draw_study(plan).hu_zyx - study(index, ALL, fractures=False).hu_zyx
            total += float(np.abs(difference.astype(float)).sum())
        return total

    plain, default, hidden = (change(d) for d in (0.0, 0.5, 1.0))
    assert plain > 1.05 * default > 1.05 * 1.3 * hidden > 0


def test_coarse_grids_draw_too():
    drawn = draw_study(StudyPlan(11, 9, ALL, (48, 80, 80), (3.5, 1.8, 1.8)))
    assert {f.level for f in drawn.fractures} == set(LEVELS) and drawn.boxes


@pytest.mark.parametrize(
    "change",
    [
        {"broken": (True,)},
        {"difficulty": 1.5},
        {"shape_zyx": (0, 8, 8)},
        {"broken": ALL, "no_cervical": True},
    ],
)
def test_impossible_plans_are_refused(change):
    with pytest.raises(CspineError):
        StudyPlan(**({"seed": 1, "index": 0, "broken": NONE, **SMALL} | change))
