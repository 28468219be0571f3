"""Pictures as SVG: charts, diagrams, marks and things that look like photographs. None holds text."""

from __future__ import annotations

import base64
import itertools

import cv2
import numpy as np

from ml.pages.readers.rendering import encode_jpeg


def picture_svg(rng: np.random.Generator, width: float, height: float) -> str:
    """A picture of `width` x `height` units that fills its frame."""
    body = (_bars, _curves, _scatter, _photo, _photo, _diagram)[int(rng.integers(6))](rng, width, height)
    return _svg(width, height, body)


def logo_svg(rng: np.random.Generator, side: float) -> str:
    """A company's mark."""
    shapes = "".join(_shape(rng, side, side) for _ in range(int(rng.integers(2, 5))))
    return _svg(side, side, f'<rect width="{side}" height="{side}" fill="{_colour(rng)}"/>{shapes}')


def signature_svg(rng: np.random.Generator, width: float, height: float) -> str:
    """A scrawl."""
    xs = np.linspace(0.03 * width, 0.97 * width, int(rng.integers(8, 16)))
    ys = height * (0.5 + rng.uniform(-0.42, 0.42, len(xs)))
    path = f"M {xs[0]:.1f} {ys[0]:.1f} " + " ".join(
        f"Q {xs[i] + rng.uniform(-9, 9):.1f} {rng.uniform(0.05, 0.95) * height:.1f} {xs[i]:.1f} {ys[i]:.1f}"
        for i in range(1, len(xs))
    )
    return _svg(
        width,
        height,
        f'<path d="{path}" fill="none" stroke="#14245c" stroke-width="{rng.uniform(1, 2):.1f}"/>',
    )


def _svg(width: float, height: float, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width:.1f}" height="{height:.1f}" viewBox="0 0 {width:.1f} {height:.1f}">{body}</svg>'
    )


def _colour(rng: np.random.Generator, low: int = 20, high: int = 220) -> str:
    r, g, b = rng.integers(low, high, 3)
    return f"#{r:02x}{g:02x}{b:02x}"


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'


def _axes(width: float, height: float) -> str:
    frame = (
        f'<path d="M 4 2 V {height - 4:.1f} H {width - 2:.1f}" fill="none" stroke="#222" stroke-width="1.2"/>'
    )
    return f'<rect width="{width}" height="{height}" fill="#fbfbfb" stroke="#999" stroke-width="0.8"/>{frame}'


def _bars(rng: np.random.Generator, width: float, height: float) -> str:
    count = int(rng.integers(4, 12))
    step = (width - 12) / count
    fill = _colour(rng)
    bars = "".join(
        _rect(8 + i * step, height - 4 - h, step * 0.7, h, fill)
        for i, h in enumerate(rng.uniform(0.1, 0.9, count) * (height - 10))
    )
    return _axes(width, height) + bars


def _curves(rng: np.random.Generator, width: float, height: float) -> str:
    body = _axes(width, height)
    xs = np.linspace(5, width - 4, 24)
    for _ in range(int(rng.integers(1, 4))):
        walk = np.cumsum(rng.normal(0, 1, len(xs)))
        span = max(float(np.ptp(walk)), 1e-6)
        ys = 6 + (walk - walk.min()) / span * (height - 16)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        pen = f'stroke="{_colour(rng)}" stroke-width="{rng.uniform(1, 2.2):.1f}"'
        body += f'<polyline points="{points}" fill="none" {pen}/>'
    return body


def _scatter(rng: np.random.Generator, width: float, height: float) -> str:
    body = _axes(width, height)
    for _ in range(int(rng.integers(2, 4))):
        fill = _colour(rng)
        centre = rng.uniform(0.25, 0.75, 2) * (width, height)
        for x, y in rng.normal(centre, (width / 10, height / 10), (int(rng.integers(10, 30)), 2)):
            if 6 < x < width - 4 and 4 < y < height - 6:
                body += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8" fill="{fill}"/>'
    return body


def _photo(rng: np.random.Generator, width: float, height: float) -> str:
    """Smooth random fields with objects and grain: what a halftone or a snapshot is to a layout model."""
    w, h = max(int(width), 8), max(int(height), 8)
    layers = [
        cv2.resize(rng.random((size, size, 3)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
        for size in (2, 4, int(rng.integers(6, 16)))
    ]
    image = 0.55 * layers[0] + 0.3 * layers[1] + 0.15 * layers[2]
    image = np.clip((image - image.min()) / max(float(np.ptp(image)), 1e-6), 0, 1)
    pixels = (image * 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 5))):
        centre = (int(rng.integers(w)), int(rng.integers(h)))
        axes = (int(rng.integers(3, max(w // 3, 4))), int(rng.integers(3, max(h // 3, 4))))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        cv2.ellipse(pixels, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    if rng.random() < 0.4:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    data = base64.b64encode(encode_jpeg(pixels, 70)).decode()
    frame = f'width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none"'
    return f'<image {frame} xlink:href="data:image/jpeg;base64,{data}"/>'


def _diagram(rng: np.random.Generator, width: float, height: float) -> str:
    body = (
        f'<rect x="0.5" y="0.5" width="{width - 1:.1f}" height="{height - 1:.1f}" fill="#fff" stroke="#bbb"/>'
    )
    centres = [
        (rng.uniform(0.15, 0.85) * width, rng.uniform(0.2, 0.8) * height)
        for _ in range(int(rng.integers(3, 7)))
    ]
    for (x1, y1), (x2, y2) in itertools.pairwise(centres):
        body += f'<path d="M {x1:.1f} {y1:.1f} L {x2:.1f} {y2:.1f}" stroke="#333" stroke-width="1.2"/>'
    for x, y in centres:
        w, h = rng.uniform(0.06, 0.14) * width, rng.uniform(0.06, 0.14) * height
        body += _rect(x - w, y - h, 2 * w, 2 * h, _colour(rng, 120, 250))
    return body


def _shape(rng: np.random.Generator, width: float, height: float) -> str:
    x, y, r = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height, rng.uniform(0.1, 0.4) * width
    if rng.random() < 0.5:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="{_colour(rng)}"/>'
    points = f"{x:.1f},{y - r:.1f} {x + r:.1f},{y + r:.1f} {x - r:.1f},{y + r:.1f}"
    return f'<polygon points="{points}" fill="{_colour(rng)}"/>'
