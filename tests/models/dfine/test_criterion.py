from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ml.config import DFineConfig
from ml.models.dfine.boxes import Targets
from ml.models.dfine.criterion import Criterion, noised_assignment, quality_focal
from ml.models.dfine.network import DFine, Predictions, QuerySet, build_network

CONFIG = DFineConfig.model_validate(
    {
        "backbone": "test_convnext",
        "short_edge": [64, 64],
        "long_edge": 96,
        "hidden": 32,
        "decoder_layers": 3,
        "queries": 12,
        "denoising": 8,
    }
)


@pytest.fixture(scope="module")
def network() -> DFine:
    torch.manual_seed(0)
    return build_network(CONFIG)


@pytest.fixture(scope="module")
def targets() -> Targets:
    boxes = torch.tensor(
        [
            [[0.5, 0.2, 0.6, 0.1], [0.5, 0.6, 0.6, 0.3], [0.5, 0.9, 0.2, 0.05]],
            [[0.4, 0.5, 0.3, 0.3], [0, 0, 0, 0], [0, 0, 0, 0]],
        ]
    )
    return Targets(boxes, torch.tensor([[10, 9, 4], [6, -1, -1]]))


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randint(
        0, 256, (2, 96, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def predicted(network: DFine, image: Tensor, targets: Targets) -> Predictions:
    network.train()
    torch.manual_seed(2)
    return network(image, targets)


def test_sets_of_predictions_have_the_shapes_they_promise(
    network: DFine, image: Tensor, targets: Targets
) -> None:
    found = predicted(network, image, targets)
    assert found.queries.logits.shape == (4, 2, 12, 11)
    assert found.queries.boxes.shape == (4, 2, 12, 4)
    assert found.queries.edges.shape == (3, 2, 12, 4 * 33)
    assert found.queries.origins.shape == (2, 12, 4)
    assert found.points.shape == (12 * 8 + 6 * 4 + 3 * 2, 2)
    assert found.dense_logits.shape == (2, len(found.points), 11)
    assert found.noised is not None


def test_origins_are_the_boxes_of_the_head_before_the_layers(
    network: DFine, image: Tensor, targets: Targets
) -> None:
    found = predicted(network, image, targets).queries
    assert torch.allclose(found.origins, found.boxes[0])


def test_the_layers_distributions_decode_to_the_layers_own_boxes(
    network: DFine, image: Tensor, targets: Targets
) -> None:
    """The pairing that transformers' loss gets wrong by one."""
    from transformers.models.d_fine.modeling_d_fine import distance2bbox

    from ml.models.dfine.fdr import SCALE, weighting

    torch.manual_seed(3)
    for head in network.model.decoder.bbox_embed:
        torch.nn.init.normal_(head.layers[-1].bias, std=2.0)
    found = predicted(network, image, targets).queries
    for layer in range(3):
        edges = found.edges[layer].unflatten(-1, (4, 33)).softmax(-1) @ weighting()
        own, before = found.boxes[layer + 1], found.boxes[layer]
        decoded = distance2bbox(found.origins, edges, SCALE)
        assert torch.allclose(decoded, own, atol=1e-5)
        assert not torch.allclose(decoded, before, atol=1e-3)


@pytest.mark.parametrize("group", ["queries", "noised"])
def test_every_layers_heads_learn_from_both_kinds_of_queries(
    network: DFine, image: Tensor, targets: Targets, group: str
) -> None:
    found = predicted(network, image, targets)
    losses = Criterion()(found, targets)
    part = losses["denoise"] if group == "noised" else losses["class"] + losses["fgl"]
    network.zero_grad()
    part.backward(retain_graph=True)
    decoder = network.model.decoder
    for layer in range(CONFIG.decoder_layers):
        assert decoder.class_embed[layer].weight.grad.abs().sum() > 0, f"class head {layer}"
        assert decoder.bbox_embed[layer].layers[-1].bias.grad.abs().sum() > 0, f"edge head {layer}"


def test_the_last_layers_distributions_are_supervised_at_the_last_layers_boxes() -> None:
    truth = Targets(torch.tensor([[[0.5, 0.5, 0.4, 0.4]]]), torch.tensor([[0]]))
    boxes = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.4, 0.4], [0.9, 0.9, 0.01, 0.01]])
    edges = torch.zeros(2, 1, 1, 4 * 33, requires_grad=True)
    logits = torch.zeros(3, 1, 1, 11)
    queries = QuerySet(logits, boxes.view(3, 1, 1, 4), edges, boxes[0].view(1, 1, 4))
    found = Predictions(
        queries,
        None,
        logits[0],
        boxes[0].view(1, 1, 4),
        logits[0],
        boxes[0].view(1, 1, 4),
        torch.zeros(1, 1, dtype=torch.int64),
        torch.rand(1, 2),
        (),
    )
    Criterion(dense_each=0)(found, truth)["fgl"].backward()
    assert edges.grad is not None
    # FGL is weighted by the IoU of the layer's own box: layer 0 fits (set 1), layer 1 does not (set 2).
    assert edges.grad[0].abs().sum() > 0
    assert edges.grad[1].abs().sum() == 0


