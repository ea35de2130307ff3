"""The winners' sequence net: shapes of every kind, what its views do to an outline."""

from itertools import product

import pytest
import torch

from cspine_lib.augment import Ranges
from cspine_lib.config import get_profile
from cspine_lib.recipe_parts import VertebraRecipe
from cspine_lib.vertebra_fit import build_vertebra_net
from cspine_lib.vertebra_net import VertebraViews

CI = get_profile("ci")
KINDS = list(
    product(("lstm", "gru", "transformer", "none"), ("slices", "attention"), ("level", "study"))
)


def _net(**changes):
    torch.manual_seed(3)
    recipe = VertebraRecipe(frames=3, channels=3, outline=True, hidden=16, **changes)
    return build_vertebra_net(recipe, CI, "random").eval()


@pytest.mark.parametrize(("recurrent", "pooling", "scope"), KINDS)
def test_logits_of_every_kind(recurrent, pooling, scope):
    net = _net(recurrent=recurrent, pooling=pooling, scope=scope)
    lead = (2, 7) if scope == "study" else (2,)
    level = torch.arange(7).expand(2, 7) if scope == "study" else torch.tensor([0, 6])
    with torch.inference_mode():
        logits, weights = net.forward_with_attention(torch.rand(*lead, 3, 4, 32, 32), level)
    assert logits.shape == (*lead, 3 if pooling == "slices" else 1)
    assert weights.shape == (*lead, 3)
    assert torch.allclose(weights.sum(-1), torch.ones(lead), atol=1e-5)
    assert torch.isfinite(logits).all()
    if pooling == "slices":
        assert torch.allclose(weights, torch.full((*lead, 3), 1 / 3))


def test_a_study_is_one_sequence_and_levels_alone_are_not():
    """In a study's sequence, C1's images change what is said of C7; level by level nothing."""
    frames = torch.rand(1, 7, 3, 4, 32, 32)
    other = frames.clone()
    other[:, 0] = 1 - other[:, 0]
    level = torch.arange(7)[None]
    for recurrent in ("lstm", "gru", "transformer"):
        net = _net(recurrent=recurrent, scope="study")
        with torch.inference_mode():
            a, b = net(frames, level), net(other, level)
        assert not torch.equal(a[:, 6], b[:, 6])
    alone = _net(scope="level")
    with torch.inference_mode():
        a, b = alone(frames[0], level[0]), alone(other[0], level[0])
    assert torch.allclose(a[1:], b[1:], atol=1e-5) and not torch.allclose(a[0], b[0])


def test_the_net_is_told_the_level():
    net = _net()
    frames = torch.rand(1, 3, 4, 32, 32)
    with torch.inference_mode():
        a, b = net(frames, torch.tensor([1])), net(frames, torch.tensor([5]))
    assert not torch.allclose(a, b)


def test_spatial_dropout_leaves_out_whole_maps_while_training_only():
    net = _net(spatial_dropout=0.5)
    maps = torch.ones(2, 50, 3, 3)
    seen = net.train().spatial(maps)
    per_map = seen.flatten(2)
    assert ((per_map == 0).all(-1) | (per_map == 2).all(-1)).all() and (per_map == 0).any()
    assert torch.equal(net.eval().spatial(maps), maps)


def _frames():
    """uint8 (2, 3, 4, 40, 40): grey images, a square as the last channel."""
    torch.manual_seed(0)
    frames = torch.full((2, 3, 4, 40, 40), 120, dtype=torch.uint8)
    frames[..., 12:24, 10:26] = 200
    frames[:, :, -1] = 0
    frames[:, :, -1, 12:24, 10:26] = 255
    return frames


def test_an_outline_keeps_its_values_and_moves_with_the_images():
    ranges = Ranges(shift=0.1, turn_deg=0.0, zoom=0.0, brightness=0.4, contrast=0.5)
    seen = VertebraViews(32, True, ranges).view(_frames(), torch.Generator().manual_seed(5))
    outline, image = seen[:, :, -1], seen[:, :, 0]
    assert outline.max() == 1 and outline.min() == 0, "neither brighter nor darker"
    for b in range(2):
        inside, outside = outline[b, 0] == 1, outline[b, 0] == 0
        bone, rest = image[b, 0][inside], image[b, 0][outside]
        assert bone.std() < 1e-4 and rest.std() < 1e-4, "the square is where its outline is"
        assert bone.mean() > rest.mean()
        assert abs(float(rest.mean()) - 120 / 255) > 1e-3, "images did get brighter or darker"
    assert torch.equal(outline[:, 0], outline[:, 2]), "one view for all images of a level"
    assert not torch.equal(outline[0], outline[1]), "another one for the next"


def test_without_an_outline_all_channels_get_brighter_alike():
    frames = _frames()
    seen = VertebraViews(32, False, Ranges(brightness=0.4)).view(
        frames, torch.Generator().manual_seed(5)
    )
    kept = VertebraViews(32, True, Ranges(brightness=0.4)).view(
        frames, torch.Generator().manual_seed(5)
    )
    assert torch.equal(seen[:, :, :-1], kept[:, :, :-1])
    assert not torch.equal(seen[:, :, -1], kept[:, :, -1])


def test_the_plain_view_is_the_middle_of_levels_and_of_studies():
    frames, target = _frames(), object()
    views = VertebraViews(32, True)
    (seen, level), same = views((frames, "level"), target, None)
    assert torch.equal(seen, frames[..., 4:36, 4:36] / 255.0)
    assert (level, same) == ("level", target)
    study = frames[None].expand(3, -1, -1, -1, -1, -1)
    assert views.view(study, torch.Generator().manual_seed(0)).shape == (3, 2, 3, 4, 32, 32)
