"""Sample pages for people who watch a training: what the network finds now, drawn on the pages as it sees them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from torch import nn

from ml.models.processor import Card, Transform, processor_for
from ml.pages import Page
from ml.runners import TorchRunner
from ml.serving.formats.overlay import draw


def pictures(graph: nn.Module, card: Card, pages: Sequence[Page]) -> dict[str, np.ndarray]:
    """The pages' canvases, uint8 (H, W, 3) RGB, with words, texts and regions drawn; 'page 1', 'page 2' ..."""
    # Graphs are made to be exported, and run on the CPU; the network that is trained stays where it is.
    processor, run = processor_for(card), TorchRunner(deepcopy(graph).cpu())
    shown: dict[str, np.ndarray] = {}
    for number, page in enumerate(pages, start=1):
        inputs, _ = processor.prepare(page.pixels())
        canvas = inputs["image"][0]
        height, width = canvas.shape[:2]
        shown[f"page {number}"] = draw(canvas, processor.finish(run(inputs), Transform(width, height, 1.0)))
    return shown
