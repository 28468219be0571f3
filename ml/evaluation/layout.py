"""Layout figures: COCO average precision by pycocotools, and an AP50 that can be resampled by document."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ml.evaluation.detection import box_iou
from ml.pages.labels import CANONICAL, FROM_PUBLAYNET, PUBLAYNET, TO_PUBLAYNET
from ml.pages.page import Region
from ml.pages.result import FoundRegion

#: Detections counted on a page, the surest first. COCO's own bound; AP depends on it, so scores state it.
MAX_DETECTIONS = 100
RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class PageLayout:
    """Truth and findings of one page: boxes (N, 4) in pixels, labels (N,) as indices, scores (N,)."""

    truth: np.ndarray
    truth_labels: np.ndarray
    found: np.ndarray
    found_labels: np.ndarray
    scores: np.ndarray


def label_space(labels: Sequence[str]) -> tuple[str, ...]:
    """In which labels a model that predicts `labels` is scored: PubLayNet's five or the canonical eleven.

    A model of five classes may name them in PubLayNet's words or in canonical ones (`FROM_PUBLAYNET`).
    """
    five = (set(PUBLAYNET), set(FROM_PUBLAYNET.values()))
    return PUBLAYNET if set(labels) in five else CANONICAL


def page_layout(truth: Sequence[Region], found: Sequence[FoundRegion], space: Sequence[str]) -> PageLayout:
    """Bring a page's regions into `space`; those it has no label for (running heads, in PubLayNet) fall out."""

    def index(label: str) -> int | None:
        if label in space:
            return list(space).index(label)
        mapped = TO_PUBLAYNET.get(label)
        return list(space).index(mapped) if mapped is not None and mapped in space else None

    true = [(region.box, i) for region in truth if (i := index(region.label)) is not None]
    kept = [(region.box, i, region.score) for region in found if (i := index(region.label)) is not None]
    seen = sorted(kept, key=lambda item: -item[2])[:MAX_DETECTIONS]
    return PageLayout(
        np.array([box for box, _ in true], dtype=np.float64).reshape(-1, 4),
        np.array([i for _, i in true], dtype=np.int64),
        np.array([box for box, _, _ in seen], dtype=np.float64).reshape(-1, 4),
        np.array([i for _, i, _ in seen], dtype=np.int64),
        np.array([score for _, _, score in seen], dtype=np.float64),
    )


@dataclass(frozen=True, slots=True)
class LayoutScores:
    """COCO AP over IoU 0.50:0.95 and at 0.50, over all labels with truth and for each of them."""

    ap: float
    ap50: float
    by_label: dict[str, float]  # AP50


def average_precision(pages: Sequence[PageLayout], space: Sequence[str]) -> LayoutScores | None:
    """COCO AP of `pages`. None where no page has a true region, for then there is nothing to find."""
    annotations, detections = [], []
    for number, page in enumerate(pages, start=1):
        for box, label in zip(page.truth, page.truth_labels, strict=True):
            width, height = (box[2:] - box[:2]).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(label) + 1,
                    "bbox": [*box[:2].tolist(), width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
        for box, label, score in zip(page.found, page.found_labels, page.scores, strict=True):
            width, height = (box[2:] - box[:2]).tolist()
            detections.append(
                {
                    "image_id": number,
                    "category_id": int(label) + 1,
                    "bbox": [*box[:2].tolist(), width, height],
                    "score": float(score),
                }
            )
    if not annotations:
        return None
    if not detections:
        true_labels = sorted({int(label) for page in pages for label in page.truth_labels})
        return LayoutScores(0.0, 0.0, {space[label]: 0.0 for label in true_labels})
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco = COCO()
        coco.dataset = {  # pyright: ignore[reportAttributeAccessIssue]
            "info": {},
            "images": [{"id": number} for number in range(1, len(pages) + 1)],
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(space)],
            "annotations": annotations,
        }
        coco.createIndex()
        scorer = COCOeval(coco, coco.loadRes(detections), "bbox")  # pyright: ignore[reportArgumentType]
        scorer.params.maxDets = [1, 10, MAX_DETECTIONS]
        scorer.evaluate()
        scorer.accumulate()
    precision = scorer.eval["precision"][
        :, :, :, 0, -1
    ]  # (IoU, recall, label); -1 where a label has no truth
    known = precision > -1
    by_label = {
        name: float(precision[0, :, i].mean()) for i, name in enumerate(space) if known[0, :, i].all()
    }
    return LayoutScores(float(precision[known].mean()), float(precision[0][known[0]].mean()), by_label)


@dataclass(frozen=True, slots=True)
class Hits:
    """All that AP50 needs of some pages, so that it can be summed and resampled without matching again."""

    truth: np.ndarray  # (labels,) true regions
    labels: np.ndarray  # (N,) of the findings
    scores: np.ndarray  # (N,)
    hit: np.ndarray  # (N,) bool: matched a true region of its label at IoU >= 0.5


def hits(pages: Sequence[PageLayout], labels: int) -> Hits:
    """Match findings to truth by COCO's rule at IoU 0.5: by score, each to its label's best free region."""
    truth = np.zeros(labels, dtype=np.int64)
    found: list[tuple[int, float, bool]] = []
    for page in pages:
        truth += np.bincount(page.truth_labels, minlength=labels)
        overlap = box_iou(page.found, page.truth)
        overlap[page.found_labels[:, None] != page.truth_labels[None, :]] = -1.0
        for i in range(len(page.found)):  # already in order of score
            j = int(overlap[i].argmax()) if len(page.truth) else -1
            matched = j >= 0 and overlap[i, j] >= 0.5
            if matched:
                overlap[:, j] = -1.0
            found.append((int(page.found_labels[i]), float(page.scores[i]), bool(matched)))
    columns = list(zip(*found, strict=True)) if found else [(), (), ()]
    return Hits(
        truth, np.array(columns[0], np.int64), np.array(columns[1], np.float64), np.array(columns[2], bool)
    )


def join(parts: Sequence[Hits]) -> Hits:
    """The hits of several documents together (a document may occur twice, as resampling has it)."""
    return Hits(
        np.sum([part.truth for part in parts], axis=0),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.hit for part in parts]),
    )


def ap50(part: Hits) -> float:
    """COCO's AP at IoU 0.5 (101-point interpolation), meant over the labels that have truth."""
    values = []
    for label in np.flatnonzero(part.truth):
        chosen = part.labels == label
        order = np.argsort(-part.scores[chosen], kind="mergesort")
        hit = part.hit[chosen][order]
        correct = hit.cumsum()
        recall = correct / part.truth[label]
        precision = correct / np.arange(1, len(hit) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(recall, RECALLS, side="left")
        values.append(np.append(envelope, 0.0)[at.clip(max=len(hit))].mean())
    return float(np.mean(values)) if values else 0.0
