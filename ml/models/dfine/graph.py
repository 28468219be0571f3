"""D-FINE as one graph from page to regions: what is exported and served."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from ml.models.dfine.boxes import corners
from ml.models.dfine.network import DFine
from ml.models.dfine.sampling import choose, gather_sampling
from ml.models.processor import Card


class DFineGraph(nn.Module):
    """The surest query-label pairs of a page, as many as there are queries."""

    input_names = ("image",)
    output_names = ("region_boxes", "region_scores", "region_labels")

    def __init__(self, network: DFine) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pages uint8 (B, H, W, 3) to boxes (B, N, 4) in pixels, scores (B, N), labels int64 (B, N)."""
        height, width = image.shape[1:3]
        queries = self.network(image).queries
        logits, boxes = queries.logits[-1], corners(queries.boxes[-1])  # (B, N, C), (B, N, 4)
        classes = logits.shape[-1]
        scores, places = logits.sigmoid().flatten(1).topk(logits.shape[1], dim=1)
        query = places // classes
        size = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
        chosen = boxes.gather(1, query.unsqueeze(-1).expand(-1, -1, 4)) * size
        return chosen, scores, places - query * classes  # no Mod: older TensorRT lacks it


def graph_for(network: nn.Module, card: Card) -> DFineGraph:
    """The network as an exportable graph: a copy in evaluation mode whose sampling uses gathers."""
    del card  # its shape is in the example inputs, its labels are the processor's affair
    graph = DFineGraph(copy.deepcopy(cast(DFine, network))).eval()
    choose(graph.network.model.decoder, gather_sampling)
    return graph


def example_inputs(card: Card) -> dict[str, Tensor]:
    """Inputs to trace with: two pages of the card's canvas."""
    height, width = card["preprocess"]["height"], card["preprocess"]["width"]
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8, generator=generator)
    return {"image": image}
