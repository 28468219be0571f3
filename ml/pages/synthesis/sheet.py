"""A contact sheet: pages side by side, with their truth drawn on them when asked."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ml.pages.labels import CANONICAL
from ml.pages.page import Page
from ml.pages.readers.rendering import encode_png

#: One colour a label (RGB), in the order of `CANONICAL`.
_COLOURS = (
    (230, 120, 0), (140, 90, 40), (200, 0, 200), (0, 140, 60), (120, 120, 120), (60, 60, 60),
    (0, 160, 200), (220, 0, 0), (150, 0, 220), (0, 60, 220), (180, 0, 90),
)  # fmt: skip
_GAP = 8


def contact_sheet(pages: Sequence[Page], *, columns: int = 4, boxes: bool = False) -> bytes:
    """PNG of `pages`, `columns` a row."""
    tiles = [draw(page) if boxes else page.pixels() for page in pages]
    if not tiles:
        raise ValueError("a contact sheet needs at least one page")
    height = max(tile.shape[0] for tile in tiles) + _GAP
    width = max(tile.shape[1] for tile in tiles) + _GAP
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * height, min(columns, len(tiles)) * width, 3), 200, np.uint8)
    for index, tile in enumerate(tiles):
        y, x = index // columns * height, index % columns * width
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return encode_png(sheet)


def draw(page: Page) -> np.ndarray:
    """The page with its words (thin, light), regions (their label's colour) and the regions' order."""
    image = page.pixels().copy()
    for word in page.words or ():
        x1, y1, x2, y2 = (round(v) for v in word.box)
        cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), (90, 200, 90), 1)
    for order, region in enumerate(page.regions or ()):
        x1, y1, x2, y2 = (round(v) for v in region.box)
        colour = _COLOURS[CANONICAL.index(region.label)] if region.label in CANONICAL else (255, 0, 0)
        cv2.rectangle(image, (x1 - 1, y1 - 1), (x2, y2), colour, 1)
        cv2.putText(
            image,
            f"{order} {region.label}",
            (x1, max(y1 - 2, 8)),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.3,
            colour,
            1,
            cv2.LINE_AA,
        )
    return image
