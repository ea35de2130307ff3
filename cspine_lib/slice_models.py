"""Deck B's 2D classifiers: from one slice, which levels it shows and which are broken.

Shapes: B batch, F encoder features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.weights import Encoder


class VisibilityNet(nn.Module):
    """Which of C1–C7 a slice shows ("CNN model for vertebrae classification")."""

    def __init__(self, encoder: Encoder, dropout: float = 0.2) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.out_features, N_LEVELS))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, P, P) floats in 0..1 → logits (B, 7)."""
        return self.head(self.encoder(images))


class SliceClassifier(nn.Module):
    """Fracture and visibility of seven levels from one slice.

    Args:
        heads: 1 for deck B's single-head model, one layer of 14 outputs; 2 for its
            multi-head model, two fully connected heads side by side.
        hidden: width of the layer within each of two heads.
    """

    def __init__(
        self, encoder: Encoder, heads: int = 1, hidden: int = 128, dropout: float = 0.3
    ) -> None:
        super().__init__()
        if heads not in (1, 2):
            raise ValueError(f"one head or two, got {heads}")
        self.encoder = encoder
        width = encoder.out_features
        if heads == 1:
            self.heads = nn.ModuleList(
                [nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 2 * N_LEVELS))]
            )
        else:
            self.heads = nn.ModuleList(
                nn.Sequential(
                    nn.Dropout(dropout),
                    nn.Linear(width, hidden),
                    nn.ReLU(inplace=True),
                    nn.Linear(hidden, N_LEVELS),
                )
                for _ in range(2)
            )

    @torch.no_grad()
    def start_at(self, visible: float, fracture: float) -> None:
        """Let an untrained network say these probabilities of every level.

        Most outputs are zeros: without this the first half epoch goes into learning that
        (the prior of Lin et al., "Focal loss", arXiv 1708.02002, section 4.1).
        """
        logits = [math.log(p / (1 - p)) for p in (visible, fracture)]
        ends = [[m for m in head.modules() if isinstance(m, nn.Linear)][-1] for head in self.heads]
        biases = ends[0].bias.split(N_LEVELS) if len(ends) == 1 else [end.bias for end in ends]
        for bias, z in zip(biases, logits, strict=True):
            bias.fill_(z)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, P, P) floats in 0..1 → ``visible`` and ``fracture``, logits (B, 7) each."""
        return self.from_features(self.encoder(images))

    def from_features(self, features: Tensor) -> dict[str, Tensor]:
        """The encoder's features (B, F) → the same two tables."""
        if len(self.heads) == 1:
            visible, fracture = self.heads[0](features).split(N_LEVELS, dim=1)
        else:
            visible, fracture = (head(features) for head in self.heads)
        return {"visible": visible, "fracture": fracture}
