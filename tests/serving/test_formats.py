from __future__ import annotations

import io
import json
from xml.etree import ElementTree as ET

import numpy as np
import pypdfium2 as pdfium
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ml.pages.result import FoundRegion, PageResult, ReadWord
from ml.serving.documents import SourcePage
from ml.serving.formats import FORMATS
from ml.serving.formats.blocks import blocks_of
from ml.serving.formats.markup import xml_text

HOSTILE = "<b>&\"'</b>"
RESULT = PageResult(
    400,
    200,
    words=(
        ReadWord((20, 20, 80, 40), "Größe", 0.9),
        ReadWord((90, 20, 150, 40), HOSTILE, 0.5),
        ReadWord((20, 60, 80, 80), "end.", 0.7, line=1),
    ),
    regions=(FoundRegion((10, 10, 200, 50), "Text", 0.8), FoundRegion((220, 20, 380, 180), "Picture", 0.6)),
)
PIXELS = np.full((200, 400, 3), 255, np.uint8)
ALTO = "{http://www.loc.gov/standards/alto/ns-v4#}"
HTML = "{http://www.w3.org/1999/xhtml}"


def written(name: str, *results: PageResult, source: str = "scan.png") -> bytes:
    file = io.BytesIO()
    writer = FORMATS[name].writer(file)
    for i, result in enumerate(results, start=1):
        writer.add(SourcePage(source, i, len(results), PIXELS), result)
    writer.close()
    return file.getvalue()


def test_json_has_the_documented_keys_and_pixel_boxes():
    (line,) = written("json", RESULT).decode().splitlines()
    page = json.loads(line)
    assert list(page) == ["source", "page", "width", "height", "words", "regions", "text"]
    assert page["words"][0] == {"box": [20, 20, 80, 40], "text": "Größe", "score": 0.9}
    assert page["regions"][1] == {"box": [220, 20, 380, 180], "label": "Picture", "score": 0.6}
    assert page["text"] == f"Größe {HOSTILE}\nend."


def test_text_puts_a_form_feed_between_pages():
    assert written("text", RESULT, RESULT).decode() == f"Größe {HOSTILE}\nend.\n\fGröße {HOSTILE}\nend.\n"


def test_overlay_is_the_page_with_something_drawn_on_it():
    image = np.asarray(Image.open(io.BytesIO(written("overlay", RESULT))))
    assert image.shape == PIXELS.shape
    assert (image[20, 20:80] != 255).any() and (image[20:180, 220] != 255).any()
    assert (image[190:] == 255).all()


def test_blocks_gather_the_lines_of_a_region_and_keep_the_pictures():
    blocks = [
        (block.label, [[word.text for word in line] for line in block.lines]) for block in blocks_of(RESULT)
    ]
    assert blocks == [("Text", [["Größe", HOSTILE]]), (None, [["end."]]), ("Picture", [])]


def test_alto_is_well_formed_and_holds_every_word_with_its_box():
    page = ET.fromstring(written("alto", RESULT, source=f"{HOSTILE}.png"))
    strings = list(page.iter(f"{ALTO}String"))
    assert [s.get("CONTENT") for s in strings] == ["Größe", HOSTILE, "end."]
    assert [strings[0].get(k) for k in ("HPOS", "VPOS", "WIDTH", "HEIGHT")] == [
        "20.0",
        "20.0",
        "60.0",
        "20.0",
    ]
    assert len(list(page.iter(f"{ALTO}Illustration"))) == 1
    assert page.find(f".//{ALTO}fileName").text == f"{HOSTILE}.png"


def test_hocr_is_well_formed_and_holds_every_word_with_its_box():
    page = ET.fromstring(written("hocr", RESULT, RESULT, source=f"{HOSTILE}.png"))
    words = [s for s in page.iter(f"{HTML}span") if s.get("class") == "ocrx_word"]
    assert [w.text for w in words] == ["Größe", HOSTILE, "end."] * 2
    assert words[0].get("title") == "bbox 20 20 80 40; x_wconf 90"
    assert len([d for d in page.iter(f"{HTML}div") if d.get("class") == "ocr_page"]) == 2


@given(st.text())
def test_any_text_survives_in_xml(text: str):
    root = ET.fromstring(f'<a b="{xml_text(text)}">{xml_text(text)}</a>'.encode("utf-8", "replace"))
    kept = "".join(
        c
        for c in text
        if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )
    assert (root.text or "") == kept.replace("\r\n", "\n").replace("\r", "\n")


def test_the_searchable_pdf_finds_words_where_they_stand():
    document = pdfium.PdfDocument(written("pdf", RESULT, PageResult(400, 200)))
    assert len(document) == 2
    page = document[0]
    assert page.get_size() == (200, 100)  # 400 x 200 pixels at 144 dpi
    text = page.get_textpage()
    assert text.get_text_range().split() == ["Größe", HOSTILE, "end."]
    start, count = text.search("end.").get_next()
    boxes = [text.get_charbox(i, loose=True) for i in range(start, start + count)]
    left, right = min(b[0] for b in boxes), max(b[2] for b in boxes)
    assert (left, right) == (pytest.approx(10, abs=1), pytest.approx(40, abs=1.5))
    assert document[1].get_textpage().count_chars() == 0


def test_the_searchable_pdf_shows_the_page_and_not_the_words():
    shown = pdfium.PdfDocument(written("pdf", RESULT))[0].render(scale=2).to_numpy()
    assert (shown > 250).all()
