from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import pytest

from ml.pages.page import Page
from ml.pages.readers import pdf as reader
from ml.pages.readers.pdf import PdfLimits, document_pages, read_pdf
from ml.pages.readers.pdf_words import fold, tighten
from ml.pages.readers.refusal import Refusal
from tests.pages.making import pdf

TAGGED = """
#set page(width: 400pt, height: 500pt, header: [Running head], footer: [Page 3])
#set text(size: 12pt)
#title[A title]
= A heading
Some text with a footnote.#footnote[The note below.] And more.

- one item
- another
#figure(table(columns: 2, [Item], [Price], [Bread], [2.40]), caption: [What it costs])
$ a + b = c $
"""


def save(folder: Path, name: str, source: str) -> Path:
    path = folder / name
    path.write_bytes(pdf(source))
    return path


def pages_of(path: Path, **limits) -> list[Page | Refusal]:
    return list(document_pages(path, path.name, PdfLimits(**limits)))


def only(path: Path, **limits) -> Page:
    (page,) = pages_of(path, **limits)
    assert isinstance(page, Page)
    return page


def rules(reads) -> list[str]:
    return [read.rule for read in reads if isinstance(read, Refusal)]


def test_a_tagged_page_has_words_and_regions_in_reading_order(tmp_path):
    page = only(save(tmp_path, "tagged.pdf", TAGGED), long_edge=1000)
    assert (page.width, page.height) == (800, 1000)
    assert [region.label for region in page.regions or ()] == [
        "Page-header", "Title", "Section-header", "Text", "List-item", "List-item", "Table", "Caption",
        "Formula", "Footnote", "Page-footer",
    ]  # fmt: skip
    text = " ".join(word.text for word in page.words or ())
    assert text.startswith("Running head A title A heading Some text with a footnote.1 And more. •")
    assert text.endswith("The note below. Page 3")
    assert page.provenance == "pdf"


def test_an_untagged_page_has_words_and_no_regions(tmp_path):
    document = pdfium.PdfDocument(pdf(TAGGED))
    copy = pdfium.PdfDocument.new()
    copy.import_pages(document)  # takes the contents without the structure tree
    copy.save(tmp_path / "plain.pdf")
    page = only(tmp_path / "plain.pdf")
    assert page.regions is None
    assert {"heading", "Bread", "2.40"} <= {word.text for word in page.words or ()}


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_boxes_lie_on_the_ink_of_turned_and_cropped_pages(tmp_path, angle):
    document = pdfium.PdfDocument(
        pdf("#set page(width: 300pt, height: 200pt)\nInside\n#place(dx: 250pt)[Outside]")
    )
    document[0].set_cropbox(0, 100, 200, 200)
    document[0].set_rotation(angle)
    document.save(tmp_path / "turned.pdf")
    page = only(tmp_path / "turned.pdf", long_edge=400)
    assert [word.text for word in page.words or ()] == ["Inside"]
    x1, y1, x2, y2 = map(int, (page.words or ())[0].box)
    gray = page.pixels().mean(axis=2)
    ys, xs = np.nonzero(gray < 128)
    assert x1 <= xs.min() and xs.max() < x2 and y1 <= ys.min() and ys.max() < y2
    assert (x2 - x1 > y2 - y1) == (angle % 180 == 0)


def test_invisible_words_are_not_on_the_page(tmp_path):
    path = save(
        tmp_path, "white.pdf", "#set page(width: 200pt, height: 99pt)\nseen #text(fill: white)[unseen]"
    )
    assert [word.text for word in only(path).words or ()] == ["seen"]


def test_tags_that_contradict_the_page_are_not_believed(tmp_path):
    """Two paragraphs set over each other: each word lies in the other's box."""
    source = "#set page(height: 300pt)\n#lorem(40)\n\n#place(top, dy: 20pt, block[#lorem(30)\n\n#lorem(9)])"
    path = save(tmp_path, "over.pdf", source)
    page = only(path)
    assert page.words and page.regions is None


def test_a_paragraph_over_two_columns_is_two_regions(tmp_path):
    source = "#set page(width: 300pt, height: 200pt, columns: 2)\n#lorem(60)"
    page = only(save(tmp_path, "columns.pdf", source))
    assert [region.label for region in page.regions or ()] == ["Text", "Text"]
    left, right = (region.box for region in page.regions or ())
    assert left[2] < right[0]


def test_words_broken_at_a_lines_end_stay_apart(tmp_path):
    setting = '#set page(width: 90pt, height: 200pt)\n#set text(hyphenate: true, lang: "en")\n'
    source = f"{setting}#set par(justify: true)\nextraordinary considerations notwithstanding"
    words = only(save(tmp_path, "hyphens.pdf", source)).words or ()
    assert any(word.text.endswith("-") for word in words)
    assert "".join(word.text.rstrip("-") for word in words) == "extraordinaryconsiderationsnotwithstanding"


