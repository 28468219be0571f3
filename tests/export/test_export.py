import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from ml.cli import main
from ml.config import ExportConfig, SynthConfig, TridentConfig
from ml.errors import InputError
from ml.export.command import _to_int8
from ml.export.graphs import graph_of
from ml.export.int8 import quantise
from ml.export.onnx import export_onnx
from ml.export.parity import AGREEING, Parity, found_difference, judge
from ml.models.trident.network import Trident
from ml.pages.store import PageWriter
from ml.pages.synthesis.typesetting import make_page
from ml.predictor import open_predictor
from ml.runners import CARD_KEY, OnnxRunner, TorchRunner
from ml.training.trident import card

TINY = TridentConfig(
    backbone="resnet10t",
    channels=32,
    layout_stride=16,
    roi=(4, 32),
    detail=8,
    narrow=2.0,
    reader_width=32,
    decoder_layers=0,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    network = Trident(TINY).eval()
    torch.nn.init.normal_(
        network.words.classes.weight, std=0.3
    )  # an untrained network that still finds "words"
    assert network.detail
    torch.nn.init.normal_(network.detail.join.weight, std=0.3)
    path: Path = tmp_path_factory.mktemp("graph") / "model.onnx"
    model_card = card(network, "none", {})
    export_onnx(network, model_card, path, 20)
    return network, model_card, path


@pytest.mark.parametrize(("batch", "height", "width", "given"), [(1, 256, 256, 1), (3, 320, 256, 4)])
def test_the_graph_computes_what_the_network_computes_at_any_batch_and_size(
    exported, batch, height, width, given
):
    network, model_card, path = exported
    rng = np.random.default_rng(batch)
    inputs = {
        "image": rng.integers(0, 256, (batch, height, width, 3), np.uint8),
        "boxes": np.stack([np.array([[10, 10, 90 - 20 * i, 26] for i in range(given)], np.float32)] * batch),
    }
    a, b = TorchRunner(graph_of(network, model_card))(inputs), OnnxRunner(path)(inputs)
    assert (a["word_scores"] > 0).any()
    assert np.array_equal(a["given_text"], b["given_text"])
    for kind in ("word", "region"):
        for one, other in ((a, b), (b, a)):
            off = found_difference(one, other, kind, max(height, width), 0.2)
            assert np.quantile(off, AGREEING) < 1e-3 if len(off) else kind == "region"


def test_the_card_travels_inside_the_graph_and_no_path_of_the_machine(exported):
    _, model_card, path = exported
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()
    assert OnnxRunner(path).card == json.loads(json.dumps(model_card))
    assert open_predictor(path.parent).card["charset"] == model_card["charset"]


def test_a_graph_without_a_card_is_refused(exported, tmp_path):
    proto = onnx.load(exported[2])
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(InputError, match=CARD_KEY):
        OnnxRunner(tmp_path / "model.onnx")


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a usable ONNX graph"):
        open_predictor(tmp_path)


def test_order_of_equal_scores_does_not_count_but_a_moved_box_does():
    a = {
        "word_boxes": np.array([[[0, 0, 10, 10], [20, 0, 30, 10]]], float),
        "word_scores": np.array([[0.9, 0.9]]),
    }
    swapped = {name: value[:, ::-1] for name, value in a.items()}
    assert not found_difference(a, swapped, "word", 100, 0.2).any()
    moved = {"word_boxes": a["word_boxes"] + [[[0, 0, 0, 0], [5, 0, 5, 0]]], "word_scores": a["word_scores"]}
    assert found_difference(a, moved, "word", 100, 0.2)[:, 0].tolist() == pytest.approx([0.0, 0.05])


GOOD = Parity(boxes=1e-5, scores=1e-5, texts=0.0, metrics={"words_f1": 0.0}, pages=3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"boxes": 0.1}, "a box"),
        ({"scores": 0.1}, "a score"),
        ({"metrics": {"words_f1": 0.2}}, "words_f1"),
        ({"boxes": float("nan")}, "a box"),
    ],
)
def test_a_graph_that_is_not_the_network_is_refused(change, named):
    judge(GOOD, 1e-3, 0.01, "trident")
    with pytest.raises(InputError, match=named):
        judge(dataclasses.replace(GOOD, **change), 1e-3, 0.01, "trident")


