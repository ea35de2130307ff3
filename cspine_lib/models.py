"""The networks of deck B: a level localiser and a sequence net over crops.

Shapes: B batch, T frames, C channels (3: a slice and its neighbours), F encoder
features, D projected features, H hidden units of one LSTM direction.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.weights import Encoder

BOX_GRID = 4
"""The box head sees the feature map pooled to this many cells a side."""


class LevelLocaliser(nn.Module):
    """Stage 1: which levels a slice shows, and the box around them.

    The deck regresses the box from the pooled vector.  Pooling throws the place
    away, so here the box head reads a coarse map, where the encoder has one.
    """

    def __init__(self, encoder: Encoder, dropout: float = 0.2, box_channels: int = 32) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.levels = nn.Linear(encoder.out_features, N_LEVELS)
        self.box: nn.Module
        if encoder.map_features is None:
            self.box = nn.Linear(encoder.out_features, 4)
        else:
            self.box = nn.Sequential(
                nn.Conv2d(encoder.map_features, box_channels, 1),
                nn.AdaptiveAvgPool2d(BOX_GRID),
                nn.Flatten(),
                nn.Hardswish(),
                nn.Linear(box_channels * BOX_GRID**2, 4),
            )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Slices → level logits and boxes.

        Args:
            images: (B, C, P, P) floats in 0..1.

        Returns:
            ``levels``: (B, 7) logits, C1 first.  ``box``: (B, 4) as x0, y0, x1, y1
            in 0..1 of the image's width and height, always x0 < x1 and y0 < y1.
        """
        feature_map = self.encoder.forward_map(images)  # (B, F, h, w)
        pooled = self.encoder.pool(feature_map)  # (B, F)
        raw = self.box(pooled if self.encoder.map_features is None else feature_map)  # (B, 4)
        return {"levels": self.levels(self.dropout(pooled)), "box": ordered_box(raw)}


def ordered_box(raw: Tensor) -> Tensor:
    """Any four numbers (B, 4) → a box inside the unit square, in order by construction.

    The first two place the box within the room that its size leaves, the other two
    are its size.
    """
    place, size = raw.float().sigmoid().split(2, dim=1)  # (B, 2) each, x then y
    # The floor keeps x0 and x1 apart in 32-bit arithmetic.
    size = 1e-3 + (1 - 1e-3) * size
    start = place * (1 - size)
    return torch.cat([start, start + size], dim=1)


class CropSequenceNet(nn.Module):
    """Stage 2: is this vertebra broken, from a sequence of 2.5D crops.

    Encoder per frame, projection, bidirectional LSTM over the frames, additive
    attention (Bahdanau et al. 2015, arXiv 1409.0473) that weighs them, one logit.
    Flags take pieces away: without LSTM the features go straight to the pooling,
    without attention the pooling is a mean.
    """

    def __init__(
        self,
        encoder: Encoder,
        hidden: int = 128,
        *,
        lstm: bool = True,
        attention: bool = True,
        level_embedding: bool = True,
        projection: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.project = nn.Sequential(
            nn.Linear(encoder.out_features, projection), nn.LayerNorm(projection), nn.GELU()
        )
        self.level = nn.Embedding(N_LEVELS, projection) if level_embedding else None
        self.dropout = nn.Dropout(dropout)
        self.lstm = None
        self.shortcut: nn.Module = nn.Identity()
        width = projection
        if lstm:
            self.lstm = nn.LSTM(projection, hidden, batch_first=True, bidirectional=True)
            width = 2 * hidden
            # A way around the LSTM: the encoder learns from the first step on, not only once
            # the LSTM lets something through (deck: none; level AUROC 0.86 for 0.73 half-way).
            if width != projection:
                self.shortcut = nn.Linear(projection, width)
        self.attention = AdditiveAttention(width, hidden) if attention else None
        self.head = nn.Linear(width, 1)

    def forward(self, frames: Tensor, level: Tensor | None = None) -> Tensor:
        """Crops (B, T, C, H, W), level index (B,) with C1 = 0 → logits (B,).

        Raises:
            ValueError: the net has a level embedding and no level was given.
        """
        return self.forward_with_attention(frames, level)[0]

    def forward_with_attention(
        self, frames: Tensor, level: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As ``forward``; also the weight of each frame, (B, T), summing to 1."""
        batch, n_frames = frames.shape[:2]
        images = frames.flatten(0, 1)  # (B, T, C, H, W) → (B·T, C, H, W)
        features = self.encoder(images)  # (B·T, F)
        features = self.project(features)  # (B·T, D)
        features = features.unflatten(0, (batch, n_frames))  # (B, T, D)
        if self.level is not None:
            if level is None:
                raise ValueError("this net was built with level_embedding: give level (B,)")
            features = features + self.level(level)[:, None]  # (B, 1, D) over all frames
        features = self.dropout(features)
        if self.lstm is not None:
            after, _ = self.lstm(features)  # (B, T, 2·H)
            features = self.shortcut(features) + after
        if self.attention is not None:
            weights = self.attention(features)  # (B, T)
        else:
            weights = features.new_full((batch, n_frames), 1 / n_frames)
        summary = torch.einsum("bt,btd->bd", weights, features)
        return self.head(self.dropout(summary)).squeeze(1), weights


class AdditiveAttention(nn.Module):
    """Weights of the steps of a sequence: softmax over v · tanh(W x)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, sequence: Tensor) -> Tensor:
        """(B, T, D) → (B, T), each row summing to 1."""
        return self.score(self.hidden(sequence).tanh()).squeeze(2).float().softmax(dim=1)


# --- losses


def bce(logits: Tensor, target: Tensor, pos_weight: float = 1.0) -> Tensor:
    """Mean binary cross-entropy of logits, shapes alike; positives count ``pos_weight``."""
    weight = torch.tensor(pos_weight, device=logits.device)
    return functional.binary_cross_entropy_with_logits(
        logits.float(), target.float(), pos_weight=weight
    )


def localiser_loss(
    out: Mapping[str, Tensor], target: Mapping[str, Tensor], box_weight: float = 2.0
) -> Tensor:
    """Stage 1's loss: BCE of the levels plus ``box_weight`` × loss of the box.

    The box loss is smooth L1 (what the deck's regression amounts to) plus 1 - GIoU
    (Rezatofighi et al. 2019), averaged over the slices that have a box.

    Args:
        out: as ``LevelLocaliser`` gives.
        target: ``levels`` (B, 7), ``box`` (B, 4) in 0..1, ``has_box`` (B,).  Boxes of
            slices without one are not looked at; they may be NaN.
    """
    loss = bce(out["levels"], target["levels"])
    keep = target["has_box"].bool()
    # A selection, not a product: 0 × NaN would be NaN.  Summed over a selection that may
    # be empty, so that no batch is without gradient for the box head.
    box, true = out["box"].float()[keep], target["box"].float()[keep]
    near = functional.smooth_l1_loss(box, true, beta=0.05, reduction="none").mean(dim=1)
    box_loss = (near + 1 - generalised_iou(box, true)).sum() / max(len(box), 1)
    return loss + box_weight * box_loss


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU of boxes (B, 4) x0, y0, x1, y1, row by row: (B,) in (-1, 1]."""
    area_a, area_b = (box[:, 2:] - box[:, :2] for box in (a, b))  # sizes (B, 2)
    inside = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    overlap, hull_area = inside.prod(1), hull.prod(1)
    union = area_a.prod(1) + area_b.prod(1) - overlap
    return overlap / union - (hull_area - union) / hull_area
