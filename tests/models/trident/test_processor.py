from __future__ import annotations

import numpy as np
import pytest

from ml.models.trident.processor import LONGEST, MOST_SCALE, SMALLEST, reading_edge
from ml.pages.letters import letter_height


def lettered(
    height: int, size: tuple[int, int] = (900, 700), speckle: float = 0.0, capitals: bool = False
) -> np.ndarray:
    """A page of bars as tall as given, two thirds as wide, in lines; three of ten rise above the others.

    As `capitals` none does.
    """
    page = np.full((*size, 3), 255, np.uint8)
    rng = np.random.default_rng(1)
    for y in range(20, size[0] - 2 * height, 2 * height):
        for number, x in enumerate(range(20, size[1] - 2 * height, height)):
            rise = round(0.4 * height) if number % 10 < 3 and not capitals else 0
            page[y - rise : y + height, x : x + max(2, 2 * height // 3)] = 40
    page[rng.random(size) < speckle] = 0
    return page


@pytest.mark.parametrize("height", [6, 9, 14, 30])
@pytest.mark.parametrize("speckle", [0.0, 0.004])
def test_the_height_of_letters_is_found_speckled_or_not(height, speckle):
    found = letter_height(lettered(height, speckle=speckle))
    assert found is not None
    assert abs(found - height) <= 2


def test_letters_of_one_height_are_capitals_of_a_smaller_print():
    capitals = letter_height(lettered(20, capitals=True))
    assert capitals == pytest.approx(16) and letter_height(lettered(20)) == pytest.approx(20)


def test_white_letters_on_a_dark_page_are_as_tall():
    dark = 255 - lettered(14)
    dark[500:] = 0  # as on a page, most of it is ground
    assert abs((letter_height(dark) or 0) - 14) <= 2
    badly_lit = lettered(14) // 3
    badly_lit[500:] = 85
    assert abs((letter_height(badly_lit) or 0) - 14) <= 2


def test_a_headline_does_not_speak_for_the_small_print_below_it():
    page = np.concatenate([lettered(30, size=(200, 700)), lettered(9, size=(130, 700))])
    assert abs((letter_height(page) or 0) - 9) <= 2


def test_a_page_without_letters_has_no_height():
    assert letter_height(np.full((500, 400, 3), 255, np.uint8)) is None
    lines = np.full((500, 400, 3), 255, np.uint8)
    lines[::50] = 0
    assert letter_height(lines) is None


def test_pages_are_read_where_their_letters_have_one_height():
    for height in (7, 9, 18, 27):
        page = lettered(height)
        edge = reading_edge(page, 1024, 9.0)
        assert letter_height(page) * edge / 900 == pytest.approx(9, rel=0.05)
    assert reading_edge(np.full((900, 700, 3), 255, np.uint8), 1024, 9.0) == 1024
    assert reading_edge(lettered(9), 1024, 0.0) == 1024
    assert reading_edge(lettered(4), 1024, 40.0) <= min(LONGEST, MOST_SCALE * 900)
    assert reading_edge(lettered(60), 1024, 2.0) == SMALLEST
