from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.evaluation.text import ReadingCounts, count_reading, levenshtein


@pytest.mark.parametrize(
    ("truth", "read", "edits"),
    [
        ("", "", 0),
        ("abc", "abc", 0),
        ("abc", "", 3),
        ("", "abc", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("naïve", "naive", 1),
    ],
)
def test_levenshtein_of_known_pairs(truth: str, read: str, edits: int) -> None:
    assert levenshtein(truth, read) == edits


@given(st.text("abc", max_size=8), st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_levenshtein_is_a_metric(a: str, b: str, c: str) -> None:
    assert levenshtein(a, b) == levenshtein(b, a)
    assert (levenshtein(a, b) == 0) == (a == b)
    assert levenshtein(a, c) <= levenshtein(a, b) + levenshtein(b, c)
    assert abs(len(a) - len(b)) <= levenshtein(a, b) <= max(len(a), len(b))


def test_cer_divides_all_edits_by_all_true_characters() -> None:
    counts = count_reading([("word", "word"), ("four", "fear"), ("ab", "")])
    assert counts == ReadingCounts(words=3, characters=10, edits=4, exact=1)
    assert counts.cer == pytest.approx(0.4)  # not the mean of 0, 0.5 and 1
    assert counts.exact_share == pytest.approx(1 / 3)


def test_cer_passes_one_when_the_reader_invents() -> None:
    assert count_reading([("a", "aaaa")]).cer == 3.0


def test_counts_of_parts_add_up_to_the_counts_of_the_whole() -> None:
    pairs = [("one", "one"), ("two", "tow"), ("six", "")]
    assert count_reading(pairs[:1]) + count_reading(pairs[1:]) == count_reading(pairs)
