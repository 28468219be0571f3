import io
import re

import numpy as np
from PIL import Image

from ml.pages.page import Page, Region, Word, page_id
from ml.pages.result import FoundRegion, PageResult, ReadWord
from orchestration.report import AssetTime, Report, figures, overlap, render

SERVED = {
    "pages": 40,
    "words": {"precision": 0.9, "recall": 0.8, "f1": 0.85},
    "reading": {"cer": 0.2, "exact": 0.6},
    "end_to_end": {"f1": 0.5},
    "layout": {
        "trident": {"ap": 0.1, "ap50": 0.2},
        "teacher": {"ap": 0.3, "ap50": 0.5},
        "student": {"ap": 0.2, "ap50": 0.4},
    },
}
ASSETS = [AssetTime("synth", 12.34, cached=False), AssetTime("batch[synthetic]", 0.9, cached=True)]


def page() -> Page:
    buffer = io.BytesIO()
    Image.fromarray(np.full((60, 80, 3), 255, np.uint8)).save(buffer, "PNG")
    image = buffer.getvalue()
    words = (Word((5, 5, 30, 15), "<b>&"), Word((40, 5, 70, 15), "right"))
    regions = (Region((2, 2, 76, 20), "Text"),)
    return Page(page_id(image), "d", 80, 60, image, words, regions, "synthetic", "a.pdf")


def report(text: str = "right") -> Report:
    result = PageResult(
        80, 60, (ReadWord((40, 5, 70, 15), text, 0.9),), (FoundRegion((2, 2, 76, 20), "Title", 0.5),)
    )
    measured = figures(SERVED, ASSETS, 99.99, 1)
    curves = {"trident": "data:image/png;base64,AA"}
    return Report("run-1", measured, ASSETS, {"synth": {"pages": 3}}, curves, [(page(), result)])


def test_report_json_has_the_promised_keys():
    assert figures(SERVED, ASSETS, 99.99, 4) == {
        "served": True,
        "pages": 40,
        "words": SERVED["words"],
        "reading": SERVED["reading"],
        "end_to_end": SERVED["end_to_end"],
        "layout": {"teacher": {"ap": 0.3, "ap50": 0.5}, "student": {"ap": 0.2, "ap50": 0.4}},
        "seconds": {"total": 100.0, "assets": {"synth": 12.3, "batch[synthetic]": 0.9}},
        "cached": ["batch[synthetic]"],
    }


def test_nothing_read_is_not_served():
    assert figures(SERVED, ASSETS, 1, 0)["served"] is False


def test_the_html_refers_to_nothing_outside_itself():
    html = render(report())
    links = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert "url(" not in html and "<script" not in html


def test_page_texts_are_escaped():
    html = render(report())
    assert "<b>&</title>" not in html
    assert "&lt;b&gt;&amp;" in html


def test_words_are_marked_right_or_wrong_by_box_and_text():
    assert '<rect class="true"' in render(report("right"))
    assert '<rect class="true"' not in render(report("wrong"))


def test_truth_and_served_regions_and_the_run_are_shown():
    html = render(report())
    assert "Text</text>" in html and "Title 0.50" in html and "run-1" in html


def test_overlap_of_boxes():
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == 1 / 3
    assert overlap((0, 0, 1, 1), (1, 0, 2, 1)) == 0.0
