"""Networks: shapes, what flags take away, attention that sums to one, losses by hand."""

import copy

import pytest
import torch

from cspine_lib.models import (
    AdditiveAttention,
    CropSequenceNet,
    LevelLocaliser,
    bce,
    generalised_iou,
    localiser_loss,
    ordered_box,
)
from cspine_lib.weights import create_encoder

TINY = "test_efficientnet.r160_in1k"


@pytest.fixture(scope="module")
def template():
    torch.manual_seed(0)
    return create_encoder(TINY, "random")


@pytest.fixture
def encoder(template):
    return copy.deepcopy(template)


def localiser_target(n):
    box = torch.tensor([[0.2, 0.3, 0.6, 0.8]]).repeat(n, 1)
    return {"levels": torch.ones(n, 7), "box": box, "has_box": torch.ones(n)}


# --- localiser


@pytest.mark.parametrize("px", [32, 48, 96])
def test_localiser_shapes(encoder, px):
    out = LevelLocaliser(encoder)(torch.rand(3, 3, px, px))
    assert out["levels"].shape == (3, 7)
    assert out["box"].shape == (3, 4)


def test_localiser_works_on_an_encoder_without_a_map():
    net = LevelLocaliser(create_encoder("test_vit.r160_in1k", "random")).eval()
    assert net(torch.rand(1, 3, 160, 160))["box"].shape == (1, 4)


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 1e4])
def test_boxes_are_in_order_and_inside_whatever_the_net_says(scale):
    raw = scale * torch.randn(2000, 4, generator=torch.Generator().manual_seed(1))
    box = ordered_box(raw)
    assert (box[:, :2] < box[:, 2:]).all()
    assert box.min() >= 0 and box.max() <= 1 + 1e-6
    assert box.isfinite().all()