def test_the_integer_graph_is_the_same_model_with_integer_convolutions(exported, tmp_path):
    network, model_card, path = exported
    rng = np.random.default_rng(0)
    inputs = [
        {
            "image": rng.integers(0, 256, (1, 256, 256, 3), np.uint8),
            "boxes": np.array([[[10, 10, 90, 26]]], np.float32),
        }
        for _ in range(3)
    ]
    quantise(path, tmp_path / "model.onnx", inputs)
    whole, integers = OnnxRunner(path), OnnxRunner(tmp_path / "model.onnx")
    assert integers.card == model_card
    proto = onnx.load(tmp_path / "model.onnx")
    made = {name: node for node in proto.graph.node for name in node.output}
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in proto.graph.initializer}
    changed = [
        [made[name] for name in node.input[:2]]
        for node in proto.graph.node
        if node.op_type == "Conv" and node.input[1] not in weights
    ]
    kept = sum(node.op_type == "Conv" for node in proto.graph.node) - len(changed)
    regions = [
        network.layout.tower,
        network.neck.lateral[-1],
        network.neck.smooth[-1],
        network.backbone.layer3[-1],
    ]
    layout = sum(isinstance(part, torch.nn.Conv2d) for whole in regions for part in whole.modules())
    assert (len(changed) > 10, kept) == (
        True,
        layout + 2,
    )  # what regions hang on, and both heads' last convolutions
    assert {node.op_type for nodes in changed for node in nodes} == {"DequantizeLinear"}
    kernels = [weights[kernel.input[0]] for _, kernel in changed]
    assert all(kernel.dtype == np.int8 and np.abs(kernel).max() <= 64 for kernel in kernels)
    a, b = whole(inputs[0]), integers(inputs[0])
    assert (
        np.abs(a["word_scores"][a["word_scores"] > 0].mean() - b["word_scores"][b["word_scores"] > 0].mean())
        < 0.05
    )


def scored(matched: list[int]) -> SimpleNamespace:
    """An evaluation of documents of a thousand words, so many of which were found."""
    counts = [{"matched": n, "truth": 1000, "found": 1000} for n in matched]
    rows = [{"document": str(i), "words": row} for i, row in enumerate(counts)]
    return SimpleNamespace(to_json=lambda: {"documents": rows})


@pytest.mark.parametrize(
    ("matched", "taken"),
    [
        pytest.param([991] * 20, True, id="within-the-bound"),
        pytest.param([989] * 20, False, id="beyond-it-everywhere"),
        pytest.param([750] + [1000] * 19, True, id="beyond-it-by-one-document"),
    ],
)
def test_integers_are_refused_where_a_figure_certainly_falls_by_more_than_the_bound(
    exported, tmp_path, capsys, monkeypatch, matched, taken
):
    _, model_card, path = exported
    shutil.copy(path, tmp_path / "model.onnx")
    page = make_page(1, 0, SynthConfig(long_edge=480, degrade=0.0))
    for split in ("train", "val"):
        with PageWriter(tmp_path / "data" / split) as writer:
            writer.write(page)
    monkeypatch.setattr(
        "ml.runners.OnnxRunner",
        lambda file: SimpleNamespace(card=model_card, integers=file.name == "int8.onnx"),
    )
    monkeypatch.setattr("ml.predictor.Predictor", lambda card, runner: runner)
    monkeypatch.setattr(
        "ml.evaluation.evaluator.evaluate",
        lambda reader, pages: scored(matched if reader.integers else [1000] * 20),
    )
    lost = _to_int8(tmp_path, tmp_path / "data", ExportConfig(metric_bound=0.01))
    assert lost == {"word_f1": pytest.approx(1 - sum(matched) / 20_000)}
    assert ("integers now" if taken else "float graph is kept") in capsys.readouterr().out
    nodes = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert ("QuantizeLinear" in nodes) == taken
    assert not (tmp_path / "int8.onnx").exists()
    assert OnnxRunner(tmp_path / "model.onnx").card == model_card


def test_exporting_what_was_never_trained_is_wrong_usage(tmp_path, capsys):
    assert main(["export", "trident", "--model", str(tmp_path / "none")]) == 2
    assert "no checkpoint there" in capsys.readouterr().err
