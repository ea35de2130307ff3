"""Deck B's 3D classifier: a whole neck in, eight logits out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from cspine_lib.anatomy import TARGETS


class ConvBlock3D(nn.Sequential):
    """Convolution, activation, pooling, normalisation: the slide's four layers in its order."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(2),
            nn.BatchNorm3d(out_channels),
        )


class NeckCNN3D(nn.Module):
    """Three 3D convolution blocks and a fully connected head (deck B, "3D classification model").

    The slide gives neither widths nor the size of the fully connected layers.  Flattened,
    28³ × 64 features of a 224³ volume would need hundreds of millions of weights, so the
    feature map is averaged to ``grid`` cells a side first, which keeps what is above and
    what is below.

    Args:
        widths: channels of the three blocks.
        grid: cells a side that the head sees.
        hidden: width of the fully connected layers.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64),
        grid: int = 4,
        hidden: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        ends = (1, *widths)
        self.blocks = nn.Sequential(*(ConvBlock3D(a, b) for a, b in pairwise(ends)))
        self.pool = nn.AdaptiveAvgPool3d(grid)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(widths[-1] * grid**3, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, len(TARGETS)),
        )

    def forward(self, volumes: Tensor) -> Tensor:
        """(B, 1, D, H, W) floats in 0..1 → logits (B, 8), ``patient_overall`` first."""
        features = self.blocks(volumes - 0.5)  # (B, C, D/8, H/8, W/8)
        return self.head(self.pool(features))
