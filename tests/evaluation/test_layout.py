from __future__ import annotations

import contextlib

import numpy as np
import pytest

from ml.evaluation.layout import MAX_DETECTIONS, ap50, average_precision, hits, join, label_space, page_layout
from ml.pages.labels import CANONICAL, FROM_PUBLAYNET, PUBLAYNET
from ml.pages.page import Region
from ml.pages.result import FoundRegion

TEXT, TABLE = Region((0, 0, 100, 50), "Text"), Region((0, 60, 100, 160), "Table")


def found(region: Region, score: float, label: str | None = None) -> FoundRegion:
    return FoundRegion(region.box, label or region.label, score)


def test_a_perfect_page_scores_one() -> None:
    page = page_layout([TEXT, TABLE], [found(TEXT, 0.9), found(TABLE, 0.8)], CANONICAL)
    scores = average_precision([page], CANONICAL)
    assert scores is not None
    assert (scores.ap, scores.ap50) == (pytest.approx(1), pytest.approx(1))
    assert scores.by_label == {"Table": pytest.approx(1), "Text": pytest.approx(1)}


def test_a_wrong_label_scores_nothing() -> None:
    page = page_layout([TEXT], [found(TEXT, 0.9, "Title")], CANONICAL)
    scores = average_precision([page], CANONICAL)
    assert scores is not None
    assert (scores.ap, scores.ap50) == (0, 0)


def test_nothing_found_scores_zero_not_an_error() -> None:
    scores = average_precision([page_layout([TEXT], [], CANONICAL)], CANONICAL)
    assert scores is not None
    assert scores.ap50 == 0
    assert scores.by_label == {"Text": 0.0}


def test_no_truth_has_no_score() -> None:
    assert average_precision([page_layout([], [found(TEXT, 0.9)], CANONICAL)], CANONICAL) is None


def test_a_loose_box_counts_at_50_and_not_above_its_iou() -> None:
    loose = FoundRegion((0, 0, 100, 36), "Text", 0.9)  # IoU 0.72: five of the ten thresholds
    scores = average_precision([page_layout([TEXT], [loose], CANONICAL)], CANONICAL)
    assert scores is not None
    assert (scores.ap, scores.ap50) == (pytest.approx(0.5), pytest.approx(1))


def test_half_of_the_regions_found_scores_half() -> None:
    other = Region((0, 200, 100, 260), "Text")
    page = page_layout([TEXT, other], [found(TEXT, 0.9)], CANONICAL)
    scores = average_precision([page], CANONICAL)
    assert scores is not None
    assert scores.ap50 == pytest.approx(51 / 101)  # recalls 0.00 to 0.50 of the 101 points


def test_a_surer_false_region_costs_precision() -> None:
    false = FoundRegion((300, 300, 400, 400), "Text", 0.95)
    scores = average_precision([page_layout([TEXT], [false, found(TEXT, 0.9)], CANONICAL)], CANONICAL)
    assert scores is not None
    assert scores.ap50 == pytest.approx(0.5)


def test_five_labels_are_scored_against_mapped_truth() -> None:
    assert label_space(PUBLAYNET) == PUBLAYNET
    assert label_space(list(FROM_PUBLAYNET.values())) == PUBLAYNET
    assert label_space(CANONICAL) == CANONICAL
    caption, header = Region((0, 0, 90, 20), "Caption"), Region((0, 0, 90, 10), "Page-header")
    page = page_layout([caption, header], [found(caption, 0.9, "text")], PUBLAYNET)
    assert [PUBLAYNET[i] for i in page.truth_labels] == ["text"]  # PubLayNet knows no running head
    scores = average_precision([page], PUBLAYNET)
    assert scores is not None
    assert scores.ap50 == pytest.approx(1)


def test_canonical_findings_of_a_five_label_model_are_mapped_too() -> None:
    page = page_layout([TEXT], [found(TEXT, 0.9, "Text")], PUBLAYNET)
    assert [PUBLAYNET[i] for i in page.found_labels] == ["text"]


def test_only_the_surest_detections_of_a_page_count() -> None:
    crowd = [FoundRegion((300, 300, 310, 310), "Text", 0.9) for _ in range(MAX_DETECTIONS)]
    page = page_layout([TEXT], [found(TEXT, 0.1), *crowd], CANONICAL)
    scores = average_precision([page], CANONICAL)
    assert scores is not None
    assert scores.ap50 == 0


def random_page(rng: np.random.Generator) -> tuple[list[Region], list[FoundRegion]]:
    truth, seen = [], []
    for _ in range(rng.integers(0, 8)):
        x, y, w, h = rng.uniform(0, 300), rng.uniform(0, 300), rng.uniform(10, 120), rng.uniform(10, 120)
        label = str(rng.choice(["Text", "Table", "Title"]))
        truth.append(Region((x, y, x + w, y + h), label))
        for _ in range(rng.integers(0, 3)):
            dx, dy = rng.normal(0, 0.2, 2) * (w, h)
            guess = label if rng.random() < 0.8 else "Text"
            seen.append(FoundRegion((x + dx, y + dy, x + dx + w, y + dy + h), guess, float(rng.random())))
    return truth, seen


def test_the_resampled_ap50_is_cocos() -> None:
    rng = np.random.default_rng(3)
    pages = [page_layout(*random_page(rng), CANONICAL) for _ in range(30)]
    scores = average_precision(pages, CANONICAL)
    assert scores is not None
    assert 0.2 < scores.ap50 < 0.95
    assert ap50(hits(pages, len(CANONICAL))) == pytest.approx(scores.ap50, abs=1e-9)


def test_joined_documents_score_like_their_pages_together() -> None:
    rng = np.random.default_rng(4)
    pages = [page_layout(*random_page(rng), CANONICAL) for _ in range(12)]
    parts = [hits(pages[:5], len(CANONICAL)), hits(pages[5:], len(CANONICAL))]
    assert ap50(join(parts)) == pytest.approx(ap50(hits(pages, len(CANONICAL))))


def test_pycocotools_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(AssertionError):
        average_precision([page_layout([TEXT], [found(TEXT, 0.9)], CANONICAL)], CANONICAL)
    assert capsys.readouterr().out == ""
