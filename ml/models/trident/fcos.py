"""FCOS on one level: a box from every location inside it (Tian et al. 2019). Used for regions and for words.

Location (i, j) of a level with stride s stands at pixel ((j + 1/2) s, (i + 1/2) s).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import nms

Norm = Literal["group", "batch"]

#: A location this sure of a word is believed when it is asked for the word's end.
SURE = 0.3
#: Boxes at least this sure that overlap along a line by more than their height are pieces of one word: words never do.
#: Their heights overlap by more than a share of the taller's.
PIECE, LEVEL = 0.5, 0.6


class FcosHead(nn.Module):
    """A tower of 3x3 convolutions, then class logits, (l, t, r, b) and centerness, each one 3x3 convolution."""

    def __init__(
        self, channels: int, classes: int, tower: int, stride: int, size: float, norm: Norm = "group"
    ) -> None:
        """`size` is the typical distance from a location to its box's sides, in strides: where regression starts."""
        super().__init__()
        self.stride = stride
        layers: list[nn.Module] = []
        for _ in range(tower):
            layers += [
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                normalisation(norm, channels),
                nn.ReLU(),
            ]
        self.tower = nn.Sequential(*layers)
        self.classes = nn.Conv2d(channels, classes, 3, padding=1)
        self.sides = nn.Conv2d(channels, 4, 3, padding=1)
        self.centerness = nn.Conv2d(channels, 1, 3, padding=1)
        # Focal loss starts from rare positives (Lin et al. 2017, section 4.1).
        nn.init.constant_(self.classes.bias, -float(np.log((1 - 0.01) / 0.01)))  # type: ignore[arg-type]
        for convolution in (self.classes, self.sides, self.centerness):
            nn.init.normal_(convolution.weight, std=0.01)
        nn.init.constant_(self.sides.bias, size)  # type: ignore[arg-type]

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From (B, C, h, w) to class logits (B, K, h, w), sides in pixels (B, 4, h, w), centerness logits (B, 1, h, w)."""
        # The three as one convolution: a runtime spends as much on one output channel as on sixteen.
        last = (self.classes, self.sides, self.centerness)
        weight = torch.cat([each.weight for each in last])
        bias = torch.cat([each.bias for each in last])  # type: ignore[arg-type]
        out = F.conv2d(self.tower(level), weight, bias, padding=1)
        classes, sides, center = out.split([each.out_channels for each in last], 1)
        return classes, F.relu(sides.float()) * self.stride, center


def groups_of(channels: int) -> int:
    """Groups for GroupNorm: 32, or the largest power of two that divides the channels."""
    groups = 32
    while channels % groups:
        groups //= 2
    return groups


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """The layer that `norm` names, for maps of so many channels."""
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(groups_of(channels), channels)


def locations(height: int, width: int, stride: int) -> Tensor:
    """Pixel positions (x, y) of a level's locations: (height * width, 2)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride


def at_least(boxes: Tensor, side: float) -> Tensor:
    """Boxes (N, 4) grown around their middles until no side is shorter than `side`."""
    missing = (side - (boxes[:, 2:] - boxes[:, :2])).clamp(min=0) / 2
    return boxes + torch.cat([-missing, missing], 1)


def assign(boxes: np.ndarray, height: int, width: int, stride: int) -> np.ndarray:
    """Which box each location belongs to: int32 (height, width), -1 for none.

    A location inside several boxes belongs to the smallest. Boxes (N, 4) in pixels, float32. A dash or an "l" may be
    thinner than a cell and lie between the locations: its box is taken to be as wide and tall as a cell. Painting
    from the largest to the smallest does this in time proportional to the boxes' area.
    """
    owner = np.full((height, width), -1, np.int32)
    if len(boxes) == 0:
        return owner
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    boxes = at_least(torch.from_numpy(boxes), stride).numpy()
    # Location j lies in [x1, x2) when (j + 1/2) s does, so when j is in [x1/s - 1/2, x2/s - 1/2).
    cells = np.ceil(boxes / stride - 0.5).astype(int)
    cells = np.clip(cells, 0, [width, height, width, height])
    for i in np.argsort(-areas, kind="stable"):
        x1, y1, x2, y2 = cells[i]
        owner[y1:y2, x1:x2] = i
    return owner


