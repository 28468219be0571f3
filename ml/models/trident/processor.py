"""Trident's pre- and post-processing: a page to a canvas, arrays to words and regions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ml.models.charset import Charset
from ml.models.processor import Arrays, Card, Transform, letterbox
from ml.pages.labels import FROM_PUBLAYNET
from ml.pages.letters import letter_height
from ml.pages.order import lines_of
from ml.pages.orientation import turned
from ml.pages.result import FoundRegion, PageResult, ReadWord

#: Canvas sides are multiples of this: few shapes, because every new one costs a runtime memory and set-up time.
BUCKET = 64
SMALLEST = 256


#: However small its letters, a page is not enlarged further, nor read with a longer side.
MOST_SCALE, LONGEST = 2.0, 1600


def canvas_of(width: int, height: int, long_edge: float) -> tuple[float, int, int]:
    """Scale, canvas height and canvas width on which a page of width x height is read."""
    scale = long_edge / max(width, height)
    side = lambda length: max(SMALLEST, -(-round(length * scale) // BUCKET) * BUCKET)  # noqa: E731
    return scale, side(height), side(width)


def reading_edge(pixels: np.ndarray, long_edge: int, text_px: float) -> float:
    """The longer side at which a page, uint8 (H, W, 3), is read: where its letters are `text_px` tall.

    Small print is enlarged and large print reduced to the size at which the network reads best, in steps of an
    eighth of an octave, so that pages of one print share a canvas. `long_edge` where no letters are seen.
    """
    height = letter_height(pixels) if text_px else None
    if not height:
        return long_edge
    scale = min(MOST_SCALE, 2 ** (round(8 * math.log2(text_px / height)) / 8))
    return min(LONGEST, max(SMALLEST, max(pixels.shape[:2]) * scale))


class TridentProcessor:
    """Configured by the card: charset, labels, long edge, thresholds."""

    upright = True

    def __init__(self, card: Card) -> None:
        self.long_edge: int = card["preprocess"]["long_edge"]
        self.text_px: float = card["preprocess"].get("text_px", 0.0)
        self.threshold: float = card["thresholds"]["word"]
        self.region_threshold: float = card["thresholds"]["region"]
        self.labels: list[str] = card["labels"]
        self.charset = Charset(card["charset"])

    def prepare(
        self, pixels: np.ndarray, boxes: np.ndarray | None = None, degrees: float = 0.0
    ) -> tuple[Arrays, Transform]:
        """See `Processor.prepare`."""
        given_height, given_width = pixels.shape[:2]
        pixels = turned(pixels, degrees) if degrees else pixels
        height, width = pixels.shape[:2]
        scale, canvas_height, canvas_width = canvas_of(
            width, height, reading_edge(pixels, self.long_edge, self.text_px)
        )
        transform = Transform(given_width, given_height, scale, degrees)
        given = (
            transform.to_canvas(boxes) if boxes is not None and len(boxes) else np.zeros((1, 4), np.float32)
        )
        return {
            "image": letterbox(pixels, scale, canvas_height, canvas_width)[None],
            "boxes": given[None],
        }, transform

    def finish(self, outputs: Arrays, transform: Transform) -> PageResult:
        """See `Processor.finish`."""
        first = {name: value[0] for name, value in outputs.items()}
        kept = first["word_scores"] >= self.threshold
        found = first["word_boxes"][kept]
        words = self._words(
            found,
            first["word_text"][kept],
            np.minimum(first["word_scores"], first["word_confidence"])[kept],
        )
        given = self._words(
            np.zeros((len(first["given_text"]), 4)), first["given_text"], first["given_confidence"]
        )
        regions = tuple(
            FoundRegion(tuple(map(float, box)), self.labels[label], float(score))  # type: ignore[arg-type]
            for box, label, score in zip(
                transform.to_page(first["region_boxes"]),
                first["region_labels"],
                first["region_scores"],
                strict=True,
            )
            if score >= self.region_threshold and box[2] > box[0] and box[3] > box[1]
        )
        # Lines are those of the canvas, where they lie level.
        lines = lines_of([word for word in words if word.box[2] > word.box[0] and word.box[3] > word.box[1]])
        ordered = [replace(word, line=number) for number, line in enumerate(lines) for word in line]
        boxes = transform.to_page(np.array([word.box for word in ordered], np.float32).reshape(-1, 4))
        placed = tuple(
            replace(word, box=tuple(map(float, box))) for word, box in zip(ordered, boxes, strict=True)
        )
        return PageResult(transform.width, transform.height, placed, regions, tuple(given))

    def _words(self, boxes: np.ndarray, paths: np.ndarray, scores: np.ndarray) -> list[ReadWord]:
        texts = self.charset.decode_ctc(paths)
        return [
            ReadWord(tuple(map(float, box)), text, float(score))  # type: ignore[arg-type]
            for box, text, score in zip(boxes, texts, scores, strict=True)
        ]


#: Names of Trident's classes as the card gives them: its five, in canonical words.
LABELS = list(FROM_PUBLAYNET.values())
