"""ALTO 2 to 4 and PAGE 2010 to 2019: the XML of libraries and of transcription tools."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ml.pages.labels import CANONICAL
from ml.pages.page import Box, Region, Word
from ml.pages.readers.annotated import Sheet, annotation_files, read_annotated
from ml.pages.readers.files import RefusedError
from ml.pages.readers.refusal import Read

XML = frozenset({".xml"})
#: Elements nested deeper than this are an attack, and a tree takes 20 times the memory of its file.
MAX_DEPTH, MAX_XML_BYTES = 60, 32_000_000
#: What tools call regions, as canonical labels. Where none of a page's blocks has such a name, its regions are unknown.
LABELS = {
    **{label.lower(): label for label in CANONICAL},
    "heading": "Section-header", "headline": "Section-header", "subheading": "Section-header",
    "paragraph": "Text", "main": "Text", "commentary": "Text", "text": "Text", "marginalia": "Text",
    "header": "Page-header", "running-title": "Page-header", "runningtitle": "Page-header", "footer": "Page-footer",
    "footnote": "Footnote", "footnote-continued": "Footnote", "endnote": "Footnote", "caption": "Caption",
    "list-label": "List-item", "list": "List-item", "table": "Table", "tableregion": "Table",
    "illustration": "Picture", "image": "Picture", "photo": "Picture", "figure": "Picture",
    "imageregion": "Picture", "graphicregion": "Picture", "chartregion": "Picture", "linedrawingregion": "Picture",
    "mathsregion": "Formula", "formula": "Formula", "toc-entry": "Table", "credit": "Text", "titlepage": "Title",
}  # fmt: skip


def is_alto(head: bytes) -> bool:
    return re.search(rb"<(\w+:)?alto[\s/>]", head) is not None


def is_page_xml(head: bytes) -> bool:
    return re.search(rb"<(\w+:)?PcGts[\s/>]", head) is not None


def read_alto(root: Path) -> Iterator[Read]:
    """Every page of every ALTO file under `root`, its words from String, its lines from TextLine.

    Sizes count as shares of the page's, so that any MeasurementUnit will do. A String that holds a whole line stays one
    box, and the contracts say so. Blocks are regions where the file types them.
    """
    return read_annotated(root, XML, "alto_unreadable", _alto, is_alto)


def read_page_xml(root: Path) -> Iterator[Read]:
    """Every page of every PAGE file under `root`: words from Word or, where there are none, from TextLine."""
    return read_annotated(root, XML, "pagexml_unreadable", _page_xml, is_page_xml)


def alto_files(root: Path) -> list[Path]:
    return annotation_files(root, XML, is_alto)


def page_xml_files(root: Path) -> list[Path]:
    return annotation_files(root, XML, is_page_xml)


def _tree(data: bytes, item: str) -> Element:
    """The document, without entities, external references or absurd depth."""
    if len(data) > MAX_XML_BYTES:
        reason = f"{item}: {len(data):,} bytes are over the limit of {MAX_XML_BYTES:,}; split the file"
        raise RefusedError(item, "file_size", len(data), reason)
    try:
        tree = fromstring(data, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except DefusedXmlException as error:
        reason = f"{item}: declares a DTD or entities, which are not read; save it without"
        raise RefusedError(item, "xml_entities", type(error).__name__, reason) from error
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise RefusedError(item, "xml_depth", MAX_DEPTH, f"{item}: elements nested over {MAX_DEPTH} deep")
        level = [child for element in level for child in element]
    return tree


def _kind(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(element: Element, *kinds: str) -> Iterator[Element]:
    return (child for child in element.iter() if _kind(child) in kinds)


# --- ALTO ---------------------------------------------------------------------------------------------------------


def _alto(data: bytes, item: str) -> list[Sheet]:
    tree = _tree(data, item)
    names = {tag.get("ID"): (tag.get("LABEL") or "").lower() for t in _all(tree, "Tags") for tag in t}
    image = next((e.text.strip() for e in _all(tree, "fileName") if e.text and e.text.strip()), None)
    pixels = next((e.text or "" for e in _all(tree, "MeasurementUnit")), "pixel").strip() == "pixel"
    sheets = []
    for number, page in enumerate(_all(tree, "Page")):
        size = _size(page.get("WIDTH"), page.get("HEIGHT"))
        if size is None and not pixels:
            raise ValueError("a Page without WIDTH and HEIGHT, and units that are no pixels")
        words, regions = _alto_words(page), _alto_regions(page, names)
        sheets.append(Sheet(image, size, words, regions or None, number))
    return sheets


def _alto_words(page: Element) -> list[Word]:
    words: list[Word] = []
    line = 0
    for text_line in _all(page, "TextLine"):
        before = len(words)
        for element in text_line:
            content = (element.get("CONTENT") or "").strip()
            if _kind(element) == "String" and content:
                words.append(Word(_alto_box(element), content, line))
            elif _kind(element) == "HYP" and len(words) > before:
                words[-1] = Word(words[-1].box, words[-1].text.rstrip("-") + "-", line)
        line += len(words) > before
    return words


def _alto_regions(page: Element, names: dict[str | None, str]) -> list[Region]:
    found = []
    for block in _all(page, "TextBlock", "ComposedBlock", "Illustration"):
        typed = [
            (block.get("TYPE") or "").lower(),
            *(names.get(ref, "") for ref in (block.get("TAGREFS") or "").split()),
        ]
        if _kind(block) == "Illustration":
            typed.append("illustration")
        label = next((LABELS[name] for name in typed if name in LABELS), None)
        if label and block.get("HPOS") is not None:
            found.append(Region(_alto_box(block), label))
    return found


def _alto_box(element: Element) -> Box:
    x, y, width, height = (float(element.attrib[name]) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
    return x, y, x + width, y + height


def _size(width: str | None, height: str | None) -> tuple[float, float] | None:
    return (float(width), float(height)) if width and height else None


# --- PAGE ---------------------------------------------------------------------------------------------------------


def _page_xml(data: bytes, item: str) -> list[Sheet]:
    sheets = []
    for page in _all(_tree(data, item), "Page"):
        words: list[Word] = []
        line = 0
        for text_line in _all(page, "TextLine"):
            before = len(words)
            for element in [e for e in text_line if _kind(e) == "Word"] or [text_line]:
                text = _unicode(element)
                if text:
                    words.append(Word(_coords(element), text, line))
            line += len(words) > before
        regions = list(_page_regions(page, float(page.attrib["imageHeight"])))
        size = float(page.attrib["imageWidth"]), float(page.attrib["imageHeight"])
        sheets.append(Sheet(page.get("imageFilename"), size, words, regions or None))
    return sheets


def _page_regions(page: Element, height: float) -> Iterator[Region]:
    for element in page.iter():
        kind = _kind(element)
        if not kind.endswith("Region"):
            continue
        box = _coords(element)
        typed = (element.get("type") or ("paragraph" if kind == "TextRegion" else kind)).lower()
        if typed == "page-number":
            yield Region(box, "Page-header" if box[1] < height / 2 else "Page-footer")
        elif kind == "TextRegion" or kind.lower() in LABELS:
            yield Region(box, LABELS.get(typed) or LABELS.get(kind.lower()) or typed)


def _unicode(element: Element) -> str:
    """The text of an element's own first TextEquiv."""
    equivalents = [e for e in element if _kind(e) == "TextEquiv"]
    equivalents.sort(key=lambda e: int(e.get("index") or 0))
    for equivalent in equivalents:
        for child in equivalent:
            if _kind(child) == "Unicode" and child.text and child.text.strip():
                return " ".join(child.text.split())
    return ""


def _coords(element: Element) -> Box:
    """The hull of an element's Coords: `points` as of 2013, Point children before."""
    coords = next((child for child in element if _kind(child) == "Coords"), None)
    if coords is None:
        raise ValueError(f"a {_kind(element)} without Coords")
    points = [
        tuple(map(float, pair)) for pair in re.findall(r"(-?[\d.]+),(-?[\d.]+)", coords.get("points") or "")
    ]
    points = points or [(float(p.attrib["x"]), float(p.attrib["y"])) for p in coords if _kind(p) == "Point"]
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)
