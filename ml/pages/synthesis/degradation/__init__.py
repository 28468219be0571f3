"""Degradation: what happens to a page between the printer and us. A step of its own, after the truth is fixed.

A scene (an office scan, a fax, a photograph, ...) is drawn, and from it the effects, so that what occurs together
in life occurs together here. Whatever moves pixels moves the boxes. All draws come from one generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ml.pages.page import Region, Word
from ml.pages.synthesis.degradation import marks, wear
from ml.pages.synthesis.degradation.warp import draw_warp, move

Effect = Callable[[np.random.Generator, np.ndarray, float], np.ndarray]

#: Text of this height in pixels bears every effect at full strength.
BEARS_ALL = 15.0
#: Contrast, in grey levels of 255, that a word keeps; where a page has less, its effects are drawn again, weaker.
LEGIBLE = 38.0
#: Share of black pixels at which a word's box is a blot, as white letters on a dark ground become in a fax.
DROWNED = 0.9
#: Share of the worn pages in one pitch whose letters are a typewriter's.
_STRUCK = 0.6
#: A scene is tried so often before the page is left as it is.
_TRIES = 3


@dataclass(frozen=True)
class Scene:
    """Effects in their order, each with its probability; geometry; how often people's marks are on it."""

    weight: float
    effects: tuple[tuple[Effect, float], ...]
    degrees: float = 1.2  # skew at most
    skewed: float = 0.4  # probability of skew
    tilt: float = 0.0  # perspective: share of the page that corners move inwards at most
    curl: float = 0.0  # pixels at 1000
    marked: float = 0.12
    quality: tuple[int, int] | None = (50, 95)  # of JPEG; None: PNG


SCENES = {
    "print": Scene(
        1.0, ((wear.contrast, 0.3), (wear.coarse, 0.35), (wear.sharpen, 0.3), (wear.blur, 0.3)), skewed=0.0, marked=0.02
    ),
    "scan": Scene(
        3.0,
        (
            (wear.spread, 0.35), (wear.faint, 0.3), (wear.tint, 0.35), (wear.shade, 0.2), (wear.blur, 0.5),
            (wear.noise, 0.6), (wear.streaks, 0.12), (wear.specks, 0.3), (wear.edges, 0.15), (wear.sharpen, 0.2),
            (wear.grey, 0.4),
        ),
    ),
    "copy": Scene(
        1.2,
        (
            (wear.grey, 1.0), (wear.spread, 0.5), (wear.patchy, 0.3), (wear.blur, 0.6), (wear.noise, 0.6),
            (wear.fold_shadow, 0.3), (wear.contrast, 0.7), (wear.specks, 0.6), (wear.edges, 0.6), (wear.streaks, 0.3),
        ),
        degrees=2.5, skewed=0.6, marked=0.25,
    ),
    "fax": Scene(
        0.8,
        ((wear.grey, 1.0), (wear.blur, 0.4), (wear.specks, 0.4), (wear.fax, 1.0), (wear.streaks, 0.2)),
        degrees=2.0, marked=0.2, quality=None,
    ),
    "archive": Scene(
        0.8,
        ((wear.spread, 0.4), (wear.noise, 0.5), (wear.specks, 0.4), (wear.edges, 0.4), (wear.binary, 1.0)),
        degrees=2.0, marked=0.1, quality=None,
    ),
    "old": Scene(
        1.3,
        (
            (wear.spread, 0.6), (wear.patchy, 0.6), (wear.faint, 0.4), (wear.through, 0.5), (wear.yellow, 0.8),
            (wear.texture, 0.8), (wear.stains, 0.3), (wear.fold_shadow, 0.3), (wear.shade, 0.3), (wear.specks, 0.5),
            (wear.blur, 0.6), (wear.noise, 0.5), (wear.grey, 0.4),
        ),
        degrees=1.5, curl=2.0, marked=0.2,
    ),
    "photo": Scene(
        1.3,
        (
            (wear.tint, 0.6), (wear.shade, 0.9), (wear.fold_shadow, 0.2), (wear.texture, 0.3), (wear.blur, 0.6),
            (wear.motion, 0.15), (wear.noise, 0.8), (wear.contrast, 0.3), (wear.sharpen, 0.2),
        ),
        degrees=4.0, skewed=0.9, tilt=0.02, curl=5.0, quality=(45, 90),
    ),
}  # fmt: skip
_MARKS = (marks.stamp, marks.underlines, marks.markers, marks.rules, marks.scribbles)


