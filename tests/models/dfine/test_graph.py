from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from transformers.models.d_fine.modeling_d_fine import multi_scale_deformable_attention_v2

from ml.config import DFineConfig
from ml.models.dfine.graph import DFineGraph, example_inputs, graph_for
from ml.models.dfine.network import DFine, build_network
from ml.models.dfine.processor import DFineProcessor, canvas_of
from ml.models.dfine.sampling import bag_sampling, gather_sampling
from ml.pages.labels import CANONICAL

CONFIG = DFineConfig.model_validate(
    {
        "backbone": "test_convnext",
        "short_edge": [64, 64],
        "long_edge": 96,
        "hidden": 32,
        "decoder_layers": 1,
        "queries": 10,
    }
)
CARD = {
    "name": "teacher",
    "model": "dfine",
    "labels": list(CANONICAL),
    "preprocess": dict(zip(("height", "width"), canvas_of(CONFIG), strict=True)),
    "thresholds": {"region": 0.05},
}


@pytest.fixture(scope="module")
def network() -> DFine:
    torch.manual_seed(0)
    return build_network(CONFIG).eval()


@pytest.mark.parametrize("sampling", [bag_sampling, gather_sampling])
def test_sampling_equals_transformers_with_its_gradients(sampling) -> None:
    torch.manual_seed(0)
    shapes, points = [(6, 4), (3, 2)], [3, 2]
    value = torch.randn(2, 30, 2, 5, requires_grad=True)
    locations = (torch.rand(2, 7, 2, 5, 2) * 1.4 - 0.2).requires_grad_()  # some outside the page
    weights = torch.rand(2, 7, 2, 5, requires_grad=True)
    grad = torch.randn(2, 7, 10)
    results = []
    for function in (multi_scale_deformable_attention_v2, sampling):
        output = function(value, shapes, locations, weights, points)
        results.append((output, *torch.autograd.grad(output, (value, locations, weights), grad)))
    for expected, given in zip(*results, strict=True):
        assert torch.allclose(expected, given, atol=1e-4)


def test_the_graph_gives_what_the_network_gives(network: DFine) -> None:
    image = example_inputs(CARD)["image"]
    with torch.no_grad():
        boxes, scores, labels = graph_for(network, CARD)(image)
        queries = network(image).queries
    assert boxes.shape == (2, 10, 4)
    probability = queries.logits[-1].sigmoid()
    assert torch.allclose(scores, probability.flatten(1).topk(10).values, atol=1e-5)
    assert (scores.diff(dim=1) <= 0).all()
    assert labels.dtype == torch.int64
    assert ((labels >= 0) & (labels < 11)).all()
    centre = queries.boxes[-1][0, probability[0].amax(-1).argmax()] * torch.tensor([64, 96, 64, 96])
    assert torch.allclose((boxes[0, 0, :2] + boxes[0, 0, 2:]) / 2, centre[:2], atol=1e-2)


def test_making_a_graph_leaves_the_network_as_it_was(network: DFine) -> None:
    graph_for(network, CARD)
    layer = network.model.decoder.layers[0].encoder_attn
    assert layer.sampling is bag_sampling


@pytest.mark.slow
def test_onnx_runtime_agrees_with_torch_for_any_batch(network: DFine, tmp_path: Path) -> None:
    graph = graph_for(network, CARD)
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        graph,
        tuple(example_inputs(CARD).values()),
        path,
        dynamo=True,
        opset_version=20,
        input_names=list(DFineGraph.input_names),
        output_names=list(DFineGraph.output_names),
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert "GridSample" not in {node.op_type for node in _nodes(path)}
    for batch in (1, 3):
        generator = torch.Generator().manual_seed(batch)
        image = torch.randint(0, 256, (batch, 96, 64, 3), dtype=torch.uint8, generator=generator)
        with torch.no_grad():
            expected = [value.numpy() for value in graph(image)]
        given = session.run(list(DFineGraph.output_names), {"image": image.numpy()})
        for a, b in zip(expected, given, strict=True):
            assert np.abs(a - b).max() < 2e-3


def _nodes(path: Path):
    import onnx

    return onnx.load(str(path)).graph.node


@pytest.mark.parametrize(("height", "width"), [(960, 640), (640, 640), (300, 900), (50, 40)])
def test_boxes_come_back_to_the_page_as_given(height: int, width: int) -> None:
    processor = DFineProcessor(CARD)
    inputs, transform = processor.prepare(np.zeros((height, width, 3), np.uint8))
    assert inputs["image"].shape == (1, 96, 64, 3)
    ink = np.argwhere(inputs["image"][0, :, :, 0] == 0)
    (top, left), (bottom, right) = ink.min(0), ink.max(0) + 1
    outputs = {
        "region_boxes": np.array([[[left, top, right, bottom], [0, 0, 9, 9]]], np.float32),
        "region_scores": np.array([[0.9, 0.01]], np.float32),
        "region_labels": np.array([[8, 0]]),
    }
    result = processor.finish(outputs, transform)
    assert [region.label for region in result.regions] == ["Table"]  # the other is under the threshold
    assert result.regions[0].box == pytest.approx((0, 0, width, height), abs=0.6 / transform.scale)


def test_regions_are_given_surest_first_and_clipped_to_the_page() -> None:
    processor = DFineProcessor(CARD)
    _, transform = processor.prepare(np.zeros((96, 64, 3), np.uint8))
    outputs = {
        "region_boxes": np.array([[[-5, -5, 20, 20], [10, 10, 90, 120], [70, 0, 80, 9]]], np.float32),
        "region_scores": np.array([[0.3, 0.6, 0.9]], np.float32),
        "region_labels": np.array([[0, 1, 2]]),
    }
    regions = processor.finish(outputs, transform).regions
    assert [(region.label, region.box) for region in regions] == [
        ("Footnote", (10, 10, 64, 96)),
        ("Caption", (0, 0, 20, 20)),
    ]  # and what lies beside the page is gone
