"""Time and memory of one training step of each network, found out before a long run.

Memory is counted, not used: a forward pass on torch's ``meta`` device computes nothing and
still names every tensor that the backward pass will need.  Time is measured: two steps of
the real size on the device that will train.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.config import Profile, device_name
from cspine_lib.cubes import spine_spec
from cspine_lib.dlc_method import build_dlc_net
from cspine_lib.models3d import NeckCNN3D
from cspine_lib.neck_windows import build_neck_net
from cspine_lib.recipes import Recipe, VertebraRecipe
from cspine_lib.resident import on_device
from cspine_lib.segmenters import SliceSegmenter, VoxelSegmenter
from cspine_lib.slice_method import build_slice_classifier
from cspine_lib.slice_stacks import stack_px
from cspine_lib.stage1 import build_localiser
from cspine_lib.stage2 import build_classifier
from cspine_lib.vertebra_fit import build_vertebra_net, view_of
from cspine_lib.visibility import build_visibility_net

COPIES = 4
"""Of each weight while training: itself, its gradient, AdamW's two moments."""
TIMED_BYTES = 2e9
"""Activations of a timed step: a larger batch is timed by a part of it."""


@dataclass(frozen=True)
class Cost:
    """Of one network.

    Args:
        train_s, infer_s: seconds per sample; NaN where they were not measured.
        sample_bytes: activations of a training step per sample.
        weight_bytes: of the weights alone.
    """

    train_s: float
    infer_s: float
    sample_bytes: float
    weight_bytes: float

    def step_bytes(self, batch: int) -> float:
        """Memory of a training step."""
        return COPIES * self.weight_bytes + batch * self.sample_bytes


def cost_of(network: str, recipe: Recipe, profile: Profile, *, timed: bool = True) -> Cost:
    """What a network of a profile costs on the device that would train it."""
    build, shape = _network(network, recipe, profile)
    model = build()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    saved = _saved_bytes(build().to("meta"), _inputs(shape, 2, "meta")) / 2
    if not timed:
        return Cost(float("nan"), float("nan"), saved, weights)
    batch = int(min(max(TIMED_BYTES // saved, 1), 8))
    device = torch.device(device_name())
    model = on_device(model, device)
    inputs = _inputs(shape, max(batch, 2), str(device))
    train_s = _timed(lambda: _step(model.train(), inputs), device)
    with torch.inference_mode():
        infer_s = _timed(lambda: model.eval()(*inputs), device)
    return Cost(train_s / len(inputs[0]), infer_s / len(inputs[0]), saved, weights)


def network_inputs(
    network: str, recipe: Recipe, profile: Profile
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network of a profile and one sample, both without memory (torch's ``meta`` device)."""
    build, shape = _network(network, recipe, profile)
    with torch.device("meta"):
        return build().eval(), _inputs(shape, 1, "meta")


def _network(
    name: str, recipe: Recipe, profile: Profile
) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    """How it is built, and the shape of one sample."""
    low, px = profile.localiser_px, stack_px(profile)
    seen = min(profile.dlc_px, stack_px(profile))
    frames = recipe.sequence.frames or profile.frames
    if recipe.kind in ("segmented", "neck_sequence"):
        return _winner(name, recipe, profile)
    table: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
        "cube": (NeckCNN3D, (1, *(profile.cube_px,) * 3)),
        "spine_cube": (NeckCNN3D, (1, *spine_spec(profile).shape_zyx)),
        "localiser": (lambda: build_localiser(profile, "random"), (3, low, low)),
        "visibility": (lambda: build_visibility_net(profile, "random"), (3, low, low)),
        "detector": (lambda: build_visibility_net(profile, "random"), (3, low, low)),
        "dlc": (lambda: build_dlc_net(profile, "random"), (3, seen, seen)),
        "dlc_single": (lambda: build_dlc_net(profile, "random"), (3, seen, seen)),
        "slices1": (lambda: build_slice_classifier(profile, 1, "random"), (3, px, px)),
        "slices2": (lambda: build_slice_classifier(profile, 2, "random"), (3, px, px)),
        "sequence": (
            lambda: build_classifier(profile, recipe.sequence, "random"),
            (frames, 3, profile.crop_px, profile.crop_px),
        ),
    }
    return table[name]


def _winner(
    name: str, recipe: Recipe, profile: Profile
) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    """The same for the networks of the challenge's winners."""
    part, low = recipe.vertebra or VertebraRecipe(), profile.localiser_px
    view = view_of(part, profile)
    one = (view.images, view.depth, view.px, view.px)
    table: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
        "unet3d": (VoxelSegmenter, (1, *(profile.seg_px,) * 3)),
        "unet25d": (lambda: SliceSegmenter(profile.backbone, "random"), (3, low, low)),
        "vertebrae": (
            lambda: build_vertebra_net(part, profile, "random"),
            (N_LEVELS, *one) if part.scope == "study" else one,
        ),
        "neck_sequence": (
            lambda: _OneInput(build_neck_net(profile, "random")),
            (profile.neck_frames, 3, profile.neck_px, profile.neck_px),
        ),
    }
    return table[name]


class _OneInput(nn.Module):
    """A net over a sequence that is not told a level."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor, level: Tensor) -> Tensor:
        return self.net(frames)


def _inputs(shape: tuple[int, ...], batch: int, device: str) -> tuple[Tensor, ...]:
    images = torch.zeros((batch, *shape), device=device)
    if len(shape) == 4 and shape[0] > 1:  # a sequence comes with its level
        return images, torch.zeros(batch, dtype=torch.long, device=device)
    if len(shape) == 5:  # and a study's with all seven
        return images, torch.arange(N_LEVELS, device=device).expand(batch, -1)
    return (images,)


def _leaves(out: Any) -> list[Tensor]:
    return list(out.values()) if isinstance(out, dict) else [out]


def _step(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    loss = sum(leaf.float().square().mean() for leaf in _leaves(model(*inputs)))
    assert isinstance(loss, Tensor)
    loss.backward()
    model.zero_grad()


def _saved_bytes(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """What the backward pass will need, each storage once."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage._cdata] = storage.nbytes()
        return tensor

    own = {p.untyped_storage()._cdata for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = model.train()(*inputs)
        kept = sum(size for storage, size in seen.items() if storage not in own)
    del out
    return float(kept)


def _timed(work: Callable[[], Any], device: torch.device, repeats: int = 2) -> float:
    """Seconds of a call, the best of some after a first one."""
    best = float("inf")
    for k in range(1 + repeats):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if k:
            best = min(best, time.perf_counter() - started)
    return best
