"""A predictor composes a processor and a runner; nothing more."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ml.errors import UsageError
from ml.models.processor import Card, Processor, processor_for
from ml.pages.orientation import STRAIGHT, skew_of, turned
from ml.pages.result import PageResult
from ml.runners import OnnxRunner, Runner, TorchRunner

#: Words that are less sure than this, on average, may stand on their heads.
DOUBTFUL = 0.5


class Predictor:
    """Reads pages with any form of a model."""

    def __init__(self, card: Card, runner: Runner) -> None:
        self.card = card
        self._processor: Processor = processor_for(card)
        self._run = runner

    def read(self, pixels: np.ndarray, boxes: np.ndarray | None = None) -> PageResult:
        """What the model finds on a page, uint8 (H, W, 3) RGB; texts of `boxes` (Q, 4) come back as `given`.

        A page to be read may lean by some degrees, lie on its side or stand on its head: it is turned until its
        words are surest. Boxes in the result are those of the page as given. Where `boxes` are given, the page is
        taken to lie upright.
        """
        if boxes is not None or not self._processor.upright:
            return self._read(pixels, boxes)
        lean = skew_of(pixels)
        best = self._read(pixels, degrees=lean if abs(lean) >= STRAIGHT else 0.0)
        if _sureness(best) >= DOUBTFUL:
            return best
        for quarter in (180, 90, 270):
            lean = skew_of(turned(pixels, quarter))
            other = self._read(pixels, degrees=quarter + (lean if abs(lean) >= STRAIGHT else 0.0))
            # Rubbish is found in any position; what is read well weighs more than how much is found.
            best = max(best, other, key=lambda result: sum(word.score**2 for word in result.words))
        return best

    def _read(self, pixels: np.ndarray, boxes: np.ndarray | None = None, degrees: float = 0.0) -> PageResult:
        inputs, transform = self._processor.prepare(pixels, boxes, degrees)
        return self._processor.finish(self._run(inputs), transform)


def _sureness(result: PageResult) -> float:
    """Mean confidence of the words, by their length; 1 where there are none, as no turning will find any."""
    characters = sum(len(word.text) for word in result.words)
    return sum(word.score * len(word.text) for word in result.words) / characters if characters else 1.0


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