@dataclass(frozen=True)
class Degraded:
    """A worn page: uint8 (H, W, 3), its moved truth, the JPEG quality to encode with (None: PNG), what was done."""

    pixels: np.ndarray
    words: tuple[Word, ...]
    regions: tuple[Region, ...]
    quality: int | None
    effects: tuple[str, ...]


def degrade(
    rng: np.random.Generator,
    pixels: np.ndarray,
    words: tuple[Word, ...],
    regions: tuple[Region, ...],
    scene: str | None = None,
) -> Degraded:
    """Degrade `pixels`, uint8 (H, W, 3), in a scene (drawn where none is named), and move the boxes along.

    Words that would fade below `LEGIBLE` are a wrong label: the scene is then drawn again at half the strength.
    """
    names = list(SCENES)
    weights = np.array([SCENES[name].weight for name in names])
    name = scene or names[int(rng.choice(len(names), p=weights / weights.sum()))]
    heights = [word.box[3] - word.box[1] for word in words]
    strength = float(np.clip((np.percentile(heights, 30) if heights else BEARS_ALL) / BEARS_ALL, 0.4, 1.0))
    for _ in range(_TRIES):
        worn = _played(rng, SCENES[name], name, pixels, words, regions, strength)
        if _legible(worn):
            return worn
        strength /= 2
    return Degraded(pixels, words, regions, None, ())


def _played(
    rng: np.random.Generator,
    scene: Scene,
    name: str,
    pixels: np.ndarray,
    words: tuple[Word, ...],
    regions: tuple[Region, ...],
    strength: float,
) -> Degraded:
    done = [name]
    height, width = pixels.shape[:2]
    image = pixels
    if marks.pitch_of(words) and rng.random() < _STRUCK:
        image = marks.typed(rng, image, words)
        done.append("typed")
    for mark in _MARKS:
        if rng.random() < scene.marked / 2:
            image = mark(rng, image, words)
            done.append(mark.__name__)
    if rng.random() < scene.skewed:
        degrees = scene.degrees * float(rng.uniform(0.2, 1)) ** 1.5
        warp = draw_warp(
            rng, width, height, degrees=degrees, tilt=scene.tilt, curl=scene.curl * max(height, width) / 1000
        )
        image = warp.image(image, _edge_colour(image))
        words, regions = move(warp, words, regions, width, height)
        done.append("warp")
    for effect, probability in scene.effects:
        if rng.random() < probability:
            image = effect(rng, image, strength)
            done.append(effect.__name__)
    quality = int(rng.integers(*scene.quality)) if scene.quality else None
    return Degraded(image, words, regions, quality, tuple(done))


def _legible(page: Degraded) -> bool:
    """Whether nearly every word still stands out from its paper, and is not drowned in ink."""
    grey = cv2.cvtColor(page.pixels, cv2.COLOR_RGB2GRAY)
    lost = 0
    for word in page.words:
        x1, y1, x2, y2 = (round(side) for side in word.box)
        inside = grey[y1:y2, x1:x2]
        if inside.size:
            low, high = int(inside.min()), int(inside.max())
            lost += high - low < LEGIBLE or cv2.countNonZero(inside) < (1 - DROWNED) * inside.size
    return lost <= 0.01 * len(page.words)


def _edge_colour(image: np.ndarray) -> tuple[float, ...]:
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return tuple(float(channel) for channel in np.median(edge, axis=0))
