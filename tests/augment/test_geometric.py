from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.augment.geometric import Geometry, geometric

ALWAYS = Geometry(perspective=1, elastic=1, rotation=1)
NEVER = Geometry(perspective=0, elastic=0, rotation=0)
WIDTH, HEIGHT = 240, 320


@st.composite
def rectangles(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x1 = draw(st.integers(0, WIDTH - 12))
    y1 = draw(st.integers(0, HEIGHT - 12))
    return x1, y1, draw(st.integers(x1 + 10, WIDTH)), draw(st.integers(y1 + 10, HEIGHT))


def page_with(rectangle: tuple[int, int, int, int]) -> np.ndarray:
    page = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    x1, y1, x2, y2 = rectangle
    page[y1:y2, x1:x2] = 0
    return page


def ink_box(page: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(page.mean(2) < 128)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


@pytest.mark.parametrize(
    "geometry",
    [
        ALWAYS,
        Geometry(perspective=1, elastic=0, rotation=0),
        Geometry(perspective=0, elastic=1, rotation=0),
        Geometry(perspective=0, elastic=0, rotation=1),
    ],
    ids=["all", "perspective", "elastic", "rotation"],
)
@settings(max_examples=60, deadline=None)
@given(rectangle=rectangles(), seed=st.integers(0, 2**32))
def test_the_moved_box_holds_the_moved_ink_and_not_much_more(
    geometry: Geometry, rectangle: tuple[int, int, int, int], seed: int
) -> None:
    page = page_with(rectangle)
    if len(np.unique(np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]]))) > 1:
        page[0] = page[-1] = 255  # what comes in from outside takes the edge's colour: keep the edge paper
        page[:, 0] = page[:, -1] = 255
        x1, y1, x2, y2 = rectangle
        rectangle = (max(x1, 1), max(y1, 1), min(x2, WIDTH - 1), min(y2, HEIGHT - 1))
    pixels, boxes = geometric(page, np.array([rectangle], float), np.random.default_rng(seed), geometry)
    assert pixels.shape == page.shape and boxes.shape == (1, 4)
    assert np.abs(ink_box(pixels) - boxes[0]).max() <= 2.0
    x1, y1, x2, y2 = boxes[0]
    assert 0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT


@settings(max_examples=40, deadline=None)
@given(several=st.lists(rectangles(), min_size=1, max_size=6), seed=st.integers(0, 2**32))
def test_no_box_is_lost_cut_or_reordered(several: list[tuple[int, int, int, int]], seed: int) -> None:
    page = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    together = geometric(page, np.array(several, float), np.random.default_rng(seed), ALWAYS)[1]
    assert together.shape == (len(several), 4)
    areas = (together[:, 2] - together[:, 0]) * (together[:, 3] - together[:, 1])
    before = np.array([(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in several])
    assert (areas > 0.5 * before).all()
    centres = (together[:, :2] + together[:, 2:]) / 2
    assert np.abs(centres - [((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in several]).max() < 60


def test_the_same_generator_state_gives_the_same_bytes() -> None:
    page, boxes = page_with((20, 20, 90, 60)), np.array([[20, 20, 90, 60.0]])
    one = geometric(page, boxes, np.random.default_rng(5), ALWAYS)
    two = geometric(page, boxes, np.random.default_rng(5), ALWAYS)
    other = geometric(page, boxes, np.random.default_rng(6), ALWAYS)
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
    assert not np.array_equal(one[1], other[1])


def test_without_a_draw_nothing_moves() -> None:
    page, boxes = page_with((20, 20, 90, 60)), np.array([[20, 20, 90, 60.0]])
    pixels, moved = geometric(page, boxes, np.random.default_rng(5), NEVER)
    assert np.array_equal(pixels, page) and np.array_equal(moved, boxes)


def test_each_transform_is_drawn_as_often_as_declared() -> None:
    page, boxes = page_with((100, 140, 140, 180)), np.array([[100, 140, 140, 180.0]])
    rng = np.random.default_rng(0)
    still = sum(np.array_equal(geometric(page, boxes, rng)[0], page) for _ in range(500)) / 500
    assert 0.2 < still < 0.36  # 0.7 * 0.8 * 0.5 = 0.28


def test_a_page_without_boxes_is_bent_too() -> None:
    pixels, boxes = geometric(page_with((20, 20, 90, 60)), np.zeros((0, 4)), np.random.default_rng(1), ALWAYS)
    assert boxes.shape == (0, 4) and not np.array_equal(pixels, page_with((20, 20, 90, 60)))


def test_a_rotated_page_turns_by_five_degrees_at_most() -> None:
    page = page_with((20, 150, 220, 170))
    boxes = np.array([[20, 150, 220, 170.0]])
    turning = Geometry(perspective=0, elastic=0, rotation=1)
    heights = []
    for seed in range(40):
        moved = geometric(page, boxes, np.random.default_rng(seed), turning)[1][0]
        heights.append(moved[3] - moved[1])
    assert max(heights) <= 200 * np.sin(np.deg2rad(5)) + 20 + 1 and max(heights) > 30
