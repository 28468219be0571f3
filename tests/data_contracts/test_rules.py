"""Every rule fails on a page that breaks it, and on nothing else."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from data_contracts.facts import Facts, facts_of_pages
from data_contracts.suites import BATCH_RULES, PAGE_RULES, ROUNDING
from data_contracts.verdict import Verdict, conclude
from ml.models.charset import named
from ml.pages.page import Page, Region, Word, page_id
from tests.data_contracts.conftest import HEIGHT, WIDTH, page, png, with_region, with_word

GOOD = page(1)
NAN = math.nan


def image_of(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def noisy_copy(number: int) -> Page:
    pixels = page(number).pixels().astype(int) + np.random.default_rng(0).integers(-6, 7, (HEIGHT, WIDTH, 3))
    return page(image=image_of(pixels.clip(0, 255).astype(np.uint8)), document="a copy", source="copy.png")


def dark() -> bytes:
    pixels = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    pixels[::3] = 0
    pixels[1::3] = 120
    return image_of(pixels)


WORDS, REGIONS = GOOD.words or (), GOOD.regions or ()

#: Rule -> pages of which the last breaks it.
BROKEN: dict[str, list[Page]] = {
    "image_decodes": [page(image=b"\x89PNG cut off")],
    "page_id_true": [page(id="0" * 64)],
    "page_size_true": [page(width=WIDTH + 1)],
    "page_large_enough": [page(image=png(1, (160, 31)), height=31, words=None, regions=())],
    "page_unique": [page(5), page(5)],
    "page_not_blank": [page(image=image_of(np.full((HEIGHT, WIDTH, 3), 250, np.uint8)), words=None)],
    "page_not_dark": [page(image=dark())],
    "page_annotated": [page(words=None, regions=None)],
    "page_no_twin": [page(5), noisy_copy(5)],
    "page_order_complete": [page(words=(WORDS[0], WORDS[2], WORDS[1]))],
    "page_text_legible": [page(words=tuple(Word((10, 20, 30, 24), "low", 0) for _ in range(3)))],
    "text_in_charset": [with_word(GOOD, text="Žlutý")],
    "word_box_finite": [with_word(GOOD, box=(10.0, 20.0, NAN, 30.0))],
    "word_box_has_area": [with_word(GOOD, box=(30.0, 20.0, 10.0, 30.0))],
    "word_box_inside": [with_word(GOOD, box=(10.0, 20.0, WIDTH + ROUNDING + 0.5, 30.0))],
    "word_box_not_sliver": [with_word(GOOD, box=(10.0, 20.0, 10.5, 30.0))],
    "word_text_given": [with_word(GOOD, text=" \t")],
    "word_is_one": [with_word(GOOD, text="two words")],
    "word_on_ink": [with_word(GOOD, box=(100.0, 2.0, 120.0, 12.0))],
    "region_box_finite": [with_region(GOOD, box=(0.0, -math.inf, 10.0, 10.0))],
    "region_box_has_area": [with_region(GOOD, box=(10.0, 10.0, 50.0, 10.0))],
    "region_box_inside": [with_region(GOOD, box=(-20.0, 0.0, 50.0, 10.0))],
    "region_box_not_sliver": [with_region(GOOD, box=(10.0, 10.0, 50.0, 10.25))],
    "region_label_known": [with_region(GOOD, label="Tabel")],
    "region_once": [page(regions=(*REGIONS, Region((5.2, 14.9, 155, 120.4), "Text")))],
}
ACCOMPANIED = {  # what cannot be broken alone
    "page_id_true": set(),
    "page_unique": set(),
    "word_box_has_area": {"word_box_not_sliver", "word_on_ink"},
    "region_box_has_area": {"region_box_not_sliver"},
}


def facts(pages: list[Page]) -> Facts:
    return facts_of_pages(pages, named("english"))


def broken_rules(verdict: Verdict) -> set[str]:
    return {rule["rule"] for suite in verdict.suites for rule in suite["rules"] if not rule["success"]}


def test_every_page_rule_has_a_page_that_breaks_it():
    assert set(BROKEN) == {rule.name for rule in PAGE_RULES}


def test_rule_names_are_unique_and_every_reason_can_be_filled_in():
    names = [rule.name for rule in (*PAGE_RULES, *BATCH_RULES)]
    assert len(set(names)) == len(names)
    assert all(rule.why.endswith(".") and rule.reason.startswith("{item}") for rule in PAGE_RULES)


def test_a_good_batch_breaks_no_rule():
    verdict = conclude("good", facts([page(number) for number in range(3)]), [])
    assert broken_rules(verdict) == set()
    assert verdict.accepted
    assert verdict.quarantined == []


@pytest.mark.parametrize("rule", PAGE_RULES, ids=lambda rule: rule.name)
def test_a_rule_fails_on_the_page_that_breaks_it_and_says_so(rule):
    pages = [page(2), page(3), page(4), *BROKEN[rule.name]]
    verdict = conclude("broken", facts(pages), [])
    broken = broken_rules(verdict)
    assert rule.name in broken
    assert broken - {rule.name} <= ACCOMPANIED.get(rule.name, set())
    assert verdict.accepted
    if rule.severity == "critical":
        [lost] = [row for row in verdict.quarantined if row.rule == rule.name]
        assert (lost.page, lost.severity) == (pages[-1].id, "critical")
        assert verdict.lost_pages == {pages[-1].id}
        assert lost.reason.startswith(pages[-1].source)
        assert lost.value
    else:
        assert verdict.quarantined == []
        [found] = [
            found for suite in verdict.suites for found in suite["rules"] if found["rule"] == rule.name
        ]
        assert found["examples"][-1]["page"] == pages[-1].id


def test_the_characters_outside_the_charset_are_named():
    verdict = conclude("b", facts([with_word(GOOD, text="Žlutý")]), [])
    assert "text_in_charset" in broken_rules(verdict)
    [example] = [
        example
        for suite in verdict.suites
        for rule in suite["rules"]
        if rule["rule"] == "text_in_charset"
        for example in rule["examples"]
    ]
    assert example["value"] == "ýŽ"


def test_without_a_charset_texts_are_not_held_against_one():
    verdict = conclude("b", facts_of_pages([with_word(GOOD, text="Žlutý")]), [])
    assert broken_rules(verdict) == set()


def test_pages_of_one_document_may_look_alike():
    alike = noisy_copy(5)
    same_document = [page(5, document="d"), page(image=alike.image, document="d")]
    assert "page_no_twin" not in broken_rules(conclude("b", facts(same_document), []))


def test_a_box_may_be_rounded_outwards():
    rounded = with_region(GOOD, box=(-ROUNDING, 0.0, WIDTH + ROUNDING, 50.0))
    assert conclude("b", facts([rounded]), []).quarantined == []


def test_many_bad_boxes_of_a_page_are_one_row_that_counts_them():
    bad = page(words=tuple(Word((500.0, 0.0, 520.0, 10.0), "far", 0) for _ in range(7)))
    [lost] = conclude("b", facts([GOOD, bad]), []).quarantined
    assert lost.rule == "word_box_inside"
    assert "(and 6 more on this page)" in lost.reason
    assert "word 0" in lost.reason
    assert "by 360.0 pixels" in lost.reason


def test_a_page_without_annotations_is_not_an_empty_page():
    table = facts([page(words=None, regions=None), page(2, words=(), regions=())]).pages
    assert list(table["annotated"]) == [False, True]
    assert math.isnan(table["words"][0])
    assert table["words"][1] == 0


def test_ink_is_counted_against_the_paper_whatever_its_colour():
    black_on_white = page(1)
    white_on_black = page(image=image_of(255 - black_on_white.pixels()))
    shares = facts([black_on_white, white_on_black]).pages["ink"]
    assert shares[0] == pytest.approx(shares[1], abs=1e-3)
    assert 0.02 < shares[0] < 0.3


def test_an_id_is_the_hash_of_the_image():
    assert page_id(GOOD.image) == GOOD.id
    assert list(facts([GOOD, page(id="f" * 64)]).pages["id_true"]) == [True, False]


def test_region_facts_have_their_label():
    table = facts([page(regions=(Region((0, 0, 10, 10), "Title"),))]).regions
    assert list(table["label"]) == ["Title"]
