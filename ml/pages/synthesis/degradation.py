"""What scanners and copiers do to pages: skew, blur, noise, tint, faint ink, specks. Truth moves along."""

from __future__ import annotations

import cv2
import numpy as np

from ml.pages.page import Box, Region, Word

#: Largest skew in degrees: words stay well described by upright boxes.
MAX_SKEW = 1.2


def degrade(
    rng: np.random.Generator, pixels: np.ndarray, words: tuple[Word, ...], regions: tuple[Region, ...]
) -> tuple[np.ndarray, tuple[Word, ...], tuple[Region, ...], int | None]:
    """Degrade `pixels`, uint8 (H, W, 3), and move the boxes along.

    Returns the pixels, words, regions, and the JPEG quality to encode with (None: PNG).
    """
    image = pixels.astype(np.float32)
    if rng.random() < 0.35:
        image, words, regions = _skew(rng, image, words, regions)
    if rng.random() < 0.35:
        image = _faint(rng, image)
    if rng.random() < 0.45:
        image = _tint(rng, image)
    if rng.random() < 0.25:
        image = _shade(rng, image)
    if rng.random() < 0.35:
        sigma = float(rng.uniform(0.3, 0.75))
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    if rng.random() < 0.5:
        image += rng.normal(0, rng.uniform(2, 11), image.shape[:2]).astype(np.float32)[..., None]
    if rng.random() < 0.25:
        image = _specks(rng, image)
    if rng.random() < 0.3:
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    result = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return result, words, regions, int(rng.integers(45, 93)) if rng.random() < 0.75 else None


def _skew(
    rng: np.random.Generator, image: np.ndarray, words: tuple[Word, ...], regions: tuple[Region, ...]
) -> tuple[np.ndarray, tuple[Word, ...], tuple[Region, ...]]:
    height, width = image.shape[:2]
    angle = float(rng.uniform(-MAX_SKEW, MAX_SKEW))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    edge = np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]), axis=0)
    turned = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=tuple(map(float, edge))
    )
    moved = tuple(Word(_clip(_turn_word(w.box, matrix), width, height), w.text, w.line) for w in words)
    kept = tuple(Region(_clip(_turn(r.box, matrix), width, height), r.label) for r in regions)
    return turned, moved, kept


def _turn(box: Box, matrix: np.ndarray) -> Box:
    corners = np.array([[x, y, 1.0] for x in (box[0], box[2]) for y in (box[1], box[3])]) @ matrix.T
    (x1, y1), (x2, y2) = corners.min(axis=0), corners.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def _turn_word(box: Box, matrix: np.ndarray) -> Box:
    """Ink seldom fills a word's corners: half of the hull's growth is nearer to it than all or none."""
    hull = _turn(box, matrix)
    extra_x = (hull[2] - hull[0]) - (box[2] - box[0])
    extra_y = (hull[3] - hull[1]) - (box[3] - box[1])
    return hull[0] + extra_x / 4, hull[1] + extra_y / 4, hull[2] - extra_x / 4, hull[3] - extra_y / 4


def _clip(box: Box, width: int, height: int) -> Box:
    x1, y1 = min(max(box[0], 0.0), width - 1.0), min(max(box[1], 0.0), height - 1.0)
    x2, y2 = max(min(box[2], width), x1 + 1), max(min(box[3], height), y1 + 1)
    return round(x1, 2), round(y1, 2), round(x2, 2), round(y2, 2)


def _faint(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Low contrast: ink fades towards the paper."""
    black = float(rng.uniform(20, 110))
    return black + image * ((255 - black) / 255)


def _tint(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Coloured or grey paper."""
    tone = float(rng.uniform(0.78, 0.98))
    colour = tone + rng.uniform(-0.05, 0.05, 3)
    return image * np.clip(colour, 0.6, 1.0).astype(np.float32)


def _shade(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Uneven light: a smooth field over the page."""
    height, width = image.shape[:2]
    field = cv2.resize(
        rng.uniform(0.82, 1.0, (3, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return image * field[..., None]


def _specks(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Dust and holes in the ink."""
    height, width = image.shape[:2]
    count = int(rng.integers(20, 160))
    ys, xs = rng.integers(0, height, count), rng.integers(0, width, count)
    image = image.copy()
    image[ys, xs] = rng.uniform(0, 255, (count, 1))
    return image
