"""How far the lines of a page lean: skew by projection profiles (Postl 1986), and turning pages and boxes."""

from __future__ import annotations

import cv2
import numpy as np

#: Leaning further than this is not looked for.
MOST = 12.0  # degrees
#: A page this straight is left as it is: the networks are trained on such pages.
STRAIGHT = 1.5  # degrees
_LOOKED_AT = 800  # pixels of the longer side
_INK = 60_000  # pixels at most


def skew_of(pixels: np.ndarray) -> float:
    """Degrees by which the lines of a page, uint8 (H, W, 3), fall to the right; 0 where none stands out.

    Turned the right way, lines of text give a row profile of sharp steps: the angle with the sharpest is taken.
    """
    scale = min(1.0, _LOOKED_AT / max(pixels.shape[:2]))
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else gray
    around = cv2.boxFilter(gray, -1, (31, 31), borderType=cv2.BORDER_REPLICATE)
    ink = np.abs(gray.astype(np.int16) - around) > 24
    # Whole columns are left out: pixels left out at random would roughen the profile more than large print does.
    step = max(1, -(-int(ink.sum()) // _INK))
    y, x = np.nonzero(ink[:, ::step])
    if len(y) < 200:
        return 0.0
    # Each column a part of a row off, or whole numbers would fall into line at angles of their own (1 in 5, ...).
    off = np.random.default_rng(0).random(ink.shape[1], np.float32)[x]
    y, x = y.astype(np.float32), (step * x).astype(np.float32)

    def sharpness(degrees: float) -> float:
        angle = np.deg2rad(degrees)
        rows = y * np.cos(angle) - x * np.sin(angle) + off
        profile = np.bincount((rows - rows.min()).astype(np.int32)).astype(np.float64)
        return float((np.diff(profile) ** 2).sum())

    coarse = np.arange(-MOST, MOST + 0.1, 0.5)
    scores = [sharpness(d) for d in coarse]
    best = float(coarse[int(np.argmax(scores))])
    fine = np.arange(best - 0.4, best + 0.41, 0.1)
    finer = [sharpness(d) for d in fine]
    # A page of pictures has no sharp angle; an angle must beat the usual one by far.
    if max(finer) < 1.3 * float(np.median(scores)):
        return 0.0
    return float(fine[int(np.argmax(finer))])


def turning(width: int, height: int, degrees: float) -> tuple[np.ndarray, int, int]:
    """The 2x3 matrix that turns a page counter-clockwise by `degrees` into a page that holds it whole; its size."""
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    wide, high = round(width * cos + height * sin), round(width * sin + height * cos)
    matrix[:, 2] += [(wide - width) / 2, (high - height) / 2]
    return matrix, wide, high


def turned(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """A page, uint8 (H, W, 3), turned counter-clockwise; quarter turns move pixels only."""
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(pixels, round(degrees / 90) % 4))
    matrix, wide, high = turning(pixels.shape[1], pixels.shape[0], degrees)
    return cv2.warpAffine(pixels, matrix, (wide, high), flags=cv2.INTER_LINEAR, borderValue=(255, 255, 255))


def turned_back(boxes: np.ndarray, width: int, height: int, degrees: float) -> np.ndarray:
    """Boxes (N, 4) on `turned(page)` as upright hulls on the page, which is `width` by `height`."""
    if not degrees or not len(boxes):
        return boxes
    matrix, _, _ = turning(width, height, degrees)
    back = cv2.invertAffineTransform(matrix)
    # Pixel centres stand at whole numbers in the matrix, at halves in boxes.
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] - 0.5
    points = corners @ back[:, :2].T + back[:, 2] + 0.5
    return np.concatenate([points.min(1), points.max(1)], 1).astype(boxes.dtype)
