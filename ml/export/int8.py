"""A graph's convolutions in 8-bit integers: for CPUs, whose integer units do several times the work."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from ml.models.processor import Arrays


class _Calibration(CalibrationDataReader):
    def __init__(self, inputs: Iterable[Arrays]) -> None:
        self.inputs: Iterator[Arrays] = iter(inputs)

    def get_next(self) -> Arrays | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return next(self.inputs, None)


def in_floats(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """Names of the convolutions that stay in floats: what regions hang on, and the word head's last.

    Regions hang on their head, the pyramid's coarsest level and the block before it. The word head's last has six
    channels, which cost next to nothing and have little in common: logits, and sides in strides.
    """
    paths = {node.name: _path(node) for node in nodes if node.op_type == "Conv"}
    coarsest = max((path[3] for path in paths.values() if path[1:3] == ["neck", "lateral"]), default="")
    block = [path[:4] for path in paths.values() if path[1:2] == ["backbone"]][-1:]
    return [
        name
        for name, path in paths.items()
        if path[1:2] == ["layout"]
        or path[1:] == ["words"]
        or (path[1:2] == ["neck"] and path[3] == coarsest)
        or path[:4] in block
    ]


def _path(node: onnx.NodeProto) -> list[str]:
    """The module that a node comes from, as the exporter notes it: "network.neck.lateral.0" in parts."""
    scopes = [entry.value for entry in node.metadata_props if entry.key.endswith("name_scopes")]
    inner = [name for scope in scopes for name in ast.literal_eval(scope) if name.startswith("network.")]
    return max(inner, key=len, default="").split(".")


def quantise(graph: Path, out: Path, inputs: Iterable[Arrays]) -> None:
    """Write the ONNX file `graph` to `out` with its convolutions in integers, ranges as seen on `inputs`.

    Post-training static quantisation (Jacob et al. 2018): activations in 8 bits by their least and greatest value,
    weights in 7 bits a channel, because processors without VNNI add two products in 16 bits. What the layout is seen
    with stays in float32, for it is coarse, cheap and the first to suffer, and so does all that is no convolution.
    """
    kept = in_floats(onnx.load(graph).graph.node)
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises a pre-processing that the exporter has done
    try:
        quantize_static(
            str(graph),
            str(out),
            _Calibration(inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=kept,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    finally:
        logger.setLevel(level)
