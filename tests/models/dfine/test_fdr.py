from __future__ import annotations

import math

import pytest
import torch
from transformers.models.d_fine.modeling_d_fine import distance2bbox

from ml.models.dfine.boxes import centers, corners, overlaps
from ml.models.dfine.fdr import SCALE, ddf, edge_offsets, fgl, to_bins, weighting

#: W(n) of the paper for a = 0.5 and c = 0.25, from the middle outwards.
PAPER = [0, 0.019, 0.039, 0.061, 0.085, 0.111, 0.138, 0.167, 0.199]
PAPER += [0.233, 0.270, 0.310, 0.352, 0.398, 0.447, 0.5, 1.0]


def test_weighting_has_the_papers_values() -> None:
    weights = weighting() / SCALE
    assert weights.shape == (33,)
    assert weights[16:].tolist() == pytest.approx(PAPER, abs=6e-4)
    assert weights.flip(0).tolist() == pytest.approx((-weights).tolist())
    assert (weights.diff() > 0).all()


def test_an_offset_on_a_weight_is_that_bin_alone() -> None:
    weights = weighting()
    left, share = to_bins(weights[[0, 5, 16, 31]], weights)
    assert left.tolist() == [0, 5, 16, 31]
    assert share.tolist() == pytest.approx([0, 0, 0, 0], abs=1e-6)


def test_an_offset_between_weights_is_split_by_distance() -> None:
    weights = weighting()
    between = 0.25 * weights[20] + 0.75 * weights[21]
    left, share = to_bins(between[None], weights)
    assert left.item() == 20
    assert share.item() == pytest.approx(0.75, abs=1e-4)


def test_offsets_out_of_reach_are_clamped_to_the_end_bins() -> None:
    weights = weighting()
    left, share = to_bins(torch.tensor([-99.0, 99.0]), weights)
    assert left.tolist() == [0, 31]
    assert share.tolist() == [0.0, 1.0]


def test_offsets_decode_back_to_the_box_by_transformers_own_decoder() -> None:
    origins = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.3, 0.6, 0.1, 0.1]])
    boxes = torch.tensor([[0.52, 0.47, 0.26, 0.35], [0.33, 0.61, 0.12, 0.08]])
    decoded = distance2bbox(origins, edge_offsets(origins, boxes), SCALE)
    assert torch.allclose(decoded, boxes, atol=1e-6)


def test_fgl_by_hand() -> None:
    weights = weighting()
    logits = torch.zeros(1, 4, 33)
    logits[0, 0, 20] = math.log(32)  # this edge gives bin 20 one half, 1 / 64 to each other bin
    between = 0.25 * weights[20] + 0.75 * weights[21]
    offsets = torch.stack([between, torch.tensor(0.0), torch.tensor(0.0), torch.tensor(0.0)])[None]
    expected = 0.6 * (0.25 * math.log(2) + 0.75 * math.log(64) + 3 * math.log(33))
    assert fgl(logits, offsets, torch.tensor([0.6]), weights).item() == pytest.approx(expected, rel=1e-4)


def test_fgl_falls_as_the_distribution_moves_to_the_truth() -> None:
    weights = weighting()
    offsets = weights[20].expand(1, 4)
    values = []
    for height in (0.0, 2.0, 8.0):
        logits = torch.zeros(1, 4, 33)
        logits[..., 20] = height
        values.append(fgl(logits, offsets, torch.ones(1), weights).item())
    assert values[0] > values[1] > values[2]


def test_ddf_is_zero_for_equal_distributions_and_teaches_only_the_student() -> None:
    logits = torch.randn(2, 3, 4, 33, generator=torch.Generator().manual_seed(0))
    matched = torch.tensor([[True, False, False], [True, True, False]])
    assert ddf(logits, logits, torch.ones(2, 3), matched).item() == pytest.approx(0, abs=1e-5)
    student, teacher = torch.zeros_like(logits, requires_grad=True), logits.clone().requires_grad_()
    ddf(student, teacher, torch.ones(2, 3), matched).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_ddf_weighs_the_two_means_by_the_roots_of_their_numbers() -> None:
    teacher = torch.zeros(1, 5, 4, 33)
    teacher[..., 0] = 5.0
    student = torch.zeros_like(teacher)
    kl = ddf(student, teacher, torch.ones(1, 5), torch.ones(1, 5, dtype=torch.bool)).item()
    matched = torch.tensor([[True, True, True, True, False]])
    quality = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]])  # four matched at kl, one unmatched at nothing
    value = ddf(student, teacher, quality, matched).item()
    assert value == pytest.approx(kl * 2 / 3, rel=1e-5)  # sqrt(4) / (sqrt(4) + sqrt(1))


def test_overlaps_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    b = torch.tensor([[1.0, 0.0, 3.0, 2.0], [4.0, 0.0, 6.0, 2.0]])
    iou, giou = overlaps(a, b)
    assert iou.tolist() == pytest.approx([1 / 3, 0.0])
    assert giou.tolist() == pytest.approx([1 / 3, -(12 - 8) / 12])


def test_corners_and_centers_are_inverse() -> None:
    boxes = torch.tensor([[0.5, 0.4, 0.2, 0.6]])
    assert torch.allclose(centers(corners(boxes)), boxes)
    assert corners(boxes)[0].tolist() == pytest.approx([0.4, 0.1, 0.6, 0.7])
