"""A predictor composes a processor and a runner; nothing more."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ml.errors import UsageError
from ml.models.processor import Card, Processor, processor_for
from ml.pages.result import PageResult
from ml.runners import OnnxRunner, Runner, TorchRunner


class Predictor:
    """Reads pages with any form of a model."""

    def __init__(self, card: Card, runner: Runner) -> None:
        self.card = card
        self._processor: Processor = processor_for(card)
        self._run = runner

    def read(self, pixels: np.ndarray, boxes: np.ndarray | None = None) -> PageResult:
        """What the model finds on a page, uint8 (H, W, 3) RGB; texts of `boxes` (Q, 4) come back as `given`."""
        inputs, transform = self._processor.prepare(pixels, boxes)
        return self._processor.finish(self._run(inputs), transform)


def open_predictor(folder: Path) -> Predictor:
    """Open a graph folder (`model.onnx`) or a checkpoint folder (`model.safetensors` and `card.json`).

    Raises UsageError where the folder holds neither, InputError where what it holds is damaged.
    """
    if (folder / "model.onnx").exists():
        runner = OnnxRunner(folder / "model.onnx")
        return Predictor(runner.card, runner)
    if (folder / "model.safetensors").exists():
        from ml.export.graphs import graph_of
        from ml.training.checkpoint import load

        network, card = load(folder)
        return Predictor(card, TorchRunner(graph_of(network, card)))
    raise UsageError(
        f"{folder}: neither model.onnx nor model.safetensors is there; give a folder of `models/` or `graphs/`"
    )
