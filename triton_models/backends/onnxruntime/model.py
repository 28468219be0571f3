"""A Python-based Triton backend named `onnxruntime`: it loads what the native backend of that name loads.

The embedded server has no native ONNX Runtime backend; with this file it serves the same repository,
`config.pbtxt` with `backend: "onnxruntime"` and `VERSION/model.onnx`, unchanged. It runs inside the server's
own environment (see requirements/serving.in) and so imports nothing of this project.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

#: The bundled server's `pb_utils.Tensor(name, array)` returns empty tensors under numpy 2; DLPack works
#: there.
_NUMPY_2 = int(np.__version__.split(".", maxsplit=1)[0]) >= 2


def _tensor(name: str, array: np.ndarray):
    array = np.ascontiguousarray(array)
    return pb_utils.Tensor.from_dlpack(name, array) if _NUMPY_2 else pb_utils.Tensor(name, array)


def _parameter(config: dict, key: str, default: int) -> int:
    """A whole number from the model's parameters, named as the native backend names it."""
    return int(config.get("parameters", {}).get(key, {}).get("string_value", default))


class TritonPythonModel:
    """One model instance: a session on `model.onnx` of its version."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.batched = config.get("max_batch_size", 0) > 0
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _parameter(config, "intra_op_thread_count", 0)  # 0 takes all cores
        options.inter_op_num_threads = _parameter(config, "inter_op_thread_count", 0)
        options.enable_mem_pattern = bool(_parameter(config, "enable_mem_pattern", 1))
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        missing = set(self.outputs) - {output.name for output in self.session.get_outputs()}
        if missing:
            raise pb_utils.TritonModelException(f"{path} has no output {sorted(missing)}")

    def execute(self, requests: list) -> list:
        """Answer requests; those of equal shapes go through the session as one batch."""
        feeds = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            for request in requests
        ]
        groups: dict[tuple, list[int]] = {}
        for i, feed in enumerate(feeds):
            shape = tuple(feed[name].shape[1:] for name in self.inputs) if self.batched else (i,)
            groups.setdefault(shape, []).append(i)
        responses: list = [None] * len(requests)
        for members in groups.values():
            for i, answer in zip(members, self._answers([feeds[i] for i in members]), strict=True):
                responses[i] = answer
        return responses

    def _answers(self, feeds: list[dict[str, np.ndarray]]) -> list:
        """One response a feed; all feeds have the same shapes but for their first dimension."""
        if len(feeds) == 1:
            joined = feeds[0]
        else:
            joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in self.inputs}
        try:
            arrays = self.session.run(self.outputs, joined)
        except Exception as error:  # noqa: BLE001  (the caller must get the reason, and the server must live on)
            failure = pb_utils.TritonError(f"ONNX Runtime: {error}")
            return [pb_utils.InferenceResponse(output_tensors=[], error=failure) for _ in feeds]
        if len(feeds) == 1:
            parts = [arrays]
        else:
            ends = np.cumsum([len(feed[self.inputs[0]]) for feed in feeds])[:-1]
            parts = list(zip(*(np.split(array, ends) for array in arrays), strict=True))
        return [
            pb_utils.InferenceResponse([_tensor(n, a) for n, a in zip(self.outputs, part, strict=True)])
            for part in parts
        ]

    def finalize(self) -> None:
        self.session = None
