"""Training and asking the sequence nets: loss by hand, mirrored mean, what is not there."""

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from cspine_lib.anatomy import LEVELS
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.labels import LevelBox
from cspine_lib.recipe_parts import VertebraRecipe
from cspine_lib.vertebra_crops import VertebraCrops, VertebraStore
from cspine_lib.vertebra_fit import (
    StudySequences,
    _Loss,
    _scores,
    build_vertebra_net,
    study_images,
    train_vertebra_net,
    vertebra_logits,
    view_of,
)
from cspine_lib.vertebra_net import VertebraViews

CI = get_profile("ci")
RECIPE = VertebraRecipe(channels=3, hidden=16)
VIEW = view_of(RECIPE, CI)


def _crops(levels=LEVELS, seed=0):
    rng = np.random.default_rng(seed)
    n = VIEW.frames * VIEW.channels
    planes = rng.integers(0, 255, (2, n * len(levels), VIEW.size, VIEW.size), dtype=np.uint8)
    index = {
        name: np.arange(i * n, (i + 1) * n).reshape(VIEW.frames, VIEW.channels)
        for i, name in enumerate(levels)
    }
    boxes = {name: LevelBox(name, 0, 1, 0, 0, 1, 1) for name in levels}
    return VertebraCrops(planes, index, boxes)


def test_a_view_follows_recipe_and_profile():
    assert (VIEW.frames, VIEW.channels, VIEW.px, VIEW.depth) == (CI.vertebra_frames, 3, 32, 4)
    laptop = get_profile("laptop")
    assert view_of(VertebraRecipe(), laptop).frames == 15
    assert view_of(VertebraRecipe(crop_scale=1.4), laptop).px == 112


def test_the_loss_of_levels_by_hand():
    """Two logits a level; broken levels count twice; the offset is added inside the loss."""
    z = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
    label, offset = torch.tensor([1.0, 0.0]), torch.tensor([0.7, 0.7])
    broken = -2 * (logsigmoid(torch.tensor(1.2)) + logsigmoid(torch.tensor(-0.3))) / 2
    whole = -(logsigmoid(torch.tensor(-2.7)) + logsigmoid(torch.tensor(-0.7))) / 2
    assert torch.isclose(_Loss(2.0)(z, (label, offset)), (broken + whole) / 2)
    plain = -(logsigmoid(torch.tensor(1.2)) + logsigmoid(torch.tensor(-0.3))) / 2
    assert torch.isclose(_Loss(1.0)(z, (label, offset)), (plain + whole) / 2)


def test_the_loss_of_studies_leaves_out_what_was_not_found():
    z = torch.zeros(2, 7, 3)
    z[0, 2], z[1, 4] = 1.5, 99.0
    label, found = torch.zeros(2, 7), torch.zeros(2, 7)
    label[0, 2] = 1
    found[0, 2] = found[0, 3] = 1  # of the first study two levels, of the second none
    one = torch.tensor(1.5)
    want = (-2 * logsigmoid(one) - logsigmoid(torch.tensor(0.0))) / 2
    assert torch.isclose(_Loss(2.0)(z, (label, found)), want)
    assert _Loss(2.0)(z, (label, torch.zeros(2, 7))) == 0


def test_scores_are_of_levels_that_were_found():
    z = np.zeros((4, 7, 2))
    label, found = np.zeros((4, 7)), np.zeros((4, 7))
    label[:2, 0], found[:, 0], z[:2, 0] = 1, 1, 3
    z[:, 1] = 9  # not found: does not count
    assert _scores(z, (label, found))["val_auroc"] == 1
    levels = _scores(np.array([[3.0], [2], [1]]), (np.array([0, 1, 1]), np.zeros(3)))
    assert levels["val_auroc"] == 0


