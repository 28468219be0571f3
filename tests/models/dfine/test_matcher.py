from __future__ import annotations

import pytest
import torch

from ml.models.dfine.boxes import Targets
from ml.models.dfine.matcher import costs, dense, hungarian, union

LEFT, RIGHT = [0.25, 0.5, 0.3, 0.3], [0.75, 0.5, 0.3, 0.3]


def targets(*pages: list[tuple[list[float], int]]) -> Targets:
    most = max(len(page) for page in pages)
    boxes, labels = torch.zeros(len(pages), most, 4), torch.full((len(pages), most), -1)
    for i, page in enumerate(pages):
        for j, (box, label) in enumerate(page):
            boxes[i, j], labels[i, j] = torch.tensor(box), label
    return Targets(boxes, labels)


def test_queries_take_the_regions_on_which_they_lie() -> None:
    truth = targets([(LEFT, 0), (RIGHT, 1)])
    boxes = torch.tensor([[[RIGHT, [0.5, 0.1, 0.1, 0.1], LEFT]]])
    assigned = hungarian(torch.zeros(1, 1, 3, 2), boxes, truth)
    assert assigned.tolist() == [[[1, -1, 0]]]


def test_the_class_decides_between_equal_boxes() -> None:
    truth = targets([(LEFT, 0)])
    logits = torch.tensor([[[[-2.0, 2.0], [2.0, -2.0]]]])
    assert hungarian(logits, torch.tensor([[[LEFT, LEFT]]]), truth).tolist() == [[[-1, 0]]]


def test_the_cheapest_whole_is_chosen_not_the_cheapest_pair() -> None:
    # Query 0 is best for both regions; giving it to region 0 would leave region 1 with a far query.
    truth = targets([([0.50, 0.5, 0.2, 0.2], 0), ([0.55, 0.5, 0.2, 0.2], 0)])
    boxes = torch.tensor([[[[0.53, 0.5, 0.2, 0.2], [0.40, 0.5, 0.2, 0.2]]]])
    assert hungarian(torch.zeros(1, 1, 2, 1), boxes, truth).tolist() == [[[1, 0]]]


def test_a_page_without_regions_matches_nothing_beside_one_that_has_some() -> None:
    truth = targets([(LEFT, 0)], [])
    boxes = torch.tensor([[LEFT], [LEFT]]).unsqueeze(0)
    assert hungarian(torch.zeros(1, 2, 1, 1), boxes, truth).tolist() == [[[0], [-1]]]


def test_costs_by_hand() -> None:
    truth = targets([([0.5, 0.5, 0.2, 0.2], 0)])
    cost = costs(torch.zeros(1, 1, 1, 1), torch.tensor([[[[0.5, 0.5, 0.2, 0.2]]]]), truth)
    by_class = 0.25 * 0.25 * 0.693147 - 0.75 * 0.25 * 0.693147
    assert cost.item() == pytest.approx(2 * by_class - 2 * 1.0, abs=1e-4)


def test_outputs_that_are_not_finite_are_refused() -> None:
    truth = targets([(LEFT, 0)])
    with pytest.raises(FloatingPointError, match="not finite"):
        hungarian(torch.full((1, 1, 1, 1), float("nan")), torch.tensor([[[LEFT]]]), truth)


def test_the_union_keeps_the_region_that_most_layers_chose() -> None:
    assigned = torch.tensor([[[0, -1, 1]], [[1, -1, 1]], [[1, 2, -1]]])
    assert union(assigned, 3).tolist() == [[1, 2, 1]]


def test_the_dense_assignment_gives_each_region_its_cheapest_tokens_inside_it() -> None:
    truth = targets([(LEFT, 0), (RIGHT, 1)])
    points = torch.tensor([[0.25, 0.5], [0.30, 0.5], [0.75, 0.5], [0.70, 0.5], [0.5, 0.9]])
    boxes = torch.cat([points, torch.full((5, 2), 0.3)], -1)[None]
    assigned = dense(torch.zeros(1, 5, 2), boxes, points, truth, each=2)
    assert assigned.tolist() == [[0, 0, 1, 1, -1]]


def test_a_token_that_two_regions_want_goes_to_the_cheaper() -> None:
    truth = targets([([0.5, 0.5, 0.4, 0.4], 0), ([0.5, 0.5, 0.2, 0.2], 0)])
    points = torch.tensor([[0.5, 0.5]])
    assigned = dense(torch.zeros(1, 1, 1), torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]), points, truth, each=1)
    assert assigned.tolist() == [[1]]


def test_padding_is_never_assigned() -> None:
    truth = targets([(LEFT, 0), (RIGHT, 0)], [])
    points = torch.rand(6, 2, generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([points, torch.full((6, 2), 0.3)], -1).expand(2, -1, -1)
    assert dense(torch.zeros(2, 6, 1), boxes, points, truth, each=3)[1].tolist() == [-1] * 6
