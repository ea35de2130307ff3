"""The winners' sequence net: images of a vertebra, or of all seven, to logits.

Shapes: B batch, L levels (1, or 7 for a study), T images of a level, C channels, F encoder
features, D projected features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.augment import DEFAULT, Ranges, look, random_views, to_float
from cspine_lib.models import AdditiveAttention
from cspine_lib.recipes import VertebraRecipe
from cspine_lib.weights import Encoder

PROJECTION = 256
HEADS = 4
"""Of a Transformer layer's attention."""


class VertebraNet(nn.Module):
    """Encoder per image, recurrent net or Transformer over the sequence, logits.

    Args:
        recipe: which sequence net, which pooling, one level or a study.
        frames: longest sequence T of one level (a Transformer learns its places); of two
            planes the first half is one's and the second the other's.
    """

    def __init__(self, encoder: Encoder, recipe: VertebraRecipe, frames: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.recipe = recipe
        self.spatial = nn.Dropout2d(recipe.spatial_dropout)
        self.project = nn.Sequential(
            nn.Linear(encoder.out_features, PROJECTION), nn.LayerNorm(PROJECTION), nn.GELU()
        )
        self.level = nn.Embedding(N_LEVELS, PROJECTION)
        self.side = nn.Embedding(2, PROJECTION) if recipe.plane == "both" else None
        self.dropout = nn.Dropout(recipe.dropout)
        self.sequence, width = _sequence_net(recipe, frames)
        # A way around the sequence net, so that the encoder learns from the first step on.
        self.shortcut = nn.Linear(PROJECTION, width)
        self.attention = (
            AdditiveAttention(width, recipe.hidden) if recipe.pooling == "attention" else None
        )
        self.head = nn.Linear(width, 1)

    def forward(self, frames: Tensor, level: Tensor) -> Tensor:
        """Images → logits whose mean over the last axis is the level's.

        Args:
            frames: one level, (B, T, C, H, W), with ``level`` (B,), 0 for C1; or a study,
                (B, 7, T, C, H, W), with ``level`` (B, 7).

        Returns:
            (B, n) or (B, 7, n); n = T for pooling ``slices``, else 1.
        """
        return self.forward_with_attention(frames, level)[0]

    def forward_with_attention(self, frames: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward``; also the weight of each image, (B, T) or (B, 7, T)."""
        many = frames.ndim == 6
        if not many:
            frames, level = frames[:, None], level[:, None]
        batch, levels, n = frames.shape[:3]
        images = frames.flatten(0, 2)  # (B·L·T, C, H, W)
        features = self.encoder.pool(self.spatial(self.encoder.forward_map(images)))
        features = self.project(features).unflatten(0, (batch, levels, n))  # (B, L, T, D)
        features = features + self.level(level)[:, :, None]
        if self.side is not None:
            features = features + self.side.weight.repeat_interleave(n // 2, dim=0)
        features = self.dropout(features)
        line = features.flatten(1, 2)  # (B, L·T, D): a study's levels follow each other
        line = self.shortcut(line) + self._in_context(line)
        out = self.dropout(line.unflatten(1, (levels, n)))  # (B, L, T, width)
        if self.attention is None:
            logits = self.head(out).squeeze(3)  # (B, L, T)
            weights = torch.full_like(logits, 1 / n)
        else:
            weights = self.attention(out.flatten(0, 1)).unflatten(0, (batch, levels))
            logits = self.head(torch.einsum("blt,bltd->bld", weights, out))  # (B, L, 1)
        return (logits, weights) if many else (logits[:, 0], weights[:, 0])

    def _in_context(self, line: Tensor) -> Tensor:
        if self.sequence is None:
            return torch.zeros_like(self.shortcut(line))
        if isinstance(self.sequence, nn.RNNBase):
            return self.sequence(line)[0]
        return self.sequence(line)


class _Transformer(nn.Module):
    """Transformer layers over a sequence whose places are learned."""

    def __init__(self, width: int, layers: int, length: int, dropout: float) -> None:
        super().__init__()
        self.place = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(
            width, HEADS, 2 * width, dropout, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, line: Tensor) -> Tensor:
        """(B, N, D) → (B, N, D)."""
        return self.layers(line + self.place[: line.shape[1]])


def _sequence_net(recipe: VertebraRecipe, frames: int) -> tuple[nn.Module | None, int]:
    """The net over a sequence, and its width."""
    if recipe.recurrent == "none":
        return None, PROJECTION
    if recipe.recurrent == "transformer":
        length = frames * (N_LEVELS if recipe.scope == "study" else 1)
        return _Transformer(PROJECTION, recipe.layers, length, recipe.dropout), PROJECTION
    kind: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU}
    net = kind[recipe.recurrent](
        PROJECTION,
        recipe.hidden,
        recipe.layers,
        batch_first=True,
        bidirectional=True,
        dropout=recipe.dropout if recipe.layers > 1 else 0.0,
    )
    return net, 2 * recipe.hidden


class VertebraViews:
    """One random view for all images of a level, in the form that the fit loop asks for.

    The outline moves with the images and keeps its brightness.

    Args:
        px: side of what the network sees.
        outline: whether the last channel is one.
    """

    def __init__(self, px: int, outline: bool, ranges: Ranges = DEFAULT) -> None:
        self.px, self.outline, self.ranges = px, outline, ranges

    def __call__(
        self, inputs: tuple[Tensor, ...], targets: Any, generator: torch.Generator | None
    ) -> tuple[tuple[Tensor, ...], Any]:
        """((frames uint8 (…, T, C, S, S), level), targets) → floats in 0..1, (…, px, px)."""
        frames, *rest = inputs
        return (self.view(frames, generator), *rest), targets

    def view(self, frames: Tensor, generator: torch.Generator | None) -> Tensor:
        """The plain view without a generator: the middle."""
        size = frames.shape[-1]
        if generator is None:
            cut = (size - self.px) // 2
            return to_float(frames[..., cut : cut + self.px, cut : cut + self.px])
        lead, (t, c) = frames.shape[:-4], frames.shape[-4:-2]
        flat = to_float(frames).reshape(-1, t * c, size, size)
        views = random_views(len(flat), generator, self.ranges)
        seen = look(flat, views.matrix(self.px / size), self.px)
        bright = views.brighten(seen).reshape(*lead, t, c, self.px, self.px)
        if self.outline:
            plain = seen.reshape(*lead, t, c, self.px, self.px)
            bright[..., -1, :, :] = plain[..., -1, :, :]
        return bright
