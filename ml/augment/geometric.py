"""Geometric transforms of a page and its boxes, on the fly: perspective, rotation, elastic.

All of them are one map from the page to itself, so pixels are resampled once. Coordinates are continuous
(a pixel's centre lies at +0.5), as boxes are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

#: Points along each edge of a box that are moved to find the moved box.
EDGE_POINTS = 17
#: Fixed-point steps that invert the elastic field; its slope is under 0.26, so each quarters the error.
INVERSE_STEPS = 8


@dataclass(frozen=True)
class Geometry:
    """How often and how far pages are bent. The defaults are D-FINE's of the plan (design, section 6)."""

    perspective: float = 0.3  # probability
    perspective_scale: float = 0.05  # corners move inwards by up to this share of the page's edges
    elastic: float = 0.2  # probability
    elastic_share: float = 0.008  # largest displacement, as a share of the longer edge
    elastic_cells: int = 8  # knots of the random field along the longer edge
    rotation: float = 0.5  # probability
    degrees: float = 5.0  # largest angle


def geometric(
    pixels: np.ndarray, boxes: np.ndarray, rng: np.random.Generator, geometry: Geometry | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Bend a page: uint8 (H, W, 3) and float boxes (N, 4) in pixels -> the same shapes, in the same order.

    A moved box is the smallest that holds the moved outline. If rotation or perspective would push a box out
    of the page, the page shrinks about its centre until all fit, so no region is lost or cut. Where the new
    page shows what lay outside the old one, it has the median colour of the old page's edge.
    """
    geometry = geometry or Geometry()
    height, width = pixels.shape[:2]
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    matrix = _homography(width, height, rng, geometry)
    field = _elastic_field(width, height, rng, geometry)
    if matrix is None and field is None:
        return pixels, boxes.astype(np.float32)
    if matrix is None:
        matrix = np.eye(3)
    outlines = _outlines(boxes)
    matrix = _fitted(matrix, outlines, width, height)
    moved = _unbent(_project(matrix, outlines), field).reshape(len(boxes), 4 * EDGE_POINTS, 2)
    warped = _warp(pixels, matrix, field)
    if not len(boxes):
        return warped, boxes.astype(np.float32)
    limits = np.array([width, height], np.float64)
    low, high = np.clip(moved.min(1), 0, limits), np.clip(moved.max(1), 0, limits)
    return warped, np.concatenate([low, high], 1).astype(np.float32)


def _homography(width: int, height: int, rng: np.random.Generator, geometry: Geometry) -> np.ndarray | None:
    """Perspective after rotation, as a 3x3 matrix from the old page to the new; None if neither is drawn."""
    draws = rng.random(2)
    matrix = None
    if draws[0] < geometry.rotation:
        angle = rng.uniform(-geometry.degrees, geometry.degrees)
        matrix = np.eye(3)
        matrix[:2] = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    if draws[1] < geometry.perspective:
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        inward = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
        shift = rng.uniform(0, geometry.perspective_scale, (4, 2)).astype(np.float32) * (width, height)
        bent = cv2.getPerspectiveTransform(corners, (corners + inward * shift).astype(np.float32))
        matrix = bent if matrix is None else bent @ matrix
    return matrix


def _elastic_field(
    width: int, height: int, rng: np.random.Generator, geometry: Geometry
) -> np.ndarray | None:
    """Displacement of the new page's pixels, float32 (H, W, 2) pixels, nought at the page's edge; or None."""
    if rng.random() >= geometry.elastic:
        return None
    edge = max(width, height)
    knots = [max(4, round(geometry.elastic_cells * side / edge)) for side in (height, width)]
    coarse = rng.uniform(-1, 1, (*knots, 2)).astype(np.float32) * np.float32(geometry.elastic_share * edge)
    coarse[[0, -1]] = 0  # the edge of the page stays where it is: the field maps the page onto itself
    coarse[:, [0, -1]] = 0
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def _outlines(boxes: np.ndarray) -> np.ndarray:
    """Points along the edges of boxes: (N, 4) -> (N * 4 * EDGE_POINTS, 2)."""
    t = np.linspace(0, 1, EDGE_POINTS)
    zero, one = np.zeros_like(t), np.ones_like(t)
    u = np.concatenate([t, one, t, zero])
    v = np.concatenate([zero, t, one, t])
    x = boxes[:, :1] + u * (boxes[:, 2:3] - boxes[:, :1])
    y = boxes[:, 1:2] + v * (boxes[:, 3:] - boxes[:, 1:2])
    return np.stack([x, y], -1).reshape(-1, 2)


def _project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], 1) @ matrix.T
    return homogeneous[:, :2] / homogeneous[:, 2:]


def _fitted(matrix: np.ndarray, points: np.ndarray, width: int, height: int) -> np.ndarray:
    """`matrix`, followed by the shrinking about the page's centre that keeps all `points` on the page."""
    centre = np.array([width / 2, height / 2])
    reach = np.abs(_project(matrix, points) - centre).max(0, initial=0.0) / centre
    scale = 1 / max(1.0, float(reach.max()))
    shrink = np.array([[scale, 0, centre[0] * (1 - scale)], [0, scale, centre[1] * (1 - scale)], [0, 0, 1]])
    return shrink @ matrix


def _unbent(points: np.ndarray, field: np.ndarray | None) -> np.ndarray:
    """Where points come to lie under the elastic field: solves q + field(q) = p by fixed-point steps."""
    if field is None or not len(points):
        return points
    moved = points.copy()
    for _ in range(INVERSE_STEPS):
        moved = points - _sample(field, moved)
    return moved


def _sample(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The field at points (N, 2), bilinear between pixel centres."""
    height, width = field.shape[:2]
    x, y = np.clip(points - 0.5, 0, [width - 1, height - 1]).T
    x0, y0 = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top = field[y0, x0] * (1 - fx) + field[y0, x0 + 1] * fx
    bottom = field[y0 + 1, x0] * (1 - fx) + field[y0 + 1, x0 + 1] * fx
    return top * (1 - fy) + bottom * fy


def _warp(pixels: np.ndarray, matrix: np.ndarray, field: np.ndarray | None) -> np.ndarray:
    height, width = pixels.shape[:2]
    border: Any = _edge_colour(pixels)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV's pixel centres lie on whole numbers
    inverse = np.linalg.inv(half) @ np.linalg.inv(matrix) @ half
    if field is None:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(
            pixels, inverse, (width, height), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=border
        )
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    where = np.stack([x, y], -1) + field
    where = cv2.perspectiveTransform(where.reshape(-1, 1, 2), inverse).reshape(height, width, 2)
    return cv2.remap(
        pixels,
        where[..., 0],
        where[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=border,
    )


def _edge_colour(pixels: np.ndarray) -> tuple[float, ...]:
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(float(channel) for channel in np.median(edge, 0))
