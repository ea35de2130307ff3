"""The winners' methods as calls that can be timed: untrained ones, and which step is which."""

from itertools import pairwise

import numpy as np
import pytest
from fake_studies import FakeDataset

from cspine_lib.anatomy import LEVELS
from cspine_lib.config import get_profile
from cspine_lib.cost import Clock
from cspine_lib.label_maps import LabelMap
from cspine_lib.predictors import untrained
from cspine_lib.recipes import get_recipe
from cspine_lib.vertebra_crops import cut_vertebrae
from cspine_lib.vertebra_fit import vertebra_logits, view_of
from cspine_lib.winner_predictors import SegmentedPredictor, _even_map

CI = get_profile("ci")


@pytest.fixture(scope="module")
def volume():
    return FakeDataset().read_study("s0").volume


@pytest.mark.parametrize("name", ["second_place", "salehinejad", "beyond"])
def test_an_untrained_method_can_be_timed(volume, name):
    clock = Clock()
    p = untrained(name, CI)(volume, clock)
    assert p.shape == (8,) and ((p > 0) & (p < 1)).all()
    steps = {step for step, seconds in clock.seconds.items() if seconds > 0}
    own = {"crop", "classify"} if name == "salehinejad" else {"localise", "crop", "classify"}
    assert steps == own


def test_members_are_as_many_as_the_recipe_has():
    assert len(untrained("beyond", CI).nets) == get_recipe("beyond").members == 3
    assert len(untrained("first_place", CI).nets) == 1


def test_the_place_to_crop_where_none_is_known(volume):
    levels = _even_map(volume).levels()
    assert list(levels) == list(LEVELS)
    _, dy, dx = volume.spacing_zyx_mm
    for above, below in pairwise(LEVELS):
        assert levels[above].z1 < levels[below].z0
    for box in levels.values():
        assert 30 < (box.x1 - box.x0) * dx < 90 and 30 < (box.y1 - box.y0) * dy < 90


def test_a_predictor_is_its_pieces_in_turn(volume):
    """What the U-Net finds is cut, every net is asked, and the verdict gets (members, 7)."""
    recipe = get_recipe("beyond")
    nets = untrained("beyond", CI).nets
    mask = FakeDataset().draw("s0")[1]
    found = LabelMap(np.where(mask <= 7, mask, 0).astype(np.uint8), (1.0, 1.0, 1.0), len(mask))

    class Known:
        def segment(self, volume):
            return found

    heard = []

    def verdict(z):
        heard.append(z)
        return np.linspace(0.1, 0.8, 8)

    predictor = SegmentedPredictor(Known(), nets, verdict, recipe, CI)
    p, levels = predictor.judge(volume, Clock())
    assert np.array_equal(p, np.linspace(0.1, 0.8, 8)) and levels == found.levels()
    view = view_of(recipe.vertebra, CI)
    crops = cut_vertebrae(volume, found, view)
    want = np.stack([vertebra_logits(net, crops, view)[0] for net in nets])
    assert heard[0].shape == (3, 7) and np.allclose(heard[0], want, atol=1e-6)
