"""Each annotation format, from files written after its published definition, becomes pages; what is broken is named."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from PIL import Image

from ml.pages.ingest import kinds_of
from ml.pages.page import Page
from ml.pages.readers.datasets import read_crops, read_funsd
from ml.pages.readers.doclaynet import read_doclaynet
from ml.pages.readers.hocr import read_hocr
from ml.pages.readers.refusal import Refusal
from ml.pages.readers.xml_trees import read_alto, read_page_xml
from ml.pages.result import FoundRegion, PageResult, ReadWord
from ml.serving.documents import SourcePage
from ml.serving.formats import FORMATS
from tests.pages.making import png

ALTO = """<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v3#"><Description><MeasurementUnit>{unit}</MeasurementUnit>
<sourceImageInformation><fileName>/scans/page.png</fileName></sourceImageInformation></Description>
<Tags><LayoutTag ID="T1" LABEL="Heading"/></Tags>
<Layout><Page WIDTH="{width}" HEIGHT="{height}"><PrintSpace>
<TextBlock HPOS="{x}" VPOS="{x}" WIDTH="{w}" HEIGHT="{x}" TAGREFS="T1"><TextLine>
<String HPOS="{x}" VPOS="{x}" WIDTH="{x}" HEIGHT="{x}" CONTENT="ex"/><SP/>
<String HPOS="{w}" VPOS="{x}" WIDTH="{x}" HEIGHT="{x}" CONTENT="am"/><HYP CONTENT="-"/></TextLine><TextLine>
<String HPOS="{x}" VPOS="{w}" WIDTH="{x}" HEIGHT="{x}" CONTENT="ple"/></TextLine></TextBlock>
<Illustration HPOS="0" VPOS="{w}" WIDTH="{x}" HEIGHT="{x}"/></PrintSpace></Page></Layout></alto>"""

PAGE = """<?xml version="1.0"?><PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">
<Page imageFilename="page.png" imageWidth="60" imageHeight="80">
<TextRegion type="heading"><Coords points="5,5 50,5 50,20 5,20"/><TextLine><Coords points="5,5 50,20"/>
<Word><Coords points="5,6 20,6 20,18 5,18"/><TextEquiv index="1"><Unicode>worse</Unicode></TextEquiv>
<TextEquiv index="0"><Unicode>first</Unicode></TextEquiv></Word>
<Word><Coords><Point x="22" y="6"/><Point x="40" y="18"/></Coords><TextEquiv><Unicode>two</Unicode></TextEquiv></Word>
</TextLine></TextRegion>
<TextRegion><Coords points="5,30 50,50"/><TextLine><Coords points="5,30 50,40"/><TextEquiv><Unicode>a whole line</Unicode>
</TextEquiv></TextLine></TextRegion>
<TextRegion type="page-number"><Coords points="25,72 30,78"/></TextRegion>
<ImageRegion><Coords points="5,55 50,70"/></ImageRegion></Page></PcGts>"""

HOCR = """<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
 "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html><head><meta name='ocr-system' content='t'><title></title></head><body>
<div class='ocr_page' title='image "/tmp/page.png"; bbox 0 0 120 160; ppageno 0'>
<div class='ocr_carea' title="bbox 10 10 90 60">
<p class='ocr_par'><span class='ocr_line' title="bbox 10 10 90 30"><span class='ocrx_word' title='bbox 10 10 40 30; x_wconf 90'>
<strong>Tom</strong> </span><span class='ocrx_word' title='bbox 50 10 90 30'>&amp;&nbsp;</span></span>
<span class='ocr_line' title="bbox 10 40 90 60"><span class='ocrx_word' title='bbox 10 40 90 60'>Jerry<br></span></span></p>
</div>
<div class='ocr_photo' title="bbox 0 80 120 160"></div></div></body></html>"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/page.png").write_bytes(png(1))  # 60 x 80
    return tmp_path


def only(reads) -> Page:
    (page,) = reads
    assert isinstance(page, Page), page
    return page


def refused(reads) -> Refusal:
    (refusal,) = reads
    assert isinstance(refusal, Refusal)
    return refusal


def words(page: Page) -> list[tuple]:
    return [(word.text, tuple(round(side, 2) for side in word.box), word.line) for word in page.words or ()]


@pytest.mark.parametrize("unit", ["pixel", "mm10", "inch1200"])
def test_alto_in_any_unit_is_pixels_of_the_image(folder, unit):
    scale = {"pixel": 1, "mm10": 25, "inch1200": 12.5}[unit]
    sizes = {"width": 60 * scale, "height": 80 * scale, "x": 10 * scale, "w": 30 * scale}
    (folder / "page.xml").write_text(ALTO.format(unit=unit, **sizes))
    page = only(read_alto(folder))
    assert words(page) == [
        ("ex", (10, 10, 20, 20), 0),
        ("am-", (30, 10, 40, 20), 0),
        ("ple", (10, 30, 20, 40), 1),
    ]
    assert [(region.label, region.box) for region in page.regions or ()] == [
        ("Section-header", (10, 10, 40, 20)),
        ("Picture", (0, 30, 10, 40)),
    ]
    assert page.document == "images/page.png" or page.document.endswith("page.png")


