"""A study from the side: the same voxels, the same places, cut by the same code."""

import numpy as np
import pytest
import torch
from fake_studies import FakeDataset

from cspine_lib.config import get_profile
from cspine_lib.crops import crop_field, crop_slices, cut_plane
from cspine_lib.label_maps import LabelMap
from cspine_lib.planes import sagittal_map, sagittal_volume
from cspine_lib.recipes import VertebraRecipe, get_recipe, settings_of_recipe
from cspine_lib.vertebra_crops import VertebraStore, View, build_vertebrae, cut_vertebrae
from cspine_lib.vertebra_fit import build_vertebra_net, vertebra_logits, view_of

CI = get_profile("ci")


@pytest.fixture(scope="module")
def study():
    data = FakeDataset()
    hu, mask = data.draw("s0")
    cells = np.where(mask <= 7, mask, 0).astype(np.uint8)
    return data.read_study("s0").volume, LabelMap(cells, (1.0, 1.0, 1.0), len(hu))


def _view(plane, channels=3):
    return View(4, channels, True, 16, 1.25, plane)


def test_each_voxel_keeps_its_place_in_the_patient(study):
    volume, _ = study
    turned = sagittal_volume(volume)
    z, y, x = 5, 11, 17
    assert turned.hu_zyx[x, z, y] == volume.hu_zyx[z, y, x]
    assert np.allclose(turned.to_mm((x, z, y)), volume.to_mm((z, y, x)))
    dz, dy, dx = volume.spacing_zyx_mm
    assert turned.spacing_zyx_mm == (dx, dz, dy)
    assert np.shares_memory(turned.hu_zyx, volume.hu_zyx)


def test_each_level_is_where_it_was(study):
    volume, found = study
    turned = sagittal_map(found, volume.shape_zyx[2])
    assert list(turned.levels()) == list(found.levels())
    for name, box in found.levels().items():
        side = turned.levels()[name]
        assert (side.z0, side.z1 + 1) == (box.x0, box.x1)
        assert (side.x0, side.x1) == (box.y0, box.y1)
        assert (side.y0, side.y1) == (box.z0, box.z1 + 1)


def test_an_image_from_the_side_is_a_sagittal_slice(study):
    volume, found = study
    view = _view("sagittal", channels=1)
    crops = cut_vertebrae(volume, found, view)
    side, turned = sagittal_volume(volume), sagittal_map(found, volume.shape_zyx[2])
    for k, (name, box) in enumerate(turned.levels().items()):
        edges = crop_field(side, box, view.px, view.size)
        for t, x in enumerate(crop_slices(box, volume.shape_zyx[2], view.frames).tolist()):
            expected = cut_plane(volume.hu_zyx[:, :, x], *edges, view.size)
            assert np.array_equal(crops[k][t, 0], expected)
            outline = turned.outline(name, x, *edges, view.size)
            assert np.array_equal(crops[k][t, 1], outline) and outline.any()


def test_no_slice_of_the_width_is_far_from_one_that_is_looked_at(study):
    volume, found = study
    wide = found.cells.copy()
    wide[found.cells > 0] = 0
    wide[10:16, 20:40, 2:62] = 3  # 60 columns in 4 images of 3
    found = LabelMap(wide, (1.0, 1.0, 1.0), len(wide))
    crops = cut_vertebrae(volume, found, _view("sagittal"))
    marked = np.arange(volume.shape_zyx[2], dtype=np.int16)
    ramp = type(volume)(
        np.broadcast_to(marked * 8 - 200, volume.shape_zyx).copy(), volume.affine_mm
    )
    seen = cut_vertebrae(ramp, found, _view("sagittal"))
    # Every sagittal slice of the ramp has one brightness: which slices were looked at?
    tones = np.unique(seen[2][:, :3].max(axis=(2, 3)))
    assert len(tones) == 12 and crops[2].shape == (4, 4, 20, 20)
    assert np.diff(tones.astype(int)).max() <= 2 * np.diff(tones.astype(int)).mean()


def test_both_are_one_after_the_other(study):
    volume, found = study
    above, side, both = (
        cut_vertebrae(volume, found, _view(p)) for p in ("axial", "sagittal", "both")
    )
    assert _view("both").images == 8 and _view("sagittal").images == 4
    for k in range(7):
        assert np.array_equal(both[k], np.concatenate([above[k], side[k]]))
    assert both.levels == above.levels == side.levels


def test_both_from_disk(study, tmp_path):
    volume, found = study
    build_vertebrae(
        lambda uid: volume, lambda v: found, ["s0"], tmp_path, _view("both"), by="drawn"
    )
    store = VertebraStore(tmp_path, ["s0"])
    assert store.view == _view("both")
    again = cut_vertebrae(volume, found, _view("both"))
    assert np.array_equal(store.sequences("s0")[4], again[4])


def test_crops_and_trainings_from_before_the_choice_keep_their_names():
    assert View(15, 5, True, 80).digest[:8] == "3c866cd0"
    assert "plane" not in settings_of_recipe(get_recipe("first_place"))["vertebra"]
    digests = {View(4, 3, True, 16, plane=p).digest for p in ("axial", "sagittal", "both")}
    assert len(digests) == 3


@pytest.mark.parametrize("scope", ["level", "study"])
def test_a_net_on_both_planes(study, scope):
    recipe = VertebraRecipe(plane="both", pooling="attention", scope=scope)
    net = build_vertebra_net(recipe, CI, "random").eval()
    view = view_of(recipe, CI)
    crops = cut_vertebrae(*study, view)
    logits, weights = vertebra_logits(net, crops, view)
    assert logits.shape == (7,) and weights.shape == (7, 2 * CI.vertebra_frames)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    # It is told which side an image shows: other numbers for the sides, another answer.
    with torch.no_grad():
        net.side.weight[1] += 1.0
    assert not np.allclose(vertebra_logits(net, crops, view)[0], logits)
