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
_NUMBER = re.compile(r"\bppageno\s+(\d{1,4})\b")
_LINES = {"ocr_line", "ocr_header", "ocr_caption", "ocr_textfloat", "ocrx_line"}
_PICTURES = {"ocr_photo", "ocr_image", "ocr_linedrawing"}

# Possessive, and no "<" inside, so that no text takes longer than its length: the standard library's parser needs
# 100 s for 120 kB of "<a <a <a".
_TAG = re.compile(r"""<(/?)([A-Za-z][\w:.-]*+)((?:[^<>"']|"[^"<]*+"|'[^'<]*+')*+)>""")
_ATTRIBUTE = re.compile(r"""(?<![\w:-])([\w:-]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"']++))""")
_UNENDED = re.compile(r"</?[A-Za-z]")


def is_hocr(head: bytes) -> bool:
    return b"ocr_page" in head or b"ocr-system" in head


def read_hocr(root: Path) -> Iterator[Read]:
    """Every page of every hOCR file under `root`. Regions are known where the file labels its blocks, as ours do."""
    return read_annotated(root, SUFFIXES, "hocr_unreadable", _parse, is_hocr)


def hocr_files(root: Path) -> list[Path]:
    return annotation_files(root, SUFFIXES, is_hocr)


def _parse(data: bytes, item: str) -> list[Sheet]:
    text = data.decode("utf-8-sig")
    for begin, end in (("<!--", "-->"), ("<script", "</script")):
        text = _without(text, begin, end)
    reader = _Reader()
    last = 0
    for tag in _TAG.finditer(text):
        reader.text(text[last : tag.start()])
        last = tag.end()
        if tag[1]:
            reader.close(tag[2].lower())
        elif not tag[3].endswith("/"):
            reader.open(tag[2].lower(), tag[3])
    reader.text(text[last:])
    reader.end_word()
    return reader.sheets()


def _without(text: str, begin: str, end: str) -> str:
    """`text` without the passages from `begin` to `end`."""
    kept, start = [], 0
    while (found := text.find(begin, start)) >= 0 and (stop := text.find(end, found + len(begin))) >= 0:
        kept.append(text[start:found])
        start = stop + len(end)
    return "".join([*kept, text[start:]])


class _Reader:
    """Collects words by line. It needs no tree: a word ends with its own tag, or where the next word begins."""

    def __init__(self) -> None:
        self._sheets: list[Sheet] = []
        self._word: tuple[Box, str] | None = None  # box and tag of the open word
        self._depth = 0  # tags of its name that are open
        self._text: list[str] = []
        self._line = self._in_line = 0

    def sheets(self) -> list[Sheet]:
        """The pages; such of one image file are its frames, by ppageno."""
        sharing = Counter(sheet.image for sheet in self._sheets)
        for sheet in self._sheets:
            if sharing[sheet.image] == 1:
                sheet.frame = 0
        return self._sheets

    def text(self, text: str) -> None:
        if _UNENDED.search(text):
            raise ValueError(f"a tag that does not end: {text.strip()[:60]!r}")
        if self._word is not None:
            self._text.append(text)

    def open(self, name: str, attributes: str) -> None:
        given = {found[1].lower(): unescape(found[2] or found[3] or found[4] or "") for found in
                 _ATTRIBUTE.finditer(attributes)}  # fmt: skip
        kinds, title, label = (
            set(given.get("class", "").split()),
            given.get("title", ""),
            given.get("data-label"),
        )
        if "ocr_page" in kinds:
            self.end_word()
            self._new_page(title)
        elif not self._sheets:
            return
        elif kinds & _LINES:
            self.end_word()
            self._line += self._in_line > 0
            self._in_line = 0
        elif "ocrx_word" in kinds:
            self.end_word()
            self._word, self._depth, self._text = (_box(title), name), 1, []
        elif self._word is not None:
            self._depth += name == self._word[1]
        elif kinds & _PICTURES or label in CANONICAL:
            sheet = self._sheets[-1]
            region = Region(_box(title), label if label in CANONICAL else "Picture")
            sheet.regions = sheet.regions or []
            sheet.regions.append(region)

    def close(self, name: str) -> None:
        if self._word is not None and name == self._word[1]:
            self._depth -= 1
            if self._depth == 0:
                self.end_word()

    def end_word(self) -> None:
        if self._word is None:
            return
        text = " ".join(unescape("".join(self._text)).split())
        words = self._sheets[-1].words
        if text and words is not None:
            words.append(Word(self._word[0], text, self._line))
            self._in_line += 1
        self._word = None

    def _new_page(self, title: str) -> None:
        image, number, box = _IMAGE.search(title), _NUMBER.search(title), _box(title)
        name = next((group for group in image.groups() if group), None) if image else None
        size = box[2] - box[0], box[3] - box[1]
        self._sheets.append(Sheet(name, size, [], None, int(number[1]) if number else 0))
        self._line = self._in_line = 0


def _box(title: str) -> Box:
    match = _BBOX.search(title)
    if match is None:
        raise ValueError(f"no bbox in the title {title[:60]!r}")
    x1, y1, x2, y2 = map(float, match.groups())
    return x1, y1, x2, y2
