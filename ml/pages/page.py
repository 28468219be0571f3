"""A page and its truth. Boxes are float (x1, y1, x2, y2) in pixels, origin top left, x2 and y2 exclusive."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]
Provenance = Literal["human", "pdf", "synthetic", "pseudo"]

#: Larger images are refused before they are decoded (a decompression bomb costs memory, not disk).
MAX_PIXELS = 100_000_000


@dataclass(frozen=True, slots=True)
class Word:
    """A word: its box, its text, and the line of the page it stands on (counted in reading order)."""

    box: Box
    text: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A layout region: its box and its label (canonical, unless a contract has yet to refuse it)."""

    box: Box
    label: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page image with what is known about it.

    Words and regions are in reading order. ``None`` means "not annotated", which is not "there are none":
    a model must not learn that an unannotated page is empty.
    """

    id: str  # SHA-256 of `image`
    document: str  # pages of one document never straddle two splits
    width: int  # pixels
    height: int  # pixels
    image: bytes  # PNG or JPEG, as it came
    words: tuple[Word, ...] | None
    regions: tuple[Region, ...] | None
    provenance: Provenance
    source: str = ""  # file and page it was read from, for people
    meta: dict[str, str] = field(default_factory=dict)  # language, font, template, ...

    def pixels(self) -> np.ndarray:
        """The decoded page: uint8 (height, width, 3), RGB."""
        return decode(self.image)


def page_id(image: bytes) -> str:
    """SHA-256 of the image file's bytes, in hex."""
    return hashlib.sha256(image).hexdigest()


def decode(image: bytes, mode: Literal["RGB", "L"] = "RGB") -> np.ndarray:
    """Decode PNG or JPEG bytes to uint8 (H, W, 3) RGB or, with mode L, (H, W) grey, which takes half the time.

    Raises ValueError for what is not an image, is cut off, or has over `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(io.BytesIO(image)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"{opened.width} x {opened.height} is over {MAX_PIXELS:,} pixels")
            if mode == "L":
                opened.draft(mode, None)  # a JPEG's colours need not be decoded to see its greys
            return np.asarray(opened.convert(mode))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a readable image: {error}") from error
