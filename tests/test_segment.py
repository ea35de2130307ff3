"""A U-Net's answer laid over a study: its grid, its place, its clean-up, its settings."""

import numpy as np
import pytest
import torch
from torch import nn

from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.recipe_parts import SegmenterRecipe
from cspine_lib.segment import Segmenter, _scores, _settings
from cspine_lib.volume import Volume

CI = get_profile("ci")


class Bright(nn.Module):
    """Calls C3 what is bright; looks at the middle channel, in 0..1."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images):
        seen = images[:, images.shape[1] // 2]  # (B, …)
        logits = torch.zeros(seen.shape[0], 8, *seen.shape[1:])
        logits[:, 0], logits[:, 3] = 0.5, seen * self.weight
        return logits


def _volume(rows=64, pitch_mm=4.0):
    hu = np.full((48, rows, 64), -1000, dtype=np.int16)
    hu[12:24, 16:40, 20:44] = 1500
    hu[40:44, 16:24, 8:16] = 1500  # a stray
    return Volume(hu, np.diag([pitch_mm, 2.0, 2.0, 1.0]))


def _segmenter(dims):
    return Segmenter(Bright(), SegmenterRecipe(dims), CI)


@pytest.mark.parametrize("dims", [2, 3])
def test_levels_lie_where_the_network_saw_them(dims):
    found = _segmenter(dims).segment(_volume())
    side = CI.seg_px if dims == 3 else CI.localiser_px
    depth = side if dims == 3 else 48
    assert found.cells.shape == (depth, side, side) and found.cells.dtype == np.uint8
    box = found.levels()["C3"]
    sz, sy, sx = found.scale_zyx
    assert abs(box.z0 - 12) <= sz and abs(box.z1 - 23) <= sz
    assert abs(box.y0 - 16) <= sy and abs(box.y1 - 40) <= sy
    assert abs(box.x0 - 20) <= sx and abs(box.x1 - 44) <= sx


@pytest.mark.parametrize("dims", [2, 3])
def test_the_stray_is_in_the_raw_answer_only(dims):
    segmenter, volume = _segmenter(dims), _volume()
    raw, clean = segmenter.raw(volume), segmenter.segment(volume)
    assert raw.levels()["C3"].z1 >= 40 > 26 > clean.levels()["C3"].z1
    assert (raw.cells == 3).sum() > (clean.cells == 3).sum() > 0
    assert (raw.scale_zyx, raw.depth) == (clean.scale_zyx, clean.depth)


def test_slices_that_are_not_square_keep_their_millimetres():
    found = _segmenter(2).segment(_volume(rows=48))
    assert found.scale_zyx[1] == found.scale_zyx[2] == 64 / CI.localiser_px
    box = found.levels()["C3"]
    assert abs(box.y1 - 40) <= found.scale_zyx[1] and abs(box.x1 - 44) <= found.scale_zyx[2]


def test_thin_slices_are_looked_at_at_the_profiles_pitch():
    """Every second slice of 2 mm at a pitch of 4 mm; a cell stands for both."""
    found = _segmenter(2).segment(_volume(pitch_mm=2.0))
    assert found.cells.shape[0] == 24 and found.scale_zyx[0] == 2 and found.depth == 48
    box = found.levels()["C3"]
    assert (box.z0, box.z1) == (12, 23)


def test_each_kind_has_its_own_schedule():
    three, two = (_settings(SegmenterRecipe(dims), CI, 5) for dims in (3, 2))
    assert (three.epochs, three.batch_size, three.lr) == (CI.seg_epochs, CI.seg_batch, CI.seg_lr)
    assert (two.epochs, two.batch_size) == (CI.seg25d_epochs, CI.seg25d_batch)
    assert two.lr == CI.seg25d_lr and three.seed == two.seed == 5


def test_the_score_of_an_epoch_is_the_mean_dice_of_levels_that_are_there():
    labels = np.zeros((1, 4, 4), dtype=np.uint8)
    labels[0, 0] = 2
    logits = np.zeros((1, 8, 4, 4))
    logits[0, 0] = 1
    logits[0, 2, 0, :2] = 2  # half of C2
    assert _scores(logits, labels)["val_dice"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("dims", [2, 3])
def test_what_was_never_trained_is_one_line(tmp_path, dims):
    with pytest.raises(CspineError, match="train first"):
        Segmenter.load(SegmenterRecipe(dims), CI, tmp_path)
