"""The page with its words and regions drawn on it, as PNG."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ml.pages.labels import CANONICAL
from ml.pages.result import PageResult
from ml.serving.documents import SourcePage

WORD = (30, 100, 220)
#: One colour a canonical label (Okabe & Ito's palette, safe for the colour-blind, and mixtures of it).
COLOURS: dict[str, tuple[int, int, int]] = dict(
    zip(
        CANONICAL,
        [
            (230, 159, 0),
            (120, 120, 120),
            (204, 121, 167),
            (0, 158, 115),
            (150, 110, 70),
            (110, 70, 150),
            (86, 180, 233),
            (213, 94, 0),
            (0, 114, 178),
            (90, 150, 40),
            (200, 30, 60),
        ],
        strict=True,
    )
)


def draw(pixels: np.ndarray, result: PageResult, *, texts: bool = True) -> np.ndarray:
    """The page, uint8 (H, W, 3) RGB, with its regions outlined and named, its words outlined and written."""
    image = Image.fromarray(pixels)
    ink = ImageDraw.Draw(image, "RGBA")
    line = max(1, round(max(pixels.shape[:2]) / 700))
    small = ImageFont.load_default(max(8, 8 * line))
    for word in result.words:
        ink.rectangle(word.box, outline=(*WORD, 160), width=line)
        if texts and word.text:
            ink.text((word.box[0], word.box[1] - 9 * line), word.text, fill=(*WORD, 255), font=small)
    for region in result.regions:
        colour = COLOURS.get(region.label, (0, 0, 0))
        ink.rectangle(region.box, outline=(*colour, 255), width=2 * line)
        label = f" {region.label} {region.score:.2f} "
        corner = (region.box[0], max(0.0, region.box[1] - 10 * line))
        ink.rectangle(ink.textbbox(corner, label, font=small), fill=(*colour, 220))
        ink.text(corner, label, fill="white", font=small)
    return np.asarray(image)


class PageWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, page: SourcePage, result: PageResult) -> None:
        Image.fromarray(draw(page.pixels, result)).save(self._file, "PNG", compress_level=3)

    def close(self) -> None:
        pass
