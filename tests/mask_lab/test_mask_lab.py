"""Ways to make labels from masks: each measure against a case that can be counted by hand."""

import numpy as np
import pandas as pd
import pytest

from cspine_lib import labels, mask_lab
from cspine_lib.errors import CspineError
from cspine_lib.mask_lab import scores, studies
from cspine_lib.rsna import open_dataset

MM = (2.0, 1.0, 0.5)


def neck() -> np.ndarray:
    """C3 in slices 2–5 (one pixel in slice 2), C4 in 5–8, T1 in 8–9; C4 is larger in 5."""
    mask = np.zeros((12, 10, 16), dtype=np.uint8)
    mask[2, 4, 8] = 3
    mask[3:5, 2:6, 6:11] = 3
    mask[5, 2:4, 6:9] = 3
    mask[5:9, 5:9, 5:12] = 4
    mask[8:10, 1:4, 2:6] = 8
    return mask


@pytest.fixture(scope="module")
def phantom(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def masked(phantom):
    found, refused = mask_lab.masked_studies(phantom)
    assert not refused
    return found


# --- flips


def test_a_fixed_flip_is_right_for_las_only():
    values = np.random.default_rng(0).integers(0, 8, (5, 6, 7))
    mask = values[:, ::-1, ::-1].transpose(2, 1, 0)
    assert np.array_equal(mask_lab.fixed_flip(values), mask)
    assert np.array_equal(mask_lab.fixed_flip(values, stored_feet_first=True), mask[::-1])
    las = np.diag([-1.0, 1, 2, 1])
    turned, _ = mask_lab.as_stored(values.astype(np.uint8), las, "RAS")
    assert not np.array_equal(mask_lab.fixed_flip(turned), mask)


@pytest.mark.parametrize("axes", ["LAS", "RAS", "ASR", "SAL", "IPR"])
def test_a_mask_stored_anew_stays_where_it_was(axes):
    values = np.random.default_rng(1).integers(0, 8, (3, 4, 5)).astype(np.uint8)
    affine = np.array([[-0.5, 0, 0, 3], [0, 0.7, 0, -9], [0, 0, 2, 40], [0, 0, 0, 1.0]])
    turned, new = mask_lab.as_stored(values, affine, axes)
    for ijk in np.ndindex(values.shape):
        there = np.linalg.inv(new) @ affine @ [*ijk, 1]
        assert turned[tuple(np.rint(there[:3]).astype(int))] == values[ijk]


@pytest.mark.parametrize("axes", ["LLS", "XYZ", "LA", "las"])
def test_unknown_axis_codes_are_refused(axes):
    with pytest.raises(CspineError, match="axis codes"):
        mask_lab.as_stored(np.zeros((2, 2, 2), np.uint8), np.eye(4), axes)


def test_stretching_repeats_voxels_and_keeps_values():
    small = np.array([[[1, 2], [3, 4]]])
    assert mask_lab.stretched(small, (1, 2, 4)).tolist() == [[[1, 1, 2, 2], [3, 3, 4, 4]]]
    assert np.array_equal(mask_lab.stretched(neck(), neck().shape), neck())
    with pytest.raises(CspineError):
        mask_lab.stretched(small, (2, 2))


# --- strays


def test_pieces_are_counted_by_level():
    mask = neck()
    mask[11, 0, 0:2] = 4
    found = mask_lab.pieces(mask)
    assert found.to_dict("list") == {
        "level": ["C3", "C4", "C4"],
        "voxels": [1 + 40 + 6, 4 * 28, 2],
        "rank": [0, 0, 1],
    }
    assert mask_lab.pieces(np.zeros((2, 2, 2), np.uint8)).empty


def test_cleaning_keeps_what_is_asked_for_and_nothing_else_changes():
    mask = neck()
    strayed = mask.copy()
    strayed[11, 0, 0:2] = 4
    strayed[0, 9, 15] = 8  # thoracic values are left alone
    before = strayed.copy()
    clean = mask_lab.cleaned(strayed)
    assert np.array_equal(strayed, before), "the input is left as it was"
    mask[0, 9, 15] = 8
    assert np.array_equal(clean, mask)
    assert np.array_equal(mask_lab.cleaned(strayed, 0.01), strayed)
    assert np.array_equal(mask_lab.cleaned(strayed, 0.0), strayed)
    with pytest.raises(CspineError):
        mask_lab.cleaned(mask, 1.5)


def test_corners_hold_a_piece_together():
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = 5
    assert (mask_lab.cleaned(mask) == mask).all() and len(mask_lab.pieces(mask)) == 1


@pytest.mark.parametrize(("radius", "most"), [(0.0, 1), (2.0, 3 * 5 * 9)])
def test_a_planted_stray_lies_in_the_background(radius, most):
    mask, rng = neck(), np.random.default_rng(2)
    for _ in range(20):
        out = mask_lab.planted(mask, MM, rng, radius_mm=radius)
        new = out != mask
        assert 1 <= new.sum() <= most
        assert (mask[new] == 0).all() and set(out[new].tolist()) <= {3, 4}
        where = np.argwhere(new) * MM
        assert (where.max(axis=0) - where.min(axis=0) <= 2 * radius).all()
    with pytest.raises(CspineError, match="no cervical"):
        mask_lab.planted(np.full((2, 2, 2), 8, np.uint8), MM, rng)


def test_a_ball_in_the_open_has_the_volume_of_a_ball():
    mask = np.zeros((41, 41, 41), np.uint8)
    mask[0, 0, 0] = 1
    rng = np.random.default_rng(4)
    sizes = [(mask_lab.planted(mask, (1, 1, 1), rng, radius_mm=5) != mask).sum() for _ in range(30)]
    assert max(sizes) == pytest.approx(4 / 3 * np.pi * 125, rel=0.05)


# --- scores


def test_dice_by_hand():
    a, b = np.zeros((1, 2, 4), np.uint8), np.zeros((1, 2, 4), np.uint8)
    a[0, 0], b[0, 0, 1:] = 3, 3
    b[0, 1, 0] = a[0, 1, 0] = 9  # thoracic: not counted
    assert mask_lab.dice(a, b) == pytest.approx(2 * 3 / 7)
    assert mask_lab.dice(a, np.where(a == 3, 4, a)) == 0, "another level is no overlap"
    assert mask_lab.dice(a, a) == 1
    assert np.isnan(mask_lab.dice(np.zeros_like(a), np.zeros_like(a)))
    with pytest.raises(CspineError):
        mask_lab.dice(a, a[0])


def test_shift_in_mm():
    mask = neck()
    moved = np.roll(mask, (1, 0, 2), axis=(0, 1, 2))
    assert mask_lab.level_shift_mm(moved, mask, MM) == pytest.approx(np.hypot(2, 1))
    assert mask_lab.level_shift_mm(mask, mask, MM) == 0
    assert np.isnan(mask_lab.level_shift_mm(np.zeros_like(mask), mask, MM))


def test_label_errors_by_hand():
    mask = neck()
    found = mask.copy()
    found[10, 4:6, 8] = 3  # a stray of C3, two pixels, five slices below
    found[mask == 4] = 0  # C4 is lost
    errors = mask_lab.label_errors(found, mask, MM).set_index("level")
    assert list(errors.index) == ["C3", "C4"]
    assert errors.loc["C3", ["slices_wrong", "range_mm", "iou"]].tolist() == [1, 10.0, 1.0]
    assert errors.loc["C4", ["slices_wrong", "range_mm", "iou"]].tolist() == [4, 8.0, 0.0]
    by_share = mask_lab.label_errors(found, mask, MM, min_share=0.2).set_index("level")
    assert by_share.loc["C3", "range_mm"] == 0
    with pytest.raises(CspineError):
        mask_lab.label_errors(found[1:], mask, MM)


def test_iou_by_hand():
    assert scores._iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert scores._iou((0, 0, 1, 1), (5, 5, 6, 6)) == 0


def test_mean_counts_studies_and_leaves_out_what_is_unknown():
    table = pd.DataFrame({"uid": ["a", "a", "b", "c"], "v": [1.0, 3.0, 8.0, np.nan]})
    ci = mask_lab.mean_ci(table, "v")
    assert ci.value == 4 and ci.low == 2 and ci.high == 8
    assert np.isnan(mask_lab.mean_ci(table[table["uid"] == "c"], "v").value)


def a_study(marks=()):
    mask, affine = neck(), np.diag([0.0, 0, 0, 1])
    affine[2, 0], affine[1, 1], affine[0, 2] = -MM[0], MM[1], MM[2]
    table = pd.DataFrame(list(marks), columns=studies.MARKS)
    from pathlib import Path

    return mask_lab.MaskedStudy(
        "u", Path(), mask.shape, affine, "LAS", False, mask_lab.area_profile(mask), table
    )


def test_rule_scores_by_hand():
    marks = [("C3", 2, 6, 2, 9, 4), ("C3", 3, 6, 2, 9, 4), ("C3", 3, 1, 1, 2, 2)]
    study = a_study(marks)
    pixel = mask_lab.rule_scores([study], 0.0, frames=4).set_index("level")
    # C3 in 2–5: frames 2, 3, 4, 5; in 5 there is more of C4.  Its fracture is in 2 and 3.
    assert pixel.loc["C3", "range_mm"] == 8 and pixel.loc["C3", "neighbour"] == 0.25
    assert pixel.loc["C3", "covered"] == 1 and pixel.loc["C3", "on_fracture"] == 0.5
    assert np.isnan(pixel.loc["C4", "covered"]) and pixel.loc["C4", "neighbour"] == 0
    assert pixel.loc["C4", "shown"] == pytest.approx(8 / 7)
    half = mask_lab.rule_scores([study], 0.5, frames=4).set_index("level")
    # 20 pixels are C3's most: slices 3 and 4 are left, each shown twice.
    assert half.loc["C3", "range_mm"] == 4 and half.loc["C3", "neighbour"] == 0
    assert half.loc["C3", "covered"] == 0.5 and half.loc["C3", "on_fracture"] == 0.5


def test_thoracic_bone_counts_as_a_neighbour():
    study = a_study()
    study.areas_px[5:9, 8] = 1000
    assert mask_lab.rule_scores([study], 0.0, 4).set_index("level").loc["C4", "neighbour"] == 1


def test_box_scores_by_hand():
    marks = [("C3", 2, 6, 2, 11, 6), ("C3", 3, 6, 2, 11, 6)]
    table = mask_lab.box_scores(a_study(marks), neck())
    c3 = table[table["level"] == "C3"].set_index("way")
    whole = c3.loc["the level, over its slices"]
    assert whole["area_cm2"] == pytest.approx(4 * 5 * MM[1] * MM[2] / 100)
    assert whole["step_mm"] == 0 and whole["inside"] == 1
    own = c3.loc["the level, slice by slice"]
    # One pixel of 20 in slice 2, all of it in slice 3.
    assert own["inside"] == pytest.approx((1 / 20 + 1) / 2)
    assert own["step_mm"] > 0
    assert np.isnan(table[table["level"] == "C4"]["inside"]).all()
    assert scores._inside(np.full(4, np.nan), (0, 0, 1, 1)) == 0
    boxes = mask_lab.slice_boxes(neck(), 3)
    assert boxes[2].tolist() == [8, 4, 9, 5] and np.isnan(boxes[6]).all()


def test_thoracic_shortcuts_by_hand():
    mask = np.where(neck() == 4, 7, neck())
    study = a_study()
    object.__setattr__(study, "areas_px", mask_lab.area_profile(mask))
    found = mask_lab.thoracic_scores(study, mask)
    assert found["too_long_mm"] == 2.0, "C7 in 5–8 becomes 5–9"
    assert 0 < found["iou"] < 1
    assert found["t1_present"] == 0.25 and found["t1_larger"] == 0, "T1 in slice 8 of 5–8"
    assert found["max_wrong"] == pytest.approx(1 / 7), "slice 8: 12 voxels of T1, 28 of C7"
    no_c7 = mask_lab.thoracic_scores(a_study(), neck())
    assert np.isnan(no_c7["t1_present"]) and np.isnan(no_c7["too_long_mm"])


def test_a_summary_keeps_order_and_says_intervals():
    table = pd.DataFrame({"uid": ["a", "b"] * 2, "way": ["z", "z", "b", "b"], "v": [1, 1, 2, 2]})
    found = mask_lab.summary(table, "way", ["v"])
    assert found["v"].to_dict() == {"z": "1.000 [1.000, 1.000]", "b": "2.000 [2.000, 2.000]"}
    assert mask_lab.share_ci(37, 40) == "37 of 40, 92% [80%, 97%]"


# --- figures


def test_figures_have_units_and_legends():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from cspine_lib.volume import Volume

    mask, study = neck(), a_study()
    volume = Volume(np.zeros(mask.shape, np.int16), study.affine_mm)
    pixel, half = labels.visible_levels(mask), labels.visible_levels(mask, min_share=0.5)
    areas = mask_lab.area_figure(labels.level_areas(mask), MM, pixel, half, ("one", "half"))
    assert "cm²" in areas.axes[0].get_ylabel() and "mm" in areas.axes[1].get_xlabel()
    assert "one" in areas.axes[1].get_ylabel() and areas.axes[0].get_legend() is not None
    frames = mask_lab.frames_figure(study.areas_px, MM[0], {"one": pixel, "half": half}, 4)
    assert len(frames.axes) == 2 and frames.axes[0].get_legend() is not None
    boxes = mask_lab.boxes_figure(volume, mask, "C3")
    assert all("mm" in axes.get_xlabel() and len(axes.patches) == 3 for axes in boxes.axes)
    # C3 and C4 lie in columns 5 to 11 of 0.5 mm.
    assert boxes.axes[0].get_xlim() == (2.5 - 12, 5.5 + 12)
    assert mask_lab.middle_x(mask) in (6, 7, 8)
    plt.close("all")


# --- the studies of a phantom


def test_masked_studies_of_a_phantom(phantom, masked):
    assert [s.uid for s in masked] == phantom.masked_ids
    for study in masked[:3]:
        series = phantom.read_study(study.uid)
        mask = phantom.read_mask(study.uid, series)
        assert np.array_equal(study.mask(), mask)
        assert np.array_equal(study.areas_px[:, 1:8], labels.level_areas(mask))
        assert study.areas_px.sum() == mask.size
        assert study.spacing_zyx_mm == pytest.approx(series.volume.spacing_zyx_mm)
        assert study.feet_first == series.reversed
    assert len({s.axes for s in masked}) > 1 and any(s.feet_first for s in masked)


def test_a_study_is_drawn_again_as_it_is_on_disk(phantom, masked):
    uid = masked[0].uid
    drawn = mask_lab.redrawn(phantom, uid)
    assert np.array_equal(drawn.hu_zyx, phantom.read_study(uid).volume.hu_zyx)
    assert np.array_equal(drawn.mask_zyx, masked[0].mask())


def test_broken_studies_without_a_mask(phantom):
    found = mask_lab.broken_without_mask(phantom, 2)
    assert len(found) == 2
    for study in found:
        assert study.uid not in phantom.masked_ids
        broken = {k for k, b in zip(labels.LEVELS, phantom.labels(study.uid), strict=True) if b}
        assert set(study.marks["level"]) == broken
        assert study.areas_px.shape == (study.shape_zyx[0], 20)


def test_fractures_of_a_phantom_lie_in_their_level(phantom, masked):
    for study in [s for s in masked if len(s.marks)][:3]:
        mask = study.mask()
        for level, box in labels.true_levels(mask).items():
            marks = study.marks[study.marks["level"] == level]
            if len(marks):
                assert marks["z"].min() >= box.z0 - 3 and marks["z"].max() <= box.z1 + 3


def test_real_boxes_name_a_level_where_one_is_broken(phantom, monkeypatch):
    """Without the truth, boxes of a study with a single broken level are taken for that level."""
    from cspine_lib.dicom import read_geometry

    counts = {u: int(phantom.labels(u).sum()) for u in set(phantom.boxes["StudyInstanceUID"])}
    monkeypatch.setattr(phantom, "is_phantom", False)
    for uid, n in counts.items():
        geometry = read_geometry(phantom.study_folder(uid))
        found = mask_lab.known_fractures(phantom, uid, geometry)
        series = phantom.read_study(uid)
        boxes = phantom.boxes_of(uid, series)
        assert len(found) == (len(boxes) if n == 1 else 0)
        if n == 1:
            assert sorted(found["z"]) == sorted(boxes["z"])
            assert sorted(found["x1"] - found["x0"]) == pytest.approx(sorted(boxes["width"]))
    assert mask_lab.broken_without_mask(phantom, 3) == []
    with pytest.raises(CspineError, match="only a phantom"):
        mask_lab.redrawn(phantom, next(iter(counts)))


def test_a_mask_that_does_not_fit_is_told_and_left_out(phantom, monkeypatch):
    first = phantom.masked_ids[0]

    def refuses(path, shape_zyx, affine_mm):
        if first in str(path):
            raise CspineError("does not fit")
        return np.zeros(shape_zyx, np.uint8)

    monkeypatch.setattr(studies, "read_mask", refuses)
    found, refused = mask_lab.masked_studies(phantom)
    assert refused == {first: "does not fit"} and len(found) == len(phantom.masked_ids) - 1
