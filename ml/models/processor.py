"""Before and after the network: pixels to inputs, outputs to a result. One processor a model family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from ml.errors import InputError
from ml.pages.orientation import turned_back
from ml.pages.result import PageResult

Card = dict[str, Any]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Transform:
    """How a page came to lie on its canvas: turned by `degrees`, multiplied by `scale`, its corner at the origin."""

    width: int
    height: int
    scale: float
    degrees: float = 0.0  # counter-clockwise

    def to_page(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) in canvas pixels to pixels of the page as given, clipped to it; leaning ones to their hulls."""
        boxes = turned_back(boxes / self.scale, self.width, self.height, self.degrees)
        return np.clip(boxes, 0, [self.width, self.height, self.width, self.height])

    def to_canvas(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) in pixels of the page, which lies upright, to canvas pixels."""
        return np.asarray(boxes, np.float32).reshape(-1, 4) * self.scale


class Processor(Protocol):
    """Pre- and post-processing, configured by a model card alone."""

    #: Whether pages have to be upright: what is to be read must be turned first.
    upright: bool

    def prepare(
        self, pixels: np.ndarray, boxes: np.ndarray | None = None, degrees: float = 0.0
    ) -> tuple[Arrays, Transform]:
        """From a page, uint8 (H, W, 3) RGB, and boxes (Q, 4) to read, to graph inputs with a batch axis of 1.

        The page is first turned counter-clockwise by `degrees`; boxes are given for pages that lie upright.
        """
        ...

    def finish(self, outputs: Arrays, transform: Transform) -> PageResult:
        """From graph outputs with a batch axis of 1 to what was found, in pixels of the page."""
        ...


def letterbox(pixels: np.ndarray, scale: float, height: int, width: int) -> np.ndarray:
    """Resize by `scale` (area-averaged when shrinking) into the top left of a white (height, width, 3) canvas."""
    size = (
        max(1, min(width, round(pixels.shape[1] * scale))),
        max(1, min(height, round(pixels.shape[0] * scale))),
    )
    if size != (pixels.shape[1], pixels.shape[0]):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.full((height, width, 3), 255, np.uint8)
    canvas[: size[1], : size[0]] = pixels
    return canvas


def processor_for(card: Card) -> Processor:
    """The processor of the card's model family. Raises InputError for a family this version does not know."""
    family = card.get("model")
    if family == "trident":
        from ml.models.trident.processor import TridentProcessor

        return TridentProcessor(card)
    if family == "dfine":
        from ml.models.dfine.processor import DFineProcessor

        return DFineProcessor(card)
    raise InputError(
        f"model card of '{card.get('name')}': family {family!r} is not known; it was made by another version"
    )
