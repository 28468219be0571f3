"""Fine-grained distribution refinement: the pure maths of D-FINE (Peng et al. 2024, arXiv 2410.13842).

Each edge of a box is a distribution over N + 1 bins; bin n moves the edge by W(n) / s times the side of an
origin box. W is dense near zero, so small corrections are fine and large ones are possible. Boxes are
(cx, cy, w, h), edges in the order left, top, right, bottom.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: D-FINE's N, a and s. W is scaled by s here, as in the reference code, and divided by it on decoding.
BINS, UP, SCALE = 32, 0.5, 4.0


def weighting(bins: int = BINS, up: float = UP, scale: float = SCALE) -> Tensor:
    """s * W(n) for n = 0..N: (N + 1,), odd around n = N / 2, ends at -2as and 2as (paper, equation 3)."""
    step = (up * scale + 1) ** (2 / (bins - 2))
    inner = torch.tensor([step**i - 1 for i in range(1, bins // 2)], dtype=torch.float32)
    ends, zero = torch.tensor([2 * up * scale]), torch.zeros(1)
    return torch.cat([-ends, -inner.flip(0), zero, inner, ends])


def edge_offsets(origins: Tensor, boxes: Tensor, scale: float = SCALE) -> Tensor:
    """How far the edges of `boxes` lie outside those of `origins`, on W's scale: (..., 4) to (..., 4)."""
    center, size = origins[..., :2], origins[..., 2:].clamp(min=1e-6)
    half = boxes[..., 2:] / 2
    near = center - (boxes[..., :2] - half)
    far = (boxes[..., :2] + half) - center
    return torch.cat([near / size, far / size], dim=-1) * scale - 0.5 * scale


def to_bins(offsets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbouring bins of each offset: the left bin (int64) and the share of the right one.

    An offset beyond the last bin is clamped to it: the box is out of reach, but the direction is right.
    """
    last = len(weights) - 1
    left = (torch.searchsorted(weights, offsets.contiguous(), right=True) - 1).clamp(0, last - 1)
    low, high = weights[left], weights[left + 1]
    return left, ((offsets - low) / (high - low)).clamp(0, 1)


def fgl(logits: Tensor, offsets: Tensor, quality: Tensor, weights: Tensor) -> Tensor:
    """Fine-grained localization loss of each box (paper, equation 6), summed over its edges.

    logits (M, 4, N + 1), offsets (M, 4) to reach, quality (M,) the IoU of the present box: (M,).
    """
    left, share = to_bins(offsets, weights)
    log = F.log_softmax(logits, dim=-1)
    near = log.gather(-1, left.unsqueeze(-1)).squeeze(-1)
    far = log.gather(-1, left.unsqueeze(-1) + 1).squeeze(-1)
    return -quality * ((1 - share) * near + share * far).sum(-1)


def ddf(
    student: Tensor, teacher: Tensor, quality: Tensor, matched: Tensor, temperature: float = 5.0
) -> Tensor:
    """Decoupled distillation focal loss: KL from the last layer's distributions (GO-LSD; paper, equation 7).

    student and teacher (..., Q, 4, N + 1), quality (..., Q) weights, matched (..., Q) bool. The mean over
    matched queries and the mean over the others are weighted by the square roots of their numbers. Scalar.
    """
    log_student = F.log_softmax(student / temperature, dim=-1)
    target = F.softmax(teacher.detach() / temperature, dim=-1)
    divergence = F.kl_div(log_student, target, reduction="none").sum(-1).mean(-1) * temperature**2
    value = quality * divergence
    positive, negative = matched.sum().float(), (~matched).sum().float()
    mean_positive = (value * matched).sum() / positive.clamp(min=1)
    mean_negative = (value * ~matched).sum() / negative.clamp(min=1)
    roots = positive.sqrt() + negative.sqrt()
    return (mean_positive * positive.sqrt() + mean_negative * negative.sqrt()) / roots.clamp(min=1)
