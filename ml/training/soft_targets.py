"""A frozen teacher's answers as targets (Hinton et al. 2015): losses that are zero where the student says the same.

The teacher's answers are constants here; temperature T softens both sides, and T^2 keeps the gradient's size.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def soft_binary(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of sigmoids against the teacher's, less the teacher's entropy; logits of one shape, kept."""
    target = teacher.detach().sigmoid()
    value = F.binary_cross_entropy_with_logits(student, target, reduction="none")
    return value - F.binary_cross_entropy_with_logits(teacher.detach(), target, reduction="none")


def soft_classes(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`soft_binary` of softened logits (..., C), summed, for one unit of the teacher's confidence. Scalar.

    Weighted by the gap of the two (quality focal loss), for most places are empty and soon agreed on.
    """
    said = teacher.detach().sigmoid()
    gap = (student.detach().sigmoid() - said).abs()
    apart = soft_binary(student / temperature, teacher / temperature)
    return temperature**2 * (gap * apart).sum() / said.amax(-1).sum().clamp(min=1)


def soft_choice(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence from the teacher's softened choice among C to the student's: logits (..., C) to nats (...)."""
    ours, theirs = ((x.float() / temperature).log_softmax(-1) for x in (student, teacher.detach()))
    return temperature**2 * F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