def test_any_box_can_be_said():
    """Fit the four numbers to boxes in corners, wide and narrow."""
    true = torch.tensor([[0.0, 0.0, 0.1, 0.1], [0.9, 0.5, 1.0, 1.0], [0.05, 0.4, 0.95, 0.45]])
    raw = torch.zeros(3, 4, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        (ordered_box(raw) - true).abs().mean().backward()
        optimizer.step()
    torch.testing.assert_close(ordered_box(raw.detach()), true, atol=0.02, rtol=0)


def test_localiser_finds_a_bright_square(encoder):
    """The box head learns where things are, to a few pixels, on the images that it is shown."""
    generator = torch.Generator().manual_seed(2)
    corner = torch.randint(0, 40, (32, 2), generator=generator)
    images = 0.1 * torch.rand(32, 3, 64, 64, generator=generator)
    for image, (x, y) in zip(images, corner.tolist(), strict=True):
        image[:, y : y + 24, x : x + 24] = 1
    box = torch.cat([corner, corner + 24], dim=1) / 64
    target = {"levels": torch.zeros(32, 7), "box": box, "has_box": torch.ones(32)}
    torch.manual_seed(0)
    net = LevelLocaliser(encoder, dropout=0.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        localiser_loss(net(images), target).backward()
        optimizer.step()
    iou = generalised_iou(net(images)["box"], box)
    assert iou.median() > 0.75


# --- sequence net


@pytest.mark.parametrize("lstm", [True, False])
@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("level_embedding", [True, False])
def test_flags_give_working_nets(encoder, lstm, attention, level_embedding):
    net = CropSequenceNet(
        encoder, hidden=16, lstm=lstm, attention=attention, level_embedding=level_embedding
    )
    frames, level = torch.rand(2, 4, 3, 32, 32), torch.tensor([0, 6])
    logit, weights = net.forward_with_attention(frames, level if level_embedding else None)
    assert logit.shape == (2,) and weights.shape == (2, 4)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    logit.sum().backward()
    without = [n for n, p in net.named_parameters() if p.grad is None]
    assert not without, "a part of the net has no say"
    names = {n.split(".")[0] for n, _ in net.named_parameters()}
    assert ("lstm" in names) == lstm
    assert ("attention" in names) == attention
    assert ("level" in names) == level_embedding
    if not attention:
        torch.testing.assert_close(weights, torch.full((2, 4), 0.25))


def test_any_number_of_frames(encoder):
    net = CropSequenceNet(encoder, hidden=8).eval()
    for n in (1, 2, 16):
        assert net(torch.rand(2, n, 3, 32, 32), torch.tensor([1, 2])).shape == (2,)


def test_level_decides_only_with_its_embedding(encoder):
    frames = torch.rand(1, 4, 3, 32, 32)
    levels = torch.tensor([0]), torch.tensor([5])
    net = CropSequenceNet(encoder, hidden=8).eval()
    assert net(frames, levels[0]) != net(frames, levels[1])
    with pytest.raises(ValueError, match="give level"):
        net(frames)
    net = CropSequenceNet(encoder, hidden=8, level_embedding=False).eval()
    assert net(frames, levels[0]) == net(frames, levels[1]) == net(frames)


def test_studies_of_a_batch_do_not_mix(encoder):
    """Flattening B and T and back must not swap frames between samples."""
    net = CropSequenceNet(encoder, hidden=8).eval()
    frames, level = torch.rand(3, 4, 3, 32, 32), torch.tensor([0, 3, 6])
    together = net(frames, level)
    alone = torch.cat([net(frames[i : i + 1], level[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_order_of_frames_matters_to_the_lstm_alone(encoder):
    frames, level = torch.rand(1, 4, 3, 32, 32), torch.tensor([2])
    for lstm in (True, False):
        net = CropSequenceNet(encoder, hidden=8, lstm=lstm).eval()
        same = torch.allclose(net(frames, level), net(frames.flip(1), level), rtol=0, atol=1e-6)
        assert same != lstm


def test_attention_finds_the_step_that_decides():
    """One of six steps carries the label; attention learns where, a mean cannot see it well."""
    generator = torch.Generator().manual_seed(3)
    sequence = torch.randn(256, 6, 8, generator=generator)
    place = torch.randint(0, 6, (256,), generator=generator)
    label = torch.randint(0, 2, (256,), generator=generator).float()
    rows = torch.arange(256)
    sequence[rows, place, 0] = 4.0  # the mark
    sequence[rows, place, 1] = 6 * label - 3
    torch.manual_seed(0)
    attention, head = AdditiveAttention(8, 16), torch.nn.Linear(8, 1)
    parameters = [*attention.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    for _ in range(150):
        weights = attention(sequence)
        logit = head(torch.einsum("bt,btd->bd", weights, sequence)).squeeze(1)
        optimizer.zero_grad()
        bce(logit, label).backward()
        optimizer.step()
    assert (weights.argmax(1) == place).float().mean() > 0.9


# --- losses


def test_bce_by_hand():
    logits, target = torch.tensor([0.0, 2.0]), torch.tensor([1, 0])
    expected = (0.693147 + 2.126928) / 2
    assert bce(logits, target).item() == pytest.approx(expected, abs=1e-5)
    assert bce(logits, target, 2.0).item() == pytest.approx((2 * 0.693147 + 2.126928) / 2, abs=1e-5)


def test_generalised_iou_by_hand():
    a = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.25, 1.0], [0.1, 0.1, 0.3, 0.3]])
    b = torch.tensor([[0.25, 0.0, 0.75, 0.5], [0.75, 0.0, 1.0, 1.0], [0.1, 0.1, 0.3, 0.3]])
    # Overlap 1/8 of union 3/8 and hull = union; apart, union half of the hull; the same.
    torch.testing.assert_close(generalised_iou(a, b), torch.tensor([1 / 3, -0.5, 1.0]))


def test_perfect_localiser_has_no_loss():
    target = localiser_target(2)
    out = {"levels": torch.full((2, 7), 30.0), "box": target["box"].clone()}
    assert localiser_loss(out, target).item() == pytest.approx(0, abs=1e-6)


def test_box_loss_looks_only_where_there_is_a_box(encoder):
    target = localiser_target(3)
    target["has_box"] = torch.tensor([1.0, 0.0, 1.0])
    target["box"][1] = float("nan")
    out = {
        "levels": torch.zeros(3, 7),
        "box": torch.full((3, 4), 0.5) + torch.tensor([0, 0, 0.1, 0.1]),
    }
    loss = localiser_loss(out, target)
    chosen = [0, 2]
    same = localiser_loss(
        {k: v[chosen] for k, v in out.items()}, {k: v[chosen] for k, v in target.items()}
    )
    torch.testing.assert_close(loss, same)
    assert loss > localiser_loss(out, target, box_weight=0.0)


def test_batch_without_boxes_still_trains_the_levels(encoder):
    net = LevelLocaliser(encoder)
    target = localiser_target(2) | {"has_box": torch.zeros(2), "box": torch.full((2, 4), torch.nan)}
    loss = localiser_loss(net(torch.rand(2, 3, 48, 48)), target)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
    assert net.levels.weight.grad.abs().sum() > 0