def sides_to_boxes(points: Tensor, sides: Tensor) -> Tensor:
    """(..., N, 2) locations and (..., N, 4) distances l, t, r, b to boxes (..., N, 4)."""
    return torch.cat([points - sides[..., :2], points + sides[..., 2:]], -1)


def centerness(points: Tensor, boxes: Tensor) -> Tensor:
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of locations (N, 2) in boxes (N, 4): (N,)."""
    low, high = points - boxes[:, :2], boxes[:, 2:] - points
    ratio = torch.minimum(low, high).clamp(min=0) / torch.maximum(low, high).clamp(min=1e-6)
    return ratio.prod(-1).sqrt()


def focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss, element by element (Lin et al. 2017, equation 5)."""
    p = logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p_true = p * targets + (1 - p) * (1 - targets)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * (1 - p_true) ** gamma * cross


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of paired boxes (N, 4), (N, 4): (N,) in (-1, 1] (Rezatofighi et al. 2019)."""
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).clamp(min=0).prod(-1), (b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1)
    union = area_a + area_b - overlap
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    return overlap / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def fcos_loss(
    outputs: tuple[Tensor, Tensor, Tensor],
    owner: Tensor,
    boxes: Tensor,
    labels: Tensor,
    known: Tensor,
    stride: int,
    even: bool = False,
) -> dict[str, Tensor]:
    """Focal + (1 - GIoU) + centerness BCE, each over the number of positive locations.

    With `even` the GIoU term is the mean of the boxes, each the mean of its locations: else a dash, of two or three
    locations, is next to nothing beside a word of fifty.

    outputs: logits (B, K, h, w), sides (B, 4, h, w), centerness (B, 1, h, w); owner: int (B, h, w), -1 for none;
    boxes (B, N, 4); labels (B, N); known: bool (B,), pages without annotation take no part.
    """
    logits, sides, center = (output.float() for output in outputs)
    classes, (height, width) = logits.shape[1], logits.shape[2:]
    flat = owner.flatten(1).long()  # (B, h*w)
    positive = (flat >= 0) & known[:, None]
    index = flat.clamp(min=0)
    label = torch.where(positive, labels.gather(1, index), -1)  # (B, h*w)
    target = (label[..., None] == torch.arange(classes, device=label.device)).float()
    count = positive.sum().clamp(min=1)
    per_location = focal(logits.flatten(2).transpose(1, 2), target).sum(-1)
    loss_class = (per_location * known[:, None]).sum() / count
    points = locations(height, width, stride).to(boxes).expand(len(boxes), -1, -1)[positive]
    truth = boxes.gather(1, index[..., None].expand(-1, -1, 4))[positive]
    predicted = sides_to_boxes(points, sides.flatten(2).transpose(1, 2)[positive])
    distance = 1 - giou(predicted, truth)
    if even:
        held = torch.zeros_like(boxes[..., 0]).scatter_add(1, index, positive.to(boxes))
        distance = distance / held.gather(1, index)[positive]
        loss_box = distance.sum() / (held > 0).sum().clamp(min=1)
    else:
        loss_box = distance.sum() / count
    # In a box of one or two locations none can be more central, and its score should not suffer.
    central = centerness(points, at_least(truth, 2 * stride))
    loss_center = (
        F.binary_cross_entropy_with_logits(center.flatten(1)[positive], central, reduction="sum") / count
    )
    return {"class": loss_class, "box": loss_box, "center": loss_center}


def suppress(boxes: Tensor, threshold: float) -> Tensor:
    """Greedy non-maximum suppression: keep flags (B, N) for boxes (B, N, 4) sorted by falling score.

    Every page is moved to a place of its own, so that one pass serves a whole batch.
    """
    pages, count = boxes.shape[:2]
    apart = (boxes.max() - boxes.min() + 1) * torch.arange(pages, device=boxes.device)
    order = torch.arange(count, 0, -1, device=boxes.device, dtype=torch.float32).repeat(pages)
    kept = nms((boxes + apart[:, None, None]).flatten(0, 1).float(), order, threshold)
    flags = torch.zeros(pages * count, dtype=torch.bool, device=boxes.device)
    return flags.index_put((kept,), torch.tensor(True, device=boxes.device)).view(pages, count)


def second_look(boxes: Tensor, outputs: tuple[Tensor, Tensor, Tensor], stride: int) -> Tensor:
    """Left and right ends of words' boxes (B, N, 4) as the locations near these ends see them.

    A location tells best where the side next to it is; in the middle of a long word both ends are far. So each end
    is asked again a height inside of where it was thought to be, and moved where that location is sure of a word
    and does not contradict the first answer by more than one and a half heights.
    """
    logits, sides, _ = outputs
    rows, columns = logits.shape[2:]
    x1, y1, x2, y2 = boxes.unbind(-1)
    height = y2 - y1
    inside = torch.minimum(height, (x2 - x1) / 2)
    row = ((y1 + y2) / 2 / stride).long().clamp(0, rows - 1)

    def ask(end: Tensor, x: Tensor, side: int, sign: int) -> Tensor:
        column = (x / stride).long().clamp(0, columns - 1)
        index = row * columns + column
        far = sides[:, side].flatten(1).gather(1, index)
        sure = logits[:, 0].flatten(1).gather(1, index).sigmoid() > SURE
        seen = (column + 0.5) * stride + sign * far
        return torch.where(sure & ((seen - end).abs() < 1.5 * height), seen, end)

    return torch.stack([ask(x1, x1 + inside, 0, -1), y1, ask(x2, x2 - inside, 2, 1), y2], -1)


def joined(boxes: Tensor, scores: Tensor) -> Tensor:
    """Boxes (B, N, 4) of words with scores (B, N), the pieces of a word each made as wide as all of them.

    A location sees some heights far, so the beginning and the end of an address of the web may be found each with a
    part of the middle, which overlap too little to suppress each other.
    """
    left, top, right, bottom = boxes.unbind(-1)
    height = bottom - top

    def shared(low: Tensor, high: Tensor) -> Tensor:  # (B, N, N)
        ends = torch.minimum(high[:, :, None], high[:, None])
        return ends - torch.maximum(low[:, :, None], low[:, None])

    piece = shared(left, right) > torch.minimum(height[:, :, None], height[:, None])
    piece &= shared(top, bottom) > LEVEL * torch.maximum(height[:, :, None], height[:, None])
    sure = scores > PIECE
    piece &= sure[:, :, None] & sure[:, None]
    for _ in range(2):  # the second reaches the pieces of pieces
        left = left.minimum(torch.where(piece, left[:, None], torch.inf).amin(-1))
        right = right.maximum(torch.where(piece, right[:, None], -torch.inf).amax(-1))
    return torch.stack([left, top, right, bottom], -1)


def decode(
    outputs: tuple[Tensor, Tensor, Tensor],
    stride: int,
    candidates: int,
    keep: int,
    threshold: float,
    words: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The best boxes of a level: boxes (B, keep, 4), scores (B, keep), labels (B, keep); score 0 marks an empty slot.

    A location's score is sqrt(class * centerness). Only local peaks of it compete, which thins a text page's
    thousands of positive locations to a few a word before boxes are compared. Boxes of `words` get a `second_look`
    before and are `joined` after.
    """
    logits, sides, center = outputs
    score, label = (logits.float().sigmoid() * center.float().sigmoid()).sqrt().max(1)  # (B, h, w)
    peak = F.max_pool2d(score[:, None], 3, stride=1, padding=1)[:, 0]
    score = torch.where(score >= peak, score, 0.0).flatten(1)
    best, index = score.topk(candidates, dim=1)  # (B, N)
    points = locations(logits.shape[2], logits.shape[3], stride).to(best)
    found = sides.flatten(2).transpose(1, 2).gather(1, index[..., None].expand(-1, -1, 4))
    boxes = sides_to_boxes(points[index], found)
    boxes = second_look(boxes, outputs, stride) if words else boxes
    kept = suppress(boxes, threshold)
    best, order = (best * kept).topk(keep, dim=1)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    if words:
        boxes = joined(boxes, best)
        best = best * suppress(boxes, threshold)
    return boxes, best, label.flatten(1).gather(1, index).gather(1, order)
