from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml.errors import InputError, UsageError
from ml.evaluation.command import evaluate_store, write_scores
from ml.evaluation.evaluator import evaluate, hits_of
from ml.evaluation.layout import ap50, join
from ml.pages.labels import CANONICAL
from ml.pages.page import Page, Region, Word, page_id
from ml.pages.result import FoundRegion, PageResult, ReadWord
from ml.pages.store import PageWriter
from ml.predictor import open_predictor

WORDS = (Word((10, 10, 40, 20), "one"), Word((50, 10, 80, 20), "two"))
REGIONS = (Region((5, 5, 90, 30), "Text"),)


def page(number: int, document: str, words=WORDS, regions=REGIONS) -> Page:
    buffer = io.BytesIO()
    Image.new("RGB", (100, 80 + number), (number, 0, 0)).save(buffer, "PNG")
    image = buffer.getvalue()
    return Page(page_id(image), document, 100, 80 + number, image, words, regions, "synthetic")


class Oracle:
    """Knows the truth, and spoils it as told: pages whose red value is in `blind` are seen empty."""

    def __init__(self, *, reads: bool = True, blind: tuple[int, ...] = (), spell=str) -> None:
        self.card: dict[str, Any] = {
            "name": "oracle",
            "labels": list(CANONICAL),
            "charset": "abc" if reads else None,
        }
        self.blind, self.spell = blind, spell

    def read(self, pixels: np.ndarray, boxes: np.ndarray | None = None) -> PageResult:
        height, width = pixels.shape[:2]
        given = (
            ()
            if boxes is None
            else tuple(ReadWord(w.box, self.spell(w.text), 1.0) for w in WORDS[: len(boxes)])
        )
        if int(pixels[0, 0, 0]) in self.blind:
            return PageResult(width, height, given=given)
        words = tuple(ReadWord(w.box, self.spell(w.text), 0.9) for w in WORDS)
        return PageResult(
            width, height, words, tuple(FoundRegion(r.box, r.label, 0.9) for r in REGIONS), given
        )


def test_a_model_that_is_right_everywhere_scores_full_marks() -> None:
    values = evaluate(Oracle(), [page(0, "a"), page(1, "b")]).to_json()
    assert values["words"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert values["reading"] == {"cer": 0.0, "exact": 1.0}
    assert values["end_to_end"] == {"f1": 1.0}
    assert (values["layout"]["ap"], values["layout"]["ap50"]) == (pytest.approx(1), pytest.approx(1))
    assert (values["model"], values["pages"]) == ("oracle", 2)
    assert values["latency_ms"]["p95"] >= values["latency_ms"]["p50"] >= 0


def test_a_model_that_misses_a_page_scores_by_hand() -> None:
    values = evaluate(Oracle(blind=(1,)), [page(0, "a"), page(1, "b")]).to_json()
    assert values["words"] == {"precision": 1.0, "recall": 0.5, "f1": round(2 / 3, 6)}
    assert values["layout"]["ap50"] == pytest.approx(51 / 101, abs=1e-5)


def test_a_model_that_misspells_finds_but_does_not_read() -> None:
    values = evaluate(Oracle(spell=lambda text: text[:-1] + "x"), [page(0, "a")]).to_json()
    assert values["words"]["f1"] == 1.0
    assert values["end_to_end"]["f1"] == 0.0
    assert values["reading"] == {"cer": round(2 / 6, 6), "exact": 0.0}


def test_pages_without_truth_take_no_part_in_that_score() -> None:
    pages = [page(0, "a"), page(1, "b", words=None), page(2, "c", regions=None)]
    scores = evaluate(Oracle(blind=(1, 2)), pages)
    assert scores.words is not None
    assert scores.words.truth == 4  # of pages 0 and 2
    assert scores.layout is not None
    assert scores.layout.ap50 == pytest.approx(51 / 101)  # of pages 0 and 1


def test_an_empty_page_still_counts_false_findings() -> None:
    scores = evaluate(Oracle(), [page(0, "a"), page(1, "b", words=())])
    assert scores.words is not None
    assert scores.words.precision == 0.5


def test_a_layout_model_has_no_word_figures() -> None:
    values = evaluate(Oracle(reads=False), [page(0, "a")]).to_json()
    assert not {"words", "reading", "end_to_end"} & set(values)
    assert "layout" in values


def test_documents_carry_enough_to_compute_every_figure_again(tmp_path: Path) -> None:
    pages = [page(0, "a"), page(1, "b"), page(2, "b")]
    scores = evaluate(Oracle(blind=(2,)), pages)
    write_scores(scores, tmp_path / "scores.json")
    values = json.loads((tmp_path / "scores.json").read_text())
    rows = values["documents"]
    assert [(row["document"], row["pages"]) for row in rows] == [("a", 1), ("b", 2)]
    matched = sum(row["words"]["matched"] for row in rows)
    total = sum(row["words"]["truth"] + row["words"]["found"] for row in rows)
    assert 2 * matched / total == pytest.approx(values["words"]["f1"], abs=1e-6)
    again = ap50(join([hits_of(row["layout"]) for row in rows]))
    assert again == pytest.approx(values["layout"]["ap50"], abs=1e-6)


def test_a_store_is_scored_up_to_the_page_asked_for(tmp_path: Path) -> None:
    with PageWriter(tmp_path / "store") as writer:
        for number in range(3):
            writer.write(page(number, str(number)))
    assert evaluate_store(Oracle(), tmp_path / "store", pages=2).pages == 2


def test_no_page_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no page"):
        evaluate(Oracle(), [])


def test_pages_without_any_truth_are_an_input_error() -> None:
    with pytest.raises(InputError, match="annotated"):
        evaluate(Oracle(), [page(0, "a", words=None, regions=None)])


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither model\.onnx"):
        open_predictor(tmp_path)
