"""D-FINE as one graph from page to regions: what is exported and served."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from ml.models.dfine.boxes import corners
from ml.models.dfine.network import DFine
from ml.models.processor import Card


class DFineGraph(nn.Module):
    """The surest query-label pairs of a page, as many as there are queries."""

    input_names = ("image",)
    output_names = ("region_boxes", "region_scores", "region_labels")

    def __init__(self, network: DFine) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pages uint8 (B, H, W, 3) to boxes (B, N, 4) in their pixels, scores (B, N) and labels int64 (B, N)."""
        height, width = image.shape[1:3]
        queries = self.network(image).queries
        logits, boxes = queries.logits[-1], corners(queries.boxes[-1])  # (B, N, C), (B, N, 4)
        classes = logits.shape[-1]
        scores, places = logits.sigmoid().flatten(1).topk(logits.shape[1], dim=1)
        query = places // classes
        size = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
        chosen = boxes.gather(1, query.unsqueeze(-1).expand(-1, -1, 4)) * size
        return chosen, scores, places - query * classes  # no Mod: older TensorRT lacks it


def gather_sampling(
    value: Tensor,
    shapes: list[tuple[int, int]],
    locations: Tensor,
    weights: Tensor,
    points: list[int],
    method: str = "default",
) -> Tensor:
    """Deformable attention's sampling by four gathers in place of GridSample, which TensorRT miscompiles here.

    value (B, M, heads, D), locations (B, Q, heads, P, 2) in [0, 1], weights (B, Q, heads, P): (B, Q, heads * D).
    Bilinear with zeros outside, as `grid_sample(align_corners=False)`.
    """
    batch, queries, heads, _, _ = locations.shape
    levels = value.split([height * width for height, width in shapes], dim=1)
    parts = []
    for (height, width), level, place, weight in zip(
        shapes, levels, locations.split(points, dim=3), weights.split(points, dim=3), strict=True
    ):
        flat = level.permute(0, 2, 1, 3)  # (B, heads, H * W, D)
        place = place.permute(0, 2, 1, 3, 4)  # (B, heads, Q, P, 2)
        x, y = place[..., 0] * width - 0.5, place[..., 1] * height - 0.5
        left, top = x.floor(), y.floor()
        total = None
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            column, row = left + dx, top + dy
            share = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            share = share * inside.to(share.dtype) * weight.permute(0, 2, 1, 3)
            index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            index = index.flatten(2).unsqueeze(-1).expand(-1, -1, -1, flat.shape[-1])
            taken = flat.gather(2, index).reshape(batch, heads, queries, -1, flat.shape[-1])
            part = (taken * share.unsqueeze(-1)).sum(3)
            total = part if total is None else total + part
        parts.append(cast(Tensor, total))
    return torch.stack(parts).sum(0).permute(0, 2, 1, 3).flatten(2)


def graph_for(network: nn.Module, card: Card) -> DFineGraph:
    """The network as an exportable graph: a copy in evaluation mode whose sampling uses gathers."""
    del card  # its shape is in the example inputs, its labels are the processor's affair
    graph = DFineGraph(copy.deepcopy(cast(DFine, network))).eval()
    for layer in graph.network.model.decoder.layers:
        layer.encoder_attn.ms_deformable_attn_core = gather_sampling  # type: ignore[union-attr]
    return graph


def example_inputs(card: Card) -> dict[str, Tensor]:
    """Inputs to trace with: two pages of the card's canvas."""
    height, width = card["preprocess"]["height"], card["preprocess"]["width"]
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8, generator=generator)
    return {"image": image}
