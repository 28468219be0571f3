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
NEIGHBOURS = ((0, 0), (1, 0), (0, 1), (1, 1))


def bag_sampling(
    value: Tensor,
    shapes: Shapes,
    locations: Tensor,
    weights: Tensor,
    points: list[int],
    method: str = "default",
) -> Tensor:
    """All levels, points and neighbours of a query as one bag of weighted rows.

    value (B, M, heads, D), locations (B, Q, heads, P, 2) in [0, 1], weights (B, Q, heads, P) to
    (B, Q, heads * D). Forward and backward of 8 pages, 160 queries, 4 heads of 32 on a core: 25 ms,
    where transformers' own takes 56 ms.
    """
    batch, tokens, heads, depth = value.shape
    device = value.device
    counts = torch.tensor(points, device=device)
    size = torch.tensor(shapes, device=device).flip(1).repeat_interleave(counts, 0)  # (P, 2) width, height
    areas = torch.tensor([height * width for height, width in shapes], device=device)
    start = (areas.cumsum(0) - areas).repeat_interleave(counts)  # (P,) first token of the point's level
    place = locations * size - 0.5
    corner = place.detach().floor()
    x, y = (place - corner).unbind(-1)
    column, row = corner.long().unbind(-1)
    width, height = size.unbind(-1)
    page = torch.arange(batch, device=device).view(-1, 1, 1, 1) * tokens + start
    head = torch.arange(heads, device=device).view(1, 1, -1, 1)
    rows, shares = [], []
    for dx, dy in NEIGHBOURS:
        c, r = column + dx, row + dy
        inside = (c >= 0) & (c < width) & (r >= 0) & (r < height)
        token = r.clamp(min=0).minimum(height - 1) * width + c.clamp(min=0).minimum(width - 1)
        rows.append((page + token) * heads + head)
        shares.append((x if dx else 1 - x) * (y if dy else 1 - y) * inside * weights)
    bags = locations.shape[1] * batch * heads
    summed = F.embedding_bag(
        torch.cat(rows, -1).view(bags, -1),
        value.reshape(-1, depth),
        mode="sum",
        per_sample_weights=torch.cat(shares, -1).view(bags, -1),
    )
    return summed.view(batch, -1, heads * depth)


def gather_sampling(
    value: Tensor,
    shapes: Shapes,
    locations: Tensor,
    weights: Tensor,
    points: list[int],
    method: str = "default",
) -> Tensor:
    """The same by four gathers a level: TensorRT miscompiles GridSample here, and has no bags."""
    queries = locations.shape[1]
    levels = value.split([height * width for height, width in shapes], dim=1)
    total = value.new_zeros(())
    for (height, width), level, place, weight in zip(
        shapes, levels, locations.split(points, dim=3), weights.split(points, dim=3), strict=True
    ):
        flat = level.permute(0, 2, 1, 3)  # (B, heads, H * W, D)
        x, y = (place.permute(0, 2, 1, 3, 4) * place.new_tensor([width, height]) - 0.5).unbind(-1)
        left, top = x.floor(), y.floor()  # (B, heads, Q, P)
        for dx, dy in NEIGHBOURS:
            column, row = left + dx, top + dy
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            share = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside * weight.permute(0, 2, 1, 3)
            index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            taken = flat.gather(2, index.flatten(2).unsqueeze(-1).expand(-1, -1, -1, flat.shape[-1]))
            total = total + (taken.unflatten(2, (queries, -1)) * share.unsqueeze(-1)).sum(3)
    return total.permute(0, 2, 1, 3).flatten(2)


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