@pytest.mark.parametrize("scope", ["level", "study"])
def test_a_study_is_judged_as_it_is_and_mirrored(scope):
    torch.manual_seed(0)
    net = build_vertebra_net(VertebraRecipe(channels=3, hidden=16, scope=scope), CI, "random")
    net.eval()
    crops = _crops([name for name in LEVELS if name != "C3"])
    z, weights = vertebra_logits(net, crops, VIEW)
    assert np.isnan(z).tolist() == [k == 2 for k in range(7)]
    assert weights.shape == (7, VIEW.frames) and np.isnan(weights[2]).all()
    images = torch.from_numpy(study_images(crops, VIEW))
    assert not images[2].any()
    plain = VertebraViews(VIEW.px, True).view(images, None)
    with torch.inference_mode():
        if scope == "study":
            said = [net(v[None], torch.arange(7)[None])[0] for v in (plain, plain.flip(-1))]
        else:
            keep = [k for k in range(7) if k != 2]
            said = [net(v[keep], torch.tensor(keep)) for v in (plain, plain.flip(-1))]
            said = [torch.cat([s[:2], torch.zeros_like(s[:1]), s[2:]]) for s in said]
    a, b = (s.mean(-1).numpy() for s in said)
    keep = np.isfinite(z)
    assert np.allclose(z[keep], ((a + b) / 2)[keep], atol=1e-5)
    assert not np.allclose(a[keep], b[keep], atol=1e-5), "the mirror image is another input"


def test_a_study_without_a_level_has_no_logits():
    net = build_vertebra_net(RECIPE, CI, "random").eval()
    z, weights = vertebra_logits(net, _crops([]), VIEW)
    assert np.isnan(z).all() and np.isnan(weights).all()


class Store(VertebraStore):
    """Crops in memory."""

    def __init__(self, studies):
        self._studies, self.view = studies, VIEW
        self.ids = list(studies)

    def found(self, uid):
        return self._studies[uid].found

    def levels(self, uid):
        return dict(self._studies[uid].levels)

    def sequences(self, uid):
        return self._studies[uid]


def test_items_of_studies_say_which_levels_there_are():
    store = Store({"a": _crops(["C1", "C7"]), "b": _crops([]), "c": _crops()})
    labels = {uid: np.array([1, 0, 0, 0, 1, 0, 0]) for uid in "abc"}
    items = StudySequences(store, ["a", "b", "c"], labels)
    assert items.ids == ["a", "c"]
    (frames, level), (label, found) = items[0]
    assert frames.shape == (7, 3, 4, VIEW.size, VIEW.size) and level.tolist() == [*range(7)]
    assert found.tolist() == [1, 0, 0, 0, 0, 0, 1] and label.tolist() == [1, 0, 0, 0, 1, 0, 0]
    assert frames[0].any() and frames[6].any() and not frames[1:6].any()


def test_nothing_found_is_one_line(tmp_path):
    store = Store({uid: _crops([]) for uid in "ab"})
    labels = {uid: np.zeros(7, dtype=int) for uid in "ab"}
    for scope in ("level", "study"):
        recipe = VertebraRecipe(channels=3, hidden=16, scope=scope)
        with pytest.raises(CspineError, match="found no level to train"):
            train_vertebra_net(
                store, labels, ["a"], ["b"], recipe, CI, tmp_path, seed=0, progress=False
            )


@pytest.mark.parametrize("scope", ["level", "study"])
def test_without_validation_studies_the_last_epoch_counts(tmp_path, scope):
    labels = {uid: np.eye(7, dtype=np.int64)[i] for i, uid in enumerate("abcd")}
    recipe = VertebraRecipe(channels=3, hidden=16, scope=scope)
    say = {"seed": 0, "progress": False}
    store = Store({uid: _crops(seed=i) for i, uid in enumerate("abcd")})
    _, result = train_vertebra_net(store, labels, list("abcd"), [], recipe, CI, tmp_path, **say)
    epochs = CI.study_epochs if scope == "study" else CI.classifier_epochs
    assert result.best_epoch == len(result.history) == epochs
    assert not any("val_loss" in epoch for epoch in result.history)
