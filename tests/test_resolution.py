"""mm per voxel and the contrast of a line, against sums done by hand."""

import numpy as np
import pytest

from cspine_lib.config import PROFILES, get_profile
from cspine_lib.crops import SIDE_MM
from cspine_lib.cubes import SPINE_FIELD_MM, spine_spec
from cspine_lib.labels import LevelBox
from cspine_lib.resolution import (
    CROP,
    NATIVE,
    Grid,
    _lines,
    crop_volume,
    line_contrast,
    study_grids,
    usual_level,
    views,
    voxel_table,
)
from cspine_lib.volume import Volume

LAPTOP = get_profile("laptop")
THIN = ((314, 512, 512), (0.8, 0.4, 0.4))


def test_a_voxel_is_the_extent_over_the_number():
    assert Grid("", (100, 200, 50), (10, 50, 50)).voxel_zyx_mm((2.0, 0.5, 1.0)) == (20.0, 2.0, 1.0)
    table = voxel_table(*THIN, LAPTOP)
    assert table.loc[NATIVE, "z, mm"] == pytest.approx(0.8)
    assert table.loc["224³", "x, mm"] == pytest.approx(512 * 0.4 / 224)
    assert table.loc["64³", "z, mm"] == pytest.approx(314 * 0.8 / 64)
    assert table.loc["64³", "voxels"] == 64**3
    spine = table.filter(like="spine", axis=0).iloc[0]
    assert spine["x, mm"] == pytest.approx(SIDE_MM[1] / LAPTOP.crop_px, rel=0.01)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_spine_cubes_have_pixels_of_stage_2(profile):
    spec = spine_spec(profile)
    assert spec.shape_zyx[1:] == (profile.crop_px, profile.crop_px)
    assert SPINE_FIELD_MM[1:] == (SIDE_MM[1], SIDE_MM[1])
    assert all(n % 8 == 0 for n in spec.shape_zyx), "three poolings leave no remainder"
    if profile.name == "ci":
        assert max(spec.shape_zyx) <= 32
    if profile.name == "laptop":
        assert np.prod(spec.shape_zyx) < 3 * profile.cube_px**3, "a fold trains in minutes"
    names = [grid.name for grid in study_grids(*THIN, profile)]
    assert f"{profile.cube_px}³" in names and len(set(names)) == len(names)


def test_the_crop_is_as_wide_as_its_level_asks_for():
    small = LevelBox("C4", 100, 123, 200, 200, 300, 310)  # 40 mm: the shortest side
    table = voxel_table(*THIN, LAPTOP, small)
    assert table.loc[CROP, "x, mm"] == pytest.approx(SIDE_MM[0] / LAPTOP.crop_px)
    assert table.loc[CROP, "z, mm"] == pytest.approx(0.8)  # 24 slices, each taken


def test_lines_have_the_contrast_of_their_share_of_a_voxel():
    lines = _lines(40, 0.5, 1.0, 20)  # two voxels wide: one is always covered
    assert (lines.min(axis=1) == 0).all() and (lines.max(axis=1) == 1000).all()
    assert np.allclose((1000 - lines).sum(axis=1), 2000)
    wide = _lines(40, 4.0, 1.0, 20)  # a quarter of a voxel, unless it is cut in two
    assert wide.min() == pytest.approx(750)


def test_contrast_falls_with_the_voxel_and_rises_with_the_line():
    table = line_contrast(*THIN, LAPTOP)
    assert table.loc[NATIVE, "vertical line"] == pytest.approx(1)
    cubes = table.loc[["224³", "128³", "64³", "32³"]]
    for column in cubes:
        assert (np.diff(cubes[column]) < 0).all()
    assert table.loc["64³"].max() < 0.35 < 0.6 < table.loc[CROP].min()
    wide = line_contrast(*THIN, LAPTOP, width_mm=3.0)
    assert (wide >= table - 1e-9).all().all()
    gone = line_contrast(*THIN, LAPTOP, width_mm=1e-6)
    assert gone.max().max() < 0.02


def test_contrast_of_a_coarse_cube_is_what_an_average_leaves():
    """By hand: a line of 1 mm under a Gaussian of 0.4 voxels, read at voxels' centres."""
    table = line_contrast((128, 128, 128), (1.0, 1.0, 1.0), LAPTOP)  # 32³: voxels of 4 mm
    sigma, off = 0.4 * 4, np.linspace(-2, 2, 1001)
    want = np.mean(np.exp(-(off**2) / 2 / sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    assert table.loc["32³"].to_numpy() == pytest.approx([want, want], abs=0.03)


def bar():
    """A bright bar at a known place, (z, y, x) = (20, 40, 50), in mm per voxel 2, 1, 1."""
    hu = np.full((60, 100, 100), -1000, np.int16)
    hu[10:30, 30:50, 40:60] = 1000
    affine = np.array([[0, 0, 1.0, -50], [0, 1.0, 0, 7], [-2.0, 0, 0, 30], [0, 0, 0, 1]])
    return Volume(hu, affine)


def test_views_know_where_they_are():
    """The bar's centre of mass in mm is the same in each, within half a voxel."""
    volume = bar()
    box = LevelBox("C3", 10, 29, 40.0, 30.0, 60.0, 50.0)
    seen = views(volume, {"C3": box}, box, LAPTOP)
    assert list(seen)[:2] == [NATIVE, "224³"] and list(seen)[-1] == CROP
    centre = volume.to_mm((19.5, 39.5, 49.5))
    for name, view in seen.items():
        found = view.to_mm(np.argwhere(view.hu_zyx > 0).mean(axis=0))
        assert np.abs(found - centre).max() <= max(view.spacing_zyx_mm) / 2 + 0.05, name


def test_a_crop_as_a_volume_has_each_slice_once():
    volume, profile = bar(), get_profile("ci")
    box = LevelBox("C3", 10, 29, 40.0, 30.0, 60.0, 50.0)
    crop = crop_volume(volume, box, profile)
    assert crop.shape_zyx == (3 * profile.frames, profile.crop_px, profile.crop_px)
    thin = crop_volume(volume, LevelBox("C3", 10, 12, 40.0, 30.0, 60.0, 50.0), profile)
    assert thin.shape_zyx[0] == 3
    assert thin.spacing_zyx_mm[0] == pytest.approx(2.0)


def test_a_usual_level_lies_in_the_middle():
    box = usual_level(*THIN)
    assert (box.x1 - box.x0) * 0.4 == pytest.approx(60)
    assert (box.z1 - box.z0 + 1) * 0.8 == pytest.approx(18, abs=1)
    assert box.centre_zyx == pytest.approx((156.5, 255.5, 255.5), abs=1)
