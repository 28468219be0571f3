"""Runners: the same graph as a torch module or as an ONNX file. (A served one is `ml.serving.client`.)"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ml.errors import InputError
from ml.models.processor import Arrays, Card

Runner = Callable[[Arrays], Arrays]

#: Metadata key of an ONNX graph under which its model card travels.
CARD_KEY = "scriptorium"


class TorchRunner:
    """Runs a graph module: named arrays in, named arrays out, in its `input_names` and `output_names`."""

    def __init__(self, graph) -> None:
        self.graph = graph.eval()

    def __call__(self, inputs: Arrays) -> Arrays:
        import torch

        with torch.inference_mode():
            outputs = self.graph(*(torch.from_numpy(inputs[name]) for name in self.graph.input_names))
        return {name: value.numpy() for name, value in zip(self.graph.output_names, outputs, strict=True)}


class OnnxRunner:
    """Runs `model.onnx` in ONNX Runtime on the CPU. `threads` 0 takes all cores."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # pages come in many shapes, and each would keep memory
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises classes of its own, without a common base
            raise InputError(f"{path}: not a usable ONNX graph: {error}") from error
        metadata = self.session.get_modelmeta().custom_metadata_map
        if CARD_KEY not in metadata:
            raise InputError(
                f"{path}: carries no model card (metadata key '{CARD_KEY}'); export it with `scriptorium export`"
            )
        self.card: Card = json.loads(metadata[CARD_KEY])
        self._inputs = {i.name: i.type for i in self.session.get_inputs()}
        self._outputs = [o.name for o in self.session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        given = {name: np.ascontiguousarray(inputs[name]) for name in self._inputs}
        return dict(zip(self._outputs, self.session.run(self._outputs, given), strict=True))  # pyright: ignore[reportReturnType]
