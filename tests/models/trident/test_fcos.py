import math

import numpy as np
import pytest
import torch

from ml.models.trident.fcos import (
    assign,
    at_least,
    centerness,
    decode,
    fcos_loss,
    focal,
    giou,
    joined,
    locations,
    second_look,
    sides_to_boxes,
    suppress,
)


def test_a_location_inside_nested_boxes_belongs_to_the_smallest():
    boxes = np.array([[0, 0, 40, 40], [8, 8, 24, 24], [30, 0, 40, 10]], np.float32)
    owner = assign(boxes, 5, 5, 8)  # locations at 4, 12, 20, 28, 36
    assert owner.tolist() == [
        [0, 0, 0, 0, 2],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_locations_outside_every_box_belong_to_none():
    assert (assign(np.zeros((0, 4), np.float32), 2, 3, 8) == -1).all()
    assert (assign(np.array([[100, 100, 200, 200]], np.float32), 2, 3, 8) == -1).all()


@pytest.mark.parametrize("box", [[11.0, 18.2, 21.0, 19.4], [14.5, 8.0, 15.9, 20.0], [14.3, 14.3, 15.5, 15.5]])
def test_a_box_thinner_than_a_cell_has_locations_that_are_central(box):
    boxes = np.array([box], np.float32)
    owner = torch.from_numpy(assign(boxes, 8, 8, 4))[None]
    assert (owner == 0).any()
    sides, center = torch.ones(1, 4, 8, 8, requires_grad=True), torch.zeros(1, 1, 8, 8, requires_grad=True)
    known, labels = torch.tensor([True]), torch.tensor([[0]])
    losses = fcos_loss(
        (torch.zeros(1, 1, 8, 8), sides, center), owner, torch.from_numpy(boxes)[None], labels, known, 4
    )
    losses["center"].backward()
    wanted = 0.5 - center.grad[0, 0][owner[0] == 0] * (owner == 0).sum()  # of the sigmoid, by its gradient
    assert wanted.max() > 1 / 3


def test_assignment_agrees_with_the_definition_on_random_boxes():
    rng = np.random.default_rng(0)
    for stride in (4, 8):
        low = rng.uniform(0, 60, (12, 2))
        boxes = np.concatenate([low, low + rng.uniform(1, 40, (12, 2))], 1).astype(np.float32)
        owner = assign(boxes, 96 // stride, 96 // stride, stride).ravel()
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        for place, (x, y) in enumerate(locations(96 // stride, 96 // stride, stride).numpy()):
            roomy = at_least(torch.from_numpy(boxes), stride).numpy()
            inside = [i for i, (x1, y1, x2, y2) in enumerate(roomy) if x1 <= x < x2 and y1 <= y < y2]
            assert owner[place] == (min(inside, key=lambda i: areas[i]) if inside else -1)


def test_centerness_is_one_in_the_middle_and_as_computed_by_hand_elsewhere():
    box = torch.tensor([[0.0, 0.0, 8.0, 8.0]]).expand(2, 4)
    # At (2, 4): l, r = 2, 6 and t, b = 4, 4, so sqrt(2/6 * 1).
    assert centerness(torch.tensor([[4.0, 4.0], [2.0, 4.0]]), box).tolist() == pytest.approx(
        [1.0, math.sqrt(1 / 3)]
    )


def test_focal_loss_by_hand():
    # p = 1/2: alpha * (1/2)^2 * ln 2 for a positive, (1 - alpha) * (1/2)^2 * ln 2 for a negative.
    loss = focal(torch.zeros(2), torch.tensor([1.0, 0.0]))
    assert loss.tolist() == pytest.approx([0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)])


def test_giou_of_equal_overlapping_and_disjoint_boxes():
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1]])
    b = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 3, 1]])
    # Overlapping: 2/6 - 0. Disjoint: 0 - (3 - 2)/3.
    assert giou(a, b).tolist() == pytest.approx([1.0, 1 / 3, -1 / 3])


