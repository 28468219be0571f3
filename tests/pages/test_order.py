from __future__ import annotations

from ml.pages.order import in_reading_order, lines_of
from ml.pages.page import Region, Word


def words(*lines: tuple[float, float, str]) -> list[Word]:
    """Words of 10 pixels' height, 8 a letter and 6 between words, from left, top and text of each line."""
    made = []
    for left, top, text in lines:
        x = left
        for word in text.split():
            made.append(Word((x, top, x + 8 * len(word), top + 10), word))
            x += 8 * len(word) + 6
    return made


def text_of(page: list[Word]) -> str:
    return "\n".join(" ".join(word.text for word in line) for line in lines_of(page))


def test_lines_run_from_left_to_right_and_top_to_bottom():
    page = words((10, 30, "second line"), (10, 10, "first line"))
    assert text_of(page[::-1]) == "first line\nsecond line"


def test_columns_are_read_one_after_the_other_below_a_wide_heading():
    page = words((10, 10, "a heading over both of the columns"), (10, 40, "left one"), (170, 40, "right one"))
    page += words(
        (10, 60, "left two"), (170, 60, "right two"), (10, 90, "and a foot under both of the columns")
    )
    order = text_of(page).splitlines()
    assert order[1:5] == ["left one", "left two", "right one", "right two"]
    assert order[0].startswith("a heading") and order[5].startswith("and a foot")


def test_a_wide_gap_ends_a_line():
    assert len(lines_of(words((10, 10, "left"), (200, 10, "right")))) == 2


def test_a_raised_sign_stays_in_its_line():
    page = [*words((10, 10, "note")), Word((43, 8, 47, 13), "1"), *words((53, 10, "more"))]
    assert text_of(page) == "note 1 more"


def test_blocks_part_at_any_gap():
    boxes = {
        "left": (5, 10, 45, 90),
        "right above": (50, 10, 95, 40),
        "right below": (50, 45, 95, 90),
        "foot": (5, 95, 95, 99),
    }
    blocks = [Region(tuple(map(float, box)), name) for name, box in boxes.items()]  # type: ignore[arg-type]
    assert [block.label for block in in_reading_order(blocks[::-1])] == list(boxes)


def test_nothing_has_no_order():
    assert lines_of([]) == [] and in_reading_order([]) == []
