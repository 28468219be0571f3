"""Deformable attention's sampling, twice: as one weighted sum for training, as plain gathers for export.

Both take the arguments of transformers' `multi_scale_deformable_attention_v2` and give its results: bilinear,
with zeros outside, as `grid_sample(align_corners=False)`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DFineConfig
from transformers.models.d_fine.modeling_d_fine import DFineMultiscaleDeformableAttention

Shapes = list[tuple[int, int]]
Sampling = Callable[[Tensor, Shapes, Tensor, Tensor, list[int]], Tensor]


def neighbours(
    shapes: Shapes, locations: Tensor, weights: Tensor, points: list[int]
) -> tuple[Tensor, Tensor]:
    """The four tokens around every sampling point, and how much of each is wanted.

    locations (B, Q, heads, P, 2), weights (B, Q, heads, P), P the points of all levels in turn: tokens int64
    and shares, both (B, Q, heads, 4 P). A token outside the page has a share of zero.
    """
    device = locations.device
    level = [i for i, count in enumerate(points) for _ in range(count)]
    starts = [sum(height * width for height, width in shapes[:i]) for i in level]
    start = torch.tensor(starts, device=device)
    height, width = (torch.tensor([shapes[i][axis] for i in level], device=device) for axis in (0, 1))
    place = locations * torch.stack([width, height], -1) - 0.5
    corner = place.detach().floor()
    x, y = (place - corner).unbind(-1)
    column, row = corner.long().unbind(-1)
    tokens, shares = [], []
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        c, r = column + dx, row + dy
        inside = (c >= 0) & (c < width) & (r >= 0) & (r < height)
        tokens.append(start + r.clamp(min=0).minimum(height - 1) * width + c.clamp(min=0).minimum(width - 1))
        shares.append((x if dx else 1 - x) * (y if dy else 1 - y) * inside * weights)
    return torch.cat(tokens, -1), torch.cat(shares, -1)


def bag_sampling(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, points: list[int]
) -> Tensor:
    """All that a query samples as one bag of weighted rows.

    value (B, M, heads, D), locations (B, Q, heads, P, 2) in [0, 1], weights (B, Q, heads, P) to
    (B, Q, heads * D). Forward and backward of 8 pages, 160 queries, 4 heads of 32 on a core: 25 ms,
    where transformers' own takes 56 ms.
    """
    batch, total, heads, depth = value.shape
    tokens, shares = neighbours(shapes, locations, weights, points)
    page = torch.arange(batch, device=value.device).view(-1, 1, 1, 1) * total
    rows = (page + tokens) * heads + torch.arange(heads, device=value.device).view(1, 1, -1, 1)
    summed = F.embedding_bag(
        rows.flatten(0, 2), value.reshape(-1, depth), mode="sum", per_sample_weights=shares.flatten(0, 2)
    )
    return summed.view(batch, -1, heads * depth)


def gather_sampling(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, points: list[int]
) -> Tensor:
    """The same by one gather: TensorRT miscompiles GridSample here, and has no bags."""
    tokens, shares = neighbours(shapes, locations, weights, points)
    queries, depth = locations.shape[1], value.shape[-1]
    index = tokens.transpose(1, 2).flatten(2).unsqueeze(-1).expand(-1, -1, -1, depth)
    taken = value.transpose(1, 2).gather(2, index).unflatten(2, (queries, -1))  # (B, heads, Q, 4 P, D)
    return (taken * shares.transpose(1, 2).unsqueeze(-1)).sum(3).transpose(1, 2).flatten(2)


class DeformableAttention(DFineMultiscaleDeformableAttention):
    """transformers' cross-attention with a sampling to choose, without a check that cannot be exported.

    Parameters and their names are transformers'.
    """

    def __init__(self, config: DFineConfig) -> None:
        super().__init__(config)
        self.sampling: Sampling = bag_sampling

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, hidden_states: Tensor, encoder_hidden_states: Tensor, reference_points: Tensor, **shapes
    ) -> tuple[Tensor, Tensor]:
        """Queries (B, Q, d), tokens (B, M, d), reference boxes (B, Q, 1, 4): (B, Q, d) and the weights."""
        points = sum(self.num_points_list)
        value = encoder_hidden_states.unflatten(-1, (self.n_heads, -1))
        offsets = self.sampling_offsets(hidden_states).unflatten(-1, (self.n_heads, points, 2))
        weights = self.attention_weights(hidden_states).unflatten(-1, (self.n_heads, points)).softmax(-1)
        boxes = reference_points[:, :, None]  # (B, Q, 1, 1, 4)
        reach = offsets * self.num_points_scale[:, None] * boxes[..., 2:] * self.offset_scale
        listed = shapes["spatial_shapes_list"]
        attended = self.sampling(value, listed, boxes[..., :2] + reach, weights, self.num_points_list)
        return attended, weights


def make_choosable(decoder: nn.Module, config: DFineConfig) -> None:
    """Put `DeformableAttention` with the same weights in place of every layer's cross-attention."""
    for layer in decoder.layers:  # type: ignore[union-attr]
        attention = DeformableAttention(config)
        attention.load_state_dict(layer.encoder_attn.state_dict())
        layer.encoder_attn = attention


def choose(decoder: nn.Module, sampling: Sampling) -> None:
    """Make every layer sample by `sampling`."""
    for layer in decoder.layers:  # type: ignore[union-attr]
        layer.encoder_attn.sampling = sampling
