"""What D-FINE is trained on. Ours: transformers 5.23 pairs the layers' boxes and distributions off by one.

Sets of predictions are stacked and each loss is computed once for all of them. Classification keeps the
matches of its own layer; boxes and distributions use the union of all layers' matches (D-FINE's GO set).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml.models.dfine import fdr
from ml.models.dfine.boxes import Targets, corners, overlaps, take
from ml.models.dfine.matcher import dense, hungarian, union
from ml.models.dfine.network import Predictions, QuerySet

WEIGHTS = {"class": 1.0, "l1": 5.0, "giou": 2.0, "fgl": 0.15, "ddf": 1.5}


def quality_focal(
    logits: Tensor, assigned: Tensor, labels: Tensor, iou: Tensor, gamma: float = 1.5
) -> Tensor:
    """Matchability-aware loss (DEIM, arXiv 2412.04234): sum over all queries and classes, a scalar.

    The target of a matched query is IoU^gamma, so a loosely matched query still counts as a positive; an
    unmatched one is weighted by p^gamma. logits (..., C), assigned, labels and iou (...).
    """
    one_hot = F.one_hot(labels.clamp(min=0), logits.shape[-1]) * (assigned >= 0).unsqueeze(-1)
    target = one_hot * iou.detach().clamp(0, 1).pow(gamma).unsqueeze(-1)
    with torch.no_grad():
        weight = logits.sigmoid().pow(gamma) * (1 - one_hot) + one_hot
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), weight, reduction="sum")


class Criterion(nn.Module):
    """Predictions and targets to losses: each part already weighted, normalised by the number of regions."""

    def __init__(self, dense_each: int = 6) -> None:
        super().__init__()
        self.dense_each = dense_each
        self.register_buffer("bins", fdr.weighting(), persistent=False)

    def forward(self, predictions: Predictions, targets: Targets) -> dict[str, Tensor]:
        """The parts 'class', 'l1', 'giou', 'fgl', 'ddf', 'denoise' and 'dense'; their sum is the loss."""
        total = torch.tensor(float(max(1, sum(targets.counts))), device=targets.boxes.device)
        queries = predictions.queries
        logits = torch.cat([queries.logits, predictions.proposal_logits[None]])
        boxes = torch.cat([queries.boxes, predictions.proposal_boxes[None]])
        own = hungarian(logits.detach(), boxes.detach(), targets)
        shared = union(own, targets.labels.shape[1])
        losses = self._set_losses(queries, boxes, logits, own, shared, targets, total)
        if predictions.noised is not None:
            noised = predictions.noised
            known = noised_assignment(noised.logits.shape[2], targets).expand(len(noised.logits), -1, -1)
            copies = (known[0] >= 0).sum().clamp(min=1).float()
            parts = self._set_losses(noised, noised.boxes, noised.logits, known, known[0], targets, copies)
            losses["denoise"] = torch.stack(list(parts.values())).sum()
        if self.dense_each:
            losses["dense"] = self._dense(predictions, targets)
        return losses

    def _set_losses(
        self,
        queries: QuerySet,
        boxes: Tensor,  # (S, B, Q, 4); the first of the S sets are those of `queries`
        logits: Tensor,  # (S, B, Q, C)
        own: Tensor,  # (S, B, Q) the sets' own matches
        shared: Tensor,  # (B, Q) the union of matches
        targets: Targets,
        total: Tensor,
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            own_iou, _ = overlaps(corners(boxes), corners(take(targets.boxes, own)))
        losses = {"class": quality_focal(logits, own, take(targets.labels, own), own_iou) / total}

        page, query = (shared >= 0).nonzero(as_tuple=True)
        region = shared[page, query]
        found, truth = boxes[:, page, query], targets.boxes[page, region]  # (S, M, 4), (M, 4)
        count = max(1, len(region))
        iou, giou = overlaps(corners(found), corners(truth))
        losses["l1"] = WEIGHTS["l1"] * (found - truth).abs().sum() / count
        losses["giou"] = WEIGHTS["giou"] * (1 - giou).sum() / count

        # Layer l's distributions belong to its own boxes, set l + 1 of the stack (set 0 is the pre-head).
        layers = queries.edges.shape[0]
        edges = queries.edges[:, page, query].unflatten(-1, (4, -1))  # (L, M, 4, N + 1)
        offsets = fdr.edge_offsets(queries.origins[page, query].detach(), truth)
        quality = iou[1 : layers + 1].detach()
        losses["fgl"] = (
            WEIGHTS["fgl"]
            * fdr.fgl(
                edges.flatten(0, 1),
                offsets.expand(layers, -1, -1).flatten(0, 1),
                quality.flatten(),
                self.bins,  # type: ignore[arg-type]
            ).sum()
            / count
        )
        if layers > 1:
            losses["ddf"] = self._refinement(queries, page, query, quality[:-1], shared >= 0)
        return losses

    @staticmethod
    def _refinement(queries: QuerySet, page: Tensor, query: Tensor, iou: Tensor, matched: Tensor) -> Tensor:
        """Every layer but the last learns the last one's distributions (GO-LSD)."""
        layers = len(queries.edges) - 1
        weight = queries.logits[-1].detach().sigmoid().amax(-1).expand(layers, -1, -1).clone()
        weight[:, page, query] = iou.to(weight.dtype)
        edges = queries.edges.unflatten(-1, (4, -1))
        parts = [fdr.ddf(edges[i], edges[-1], weight[i], matched) for i in range(layers)]
        return WEIGHTS["ddf"] * torch.stack(parts).sum()

    def _dense(self, predictions: Predictions, targets: Targets) -> Tensor:
        logits, boxes = predictions.dense_logits, predictions.dense_boxes
        assigned = dense(logits.detach(), boxes.detach(), predictions.points, targets, self.dense_each)
        page, token = (assigned >= 0).nonzero(as_tuple=True)
        truth = targets.boxes[page, assigned[page, token]]
        found = boxes[page, token]
        iou, giou = overlaps(corners(found), corners(truth))
        quality = torch.zeros_like(logits[..., 0])
        quality[page, token] = iou.detach().to(quality.dtype)
        labels = take(targets.labels, assigned[None])[0]
        count = max(1, len(page))
        return (
            quality_focal(logits, assigned, labels, quality)
            + WEIGHTS["l1"] * (found - truth).abs().sum()
            + WEIGHTS["giou"] * (1 - giou).sum()
        ) / count


def noised_assignment(queries: int, targets: Targets) -> Tensor:
    """Which region each denoising query was made from: (B, queries), -1 for negatives and padding.

    transformers lays groups one after the other, each with T positives and then T negatives, T being the most
    regions that a page of the batch has.
    """
    counts = torch.tensor(targets.counts, device=targets.boxes.device)
    most = int(counts.max())
    place = torch.arange(queries, device=counts.device) % (2 * most)
    return torch.where(place[None] < counts[:, None], place[None], -1)