def test_denoising_queries_know_the_regions_they_were_made_from(targets: Targets) -> None:
    from transformers.models.d_fine.modeling_d_fine import get_contrastive_denoising_training_group

    labels = [
        {"class_labels": targets.labels[i, :n], "boxes": targets.boxes[i, :n]}
        for i, n in enumerate(targets.counts)
    ]
    embedding = torch.nn.Embedding(12, 8)
    content, _, _, meta = get_contrastive_denoising_training_group(labels, 11, 12, embedding, 8)
    assigned = noised_assignment(content.shape[1], targets)
    for page, positive in enumerate(meta["dn_positive_idx"]):
        assert (assigned[page] >= 0).nonzero().flatten().tolist() == positive.tolist()
        expected = torch.arange(targets.counts[page]).repeat(meta["dn_num_group"])
        assert assigned[page][positive].tolist() == expected.tolist()


def test_a_perfect_prediction_costs_next_to_nothing_and_a_wrong_label_costs_much() -> None:
    truth = Targets(torch.tensor([[[0.5, 0.5, 0.4, 0.4]]]), torch.tensor([[3]]))

    def loss(label: int) -> float:
        logits = torch.full((2, 1, 2, 11), -12.0)
        logits[:, :, 0, label] = 12.0
        boxes = (
            torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.1, 0.1, 0.1, 0.1]]).view(1, 1, 2, 4).expand(2, -1, -1, -1)
        )
        edges = torch.zeros(1, 1, 2, 4, 33)
        edges[..., 16] = 50.0  # "stay where the origin is"
        queries = QuerySet(logits, boxes, edges.flatten(-2), boxes[0])
        found = Predictions(
            queries,
            None,
            logits[0],
            boxes[0],
            logits[0],
            boxes[0],
            torch.arange(2)[None],
            torch.rand(2, 2),
            (),
        )
        return sum(value.item() for value in Criterion(dense_each=1)(found, truth).values())

    assert loss(3) == pytest.approx(0, abs=1e-3)
    assert loss(4) > 10


def test_quality_focal_by_hand() -> None:
    logits = torch.zeros(1, 2, 2)
    value = quality_focal(
        logits, torch.tensor([[0, -1]]), torch.tensor([[1, 0]]), torch.tensor([[0.64, 0.9]])
    )
    # Matched class: weight 1, BCE of 0 against any target is log 2. The other three: p^1.5 log 2.
    assert value.item() == pytest.approx(0.693147 * (1 + 3 * 0.5**1.5), rel=1e-5)


def test_a_batch_without_any_region_has_a_finite_loss(network: DFine, image: Tensor) -> None:
    empty = Targets(torch.zeros(2, 1, 4), torch.full((2, 1), -1))
    losses = Criterion()(predicted(network, image, empty), empty)
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    total.backward()
