"""Who answers for which region: Hungarian matching, D-FINE's union set, and a dense one-to-many assignment.

An assignment is an int64 tensor over queries that holds the index of the true region, or -1.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ml.models.dfine.boxes import Targets, corners, overlaps

#: Costs of class (focal), L1 and GIoU, as in DETR's line of models.
CLASS_COST, L1_COST, GIOU_COST = 2.0, 5.0, 2.0


@torch.no_grad()
def costs(logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
    """Cost of every query with every true region of its page: (S, B, Q, C), (S, B, Q, 4) to (S, B, Q, T).

    Not-a-number is refused: it would win matches unseen.
    """
    prob = logits.sigmoid()
    positive = 0.25 * (1 - prob) ** 2 * -(prob + 1e-8).log()
    negative = 0.75 * prob**2 * -(1 - prob + 1e-8).log()
    labels = targets.labels.clamp(min=0)[None, :, None].expand(*logits.shape[:3], -1)
    by_class = (positive - negative).gather(-1, labels)
    found, truth = boxes.unsqueeze(-2), targets.boxes[None, :, None]
    l1 = sum((found[..., i] - truth[..., i]).abs() for i in range(4))
    _, giou = overlaps(corners(found), corners(truth))
    total = CLASS_COST * by_class + L1_COST * l1 - GIOU_COST * giou
    if not torch.isfinite(total).all():
        raise FloatingPointError("the detector's outputs are not finite")
    return total


@torch.no_grad()
def hungarian(logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
    """One query for each true region at least total cost, in each of S sets: (S, B, Q, C) to (S, B, Q)."""
    cost = costs(logits, boxes, targets).cpu().numpy()
    assigned = torch.full(logits.shape[:3], -1, dtype=torch.int64)
    for page, count in enumerate(targets.counts):
        for layer in range(len(cost) if count else 0):
            queries, regions = linear_sum_assignment(cost[layer, page, :, :count])
            assigned[layer, page, torch.from_numpy(queries)] = torch.from_numpy(regions)
    return assigned.to(logits.device)


def union(assigned: Tensor, regions: int) -> Tensor:
    """D-FINE's global union set: each query takes the region that most sets gave it: (S, B, Q) to (B, Q)."""
    votes = torch.zeros(*assigned.shape[1:], regions + 1, dtype=torch.int64, device=assigned.device)
    for layer in assigned:
        votes.scatter_add_(-1, (layer + 1).unsqueeze(-1), torch.ones_like(layer).unsqueeze(-1))
    most, region = votes[..., 1:].max(-1)
    return torch.where(most > 0, region, -1)


@torch.no_grad()
def dense(logits: Tensor, boxes: Tensor, points: Tensor, targets: Targets, each: int) -> Tensor:
    """The `each` cheapest tokens for every true region, near its middle: a one-to-many assignment.

    logits (B, M, C), boxes (B, M, 4), points (M, 2) the tokens' places, all normalised: (B, M). A token that
    several regions want goes to the one it costs least. Gives a detector trained from nothing a signal in
    every place from the first step, where one-to-one matching would teach a handful of queries.
    """
    if not targets.labels.shape[1]:
        return torch.full(logits.shape[:2], -1, dtype=torch.int64, device=logits.device)
    cost = costs(logits[None], boxes[None], targets)[0]  # (B, M, T)
    truth = targets.boxes[:, None]
    away = ((points[None, :, None] - truth[..., :2]).abs() / truth[..., 2:].clamp(min=1e-6)).amax(-1)
    # Tokens outside a region (over half a side from its middle) come only after all those inside it.
    cost = cost + 100.0 * (away - 0.5).clamp(min=0)
    absent = (targets.labels < 0)[:, None]
    cost = cost.masked_fill(absent, float("inf"))
    chosen = torch.zeros_like(cost, dtype=torch.bool)
    chosen.scatter_(1, cost.topk(min(each, cost.shape[1]), dim=1, largest=False).indices, True)
    best, region = cost.masked_fill(~(chosen & ~absent), float("inf")).min(-1)
    return torch.where(best.isfinite(), region, -1)
