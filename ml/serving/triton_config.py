"""`config.pbtxt` of a published model: the template, the graph's tensors, the versions to serve, the card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from ml.errors import InputError
from ml.models.processor import Card
from ml.serving.environment import TEMPLATES

# The generated module gives type checkers nothing to see.
triton: Any = model_config_pb2
_TYPES: dict[int, int] = {
    onnx.TensorProto.BOOL: triton.TYPE_BOOL,
    onnx.TensorProto.UINT8: triton.TYPE_UINT8,
    onnx.TensorProto.INT8: triton.TYPE_INT8,
    onnx.TensorProto.INT16: triton.TYPE_INT16,
    onnx.TensorProto.INT32: triton.TYPE_INT32,
    onnx.TensorProto.INT64: triton.TYPE_INT64,
    onnx.TensorProto.FLOAT16: triton.TYPE_FP16,
    onnx.TensorProto.FLOAT: triton.TYPE_FP32,
    onnx.TensorProto.DOUBLE: triton.TYPE_FP64,
}


@dataclass(frozen=True)
class Tensor:
    """A graph's input or output; -1 stands for a size that each request chooses."""

    name: str
    type: int  # Triton's DataType
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """A graph's tensors."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def batched(self) -> bool:
        """Whether every tensor's first size is free, so that requests can be joined."""
        return all(tensor.dims and tensor.dims[0] == -1 for tensor in (*self.inputs, *self.outputs))


def signature_of(path: Path) -> Signature:
    """Read it from an ONNX file. Raises InputError for what is none, or has a type that Triton lacks."""
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf raises a class of its own, which its versions name differently
        raise InputError(
            f"{path}: not an ONNX graph ({error}); export it with `scriptorium export`"
        ) from error
    weights = {tensor.name for tensor in graph.initializer}
    if not graph.output:
        raise InputError(f"{path}: an ONNX graph without outputs; export it with `scriptorium export`")
    return Signature(
        tuple(_tensor(value, path) for value in graph.input if value.name not in weights),
        tuple(_tensor(value, path) for value in graph.output),
    )


def _tensor(value: onnx.ValueInfoProto, path: Path) -> Tensor:
    type_ = value.type.tensor_type
    if type_.elem_type not in _TYPES:
        raise InputError(f"{path}: tensor '{value.name}' has a type that the server does not take")
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in type_.shape.dim)
    return Tensor(value.name, _TYPES[type_.elem_type], dims)


def model_config(
    name: str,
    signature: Signature,
    cards: Mapping[int, Card],
    champion: int,
    *,
    max_batch: int,
    queue_us: int,
) -> str:
    """The text of `config.pbtxt`.

    cards: of the versions to serve. `champion` is the highest of them, because Triton answers a request that
    names no version from the highest; its card is parameter `card`, version N's is `card.N`.
    """
    config = triton.ModelConfig()
    text_format.Parse((TEMPLATES / "onnx.pbtxt").read_text(encoding="utf-8"), config)
    config.name = name
    if signature.batched:
        config.max_batch_size = max_batch
        config.dynamic_batching.max_queue_delay_microseconds = queue_us
    else:
        config.ClearField("scheduling_choice")
    skip = 1 if signature.batched else 0  # Triton adds the batch dimension itself
    for tensor in signature.inputs:
        config.input.add(name=tensor.name, data_type=tensor.type, dims=tensor.dims[skip:])
    for tensor in signature.outputs:
        config.output.add(name=tensor.name, data_type=tensor.type, dims=tensor.dims[skip:])
    config.version_policy.specific.versions.extend(sorted(cards))
    for version, card in sorted(cards.items()):
        key = "card" if version == champion else f"card.{version}"
        config.parameters[key].string_value = json.dumps(card, ensure_ascii=False, sort_keys=True)
    return text_format.MessageToString(config, as_utf8=True)
