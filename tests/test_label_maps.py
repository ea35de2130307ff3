"""A segmentation on a coarse grid: levels in native voxels, outlines in crops."""

import numpy as np
import pytest
from fake_studies import FakeDataset

from cspine_lib.anatomy import LEVELS
from cspine_lib.label_maps import LEAST_CELLS, LabelMap
from cspine_lib.labels import true_levels
from cspine_lib.segment_data import at_cell_centres


@pytest.fixture(scope="module")
def mask():
    found = FakeDataset().draw("s0")[1]
    return np.where(found <= 7, found, 0).astype(np.uint8)


def _coarse(mask, shape):
    scale = tuple(n / cells for n, cells in zip(mask.shape, shape, strict=True))
    return LabelMap(at_cell_centres(mask, shape, mask.shape), scale, len(mask))


def test_on_the_native_grid_levels_are_the_masks_own(mask):
    assert LabelMap(mask, (1.0, 1.0, 1.0), len(mask)).levels() == true_levels(mask)


@pytest.mark.parametrize("shape", [(21, 32, 32), (24, 24, 24), (17, 40, 23)])
def test_on_a_coarse_grid_levels_are_off_by_a_cell_at_most(mask, shape):
    found = _coarse(mask, shape)
    truth = true_levels(mask)
    assert list(found.levels()) == list(LEVELS)
    sz, sy, sx = found.scale_zyx
    for name, box in found.levels().items():
        true = truth[name]
        assert max(abs(box.z0 - true.z0), abs(box.z1 - true.z1)) <= sz
        assert max(abs(box.x0 - true.x0), abs(box.x1 - true.x1)) <= sx
        assert max(abs(box.y0 - true.y0), abs(box.y1 - true.y1)) <= sy
        assert 0 <= box.z0 <= box.z1 < len(mask)


def test_the_last_cell_does_not_leave_the_study():
    cells = np.zeros((5, 4, 4), dtype=np.uint8)
    cells[4] = 7  # slices 8 and 9 of a study of nine
    box = LabelMap(cells, (2.0, 4.0, 4.0), 9).levels()["C7"]
    assert (box.z0, box.z1) == (8, 8) and box.box_px == (0, 0, 16, 16)


def test_noise_is_no_level_and_strays_are_cleaned(mask):
    cells = np.zeros((8, 8, 8), dtype=np.uint8)
    cells[1, 1, : LEAST_CELLS - 1] = 1
    cells[4, 1, :LEAST_CELLS] = 2
    assert list(LabelMap(cells, (1, 1, 1), 8).levels()) == ["C2"]
    strayed = mask.copy()
    strayed[40, 2:5, 2:5] = 1
    dirty, clean = LabelMap(strayed, (1, 1, 1), 42), LabelMap.cleaned(strayed, (1, 1, 1), 42)
    assert dirty.levels()["C1"].z1 == 40
    assert clean.levels() == true_levels(mask) and strayed[40, 3, 3] == 1


def test_an_outline_is_the_mask_at_the_crops_pixels(mask):
    found = LabelMap(mask, (1.0, 1.0, 1.0), len(mask))
    z = 12  # within C2
    cut = found.outline("C2", z, (16, 48), (16, 48), 32)
    assert np.array_equal(cut, np.where(mask[z, 16:48, 16:48] == 2, 255, 0)) and cut.any()
    assert cut.dtype == np.uint8 and not found.outline("C3", z, (16, 48), (16, 48), 32).any()
    twice = found.outline("C2", z, (16, 48), (16, 48), 64)
    assert np.array_equal(twice, np.kron(cut, np.ones((2, 2), dtype=np.uint8)))


def test_outside_the_study_there_is_no_outline():
    whole = LabelMap(np.full((2, 4, 4), 5, dtype=np.uint8), (2.0, 2.0, 2.0), 4)
    cut = whole.outline("C5", 3, (-4, 12), (-2, 10), 16)  # the study is 8 × 8
    x, y = -4 + np.arange(16) + 0.5, -2 + (np.arange(16) + 0.5) * 12 / 16
    inside = ((y > 0) & (y < 8))[:, None] & ((x > 0) & (x < 8))[None]
    assert np.array_equal(cut == 255, inside) and set(np.unique(cut)) == {0, 255}


def test_a_coarse_outline_reads_the_cell_over_the_slice(mask):
    found = _coarse(mask, (21, 64, 64))  # two slices a cell
    for z in (8, 9, 12, 13):
        cut = found.outline("C2", z, (0, 64), (0, 64), 64)
        assert np.array_equal(cut == 255, found.cells[z // 2] == 2)
