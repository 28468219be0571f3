"""What scanners, copiers, cameras and time do to the tones of a page. Each effect takes and gives uint8 (H, W, 3).

Strength 1 is what text of 14 pixels and more bears; smaller text gets less. Milliseconds in the docstrings are of
one core at 724 x 1024 (`python bench/synth.py --effects`).
"""

from __future__ import annotations

import cv2
import numpy as np

_TILE = 512


def blur(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Out of focus, or printed with soft edges."""
    return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 0.95)) * strength)


def motion(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """A hand or a feeder that moved."""
    length = 3 if strength < 0.8 else int(rng.choice([3, 3, 5]))
    kernel = np.zeros((length, length), np.float32)
    middle = length // 2
    kernel[(middle, slice(None)) if rng.random() < 0.5 else (slice(None), middle)] = 1 / length
    return cv2.filter2D(image, -1, kernel)


def noise(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """A sensor's grain, grey or coloured, fine or coarse."""
    sigma = float(rng.uniform(2, 14)) * strength
    channels = 3 if rng.random() < 0.25 else 1
    tile = rng.standard_normal((_TILE, _TILE, channels), dtype=np.float32) * np.float32(sigma)
    if rng.random() < 0.3:
        tile = 1.8 * cv2.GaussianBlur(tile, (0, 0), 0.8).reshape(_TILE, _TILE, channels)
    field = _tiled(rng, tile.reshape(_TILE, _TILE, channels), image.shape[:2])
    return _clip(image.astype(np.int16) + field.astype(np.int16))


def faint(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Low ink: black turns grey, all over."""
    black = float(rng.uniform(15, 115)) * strength
    return cv2.LUT(image, _clip(black + np.arange(256) * (255 - black) / 255))


def patchy(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Ink that fades in places, as a worn ribbon or a weak toner leaves it."""
    field = _field(rng, image.shape[:2], int(rng.integers(4, 14)), 1 - 0.6 * strength, 1.0)
    return _clip(255 - (255 - image.astype(np.float32)) * field[..., None])


def spread(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Ink that ran, or that did not take: strokes a part of a pixel wider or thinner."""
    kernel = np.ones((2, 2), np.uint8)
    changed = cv2.erode(image, kernel) if rng.random() < 0.6 else cv2.dilate(image, kernel)
    share = float(rng.uniform(0.2, 0.7)) * strength
    return cv2.addWeighted(changed, share, image, 1 - share, 0)


def tint(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Coloured or grey paper."""
    gain = float(rng.uniform(0.75, 0.98)) + rng.uniform(-0.05, 0.05, 3)
    return _gain(image, gain)


def yellow(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Old paper."""
    age = float(rng.uniform(0.03, 0.3))
    return _gain(image, np.array([1 - 0.25 * age, 1 - 0.5 * age, 1 - age]))


def shade(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Uneven light."""
    return _multiply(image, _field(rng, image.shape[:2], 3, float(rng.uniform(0.55, 0.85)), 1.0))


def fold_shadow(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """The dark valley of a fold, or of a book's spine at the page's edge."""
    height, width = image.shape[:2]
    across = rng.random() < 0.6
    size = width if across else height
    centre = float(rng.choice([0.0, 1.0, rng.uniform(0.3, 0.7)])) * size
    valley = np.exp(-(((np.arange(size) - centre) / (size * rng.uniform(0.01, 0.08))) ** 2))
    line = (1 - float(rng.uniform(0.15, 0.5)) * valley).astype(np.float32)
    field = np.broadcast_to(line[None] if across else line[:, None], (height, width))
    return _multiply(image, np.ascontiguousarray(field))


def texture(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """The paper's own grain, fine and coarse."""
    tile = rng.standard_normal((_TILE, _TILE), dtype=np.float32)
    tile = cv2.GaussianBlur(tile, (0, 0), float(rng.uniform(0.6, 2.5)))
    tile *= float(rng.uniform(0.01, 0.035)) * strength / max(float(tile.std()), 1e-6)
    return _multiply(image, 1 + _tiled(rng, tile[..., None], image.shape[:2])[..., 0] - 0.02)


def through(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """The other side of the sheet, mirrored, showing through."""
    back = cv2.GaussianBlur(cv2.flip(image, 1), (0, 0), float(rng.uniform(0.8, 2.0)))
    back = np.roll(back, (int(rng.integers(-40, 40)), int(rng.integers(-30, 30))), (0, 1))
    share = float(rng.uniform(0.05, 0.2))
    return _clip(image.astype(np.float32) - (255 - back.astype(np.float32)) * share)


def stains(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Water, coffee, thumbs."""
    height, width = image.shape[:2]
    mask = np.zeros((height // 4 + 1, width // 4 + 1), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        centre = (int(rng.integers(mask.shape[1])), int(rng.integers(mask.shape[0])))
        axes = (int(rng.integers(6, mask.shape[1] // 3)), int(rng.integers(6, mask.shape[1] // 3)))
        rim = -1 if rng.random() < 0.6 else int(rng.integers(1, 4))
        cv2.ellipse(
            mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(0.05, 0.25)), rim
        )
    mask = cv2.resize(cv2.GaussianBlur(mask, (0, 0), 1.5), (width, height))
    colour = np.array([0.5, 0.8, 1.0]) * rng.uniform(0.7, 1.0)
    return _clip(image * (1 - mask[..., None] * colour.astype(np.float32)))


def specks(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Dust, holes in the ink, hairs."""
    height, width = image.shape[:2]
    image = image.copy()
    count = int(rng.integers(20, 400))
    ys, xs = rng.integers(0, height, count), rng.integers(0, width, count)
    image[ys, xs] = rng.integers(0, 255, (count, 1), dtype=np.uint8)
    for x, y in rng.integers(0, (width, height), (int(rng.integers(0, 12)), 2)):
        cv2.circle(image, (int(x), int(y)), 1, (int(rng.integers(0, 120)),) * 3, -1)
    for _ in range(int(rng.integers(0, 3))):
        start = rng.integers(0, (width, height))
        hair = start + np.cumsum(rng.normal(0, 3, (12, 2)) + rng.normal(0, 2, 2), 0)
        cv2.polylines(
            image, [hair.astype(np.int32)], False, (int(rng.integers(20, 130)),) * 3, 1, cv2.LINE_AA
        )
    return image


def streaks(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Lines along the feed: dirt on a scanner's glass, a worn drum."""
    height, width = image.shape[:2]
    gain = np.ones(width, np.float32)
    for x in rng.integers(0, width, int(rng.integers(1, 6))):
        gain[x : x + int(rng.integers(1, 4))] = rng.uniform(0.55, 0.9)
    return _multiply(image, np.ascontiguousarray(np.broadcast_to(gain, (height, width))))


def edges(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """What lies beside the sheet on the glass: black borders, shadows, holes of a punch."""
    height, width = image.shape[:2]
    image = image.copy()
    dark = int(rng.integers(0, 70))
    for side in rng.permutation(4)[: int(rng.integers(1, 4))]:
        depth = int(rng.integers(1, max(2, round(0.014 * min(height, width)))))
        place = (slice(None, depth), slice(-depth, None))[side % 2]
        image[place if side < 2 else (slice(None), place)] = dark
    if rng.random() < 0.3:
        radius = max(3, round(0.011 * min(height, width)))
        for y in (0.36, 0.64) if rng.random() < 0.5 else (0.2, 0.5, 0.8):
            cv2.circle(image, (round(0.032 * width), round(y * height)), radius, (dark,) * 3, -1, cv2.LINE_AA)
    return image


def contrast(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """A copier's hard curve, or a display's gamma."""
    levels = np.arange(256) / 255
    if rng.random() < 0.5:
        curve = 1 / (1 + np.exp(-float(rng.uniform(6, 12)) * (levels - float(rng.uniform(0.4, 0.6)))))
        curve = (curve - curve[0]) / (curve[-1] - curve[0])
    else:
        curve = levels ** float(rng.uniform(0.6, 1.7))
    return cv2.LUT(image, _clip(curve * 255))


def sharpen(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """What scanners' software likes too much."""
    amount = float(rng.uniform(0.3, 1.2))
    return cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.0), -amount, 0)


def coarse(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Few dots an inch: made smaller and larger again."""
    height, width = image.shape[:2]
    share = 1 - float(rng.uniform(0.15, 0.5)) * strength
    down, up = (
        int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR])),
        int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC])),
    )
    small = cv2.resize(image, (round(width * share), round(height * share)), interpolation=down)
    return cv2.resize(small, (width, height), interpolation=up)


def grey(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """No colour."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def binary(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Black and white, and nothing between."""
    tone = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if rng.random() < 0.5:
        limit, _ = cv2.threshold(tone, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        # Otsu's limit, moved towards the paper: thin strokes of small text must not break.
        paper = float(np.median(tone))
        limit = limit + float(rng.uniform(0.0, 0.45)) * max(paper - limit, 0)
        _, tone = cv2.threshold(tone, limit, 255, cv2.THRESH_BINARY)
    else:
        tone = cv2.adaptiveThreshold(
            tone, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 31, float(rng.uniform(10, 20))
        )
    return cv2.cvtColor(tone, cv2.COLOR_GRAY2RGB)


def fax(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Fax: few dots, black and white, rows lost on the way."""
    height, width = image.shape[:2]
    share = 1 - float(rng.uniform(0.05, 0.35)) * strength
    small = cv2.resize(image, (round(width * share), round(height * share)), interpolation=cv2.INTER_AREA)
    small = binary(rng, noise(rng, small, 0.6), strength)
    for row in rng.integers(1, len(small), int(rng.integers(0, 5))):
        small[row] = small[row - 1]
    return cv2.resize(
        small, (width, height), interpolation=int(rng.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR]))
    )


def _field(
    rng: np.random.Generator, shape: tuple[int, ...], knots: int, low: float, high: float
) -> np.ndarray:
    """A smooth random field in [low, high], float32 (H, W)."""
    coarse_field = rng.uniform(low, high, (knots, knots)).astype(np.float32)
    return cv2.resize(coarse_field, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def _tiled(rng: np.random.Generator, tile: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The tile, rolled at random, repeated over (H, W)."""
    tile = np.roll(tile, tuple(rng.integers(0, _TILE, 2)), (0, 1))
    height, width = shape[:2]
    return np.tile(tile, (-(-height // _TILE), -(-width // _TILE), 1))[:height, :width]


def _multiply(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    return cv2.multiply(image, cv2.merge([field] * 3).astype(np.float32), dtype=cv2.CV_8U)


def _gain(image: np.ndarray, gain: np.ndarray) -> np.ndarray:
    table = _clip(np.arange(256)[:, None] * np.clip(gain, 0.5, 1.0))
    return cv2.LUT(image, table[None])


def _clip(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)
