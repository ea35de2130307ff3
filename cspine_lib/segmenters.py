"""U-Nets that name the level of every voxel or pixel, their loss and their score.

The first place of the challenge cuts vertebrae out with a 3D U-Net, the second with a 2.5D
U-Net on an EfficientNet.  The 3D network is MONAI's, the 2.5D one is that of
segmentation-models-pytorch, which takes any timm encoder: each library serves one better.
Classes: 0 is everything else, 1–7 are C1–C7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.config import Weights
from cspine_lib.errors import CspineError
from cspine_lib.torchvision_shim import ensure_torchvision
from cspine_lib.weights import create_encoder

N_CLASSES = N_LEVELS + 1
CHANNELS_3D = (16, 32, 64, 128)
DECODER_25D = (96, 64, 32, 16, 16)
STRIDE = 32
"""A 2.5D U-Net halves its input five times: sides are filled up to a multiple of this."""


class VoxelSegmenter(nn.Module):
    """3D U-Net (Çiçek et al., MICCAI 2016): cubes (B, 1, D, H, W) → logits (B, 8, D, H, W).

    Nine voxels in ten show none of the levels.  Its output starts at the shares of the
    classes, or it would spend most of a short training on learning that.

    Args:
        shares: (8,) of the classes among the voxels of the training masks.
    """

    def __init__(self, shares: npt.ArrayLike | None = None) -> None:
        super().__init__()
        unet = _import("monai.networks.nets.unet", "monai").UNet
        self.net: nn.Module = unet(
            spatial_dims=3,
            in_channels=1,
            out_channels=N_CLASSES,
            channels=CHANNELS_3D,
            strides=(2,) * (len(CHANNELS_3D) - 1),
        )
        self.bias = nn.Parameter(_starting_bias(shares))

    def forward(self, cubes: Tensor) -> Tensor:
        """Floats in 0..1 → logits."""
        return self.net(cubes) + self.bias[:, None, None, None]


class SliceSegmenter(nn.Module):
    """2.5D U-Net on a timm encoder: slices (B, 3, P, P) in 0..1 → logits (B, 8, P, P).

    Args:
        shares: (8,) of the classes among the pixels of the training masks, see above.

    Attributes:
        weights_used: as of ``weights.Encoder``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str,
        weights: Weights = "imagenet",
        shares: npt.ArrayLike | None = None,
    ) -> None:
        super().__init__()
        ensure_torchvision()
        smp = _import("segmentation_models_pytorch", "segmentation-models-pytorch")
        self.net: nn.Module = smp.Unet(
            encoder_name=f"tu-{backbone}",
            encoder_weights=None,
            classes=N_CLASSES,
            decoder_channels=DECODER_25D,
        )
        source = create_encoder(backbone, weights)
        self.weights_used, self.weights_kind = source.weights_used, source.weights_kind
        self.register_buffer("mean", source.mean.clone(), persistent=False)
        self.register_buffer("std", source.std.clone(), persistent=False)
        if source.weights_kind == "imagenet":
            _copy_encoder(source.net, self.net.encoder.model)
        with torch.no_grad():
            self.net.segmentation_head[0].bias.copy_(_starting_bias(shares))

    def forward(self, images: Tensor) -> Tensor:
        """Floats in 0..1 → logits."""
        side = images.shape[-1]
        fill = -side % STRIDE
        x = functional.pad((images - self.mean) / self.std, (0, fill, 0, fill))
        return self.net(x)[..., :side, :side]


def _starting_bias(shares: npt.ArrayLike | None) -> Tensor:
    """(8,) log of each class's share: what a network should say before it has learned."""
    share = np.full(N_CLASSES, 1 / N_CLASSES) if shares is None else np.asarray(shares)
    return torch.from_numpy(np.log(np.maximum(share, 1e-5))).float()


def _copy_encoder(source: nn.Module, target: nn.Module) -> None:
    """Pretrained weights into a U-Net's encoder; all that it has must be found."""
    state = source.state_dict()
    missing = [name for name in target.state_dict() if name not in state]
    if missing:
        raise CspineError(f"pretrained weights lack {missing[0]}: choose another backbone")
    target.load_state_dict({name: state[name] for name in target.state_dict()})


def _import(module: str, package: str) -> Any:
    """A library that only these methods need.

    Raises:
        CspineError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise CspineError(
            f"segmenting needs {package}: pip install {package}, or choose a method without it"
        ) from None


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus one minus the soft Dice, meant over the levels that are there.

    Args:
        logits: (B, 8, …).
        labels: (B, …) whole numbers 0–7.
    """
    target = labels.long()
    entropy = functional.cross_entropy(logits.float(), target)
    p = logits.float().softmax(dim=1)[:, 1:].flatten(2)  # (B, 7, N)
    one_hot = functional.one_hot(target, N_CLASSES).movedim(-1, 1)[:, 1:].flatten(2).float()
    both = (p * one_hot).sum(dim=(0, 2))
    size = p.sum(dim=(0, 2)) + one_hot.sum(dim=(0, 2))
    there = one_hot.sum(dim=(0, 2)) > 0
    dice = (2 * both + 1) / (size + 1)
    return entropy + (1 - dice)[there].sum() / there.sum().clamp(min=1)


def dice_by_level(found: npt.ArrayLike, truth: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Dice of C1–C7, (7,); NaN for a level that neither shows.

    Args:
        found, truth: whole numbers of one shape, 1–7 for C1–C7.

    Raises:
        CspineError: shapes that differ.
    """
    a, b = np.asarray(found), np.asarray(truth)
    if a.shape != b.shape:
        raise CspineError(f"a Dice needs two masks of one shape, got {a.shape} and {b.shape}")
    out = np.full(N_LEVELS, np.nan)
    for k in range(N_LEVELS):
        size = int((a == k + 1).sum()) + int((b == k + 1).sum())
        if size:
            out[k] = 2 * float(((a == k + 1) & (b == k + 1)).sum()) / size
    return out
