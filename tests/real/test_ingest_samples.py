"""Each folder of real samples gives what its README and its annotations state. The annotations are counted here once
more, by other means than the readers'."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from ml.cli import main
from ml.pages.page import Page
from ml.pages.store import PageStore
from tests.pages.making import samples

pytestmark = pytest.mark.real


@pytest.fixture
def ingested(tmp_path):
    """Ingests a folder of samples with `auto`: its pages, and the rows of its quarantine."""

    def ingest(folder: str) -> tuple[Path, list[Page], list[dict]]:
        root, out = samples(folder), tmp_path / folder
        assert main(["ingest", "auto", str(root), "--batch", folder, "--out", str(out)]) == 0
        return root, list(PageStore(out)), json.loads((out / "quarantine.json").read_text())

    return ingest


def test_publaynet_has_every_box_of_its_annotations_and_no_words(ingested):
    root, pages, refused = ingested("publaynet")
    told = json.loads((root / "annotations.json").read_text())
    names = {category["id"]: category["name"] for category in told["categories"]}
    five = {
        "text": "Text",
        "title": "Section-header",
        "list": "List-item",
        "table": "Table",
        "figure": "Picture",
    }
    labels = Counter(five[names[one["category_id"]]] for one in told["annotations"])
    assert len(pages) == len(told["images"]) == 7 and refused == []
    assert Counter(region.label for page in pages for region in page.regions or ()) == labels
    assert all(page.words is None and page.document.startswith("PMC") for page in pages)


def test_pdfs_have_the_words_of_their_text_layers_in_order(ingested):
    _, pages, refused = ingested("pdf")
    assert len({page.document for page in pages}) == 10 and refused == []
    texts = {page.source: " ".join(word.text for word in page.words or ()) for page in pages}
    assert "pulleys, provided the inner race of the bearing" in texts["docling__amt_handbook_sample.pdf#1"]
    assert (
        "The above-entitled matter came on for oral argument"
        in texts["pdfplumber__scotus-transcript-p1.pdf#1"]
    )
    for page in pages:
        assert page.words and (page.regions is not None) == (page.meta["tags"] == "read")
        for word in page.words:
            x1, y1, x2, y2 = word.box
            assert 0 <= x1 < x2 <= page.width and 0 <= y1 < y2 <= page.height
    assert Counter(page.meta["tags"] for page in pages).keys() == {"read", "none"}


def test_forms_have_every_word_that_has_a_text(ingested):
    root, pages, refused = ingested("forms")
    texts = {}
    for path in (root / "annotations").glob("*.json"):
        words = [word for entity in json.loads(path.read_text())["form"] for word in entity["words"]]
        texts[path.stem] = [word["text"].strip() for word in words if word["text"].strip()]
    assert len(pages) == 5 and refused == []
    assert {Path(page.source).stem: [word.text for word in page.words or ()] for page in pages} == texts


def test_scans_have_every_line_of_their_alto_and_the_others_are_plain(ingested):
    root, pages, refused = ingested("scans")
    lines = {
        path.stem: len(re.findall(r'<String\b[^>]*\bCONTENT="\s*[^"\s]', path.read_text()))
        for path in root.glob("*.xml")
    }
    assert len(lines) == 4 and refused == []
    assert {Path(page.source).stem: len(page.words) for page in pages if page.words is not None} == lines
    assert [page.source for page in pages if page.words is None] == ["eurotext.tif", "phototest.tif"]


def test_handwriting_has_a_page_for_every_row(ingested):
    root, pages, refused = ingested("handwriting")
    with (root / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["image"]: " ".join(row["text"].split()) for row in csv.DictReader(file)}
    assert len(pages) == 60 and refused == []
    assert {page.document: " ".join(word.text for word in page.words or ()) for page in pages} == rows
