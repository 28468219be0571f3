"""ONNX export, with the model card inside the graph."""

from __future__ import annotations

import io
import json
import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import onnx
import torch
from torch import nn

from ml.errors import InputError
from ml.export.graphs import example_of, graph_of
from ml.models.processor import Card
from ml.runners import CARD_KEY


def export_onnx(network: nn.Module, card: Card, path: Path, opset: int) -> None:
    """Export `network` to `path` by the dynamo exporter, batch and page size free.

    Raises InputError when the exporter or ONNX's own checker refuses the graph.
    """
    graph = graph_of(network, card).float()
    example, axes = example_of(card)
    shapes = tuple(
        dict.fromkeys(axes.get(name, {}), torch.export.Dim.DYNAMIC)
        for name in graph.input_names  # type: ignore[union-attr]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    said = io.StringIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        # Without gradients, as graphs run: what is only quicker to train is not traced.
        with torch.no_grad(), warnings.catch_warnings(), redirect_stdout(said):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph,
                tuple(example[name] for name in graph.input_names),  # type: ignore[union-attr]
                dynamo=True,
                opset_version=opset,
                input_names=list(graph.input_names),  # type: ignore[arg-type]
                output_names=list(graph.output_names),  # type: ignore[arg-type]
                dynamic_shapes=shapes,
                verbose=False,
            )
            assert program is not None
            proto = program.model_proto
        _name_axes(proto, axes)
        for node in proto.graph.node:  # where files lie on this machine is nobody's business
            kept = [entry for entry in node.metadata_props if not entry.key.endswith("stack_trace")]
            del node.metadata_props[:]
            node.metadata_props.extend(kept)
        entry = proto.metadata_props.add()
        entry.key, entry.value = CARD_KEY, json.dumps(card, ensure_ascii=False)
        onnx.checker.check_model(proto)
    except (torch.onnx.errors.OnnxExporterError, onnx.checker.ValidationError) as error:
        raise InputError(
            f"{path}: the network of '{card['name']}' cannot be exported to ONNX: {str(error)[:500]}"
        ) from error
    onnx.save(proto, path)


def _name_axes(proto: onnx.ModelProto, axes: dict[str, dict[int, str]]) -> None:
    """Give the free axes the names people look for, instead of the exporter's s0, s1."""
    renamed: dict[str, str] = {}
    for value in proto.graph.input:
        for axis, name in axes.get(value.name, {}).items():
            dim = value.type.tensor_type.shape.dim[axis]
            renamed[dim.dim_param] = name
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in renamed:
                dim.dim_param = renamed[dim.dim_param]
