from __future__ import annotations

import subprocess
import sys

import numpy as np

from ml.augment.photometric import Photometric, steps, variant_seed
from ml.config import CacheConfig

PAGE = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)


def only(**shares: float) -> CacheConfig:
    return CacheConfig(**{"jitter": 0, "grayscale": 0, "blur": 0, "compression": 0, "noise": 0} | shares)  # pyright: ignore


def test_same_pixels_and_seed_give_the_same_pixels_in_any_order() -> None:
    seeds = [variant_seed(7, "page", variant) for variant in range(20)]
    forwards, backwards = Photometric(steps(CacheConfig())), Photometric(steps(CacheConfig()))  # pyright: ignore
    first = [forwards(PAGE, seed) for seed in seeds]
    second = [backwards(PAGE, seed) for seed in reversed(seeds)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({image.tobytes() for image in first}) > 10


def test_the_page_given_is_not_changed_and_keeps_its_shape() -> None:
    before = PAGE.copy()
    varied = Photometric(steps(only(jitter=1, noise=1)))(PAGE, 1)
    assert np.array_equal(PAGE, before) and varied.shape == PAGE.shape and varied.dtype == np.uint8


def test_no_transform_leaves_every_pixel() -> None:
    assert np.array_equal(Photometric(steps(only()))(PAGE, 1), PAGE)


def test_fifteen_per_cent_of_pages_turn_grey_and_independently_of_the_blurred_ones() -> None:
    """With one seed for each transform (albumentations' set_random_seed) every grey page is a blurred one."""
    colour = np.zeros((16, 16, 3), np.uint8)
    colour[:, 8:] = (200, 40, 90)
    photometric = Photometric(steps(only(grayscale=0.15, blur=0.5)))
    grey, both, blurred = 0, 0, 0
    for seed in range(1000):
        image = photometric(colour, seed).astype(int)
        is_grey = bool((image[..., 0] == image[..., 1]).all())
        is_blurred = len(np.unique(image[..., 0])) > 2
        grey, blurred, both = grey + is_grey, blurred + is_blurred, both + (is_grey and is_blurred)
    assert 110 <= grey <= 190 and 430 <= blurred <= 570
    assert 0.35 * grey <= both <= 0.65 * grey


def test_boxes_stay_valid_because_no_ink_moves() -> None:
    page = np.full((80, 60, 3), 255, np.uint8)
    page[20:40, 10:30] = 0
    photometric = Photometric(steps(CacheConfig()))  # pyright: ignore
    for seed in range(30):
        varied = photometric(page, seed).mean(2)
        ink = varied < (varied[30, 20] + varied[70, 50]) / 2
        rows, columns = np.nonzero(ink)
        assert (
            abs(
                np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) - (10, 20, 30, 40)
            ).max()
            <= 1
        )


def test_reading_a_cache_needs_no_albumentations() -> None:
    code = "import sys, ml.augment.command; sys.exit(bool({'albumentations', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
