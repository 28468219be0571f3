"""ALTO 4: the libraries' XML of pages, blocks, lines and strings, in pixels."""

from __future__ import annotations

from ml.pages.page import Box
from ml.pages.result import PageResult, ReadWord
from ml.serving.documents import SourcePage
from ml.serving.formats.blocks import Block, blocks_of, hull
from ml.serving.formats.markup import MarkupWriter, xml_text

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#" SCHEMAVERSION="4.4">
<Description>
<MeasurementUnit>pixel</MeasurementUnit>
<sourceImageInformation><fileName>{source}</fileName></sourceImageInformation>
<OCRProcessing ID="OCR_1"><ocrProcessingStep>
<processingSoftware><softwareName>scriptorium</softwareName></processingSoftware>
</ocrProcessingStep></OCRProcessing>
</Description>
<Layout>
"""


class PageWriter(MarkupWriter):
    head = _HEAD
    tail = "</Layout>\n</alto>\n"

    def page(self, page: SourcePage, result: PageResult) -> None:
        size = f'WIDTH="{result.width}" HEIGHT="{result.height}"'
        self.put(f'<Page ID="P{page.number}" PHYSICAL_IMG_NR="{page.number}" {size}>\n')
        self.put(f'<PrintSpace HPOS="0" VPOS="0" {size}>\n')
        for i, block in enumerate(blocks_of(result), start=1):
            self._block(block, f"P{page.number}_B{i}")
        self.put("</PrintSpace>\n</Page>\n")

    def _block(self, block: Block, id_: str) -> None:
        type_ = f' TYPE="{xml_text(block.label)}"' if block.label else ""
        if not block.lines:  # a picture is an illustration; a table that no word was read in is a bare block
            kind = "Illustration" if block.label == "Picture" else "ComposedBlock"
            self.put(f'<{kind} ID="{id_}" {_place(block.box)}{type_}/>\n')
            return
        # TYPE belongs to illustrations and composed blocks only, so a labelled text block gets one around it.
        if block.label:
            self.put(f'<ComposedBlock ID="{id_}_R" {_place(block.box)}{type_}>\n')
        self.put(f'<TextBlock ID="{id_}" {_place(block.box)}>\n')
        for n, line in enumerate(block.lines, start=1):
            self.put(f'<TextLine ID="{id_}_L{n}" {_place(hull([word.box for word in line]))}>')
            self.put("<SP/>".join(_string(word) for word in line) + "</TextLine>\n")
        self.put("</TextBlock>\n" + ("</ComposedBlock>\n" if block.label else ""))


def _string(word: ReadWord) -> str:
    return f'<String {_place(word.box)} CONTENT="{xml_text(word.text)}" WC="{word.score:.2f}"/>'


def _place(box: Box) -> str:
    x1, y1, x2, y2 = box
    return f'HPOS="{x1:.1f}" VPOS="{y1:.1f}" WIDTH="{x2 - x1:.1f}" HEIGHT="{y2 - y1:.1f}"'
