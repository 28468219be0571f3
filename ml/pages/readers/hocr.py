"""hOCR: HTML whose classes say page, line and word, and whose titles carry boxes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from ml.pages.labels import CANONICAL
from ml.pages.page import Box, Region, Word
from ml.pages.readers.annotated import Sheet, annotation_files, read_annotated
from ml.pages.readers.refusal import Read

SUFFIXES = frozenset({".hocr", ".html", ".htm", ".xhtml"})
_BBOX = re.compile(r"\bbbox\s+(-?[\d.]+)\s+(-?[\d.]+)\s+(-?[\d.]+)\s+(-?[\d.]+)")
_IMAGE = re.compile(r"\bimage\s+(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|([^\s;]+))")
#: A tag, a comment or declaration, text, or a lone bracket. No part looks beyond the next bracket, so time is linear in
#: whatever a file holds; the standard library's HTML parser takes minutes for a megabyte of unclosed tags.
_MARKUP = re.compile(r"<(/?)([A-Za-z][\w:.-]{0,40})([^<>]*)>|<[!?][^<>]*>|[^<]+|<")
_ATTRIBUTE = re.compile(r"(?<![\w:-])([\w:-]{1,40})\s{0,9}=\s{0,9}(?:\"([^\"]*)\"|'([^']*)')")
_LONGEST_TAG = 20_000
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
    for mark in _MARKUP.finditer(data.decode("utf-8-sig")):
        closing, tag, attributes = mark.groups()
        if tag is None:
            reader.text(mark.group())
        elif closing:
            reader.close(tag.lower())
        else:
            reader.open(tag.lower(), _attributes(attributes))
    return reader.sheets


def _attributes(text: str) -> dict[str, str]:
    found = _ATTRIBUTE.finditer(text[:_LONGEST_TAG])
    return {match[1].lower(): unescape(match[2] if match[2] is not None else match[3]) for match in found}


class _Reader:
    """Collects words by line. HTML needs no well-formed tree: an unclosed tag costs nothing but itself."""

    def __init__(self) -> None:
        self.sheets: list[Sheet] = []
        self._open: list[tuple[str, bool]] = []  # tags, and whether each is a word
        self._counts: Counter[str] = Counter()  # of the open tags
        self._box: Box | None = None
        self._text: list[str] = []
        self._line = self._lined = 0

    def open(self, tag: str, given: dict[str, str]) -> None:
        kinds, title = set(given.get("class", "").split()), given.get("title", "")
        word = "ocrx_word" in kinds and bool(self.sheets)
        if tag not in _VOID:
            self._open.append((tag, word))
            self._counts[tag] += 1
        if "ocr_page" in kinds:
            self._new_page(title)
        elif not self.sheets:
            return
        elif kinds & _LINES:
            self._line += self._lined > 0
            self._lined = 0
        elif word:
            self._box, self._text = _box(title), []
        elif kinds & _PICTURES or given.get("data-label") in CANONICAL:
            label = given.get("data-label") if given.get("data-label") in CANONICAL else "Picture"
            sheet = self.sheets[-1]
            sheet.regions = sheet.regions or []
            sheet.regions.append(Region(_box(title), str(label)))

    def text(self, text: str) -> None:
        if self._box is not None and not text.startswith("<"):
            self._text.append(text)

    def close(self, tag: str) -> None:
        if not self._counts[tag]:
            return
        while self._open:
            name, word = self._open.pop()
            self._counts[name] -= 1
            if word and self._box is not None:
                text = " ".join(unescape("".join(self._text)).split())
                words = self.sheets[-1].words
                if text and words is not None:
                    words.append(Word(self._box, text, self._line))
                    self._lined += 1
                self._box = None
            if name == tag:
                return

    def _new_page(self, title: str) -> None:
        image = _IMAGE.search(title)
        name = next((group for group in image.groups() if group), None) if image else None
        box = _box(title)
        self.sheets.append(Sheet(name, (box[2] - box[0], box[3] - box[1]), [], None, 0))
        self._line = self._lined = 0


def _box(title: str) -> Box:
    match = _BBOX.search(title)
    if match is None:
        raise ValueError(f"no bbox in the title {title[:60]!r}")
    x1, y1, x2, y2 = map(float, match.groups())
    return x1, y1, x2, y2
