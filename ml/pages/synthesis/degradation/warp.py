"""What moves pixels: skew, perspective and the curl of a page, as one map, with the boxes moved along."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ml.pages.page import Box, Region, Word

#: Pixels between the points at which the map is computed; between them it is interpolated.
_GRID = 16
#: Fixed-point steps that invert the curl; its slope is under 0.05, so each divides the error by twenty.
_STEPS = 3


@dataclass(frozen=True)
class Warp:
    """From the old page to the new one: a homography, after a smooth curl of a few pixels."""

    matrix: np.ndarray  # 3 x 3, old to new
    waves: np.ndarray  # (n, 2, 4): for x and y, amplitude in pixels, periods across and down the page, phase

    def points(self, old: np.ndarray, width: int, height: int) -> np.ndarray:
        """Where points (n, 2) of the old page come to lie."""
        new = old
        for _ in range(_STEPS):
            new = old - self._curl(new, width, height)
        return cv2.perspectiveTransform(new[:, None].astype(np.float64), self.matrix)[:, 0]

    def image(self, pixels: np.ndarray, paper: tuple[float, ...]) -> np.ndarray:
        """The page as warped, uint8 (H, W, 3); what lay outside has the colour `paper`."""
        height, width = pixels.shape[:2]
        inverse = np.linalg.inv(self.matrix)
        if not len(self.waves):
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            return cv2.warpPerspective(pixels, inverse, (width, height), flags=flags, borderValue=paper)
        xs, ys = np.arange(0, width + _GRID, _GRID), np.arange(0, height + _GRID, _GRID)
        grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2).astype(np.float64)
        back = cv2.perspectiveTransform(grid[:, None], inverse)[:, 0]
        back = (back + self._curl(back, width, height)).reshape(len(ys), len(xs), 2).astype(np.float32)
        # Pixel (x, y) lies at (x, y) / _GRID of the grid: an affine resampling, not a resize, which centres pixels.
        scale = np.array([[1 / _GRID, 0, 0], [0, 1 / _GRID, 0]])
        maps = cv2.warpAffine(back, scale, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        return cv2.remap(pixels, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderValue=paper)

    def _curl(self, points: np.ndarray, width: int, height: int) -> np.ndarray:
        shift = np.zeros_like(points)
        for wave in self.waves:
            for axis, (amplitude, across, down, phase) in enumerate(wave):
                turns = across * points[:, 0] / width + down * points[:, 1] / height + phase
                shift[:, axis] += amplitude * np.sin(2 * math.pi * turns)
        return shift


def draw_warp(
    rng: np.random.Generator, width: int, height: int, *, degrees: float, tilt: float, curl: float
) -> Warp:
    """A warp: rotation up to `degrees`, corners moved inwards by up to `tilt` (share), a curl of `curl` pixels."""
    angle = float(rng.uniform(-degrees, degrees))
    matrix = np.eye(3)
    matrix[:2] = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    if tilt:
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        inward = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
        moved = corners + inward * rng.uniform(0, tilt, (4, 2)).astype(np.float32) * (width, height)
        matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32)) @ matrix
    waves = np.zeros((0, 2, 4))
    if curl:
        waves = rng.uniform(0, 1, (2, 2, 4))
        waves[:, 0, 0] *= 0.4 * curl
        waves[:, 1, 0] *= curl
        waves[..., 1:3] *= 1.5
    return Warp(matrix, waves)


def move(
    warp: Warp, words: tuple[Word, ...], regions: tuple[Region, ...], width: int, height: int
) -> tuple[tuple[Word, ...], tuple[Region, ...]]:
    """The boxes on the warped page, cut at its edges. Ink seldom fills a word's corners: half of what the hull of a
    turned word grows by is nearer to its ink than all or none."""
    boxes = np.array([item.box for item in (*words, *regions)], np.float64).reshape(-1, 4)
    if not len(boxes):
        return words, regions
    x1, y1, x2, y2 = boxes.T
    xm, ym = (x1 + x2) / 2, (y1 + y2) / 2
    outline = np.stack(
        [
            np.stack(p, -1)
            for p in ((x1, y1), (xm, y1), (x2, y1), (x2, ym), (x2, y2), (xm, y2), (x1, y2), (x1, ym))
        ],
        1,
    )
    moved = warp.points(outline.reshape(-1, 2), width, height).reshape(len(boxes), 8, 2)
    low, high = moved.min(1), moved.max(1)
    count = len(words)
    extra = np.maximum((high - low)[:count] - (boxes[:count, 2:] - boxes[:count, :2]), 0) / 4
    low[:count] += extra
    high[:count] -= extra
    found = [_cut((*a, *b), width, height) for a, b in zip(low, high, strict=True)]
    return (
        tuple(replace(word, box=box) for word, box in zip(words, found[:count], strict=True)),
        tuple(replace(region, box=box) for region, box in zip(regions, found[count:], strict=True)),
    )


def _cut(box: Box, width: int, height: int) -> Box:
    x1, y1 = min(max(box[0], 0.0), width - 1.0), min(max(box[1], 0.0), height - 1.0)
    x2, y2 = max(min(box[2], width), x1 + 1), max(min(box[3], height), y1 + 1)
    return round(float(x1), 2), round(float(y1), 2), round(float(x2), 2), round(float(y2), 2)
