"""hOCR 1.2: an HTML page whose classes and titles carry boxes and confidences."""

from __future__ import annotations

from typing import BinaryIO

from ml.pages.page import Box
from ml.pages.result import PageResult, ReadWord
from ml.serving.documents import SourcePage
from ml.serving.formats.blocks import Block, blocks_of, hull, xml_text

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml">
<head>
<title>{title}</title>
<meta charset="utf-8"/>
<meta name="ocr-system" content="scriptorium"/>
<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_photo ocr_line ocrx_word"/>
</head>
<body>
"""


class PageWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begun = False

    def add(self, page: SourcePage, result: PageResult) -> None:
        if not self._begun:
            self._begun = True
            self._put(_HEAD.format(title=xml_text(page.source)))
        box = _bbox((0, 0, result.width, result.height))
        title = f"image {_quoted(page.source)}; {box}; ppageno {page.number - 1}"
        self._put(f'<div class="ocr_page" id="page_{page.number}" title="{xml_text(title)}">\n')
        for i, block in enumerate(blocks_of(result), start=1):
            self._block(block, f"{page.number}_{i}")
        self._put("</div>\n")

    def close(self) -> None:
        if self._begun:
            self._put("</body>\n</html>\n")

    def _block(self, block: Block, id_: str) -> None:
        kind = "ocr_carea" if block.lines else "ocr_photo"
        label = f' data-label="{xml_text(block.label)}"' if block.label else ""
        self._put(f'<div class="{kind}" id="block_{id_}" title="{_bbox(block.box)}"{label}>\n')
        for line in block.lines:
            words = " ".join(_span("ocrx_word", _word(word), xml_text(word.text)) for word in line)
            self._put(_span("ocr_line", _bbox(hull([word.box for word in line])), words) + "\n")
        self._put("</div>\n")

    def _put(self, text: str) -> None:
        self._file.write(text.encode("utf-8", "replace"))


def _span(class_: str, title: str, inside: str) -> str:
    return f'<span class="{class_}" title="{title}">{inside}</span>'


def _word(word: ReadWord) -> str:
    return f"{_bbox(word.box)}; x_wconf {round(100 * word.score)}"


def _bbox(box: Box) -> str:
    return "bbox " + " ".join(str(round(value)) for value in box)


def _quoted(name: str) -> str:
    """A string as hOCR's properties take it."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
