"""hOCR 1.2: an HTML page whose classes and titles carry boxes and confidences."""

from __future__ import annotations

from ml.pages.page import Box
from ml.pages.result import PageResult, ReadWord
from ml.serving.documents import SourcePage
from ml.serving.formats.blocks import Block, blocks_of, hull
from ml.serving.formats.markup import MarkupWriter, xml_text

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml">
<head>
<title>{source}</title>
<meta charset="utf-8"/>
<meta name="ocr-system" content="scriptorium"/>
<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_photo ocr_line ocrx_word"/>
</head>
<body>
"""


class PageWriter(MarkupWriter):
    head = _HEAD
    tail = "</body>\n</html>\n"

    def page(self, page: SourcePage, result: PageResult) -> None:
        box = _bbox((0, 0, result.width, result.height))
        title = f"image {_quoted(page.source)}; {box}; ppageno {page.number - 1}"
        self.put(f'<div class="ocr_page" id="page_{page.number}" title="{xml_text(title)}">\n')
        for i, block in enumerate(blocks_of(result), start=1):
            self._block(block, f"{page.number}_{i}")
        self.put("</div>\n")

    def _block(self, block: Block, id_: str) -> None:
        kind = "ocr_carea" if block.lines else "ocr_photo"
        label = f' data-label="{xml_text(block.label)}"' if block.label else ""
        self.put(f'<div class="{kind}" id="block_{id_}" title="{_bbox(block.box)}"{label}>\n')
        for line in block.lines:
            words = " ".join(_span("ocrx_word", _word(word), xml_text(word.text)) for word in line)
            self.put(_span("ocr_line", _bbox(hull([word.box for word in line])), words) + "\n")
        self.put("</div>\n")


def _span(class_: str, title: str, inside: str) -> str:
    return f'<span class="{class_}" title="{title}">{inside}</span>'


def _word(word: ReadWord) -> str:
    return f"{_bbox(word.box)}; x_wconf {round(100 * word.score)}"


def _bbox(box: Box) -> str:
    return "bbox " + " ".join(str(round(value)) for value in box)


def _quoted(name: str) -> str:
    """A string as hOCR's properties take it."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
