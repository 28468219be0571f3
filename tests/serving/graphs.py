"""Small real graphs with Trident's and D-FINE's tensors, whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

from ml.models.charset import named
from ml.pages.labels import CANONICAL

WORD_BOX, REGION_BOX = (32.0, 32.0, 96.0, 64.0), (16.0, 16.0, 200.0, 240.0)
COLUMNS, SLOTS = 16, 4


def trident_card(long_edge: int = 256) -> dict:
    return {
        "name": "trident",
        "model": "trident",
        "config": {},
        "labels": ["Text", "Section-header", "List-item", "Table", "Picture"],
        "charset": named("english").symbols,
        "preprocess": {"long_edge": long_edge},
        "thresholds": {"word": 0.5, "region": 0.3},
        "data": "0" * 64,
        "metrics": {},
        "version": 1,
    }


def write_trident(folder: Path, text: str = "page", *, op: str = "Identity", noise: bool = False) -> Path:
    """A graph that finds one word, reading `text`, and one region of label Table, whatever the page.

    text: without doubled letters. op: what the boxes go through (an unknown one makes a graph that does not
    load). noise: boxes differ from run to run.
    """
    path = np.zeros(COLUMNS, np.int64)
    path[: len(text)] = named("english").encode(text)
    constants = {
        "word_boxes": np.array([WORD_BOX] + [(0, 0, 0, 0)] * (SLOTS - 1), np.float32),
        "word_scores": np.array([0.9] + [0.0] * (SLOTS - 1), np.float32),
        "word_text": np.stack([path] + [np.zeros_like(path)] * (SLOTS - 1)),
        "word_confidence": np.full(SLOTS, 0.8, np.float32),
        "region_boxes": np.array([REGION_BOX, (0, 0, 0, 0)], np.float32),
        "region_scores": np.array([0.7, 0.0], np.float32),
        "region_labels": np.array([3, 0], np.int64),
    }
    nodes = [h.make_node("Shape", ["image"], ["batch"], start=0, end=1)]
    initializers, outputs = [], []
    for name, value in constants.items():
        initializers.append(numpy_helper.from_array(value[None], f"{name}_of_one"))
        shape = [*value.shape]
        initializers.append(numpy_helper.from_array(np.array(shape, np.int64), f"{name}_shape"))
        nodes.append(h.make_node("Concat", ["batch", f"{name}_shape"], [f"{name}_full"], axis=0))
        raw = f"{name}_raw" if name == "word_boxes" else name
        nodes.append(h.make_node("Expand", [f"{name}_of_one", f"{name}_full"], [raw]))
        outputs.append(
            h.make_tensor_value_info(name, T.INT64 if value.dtype == np.int64 else T.FLOAT, ["B", *shape])
        )
    if noise:
        # Across and down by different amounts: two runs do not agree by chance.
        nodes.append(h.make_node("RandomUniform", [], ["shift"], high=200.0, shape=[2], dtype=T.FLOAT))
        nodes.append(h.make_node("Concat", ["shift", "shift"], ["noise"], axis=0))
        nodes.append(h.make_node("Add", ["word_boxes_raw", "noise"], ["word_boxes"]))
    else:
        domain = "" if op == "Identity" else "nowhere"
        nodes.append(h.make_node(op, ["word_boxes_raw"], ["word_boxes"], domain=domain))
    nodes += [
        h.make_node("Shape", ["boxes"], ["given"], start=0, end=2),
        h.make_node("Concat", ["given", "columns"], ["given_full"], axis=0),
        h.make_node("Expand", ["path_of_one", "given_full"], ["given_text"]),
        h.make_node("Expand", ["confidence_of_one", "given"], ["given_confidence"]),
    ]
    initializers += [
        numpy_helper.from_array(path[None, None], "path_of_one"),
        numpy_helper.from_array(np.full((1, 1), 0.8, np.float32), "confidence_of_one"),
        numpy_helper.from_array(np.array([COLUMNS], np.int64), "columns"),
    ]
    outputs += [
        h.make_tensor_value_info("given_text", T.INT64, ["B", "Q", COLUMNS]),
        h.make_tensor_value_info("given_confidence", T.FLOAT, ["B", "Q"]),
    ]
    inputs = [
        h.make_tensor_value_info("image", T.UINT8, ["B", "H", "W", 3]),
        h.make_tensor_value_info("boxes", T.FLOAT, ["B", "Q", 4]),
    ]
    return _save(folder, h.make_graph(nodes, "toy", inputs, outputs, initializers), trident_card())


def write_dfine(folder: Path, label: int = 6) -> Path:
    """A graph that finds one region of canonical label number `label` (6: Picture), whatever the page."""
    constants = {
        "region_boxes": np.array([REGION_BOX, (0, 0, 0, 0)], np.float32),
        "region_scores": np.array([0.9, 0.0], np.float32),
        "region_labels": np.array([label, 0], np.int64),
    }
    nodes = [h.make_node("Shape", ["image"], ["batch"], start=0, end=1)]
    initializers, outputs = [], []
    for name, value in constants.items():
        initializers.append(numpy_helper.from_array(value[None], f"{name}_of_one"))
        initializers.append(numpy_helper.from_array(np.array(value.shape, np.int64), f"{name}_shape"))
        nodes.append(h.make_node("Concat", ["batch", f"{name}_shape"], [f"{name}_full"], axis=0))
        nodes.append(h.make_node("Expand", [f"{name}_of_one", f"{name}_full"], [name]))
        type_ = T.INT64 if value.dtype == np.int64 else T.FLOAT
        outputs.append(h.make_tensor_value_info(name, type_, ["B", *value.shape]))
    inputs = [h.make_tensor_value_info("image", T.UINT8, ["B", 384, 256, 3])]
    card = {
        "name": folder.name,
        "model": "dfine",
        "config": {},
        "labels": list(CANONICAL),
        "charset": None,
        "preprocess": {"height": 384, "width": 256},
        "thresholds": {"region": 0.5},
        "data": "0" * 64,
        "metrics": {},
        "version": 1,
    }
    return _save(folder, h.make_graph(nodes, "toy", inputs, outputs, initializers), card)


def _save(folder: Path, graph: onnx.GraphProto, card: dict) -> Path:
    domains = [h.make_opsetid("", 20), h.make_opsetid("nowhere", 1)]
    model = h.make_model(graph, opset_imports=domains, ir_version=10)
    h.set_model_props(model, {"scriptorium": json.dumps(card)})
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "card.json").write_text(json.dumps(card))
    return folder
