"""Boxes as tensors: (cx, cy, w, h) normalised to the canvas, as DETR has them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """True regions of a batch, padded. Real ones come first in each row."""

    boxes: Tensor  # (B, T, 4) cx, cy, w, h in [0, 1]
    labels: Tensor  # (B, T) int64, -1 where padded

    @property
    def counts(self) -> list[int]:
        """True regions of each page."""
        return (self.labels >= 0).sum(1).tolist()


def corners(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) to (x1, y1, x2, y2)."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def centers(boxes: Tensor) -> Tensor:
    """(x1, y1, x2, y2) to (cx, cy, w, h)."""
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], dim=-1)


def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi 2019) of boxes (x1, y1, x2, y2), element by element, broadcast."""
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    area_a, area_b = ((x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1) for x in (a, b))
    inter, whole = shared.prod(-1), hull.clamp(min=0).prod(-1)
    union = area_a + area_b - inter
    iou = inter / union.clamp(min=1e-9)
    return iou, iou - (whole - union) / whole.clamp(min=1e-9)


def take(targets: Tensor, assigned: Tensor) -> Tensor:
    """Rows of `targets` (B, T, ...) for `assigned` (S, B, Q) indices (-1 gives row 0): (S, B, Q, ...)."""
    batch = torch.arange(assigned.shape[1], device=assigned.device).view(1, -1, 1)
    return targets[batch, assigned.clamp(min=0)]
