"""hOCR: HTML whose classes say page, line and word, and whose titles carry boxes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from ml.pages.labels import CANONICAL
from ml.pages.page import Box, Region, Word
from ml.pages.readers.annotated import Sheet, annotation_files, read_annotated
from ml.pages.readers.refusal import Read

SUFFIXES = frozenset({".hocr", ".html", ".htm", ".xhtml"})
_BBOX = re.compile(r"\bbbox\s+(-?[\d.]+)\s+(-?[\d.]+)\s+(-?[\d.]+)\s+(-?[\d.]+)")
_IMAGE = re.compile(r"\bimage\s+(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|([^\s;]+))")
_LINES = {"ocr_line", "ocr_header", "ocr_caption", "ocr_textfloat", "ocrx_line"}
_PICTURES = {"ocr_photo", "ocr_image", "ocr_linedrawing"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def is_hocr(head: bytes) -> bool:
    return b"ocr_page" in head or b"ocr-system" in head


def read_hocr(root: Path) -> Iterator[Read]:
    """Every page of every hOCR file under `root`. Regions are known where the file labels its blocks, as ours do."""
    return read_annotated(root, SUFFIXES, "hocr_unreadable", _parse, is_hocr)


def hocr_files(root: Path) -> list[Path]:
    return annotation_files(root, SUFFIXES, is_hocr)


def _parse(data: bytes, item: str) -> list[Sheet]:
    reader = _Reader()
    reader.feed(data.decode("utf-8-sig"))
    reader.close()
    return reader.sheets


class _Reader(HTMLParser):
    """Collects words by line. HTML needs no well-formed tree, so an unclosed tag costs nothing but itself."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.sheets: list[Sheet] = []
        self._open: list[tuple[str, bool]] = []  # tags, and whether each is a word
        self._box: Box | None = None
        self._text = ""
        self._line = -1
        self._lined = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        kinds, title = set(given.get("class", "").split()), given.get("title", "")
        word = "ocrx_word" in kinds and bool(self.sheets)
        if tag not in _VOID:
            self._open.append((tag, word))
        if "ocr_page" in kinds:
            self._new_page(title)
        elif not self.sheets:
            return
        elif kinds & _LINES:
            self._line += self._lined > 0
            self._lined = 0
        elif word:
            self._box, self._text = _box(title), ""
        elif kinds & _PICTURES or given.get("data-label") in CANONICAL:
            label = given.get("data-label") if given.get("data-label") in CANONICAL else "Picture"
            sheet = self.sheets[-1]
            sheet.regions = [*(sheet.regions or []), Region(_box(title), str(label))]

    def handle_data(self, data: str) -> None:
        if self._box is not None:
            self._text += data

    def handle_endtag(self, tag: str) -> None:
        if not any(tag == name for name, _ in self._open):
            return
        while self._open:
            name, word = self._open.pop()
            if word and self._box is not None:
                text = " ".join(self._text.split())
                words = self.sheets[-1].words
                if text and words is not None:
                    words.append(Word(self._box, text, max(self._line, 0)))
                    self._lined += 1
                self._box = None
            if name == tag:
                return

    def _new_page(self, title: str) -> None:
        image = _IMAGE.search(title)
        name = next((group for group in image.groups() if group), None) if image else None
        box = _box(title)
        self.sheets.append(Sheet(name, (box[2] - box[0], box[3] - box[1]), [], None, 0))
        self._line, self._lined = 0, 0


def _box(title: str) -> Box:
    match = _BBOX.search(title)
    if match is None:
        raise ValueError(f"no bbox in the title {title[:60]!r}")
    x1, y1, x2, y2 = map(float, match.groups())
    return x1, y1, x2, y2