def test_presentation_forms_become_letters():
    assert [fold(character) for character in "ﬁ𝑥−A"] == ["fi", "x", "-", "A"]


def test_a_box_shrinks_to_its_ink_whatever_the_paper():
    for paper, ink in ((255, 0), (20, 250), (180, 90)):
        gray = np.full((30, 40), paper, np.uint8)
        gray[10:15, 8:20] = ink
        gray[20] = ink  # a rule below
        assert tighten(gray, (5.2, 7.9, 25.0, 20.0)) == (8, 10, 20, 15)
        assert tighten(gray, (25.0, 5.0, 35.0, 19.0)) is None


def test_every_document_is_one_and_is_known_by_its_bytes(tmp_path):
    source = "#set page(height: 100pt)\nOne #pagebreak() Two"
    for name in ("a.pdf", "b/copy of a.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path, name, source)
    save(tmp_path, "c.pdf", "Three")
    pages = [page for page in read_pdf(tmp_path) if isinstance(page, Page)]
    assert [page.source for page in pages] == [
        "a.pdf#1",
        "a.pdf#2",
        "b/copy of a.pdf#1",
        "b/copy of a.pdf#2",
        "c.pdf#1",
    ]
    assert sorted(Counter(page.document for page in pages).values()) == [1, 4]


def test_what_is_no_pdf_is_set_aside_and_the_rest_goes_on(tmp_path):
    good = save(tmp_path, "m good.pdf", "Good")
    (tmp_path / "a html.pdf").write_text("<html>not a pdf</html>")
    (tmp_path / "b cut.pdf").write_bytes(good.read_bytes()[:300])
    (tmp_path / "c empty.pdf").write_bytes(b"")
    (tmp_path / "z noise.pdf").write_bytes(b"%PDF-1.7\n" + np.random.default_rng(0).bytes(5000))
    reads = list(read_pdf(tmp_path))
    assert [read.source for read in reads if isinstance(read, Page)] == ["m good.pdf#1"]
    refused = {read.item: read.rule for read in reads if isinstance(read, Refusal)}
    assert refused == dict.fromkeys(
        ["a html.pdf", "b cut.pdf", "c empty.pdf", "z noise.pdf"], "pdf_unreadable"
    )


#: One empty page, encrypted (RC4, 40 bits) with a user password.
ENCRYPTED = b"""%%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>endobj
4 0 obj<</Filter/Standard/V 1/R 2/P -4/O<%s>/U<%s>>>endobj
trailer<</Root 1 0 R/Encrypt 4 0 R/ID[<00><00>]/Size 5>>
%%%%EOF""" % (b"11" * 32, b"22" * 32)


def test_a_password_is_named(tmp_path):
    (tmp_path / "locked.pdf").write_bytes(ENCRYPTED)
    (refusal,) = pages_of(tmp_path / "locked.pdf")
    assert isinstance(refusal, Refusal)
    assert refusal.rule == "pdf_password" and "locked.pdf" in refusal.reason


def test_page_and_time_limits_keep_what_was_read(tmp_path):
    path = save(tmp_path, "long.pdf", "#set page(height: 100pt)\n" + "#pagebreak()".join("abcdef"))
    reads = pages_of(path, pages=2)
    assert len(reads) == 3 and rules(reads) == ["pdf_pages"]
    assert "pages 3 to 6" in reads[-1].reason  # type: ignore[union-attr]
    assert rules(pages_of(path, seconds=-1)) == ["pdf_time"]


def test_pages_of_no_or_endless_size_are_set_aside(tmp_path):
    document = pdfium.PdfDocument.new()
    document.new_page(14000, 14000)
    document.save(tmp_path / "wide.pdf")
    assert rules(pages_of(tmp_path / "wide.pdf", dpi=300)) == ["image_pixels"]


def _hang(*_):
    time.sleep(60)


def _crash(*_):
    import os

    os.abort()


@pytest.mark.parametrize(("child", "rule"), [(_hang, "pdf_time"), (_crash, "pdf_crash")])
def test_a_reader_that_hangs_or_dies_takes_only_its_document(tmp_path, monkeypatch, child, rule):
    path = save(tmp_path, "evil.pdf", "x")
    monkeypatch.setattr(reader, "_read_here", child)
    monkeypatch.setattr(reader, "GRACE", 0.0)
    assert rules(read_pdf(path, PdfLimits(seconds=1.0 if child is _hang else 30.0))) == [rule]
