from __future__ import annotations

import numpy as np
import pytest

from ml.evaluation.detection import DetectionCounts, best_threshold, box_iou, count_words, match
from ml.pages.page import Word
from ml.pages.result import ReadWord


def test_iou_of_known_boxes() -> None:
    a = np.array([[0, 0, 10, 10]])
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [0, 0, 0, 10]])
    assert box_iou(a, b).tolist() == [[1.0, pytest.approx(1 / 3), 0.0, 0.0]]


def test_two_boxes_on_one_word_count_once() -> None:
    assert match([(0, 0, 10, 10)], [(0, 0, 10, 9), (0, 0, 10, 10)], [0.9, 0.8]) == [0, -1]


def test_the_surer_box_chooses_first() -> None:
    assert match([(0, 0, 10, 10)], [(0, 0, 10, 9), (0, 0, 10, 10)], [0.8, 0.9]) == [-1, 0]


def test_a_taken_word_leaves_the_next_best_to_the_other_box() -> None:
    truth = [(0.0, 0.0, 10.0, 10.0), (0.0, 2.0, 10.0, 12.0)]
    assert match(truth, [(0, 0, 10, 10), (0, 0.5, 10, 10.5)], [0.9, 0.8]) == [0, 1]


@pytest.mark.parametrize(("right", "expected"), [(5.0, 0), (4.99, -1)])
def test_the_bound_is_an_iou_of_one_half_included(right: float, expected: int) -> None:
    assert match([(0, 0, 10, 10)], [(0, 0, right, 10)], [1.0]) == [expected]


def test_nothing_found_and_nothing_there() -> None:
    assert match([], [(0, 0, 1, 1)], [1.0]) == [-1]
    assert match([(0, 0, 1, 1)], [], []) == []
    assert DetectionCounts().f1 == 0.0


def test_precision_recall_and_f1_by_hand() -> None:
    truth = [Word((0, 0, 10, 10), "a"), Word((20, 0, 30, 10), "b"), Word((40, 0, 50, 10), "c")]
    found = [
        ReadWord((0, 0, 10, 10), "a", 0.9),
        ReadWord((20, 0, 30, 10), "B", 0.8),
        ReadWord((60, 0, 70, 10), "x", 0.7),
        ReadWord((0, 0, 10, 10), "a", 0.6),
    ]
    counts, end_to_end = count_words(truth, found)
    assert (counts.precision, counts.recall) == (0.5, pytest.approx(2 / 3))
    assert counts.f1 == pytest.approx(4 / 7)
    assert end_to_end.f1 == pytest.approx(2 / 7)  # the case of "B" counts


def test_best_threshold_cuts_where_f1_is_highest():
    scores = np.array([0.9, 0.3, 0.8, 0.6])
    hits = np.array([True, False, True, True])
    # Ranked .9 .8 .6 .3 with hits 1 1 1 0 of 3: F1 is highest after the third.
    assert best_threshold(scores, hits, 3) == pytest.approx(0.45)
    assert best_threshold(scores, np.zeros(4, bool), 3) == 0.5
