"""D-FINE's pre- and post-processing: a page to a canvas, arrays to regions."""

from __future__ import annotations

import numpy as np

from ml.config import DFineConfig
from ml.models.processor import Arrays, Card, Transform, letterbox
from ml.pages.orientation import turned
from ml.pages.result import FoundRegion, PageResult


def canvas_of(config: DFineConfig) -> tuple[int, int]:
    """Height and width of the canvas: portrait, as pages are; every page is letterboxed into it.

    One fixed canvas and no square: an upright page fills it, and a graph is compiled for one shape.
    """
    height, width = (
        -(-side // config.step) * config.step for side in (config.long_edge, config.short_edge[1])
    )
    return height, width


class DFineProcessor:
    """Configured by the card: canvas, labels, threshold."""

    upright = False  # regions are found as the page lies

    def __init__(self, card: Card) -> None:
        self.height: int = card["preprocess"]["height"]
        self.width: int = card["preprocess"]["width"]
        self.threshold: float = card["thresholds"]["region"]
        self.labels: list[str] = card["labels"]

    def prepare(
        self, pixels: np.ndarray, boxes: np.ndarray | None = None, degrees: float = 0.0
    ) -> tuple[Arrays, Transform]:
        """See `Processor.prepare`. `boxes` are ignored: this model does not read."""
        given_height, given_width = pixels.shape[:2]
        pixels = turned(pixels, degrees) if degrees else pixels
        height, width = pixels.shape[:2]
        scale = min(self.height / height, self.width / width)
        canvas = letterbox(pixels, scale, self.height, self.width)
        return {"image": canvas[None]}, Transform(given_width, given_height, scale, degrees)

    def finish(self, outputs: Arrays, transform: Transform) -> PageResult:
        """See `Processor.finish`. Regions are in order of score, the surest first."""
        boxes, scores, labels = (outputs[f"region_{name}"][0] for name in ("boxes", "scores", "labels"))
        boxes = transform.to_page(boxes.astype(np.float64))
        kept = (scores >= self.threshold) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        order = np.flatnonzero(kept)[np.argsort(-scores[kept], kind="stable")]
        regions = tuple(
            FoundRegion(tuple(boxes[i].tolist()), self.labels[int(labels[i])], float(scores[i]))
            for i in order
        )
        return PageResult(transform.width, transform.height, regions=regions)
