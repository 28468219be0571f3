"""Word detection figures: one-to-one matching at an IoU, precision, recall, F1, end-to-end F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.pages.page import Box, Word
from ml.pages.result import ReadWord


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (N, 4) and (M, 4) in x1, y1, x2, y2: float64 (N, M).

    A box without area overlaps nothing.
    """
    a, b = a.reshape(-1, 1, 4).astype(np.float64), b.reshape(1, -1, 4).astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(sides.clip(min=0), axis=-1)
    area_a, area_b = (np.prod((x[..., 2:] - x[..., :2]).clip(min=0), axis=-1) for x in (a, b))
    union = area_a + area_b - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def match(truth: Sequence[Box], found: Sequence[Box], scores: Sequence[float], iou: float = 0.5) -> list[int]:
    """Greedy one-to-one matching: the surest box first takes the free true box that it overlaps most.

    Returns for each found box the index of its true box, or -1 where the overlap is under `iou`.
    """
    matched = [-1] * len(found)
    if not truth or not found:
        return matched
    overlap = box_iou(np.asarray(found), np.asarray(truth))
    for i in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable"):
        j = int(overlap[i].argmax())
        if overlap[i, j] >= iou:
            matched[i] = j
            overlap[:, j] = -1.0
    return matched


@dataclass(frozen=True, slots=True)
class DetectionCounts:
    """True boxes, found boxes, and pairs that match; sums of pages are sums of counts."""

    truth: int = 0
    found: int = 0
    matched: int = 0

    def __add__(self, other: DetectionCounts) -> DetectionCounts:
        return DetectionCounts(
            self.truth + other.truth, self.found + other.found, self.matched + other.matched
        )

    @property
    def precision(self) -> float:
        return self.matched / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.matched / self.truth if self.truth else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.matched / (self.truth + self.found) if self.truth + self.found else 0.0


def count_words(truth: Sequence[Word], found: Sequence[ReadWord]) -> tuple[DetectionCounts, DetectionCounts]:
    """Counts of detection (IoU >= 0.5) and of end-to-end reading (the same pairs, text equal too)."""
    pairs = match([word.box for word in truth], [word.box for word in found], [word.score for word in found])
    matched = sum(j >= 0 for j in pairs)
    equal = sum(j >= 0 and truth[j].text == word.text for j, word in zip(pairs, found, strict=True))
    return DetectionCounts(len(truth), len(found), matched), DetectionCounts(len(truth), len(found), equal)


def best_threshold(scores: np.ndarray, hits: np.ndarray, truth: int) -> float:
    """The score at which cutting gives the best F1.

    scores (N,) of found boxes; hits (N,) whether each matched; truth: how many true boxes there are. Boxes are
    matched surest first, so dropping the least sure ones does not change how the others matched. The threshold
    lies half way to the next lower score; 0.5 where nothing matched.
    """
    if not hits.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    ranked, found = scores[order], np.arange(1, len(scores) + 1)
    f1 = 2 * np.cumsum(hits[order]) / (truth + found)
    best = int(f1.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)
