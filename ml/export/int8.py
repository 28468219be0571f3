"""A graph's convolutions in 8-bit integers: for CPUs, whose integer units do several times the work."""

from __future__ import annotations

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


def quantise(graph: Path, out: Path, inputs: Iterable[Arrays]) -> None:
    """Write the ONNX file `graph` to `out` with its convolutions in integers, ranges as seen on `inputs`.

    Post-training static quantisation (Jacob et al. 2018): activations in 8 bits by their least and greatest value,
    weights in 7 bits a channel, because processors without VNNI add two products in 16 bits. The layout head stays in
    float32, for it is coarse, cheap and the first to suffer, and so does everything that is no convolution.
    """
    nodes = onnx.load(graph).graph.node
    layout = [
        node.name for node in nodes if any("network.layout" in entry.value for entry in node.metadata_props)
    ]
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
            nodes_to_exclude=layout,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    finally:
        logger.setLevel(level)
