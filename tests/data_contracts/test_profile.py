"""Shift of a batch against the reference snapshot."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.facts import facts_of_pages
from data_contracts.profile import (
    ENOUGH,
    Profile,
    as_text,
    judged_shift,
    profile_of,
    read_profile,
    share_moved,
    shift,
)
from data_contracts.suites import SHIFT_RULES
from data_contracts.verdict import Verdict, compared, conclude
from ml.cli import main
from ml.errors import InputError
from ml.pages.page import Page, Region, Word
from tests.data_contracts.conftest import page, write_batch
from tests.data_contracts.test_rules import broken_rules

PAGES = [page(number) for number in range(ENOUGH)]


def profile(pages: list[Page]) -> Profile:
    return profile_of(facts_of_pages(pages))


def other(number: int) -> Page:
    """A page with higher words, more of them, other letters and other labels, on another image."""
    words = tuple(Word((10, 20 + 9 * i, 90, 50 + 9 * i), "žluť", i) for i in range(9))
    return page(number, words=words, regions=(Region((5, 15, 155, 120), "Table"),))


def shifted(verdict: Verdict) -> set[str]:
    return {rule for rule in broken_rules(verdict) if rule.startswith("shift_")}


def test_a_batch_like_the_reference_has_not_shifted():
    distances = shift(profile(PAGES), profile(PAGES))
    assert distances == {
        "ink": 1.0, "word_height": 1.0, "words": 1.0, "short_edge": 1.0, "label": 0.0, "character": 0.0,
    }  # fmt: skip
    assert shifted(compared(conclude("b", facts_of_pages(PAGES), []), profile(PAGES))) == set()


def test_each_measure_is_by_what_factor_or_share_pages_differ():
    reference = Profile(50, {"words": [100.0] * 101, "short_edge": [640.0] * 101}, {"label": {"Text": 1.0}})
    batch = Profile(
        50, {"words": [50.0] * 101, "short_edge": [1280.0] * 101}, {"label": {"Text": 0.25, "Table": 0.75}}
    )
    distances = shift(batch, reference)
    assert distances["words"] == pytest.approx(2)
    assert distances["short_edge"] == pytest.approx(2)
    assert distances["label"] == pytest.approx(0.75)
    assert math.isnan(distances["ink"]) and math.isnan(distances["character"])


SHARES = st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 1), min_size=1).map(
    lambda raw: {name: value / sum(raw.values()) for name, value in raw.items()}
)


@given(SHARES, SHARES)
def test_the_share_that_moves_is_a_distance(one, two):
    assert share_moved(one, two) == pytest.approx(share_moved(two, one))
    assert -1e-9 <= share_moved(one, two) <= 1 + 1e-9
    assert share_moved(one, one) == 0


def test_shift_is_a_warning_that_names_the_number_and_costs_nothing():
    others = [other(number) for number in range(ENOUGH)]
    verdict = compared(conclude("b", facts_of_pages(others), []), profile(PAGES))
    assert shifted(verdict) == {
        "shift_of_word_height", "shift_of_words", "shift_of_label", "shift_of_character",
    }  # fmt: skip
    assert verdict.accepted and verdict.quarantined == []
    [suite] = [suite for suite in verdict.suites if suite["suite"] == "shift-warnings"]
    reasons = {rule["rule"]: rule["examples"][0]["reason"] for rule in suite["rules"] if rule["examples"]}
    assert "a factor of 3.00" in reasons["shift_of_words"]


def test_every_measure_has_a_rule_and_every_rule_a_measure():
    assert {rule.column for rule in SHIFT_RULES} == set(shift(profile(PAGES), profile(PAGES)))


def test_few_pages_are_measured_and_not_judged():
    few = compared(conclude("b", facts_of_pages([other(1)]), []), profile(PAGES))
    assert few.shift["words"] == pytest.approx(3)
    assert shifted(few) == set()
    assert judged_shift(few.shift, ENOUGH)["words"][0] == pytest.approx(3)


def test_pages_that_are_set_aside_do_not_count():
    bad = dataclasses.replace(other(99), words=(Word((0, 0, 9000, 9), "out", 0),))
    verdict = conclude("b", facts_of_pages([*PAGES, bad]), [])
    assert verdict.profile == profile(PAGES)


def test_a_profile_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "reference.json"
    path.write_text(as_text(profile(PAGES)))
    assert read_profile(path) == profile(PAGES)


def test_an_empty_profile_is_no_reference(tmp_path):
    path = tmp_path / "reference.json"
    path.write_text(as_text(Profile(0, {}, {})))
    assert read_profile(path) is None


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": "other"}', '{"format": "scriptorium-profile"}'])
def test_a_damaged_profile_is_an_input_error_with_its_name(tmp_path, damage):
    path = tmp_path / "reference.json"
    path.write_text(damage)
    with pytest.raises(InputError, match=r"reference\.json: damaged.*--accept"):
        read_profile(path)


def test_the_command_draws_the_shift_and_equal_batches_give_equal_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reference.json").write_text(as_text(profile(PAGES)))
    batch = write_batch(tmp_path / "new", [other(number) for number in range(ENOUGH)])
    for out in ("a", "b"):
        assert main(["check", str(batch), "--out", out]) == 0
    assert json.loads((tmp_path / "a/verdict.json").read_text())["shift"]["words"] == pytest.approx(3)
    assert (tmp_path / "a/shift.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in (tmp_path / "a/report.html").read_text()
    for file in ("verdict.json", "report.html", "shift.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_without_a_reference_there_is_no_shift_and_an_old_plot_goes(batch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/shift.png").write_bytes(b"old")
    assert main(["check", str(batch), "--out", "out"]) == 0
    assert json.loads((tmp_path / "out/verdict.json").read_text())["shift"] == {}
    assert not (tmp_path / "out/shift.png").exists()
    assert main(["check", str(batch), "--reference", "nowhere.json"]) == 1