def test_sides_and_boxes_are_inverse():
    points, box = torch.tensor([[4.0, 4.0]]), torch.tensor([[1.0, 2.0, 9.0, 7.0]])
    sides = torch.cat([points - box[:, :2], box[:, 2:] - points], 1)
    assert torch.equal(sides_to_boxes(points, sides), box)


def _one_word(known: bool):
    boxes = torch.tensor([[[4.0, 4.0, 20.0, 12.0]]])
    owner = torch.from_numpy(assign(boxes[0].numpy(), 4, 8, 4))[None]
    outputs = tuple(torch.zeros(1, c, 4, 8, requires_grad=True) for c in (1, 4, 1))
    parts = fcos_loss(outputs, owner, boxes, torch.zeros(1, 1, dtype=torch.long), torch.tensor([known]), 4)
    return outputs, parts


def test_a_page_without_annotation_teaches_nothing():
    outputs, parts = _one_word(known=False)
    assert sum(parts.values()).item() == 0.0
    sum(parts.values()).backward()
    assert all(not output.grad.any() for output in outputs if output.grad is not None)


@pytest.mark.parametrize(("even", "expected"), [(False, 16 / 18), (True, 1 / 2)])
def test_a_dash_counts_by_its_two_locations_or_as_much_as_a_word_of_sixteen(even, expected):
    word, dash, none = [0.0, 0.0, 32.0, 8.0], [36.0, 5.5, 44.0, 6.5], [0.0, 0.0, 0.0, 0.0]
    owner = torch.from_numpy(assign(np.array([word, dash], np.float32), 4, 12, 4))[None]
    sides = torch.zeros(1, 4, 4, 12)  # no box around the word's locations: 1 - GIoU is 1
    sides[0, :, 1, 9], sides[0, :, 1, 10] = torch.tensor([2, 0.5, 6, 0.5]), torch.tensor([6, 0.5, 2, 0.5])
    outputs = (torch.zeros(1, 1, 4, 12), sides, torch.zeros(1, 1, 4, 12))
    boxes, labels = torch.tensor([[word, dash, none]]), torch.zeros(1, 3, dtype=torch.long)
    losses = fcos_loss(outputs, owner, boxes, labels, torch.tensor([True]), 4, even)
    assert losses["box"].item() == pytest.approx(expected)


def test_focal_term_is_normalised_by_positive_locations():
    _, parts = _one_word(known=True)
    # The word covers 4 x 2 locations of 32; every logit is 0.
    assert parts["class"].item() == pytest.approx((8 * 0.25 + 24 * 0.75) * 0.25 * math.log(2) / 8, rel=1e-5)


def _greedy(boxes: torch.Tensor, threshold: float) -> list[int]:
    """Non-maximum suppression as the textbook has it, of boxes from the best on."""
    kept: list[int] = []
    for i, box in enumerate(boxes):
        others = boxes[kept]
        low, high = torch.maximum(others[:, :2], box[:2]), torch.minimum(others[:, 2:], box[2:])
        overlap = (high - low).clamp(min=0).prod(-1)
        union = (others[:, 2:] - others[:, :2]).prod(-1) + (box[2:] - box[:2]).prod() - overlap
        if not (overlap / union > threshold).any():
            kept.append(i)
    return kept


def test_suppression_equals_greedy_nms_page_by_page():
    torch.manual_seed(0)
    low = torch.rand(2, 60, 2) * 80 - 10
    boxes = torch.cat([low, low + 10 + torch.rand(2, 60, 2) * 30], -1)
    kept = suppress(boxes, 0.4)
    assert [page.nonzero().flatten().tolist() for page in kept] == [_greedy(page, 0.4) for page in boxes]
    assert 10 < kept.sum() < 110


def test_decoding_returns_the_box_that_the_outputs_describe():
    logits, sides, center = (
        torch.full((1, 2, 8, 8), -9.0),
        torch.ones(1, 4, 8, 8),
        torch.full((1, 1, 8, 8), 4.0),
    )
    logits[0, 1, 3, 5] = 4.0
    sides[0, :, 3, 5] = torch.tensor([10.0, 4.0, 6.0, 3.0])
    boxes, scores, labels = decode((logits, sides, center), 4, candidates=16, keep=4, threshold=0.5)
    assert boxes[0, 0].tolist() == [22 - 10, 14 - 4, 22 + 6, 14 + 3]
    assert labels[0, 0] == 1
    assert scores[0, 0].item() == pytest.approx(torch.sigmoid(torch.tensor(4.0)).item())


