"""What people and their machines do to a page word by word: a typewriter's uneven letters, stamps, pens, markers, rules.

All but the letters is see-through.
"""

from __future__ import annotations

import cv2
import numpy as np

from ml.pages.page import Word

_INKS = ((190, 30, 40), (30, 60, 160), (20, 110, 60), (90, 40, 130), (40, 40, 40))
_MARKERS = ((255, 240, 90), (160, 240, 140), (255, 180, 210), (150, 220, 255))


#: Words that must be seen before a page is taken for a typewriter's, and how far widths may stray from its pitch.
_TYPED, _STRAYS = 20, 0.3


def pitch_of(words: tuple[Word, ...]) -> float | None:
    """Pixels from letter to letter where all words have one pitch, as a typewriter's have; else None."""
    letters = np.array([len(word.text) for word in words], np.float64)
    widths = np.array([word.box[2] - word.box[0] for word in words], np.float64)
    if len(words) < _TYPED or np.ptp(letters) < 3:
        return None
    pitch, start = np.polyfit(letters, widths, 1)
    return float(pitch) if np.abs(widths - start - pitch * letters).std() < _STRAYS * pitch else None


def typed(rng: np.random.Generator, image: np.ndarray, words: tuple[Word, ...]) -> np.ndarray:
    """Letters as a typewriter's bars strike them: each type a little off its line, some heavy, some weak.

    The page is returned as it is where its words have no common pitch.
    """
    pitch = pitch_of(words)
    if pitch is None:
        return image
    height, width = image.shape[:2]
    tall = float(np.median([word.box[3] - word.box[1] for word in words]))
    worn: dict[str, np.ndarray] = {}  # a type's own dx, dy, weight, to which each stroke adds
    loose, uneven = rng.uniform(0.01, 0.05, 2) * tall, float(rng.uniform(0.05, 0.3))
    heavy = float(rng.uniform(-0.3, 0.9))  # a fresh ribbon, or a worn one
    dx, dy = np.zeros((2, height, width), np.float32)
    weight = np.full((height, width), heavy, np.float32)
    for word in words:
        x1, y1, x2, y2 = word.box
        left = (x1 + x2 - pitch * len(word.text)) / 2
        top, bottom = max(0, int(y1) - 2), int(y2) + 3
        for i, letter in enumerate(word.text):
            if letter not in worn:
                worn[letter] = rng.normal(0, 1, 3) * (*loose, uneven)
            cell = slice(max(0, round(left + i * pitch)), max(0, round(left + (i + 1) * pitch)))
            off = worn[letter] + rng.normal(0, 0.5, 3) * (*loose, uneven)
            dx[top:bottom, cell], dy[top:bottom, cell], _ = off
            weight[top:bottom, cell] += off[2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(image, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    side = 2 if tall < 18 else 3
    bold = cv2.erode(moved, np.ones((side, side), np.uint8)).astype(np.float32)
    pale = cv2.dilate(moved, np.ones((side, side), np.uint8)).astype(np.float32)
    share = np.clip(weight, -0.6, 1.0)[..., None]
    mixed = moved + np.where(share > 0, share * (bold - moved), -share * (pale - moved))
    return np.clip(mixed, 0, 255).astype(np.uint8)


def stamp(rng: np.random.Generator, image: np.ndarray, words: tuple[Word, ...]) -> np.ndarray:
    """A ring or a frame with illegible strokes in it."""
    height, width = image.shape[:2]
    size = int(rng.uniform(0.1, 0.22) * width)
    mask = np.zeros((2 * size, 2 * size), np.uint8)
    thick = max(1, size // 30)
    if rng.random() < 0.5:
        for share in (0.95, 0.85, 0.5)[: int(rng.integers(1, 4))]:
            cv2.circle(mask, (size, size), int(share * size), 255, thick, cv2.LINE_AA)
    else:
        cv2.rectangle(mask, (4, size // 2), (2 * size - 4, 3 * size // 2), 255, 2 * thick, cv2.LINE_AA)
    for row in rng.uniform(0.75, 1.25, int(rng.integers(1, 4))):
        xs = np.linspace(0.35, 1.65, int(rng.integers(14, 30))) * size
        ys = row * size + rng.uniform(-0.06, 0.06, len(xs)) * size
        cv2.polylines(mask, [np.stack([xs, ys], -1).astype(np.int32)], False, 255, thick, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((size, size), float(rng.uniform(-30, 30)), 1.0)
    mask = cv2.warpAffine(mask, turn, mask.shape[::-1])
    mask = (mask * rng.uniform(0.6, 1.0, (2 * size, 1))).astype(np.uint8)  # a stamp takes ink unevenly
    x, y = int(rng.integers(-size // 2, width - size)), int(rng.integers(-size // 2, height - size))
    layer = np.zeros((height, width), np.uint8)
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + 2 * size, height), min(x + 2 * size, width)
    layer[top:bottom, left:right] = mask[top - y : bottom - y, left - x : right - x]
    return _ink(image, layer, _INKS[int(rng.integers(len(_INKS)))], float(rng.uniform(0.35, 0.75)))


def underlines(rng: np.random.Generator, image: np.ndarray, words: tuple[Word, ...]) -> np.ndarray:
    """Words underlined with a pen."""
    layer = np.zeros(image.shape[:2], np.uint8)
    for run in _runs(rng, words, int(rng.integers(1, 6))):
        x1, x2, y = run[0].box[0] - 2, run[-1].box[2] + 2, run[0].box[3] + float(rng.uniform(0, 3))
        xs = np.linspace(x1, x2, 8)
        line = np.stack([xs, y + np.cumsum(rng.normal(0, 0.4, 8))], -1).astype(np.int32)
        cv2.polylines(layer, [line], False, 255, int(rng.integers(1, 3)), cv2.LINE_AA)
    return _ink(image, layer, _INKS[int(rng.integers(len(_INKS)))], 0.85)


def markers(rng: np.random.Generator, image: np.ndarray, words: tuple[Word, ...]) -> np.ndarray:
    """Words marked with a highlighter."""
    layer = np.zeros(image.shape[:2], np.uint8)
    for run in _runs(rng, words, int(rng.integers(1, 6))):
        x1, y1, y2, x2 = run[0].box[0] - 3, run[0].box[1] - 2, run[0].box[3] + 2, run[-1].box[2] + 3
        cv2.rectangle(layer, (int(x1), int(y1)), (int(x2), int(y2)), 255, -1)
    return _ink(image, layer, _MARKERS[int(rng.integers(len(_MARKERS)))], float(rng.uniform(0.5, 0.9)))


def rules(rng: np.random.Generator, image: np.ndarray, words: tuple[Word, ...]) -> np.ndarray:
    """Thin rules that text was printed over: lined paper, a form's columns that do not fit."""
    height, width = image.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    if rng.random() < 0.6:
        step, first = float(rng.uniform(0.016, 0.04)) * height, float(rng.uniform(0, 30))
        for y in np.arange(first, height, step):
            layer[int(y)] = 255
    else:
        for x in rng.integers(0, width, int(rng.integers(1, 6))):
            layer[:, x] = 255
    return _ink(image, layer, _INKS[int(rng.integers(len(_INKS)))], float(rng.uniform(0.2, 0.6)))


def scribbles(rng: np.random.Generator, image: np.ndarray, words: tuple[Word, ...]) -> np.ndarray:
    """Ticks and strokes in the margins."""
    height, width = image.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    left = min((word.box[0] for word in words), default=width * 0.1)
    for _ in range(int(rng.integers(1, 5))):
        start = np.array(
            [rng.uniform(0.01 * width, max(left - 8, 0.02 * width)), rng.uniform(0.1, 0.9) * height]
        )
        path = start + np.cumsum(rng.normal(0, 5, (int(rng.integers(4, 10)), 2)), 0)
        path[:, 0] = np.minimum(path[:, 0], max(left - 4, 2))
        cv2.polylines(layer, [path.astype(np.int32)], False, 255, int(rng.integers(1, 3)), cv2.LINE_AA)
    return _ink(image, layer, _INKS[int(rng.integers(len(_INKS)))], 0.8)


def _runs(rng: np.random.Generator, words: tuple[Word, ...], count: int) -> list[tuple[Word, ...]]:
    """Up to five neighbours of one line, `count` times."""
    found = []
    for start in rng.integers(0, max(len(words), 1), count if words else 0):
        stop = start + int(rng.integers(1, 6))
        found.append(tuple(word for word in words[start:stop] if word.line == words[start].line))
    return found


def _ink(image: np.ndarray, layer: np.ndarray, colour: tuple[int, ...], share: float) -> np.ndarray:
    """Multiply by `colour` where `layer`, uint8 (H, W), is on: what is dark beneath stays darker."""
    rows, columns = np.flatnonzero(layer.any(1)), np.flatnonzero(layer.any(0))
    if not len(rows):
        return image
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    cover = layer[place][..., None].astype(np.float32) * (share / 255)
    image = image.copy()
    image[place] = image[place] * (1 - cover * (1 - np.array(colour, np.float32) / 255))
    return image
