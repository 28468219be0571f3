"""From a checkpoint's network to the graph that is exported, by model family."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ml.errors import InputError
from ml.models.processor import Card


def graph_of(network: nn.Module, card: Card) -> nn.Module:
    """The exportable module: `input_names`, `output_names`, and a forward from and to plain tensors."""
    if card["model"] == "trident":
        from ml.models.trident.graph import graph_for as trident_graph
        from ml.models.trident.network import Trident

        return trident_graph(cast(Trident, network))
    if card["model"] == "dfine":
        from ml.models.dfine.graph import graph_for as dfine_graph

        return dfine_graph(network, card)
    raise InputError(f"model card of '{card.get('name')}': family {card['model']!r} cannot be exported")


def example_of(card: Card) -> tuple[dict[str, Tensor], dict[str, dict[int, str]]]:
    """Example inputs to trace with, and the names of the axes that stay free."""
    if card["model"] == "trident":
        example = {
            "image": torch.randint(0, 256, (2, 320, 384, 3), dtype=torch.uint8),
            "boxes": torch.tensor([[[10.0, 10.0, 90.0, 30.0], [5.0, 50.0, 45.0, 66.0]]]).repeat(2, 1, 1),
        }
        return example, {"image": {0: "batch", 1: "height", 2: "width"}, "boxes": {0: "batch", 1: "given"}}
    from ml.models.dfine.graph import example_inputs

    return example_inputs(card), {"image": {0: "batch"}}
