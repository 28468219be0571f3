from __future__ import annotations

import cv2
import numpy as np
import pytest

from ml.pages.orientation import MOST, skew_of, turned, turned_back, turning


def written_page(width: int = 700, height: int = 900) -> np.ndarray:
    """Twenty-five lines of words as bars."""
    page = np.full((height, width, 3), 255, np.uint8)
    rng = np.random.default_rng(3)
    for y in range(60, height - 60, 32):
        x = 60
        while x < width - 100:
            w = int(rng.integers(15, 60))
            page[y : y + 10, x : x + w] = 30
            x += w + 9
    return page


@pytest.mark.parametrize("lean", [-9.7, -4.0, -1.5, 0.0, 2.3, 8.1])
def test_the_lean_of_a_page_is_found(lean):
    page = turned(written_page(), lean)  # counter-clockwise: lines rise
    assert skew_of(page) == pytest.approx(-lean, abs=0.25)
    assert abs(skew_of(turned(page, -lean))) <= 0.25


@pytest.mark.parametrize("lean", [-7.0, -3.0, 0.0, 5.0, 10.0])
def test_the_lean_of_a_page_full_of_large_print_is_found(lean):
    page = np.full((800, 1000, 3), 255, np.uint8)
    rng = np.random.default_rng(1)
    for y in range(60, 780, 44):
        line = " ".join(rng.permutation(["The", "(quick)", "[brown]", "fox", "jumps", "$43,456.78", "lazy"]))
        cv2.putText(page, line, (20, y), cv2.FONT_HERSHEY_TRIPLEX, 1.1, (0, 0, 0), 2)
    assert skew_of(turned(page, lean)) == pytest.approx(-lean, abs=0.25)


@pytest.mark.parametrize("kind", ["white", "noise", "photograph"])
def test_no_lean_is_found_where_there_are_no_lines(kind):
    rng = np.random.default_rng(0)
    page = np.full((600, 500, 3), 255, np.uint8)
    if kind == "noise":
        page = rng.integers(0, 256, page.shape, dtype=np.uint8)
    if kind == "photograph":
        page = cv2.GaussianBlur(rng.integers(0, 256, page.shape, dtype=np.uint8), (0, 0), 5)
    assert skew_of(page) == 0
    assert MOST < 45


@pytest.mark.parametrize("degrees", [0, 90, 180, 270, 5.0, -7.5, 95.0])
def test_boxes_come_back_to_where_the_ink_is(degrees):
    page = np.full((300, 420, 3), 255, np.uint8)
    page[120:128, 200:206] = 0
    seen = turned(page, degrees)
    assert seen.shape[:2] == turning(420, 300, degrees)[:0:-1]
    y, x = np.nonzero(seen[..., 0] < 128)
    found = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float32)
    (back,) = turned_back(found, 420, 300, degrees).tolist()
    assert back == pytest.approx([200, 120, 206, 128], abs=0.1 if degrees % 90 == 0 else 2.5)