def test_page_xml_gives_words_lines_and_regions(folder):
    (folder / "page.xml").write_text(PAGE)
    page = only(read_page_xml(folder))
    assert words(page) == [
        ("first", (5, 6, 20, 18), 0),
        ("two", (22, 6, 40, 18), 0),
        ("a whole line", (5, 30, 50, 40), 1),
    ]
    assert [r.label for r in page.regions or ()] == ["Section-header", "Text", "Picture", "Page-footer"]


def test_hocr_is_read_as_html_and_scaled_to_the_image(folder):
    (folder / "page.hocr").write_text(HOCR)
    page = only(read_hocr(folder))
    assert words(page) == [
        ("Tom", (5, 5, 20, 15), 0),
        ("&", (25, 5, 45, 15), 0),
        ("Jerry", (5, 20, 45, 30), 1),
    ]
    assert [(r.label, r.box) for r in page.regions or ()] == [("Picture", (0, 40, 60, 80))]


def test_pages_of_one_hocr_file_are_the_frames_of_its_image(tmp_path):
    frames = [Image.new("L", (120, 160), tone) for tone in (0, 99, 200)]
    frames[0].save(tmp_path / "page.tif", save_all=True, append_images=frames[1:])
    head, body = HOCR.replace("page.png", "page.tif").split("<body>")
    body = body.removesuffix("</body></html>")
    bodies = [body.replace("ppageno 0", f"ppageno {number}") for number in (2, 0, 2)]
    (tmp_path / "page.hocr").write_text(f"{head}<body>{''.join(bodies)}</body></html>")
    *pages, again = read_hocr(tmp_path)
    assert [page.pixels().mean() for page in pages if isinstance(page, Page)] == [200, 0]
    assert isinstance(again, Refusal) and again.rule == "page_twice"


def test_hocr_words_end_with_their_own_tag_and_comments_say_nothing(folder):
    word = "<span class=ocrx_word title='bbox 50 10 90 30'>"
    body = f"<!-- {word}no</span> --><script>if (a<b) x()</script>{word}<span>1<br/>2</span><em>3</em></span> none"
    (folder / "page.hocr").write_text(HOCR.split("<p class", maxsplit=1)[0] + body)
    assert words(only(read_hocr(folder))) == [("123", (25, 5, 45, 15), 0)]


FLOODS = (
    "<a", "<a ", "<a x='", '<a "', "<a b=", "<!--", "<![CDATA[", "&", "a='b' ", "<p>", "</p>", "</", "<b></i>", "a-",
    "<div class='ocr_line'>",
)  # fmt: skip


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_tags_takes_hocr_no_longer_than_its_length(folder, flood):
    (folder / "page.hocr").write_text(HOCR + flood * 100_000)
    started = time.monotonic()
    assert len(list(read_hocr(folder))) == 1
    assert time.monotonic() - started < 20


def test_tags_of_page_xml_may_have_a_prefix(folder):
    text = PAGE.replace("<PcGts xmlns=", "<pc:PcGts xmlns=").replace("</PcGts>", "</pc:PcGts>")
    text = text.replace("xmlns=", 'xmlns:pc="http://schema.primaresearch.org/PAGE" xmlns=')
    (folder / "page.xml").write_text(text)
    assert len(only(read_page_xml(folder)).words or ()) == 3 and kinds_of(folder) == ["pagexml"]


@pytest.mark.parametrize(
    ("name", "read", "suffix"), [("alto", read_alto, ".xml"), ("hocr", read_hocr, ".html")]
)
def test_what_we_write_we_read(folder, name, read, suffix):
    found = (
        ReadWord((5, 5, 20, 15), "Grüße", 0.9),
        ReadWord((25, 5, 45, 15), "<&>", 0.8),
        ReadWord((5, 40, 30, 50), "zwei", 0.7, line=1),
    )
    result = PageResult(
        60, 80, found, (FoundRegion((4, 4, 46, 16), "Title", 0.9), FoundRegion((4, 38, 50, 52), "Text", 0.9))
    )
    with (folder / f"page{suffix}").open("wb") as file:
        writer = FORMATS[name].writer(file)
        writer.add(SourcePage("page.png", 1, 1, np.zeros((80, 60, 3), np.uint8)), result)
        writer.close()
    page = only(read(folder))
    assert [(w.text, w.line) for w in page.words or ()] == [("Grüße", 0), ("<&>", 0), ("zwei", 1)]
    assert {"Title", "Text"} >= {r.label for r in page.regions or ()} > set()