def _long_word(sure: float) -> tuple[torch.Tensor, ...]:
    """Outputs for a word at x 8..104, y 8..20 at stride 4: in its middle both ends are seen too near."""
    logits, sides = torch.full((1, 1, 8, 32), -9.0), torch.zeros(1, 4, 8, 32)
    rows, columns = slice(2, 5), slice(2, 26)
    logits[0, 0, rows, columns] = sure
    x, y = (torch.arange(32) + 0.5) * 4, (torch.arange(8) + 0.5) * 4
    left, right = x - 8, 104 - x
    error = torch.where((left > 30) & (right > 30), 10.0, 0.0)
    sides[0, 0], sides[0, 2] = (left - error).clamp(min=0), (right - error).clamp(min=0)
    sides[0, 1], sides[0, 3] = (y - 8).clamp(min=0)[:, None], (20 - y).clamp(min=0)[:, None]
    return logits, sides, torch.zeros(1, 1, 8, 32)


def test_a_word_s_ends_are_those_that_the_locations_beside_them_see():
    first = torch.tensor([[[18.0, 8, 94, 20]]])
    assert second_look(first, _long_word(sure=3.0), 4)[0, 0].tolist() == [8, 8, 104, 20]


def test_ends_stay_where_no_location_is_sure_or_the_answer_is_far_off():
    first = torch.tensor([[[18.0, 8, 94, 20]]])
    assert torch.equal(second_look(first, _long_word(sure=-3.0), 4), first)
    inner = torch.tensor([[[40.0, 8, 70, 20]]])  # 32 pixels from the end, 2.7 heights
    logits, sides, center = _long_word(sure=3.0)
    sides[0, 0] += 30
    assert second_look(inner, (logits, sides, center), 4)[0, 0, 0] == 40


PIECES = [[8.0, 8, 60, 20], [46, 8, 104, 21], [90, 7, 140, 20], [142, 8, 200, 20]]


def test_pieces_of_a_word_grow_as_wide_as_the_word_and_its_neighbour_does_not():
    boxes = joined(torch.tensor([PIECES]), torch.full((1, 4), 0.9))
    assert boxes[0].tolist() == [[8, 8, 140, 20], [8, 8, 140, 21], [8, 7, 140, 20], PIECES[3]]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param([50.0, 8, 104, 20], id="less than a height shared"),
        pytest.param([30.0, 14, 104, 26], id="another line"),
        pytest.param([40.0, 14, 60, 20], id="a small word beside a tall one's foot"),
    ],
)
def test_words_that_are_no_pieces_stay_as_they_are(other):
    boxes = torch.tensor([[PIECES[0], other]])
    assert torch.equal(joined(boxes, torch.full((1, 2), 0.9)), boxes)


def test_an_unsure_box_is_no_piece():
    boxes = torch.tensor([PIECES])
    assert torch.equal(joined(boxes, torch.tensor([[0.9, 0.4, 0.9, 0.9]])), boxes)


def test_a_long_word_found_in_two_pieces_is_one_box():
    logits, center = torch.full((1, 1, 8, 32), -9.0), torch.full((1, 1, 8, 32), 4.0)
    sides = torch.ones(1, 4, 8, 32)
    for column, (x1, y1, x2, y2), score in ((8, PIECES[0], 3.0), (18, PIECES[1], 4.0)):
        x, y = (column + 0.5) * 4, (3 + 0.5) * 4
        logits[0, 0, 3, column] = score
        sides[0, :, 3, column] = torch.tensor([x - x1, y - y1, x2 - x, y2 - y])
    boxes, scores, _ = decode((logits, sides, center), 4, candidates=16, keep=4, threshold=0.4, words=True)
    assert boxes[0, 0].tolist() == [8, 8, 104, 21]
    assert (scores[0] > 0.5).tolist() == [True, False, False, False]
