"""How tall the letters of a page are, so that small and large print can be read at one size."""

from __future__ import annotations

import cv2
import numpy as np

_SMALLEST, _TALLEST = 4, 160  # pixels of a component that may be a letter
_DARK = 128  # mean brightness of a page
_FEW = 20  # components that say nothing
#: Letters are alike where the tallest quarter is less than so many times as tall as the smallest; capitals are so many
#: times as tall as what is typical of a text with as large letters.
_ALIKE, _CAPITAL = 1.2, 1.25


def letter_height(pixels: np.ndarray) -> float | None:
    """Typical height in pixels of the connected components on a page, uint8 (H, W, 3), that look like letters.

    Laid side by side, half of the letters' length is of components at most so tall: a few words in large print, with
    all their ink, say no more than as long a piece of small print. In print it is between the height of an x and of an
    h; where nearly all are of one height they are capitals and figures, and the letters that would go with them are
    smaller. None where there are too few of them.
    """
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    around = cv2.boxFilter(gray, -1, (41, 41), borderType=cv2.BORDER_REPLICATE)
    if cv2.mean(gray)[0] < _DARK and _light_print(gray, around):
        gray, around = cv2.bitwise_not(gray), cv2.bitwise_not(around)
    # Darker than what is around it by a tenth of the scale.
    ink = (cv2.subtract(around, gray) > 30).view(np.uint8)
    _, _, parts, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    width, height = parts[1:, cv2.CC_STAT_WIDTH], parts[1:, cv2.CC_STAT_HEIGHT]
    like = (height >= _SMALLEST) & (height <= _TALLEST) & (width >= 2)
    like &= (width <= 4 * height) & (height <= 6 * width)  # neither rules nor words grown together
    if like.sum() < _FEW:
        return None
    height, width = height[like], width[like]
    order = np.argsort(height, kind="stable")
    shares = np.searchsorted(np.cumsum(width[order]), width.sum() * np.array([0.25, 0.5, 0.75]))
    low, middle, high = (float(tall) for tall in height[order][shares])
    return middle / _CAPITAL if high < _ALIKE * low else middle


def _light_print(gray: np.ndarray, around: np.ndarray) -> bool:
    """Whether print is lighter than its ground. It covers less than half, so it lies further from the mean."""
    apart = gray[::3, ::3].astype(np.float32) - around[::3, ::3]
    return float((apart**3).mean()) > 0