def test_funsd_leaves_out_empty_words(folder):
    entity = {
        "label": "question",
        "words": [{"box": [1, 2, 9, 8], "text": "To:"}, {"box": [9, 9, 9, 9], "text": " "}],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations/page.json").write_text(json.dumps({"form": [entity]}))
    page = only(read_funsd(folder))
    assert words(page) == [("To:", (1, 2, 9, 8), None)] and page.regions is None


def test_csv_rows_are_crops_that_one_box_fills(folder):
    (folder / "labels.csv").write_text(
        'image,text\nimages/page.png,"Mar. 13, noon"\nimages/none.png,x\n../x.png,y\nimages/page.png,\n'
    )
    page, *rest = read_crops(folder)
    assert isinstance(page, Page)
    assert words(page) == [("Mar. 13, noon", (0, 0, 60, 80), 0)] and page.meta == {"crop": "line"}
    assert [read.rule for read in rest if isinstance(read, Refusal)] == [
        "file_missing",
        "file_missing",
        "text_empty",
    ]


def test_a_csv_file_of_another_tool_may_use_semicolons_and_other_names(folder):
    (folder / "labels.csv").write_text(
        "\ufefffile_name;transcription\nimages/page.png;a;b\n", encoding="utf-8"
    )
    page = next(iter(read_crops(folder)))
    assert isinstance(page, Page) and words(page)[0][0] == "a"


def test_doclaynet_pages_get_their_proportions_back(tmp_path):
    (tmp_path / "PNG").mkdir()
    (tmp_path / "JSON").mkdir()
    (tmp_path / "PNG/abc.png").write_bytes(png(2, (102, 102)))
    cell = {"bbox": [10, 20, 30, 10], "text": "Total  sum"}
    told = {
        "metadata": {"original_width": 612, "original_height": 792},
        "cells": [cell, {"bbox": [0, 0, 0, 0], "text": ""}],
    }
    (tmp_path / "JSON/abc.json").write_text(json.dumps(told))
    images = [
        {
            "id": 1,
            "file_name": "../PNG/abc.png",
            "width": 102,
            "height": 102,
            "doc_name": "report.pdf",
            "page_no": 2,
        }
    ]
    boxes = [{"image_id": 1, "category_id": 9, "bbox": [0, 51, 102, 51]}]
    (tmp_path / "COCO").mkdir()
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 9, "name": "Table"}]}
    (tmp_path / "COCO/val.json").write_text(json.dumps(coco))
    page = only(read_doclaynet(tmp_path))
    assert (page.width, page.height, page.document) == (79, 102, "report.pdf")
    assert words(page) == [("Total sum", (7.75, 20, 30.98, 30), None)]
    assert [(r.label, r.box) for r in page.regions or ()] == [("Table", (0, 51, 79, 102))]
    assert kinds_of(tmp_path) == ["doclaynet"]
    (tmp_path / "JSON/abc.json").unlink()
    assert refused(read_doclaynet(tmp_path)).rule == "doclaynet_size"


@pytest.mark.parametrize(
    ("name", "text", "read", "rule"),
    [
        ("page.xml", '<!DOCTYPE a [<!ENTITY b "c">]><alto><x>&b;</x></alto>', read_alto, "xml_entities"),
        ("page.xml", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><alto/>', read_alto, "xml_entities"),
        ("page.xml", "<alto>" + "<a>" * 90 + "</a>" * 90 + "</alto>", read_alto, "xml_depth"),
        ("page.xml", "<alto><Page", read_alto, "alto_unreadable"),
        ("page.xml", "<alto/>", read_alto, "alto_unreadable"),
        ("page.xml", PAGE.replace("5,6 20,6 20,18 5,18", "9,9 9,9"), read_page_xml, "box_invalid"),
        ("page.xml", PAGE.replace('imageWidth="60"', 'imageWidth="120"'), read_page_xml, "page_size"),
        ("page.xml", PAGE.replace('imageWidth="60"', 'imageWidth="nan"'), read_page_xml, "page_size"),
        ("other.xml", PAGE.replace("page.png", "../../etc/passwd"), read_page_xml, "file_missing"),
        ("page.hocr", HOCR.replace("bbox 10 10 40 30", "nothing"), read_hocr, "hocr_unreadable"),
        ("page.hocr", HOCR + "<span class='ocrx_word", read_hocr, "hocr_unreadable"),
        ("page.hocr", HOCR.replace("bbox 0 0 120", "bbox 0 0 -120"), read_hocr, "page_size"),
        ("a.csv", "image,text\n", read_crops, "csv_unreadable"),
        ("page.json", '{"form": [{"words": [{"box": [1, 2, NaN, 4], "text": "a"}]}]}', read_funsd, "box_invalid"),
        ("page.json", '{"form": 3}', read_funsd, "funsd_unreadable"),
        ("a.csv", 'image,text\n"open', read_crops, "csv_unreadable"),
    ],
)  # fmt: skip
def test_what_is_broken_is_refused_by_name(folder, name, text, read, rule):
    (folder / name).write_text(text)
    refusal = refused(read(folder))
    assert refusal.rule == rule and name.split(".")[0] in refusal.reason
