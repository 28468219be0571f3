"""The structure tree of a tagged PDF page, as blocks in reading order."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field

import pypdfium2 as pdfium
from pypdfium2 import raw

#: Structure types (ISO 32000) to canonical labels. What is not here is looked into.
LABELS = {
    "Title": "Title",
    "H": "Section-header",
    **{f"H{level}": "Section-header" for level in range(1, 7)},
    "P": "Text",
    "Span": "Text",
    "Em": "Text",
    "Strong": "Text",
    "Link": "Text",
    "Quote": "Text",
    "BlockQuote": "Text",
    "Code": "Text",
    "LI": "List-item",
    "TOC": "Table",
    "Table": "Table",
    "Caption": "Caption",
    "Figure": "Picture",
    "Formula": "Formula",
    "Note": "Footnote",
    "FENote": "Footnote",
}
#: These are blocks of their own wherever they stand; everything else inside a block belongs to that block.
_ALWAYS_BLOCKS = {"Note", "FENote", "Caption", "LI", "Table", "Figure"}
#: A tree deeper or larger than this is an attack or an accident.
MAX_DEPTH, MAX_ELEMENTS = 60, 20_000


@dataclass(slots=True)
class Block:
    """A block of the page: its label and the marked contents that draw it, in reading order."""

    label: str
    marks: list[int] = field(default_factory=list)


def blocks_of(page: pdfium.PdfPage) -> list[Block] | None:
    """The blocks of a tagged page in reading order; None for a page without tags."""
    tree = raw.FPDF_StructTree_GetForPage(page.raw)
    if not tree:
        return None
    try:
        blocks: list[Block] = []
        budget = iter(range(MAX_ELEMENTS))
        for index in range(raw.FPDF_StructTree_CountChildren(tree)):
            child = raw.FPDF_StructTree_GetChildAtIndex(tree, index)
            if child:
                _walk(child, None, blocks, 0, budget)
        kept = [block for block in blocks if block.marks]
        return kept or None
    finally:
        raw.FPDF_StructTree_Close(tree)


def _walk(
    element: object, parent: Block | None, blocks: list[Block], depth: int, budget: Iterator[int]
) -> None:
    if depth > MAX_DEPTH or next(budget, None) is None:
        return
    kind = _kind(element)
    block = parent
    inside_table = parent is not None and parent.label == "Table"
    if kind in LABELS and (
        parent is None or (kind in _ALWAYS_BLOCKS and not (inside_table and kind != "Caption"))
    ):
        block = Block(LABELS[kind])
        blocks.append(block)
    for index in range(raw.FPDF_StructElement_CountChildren(element)):
        mark = raw.FPDF_StructElement_GetChildMarkedContentID(element, index)
        if mark >= 0:
            if block is None:  # text right under a grouping element
                block = Block("Text")
                blocks.append(block)
            block.marks.append(mark)
            continue
        child = raw.FPDF_StructElement_GetChildAtIndex(element, index)
        if child:
            _walk(child, block, blocks, depth + 1, budget)


def _kind(element: object) -> str:
    """The element's own type where it is one we know, else the standard type it is mapped to."""
    own = _string(raw.FPDF_StructElement_GetRawType, element)
    return own if own in LABELS else _string(raw.FPDF_StructElement_GetType, element)


def _string(getter: object, element: object) -> str:
    buffer = ctypes.create_string_buffer(128)
    argument = (
        ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR))
        if getter is raw.FPDF_StructElement_GetRawType
        else buffer
    )
    length = getter(element, argument, len(buffer))  # pyright: ignore[reportCallIssue]
    return buffer.raw[: max(min(length, len(buffer)) - 2, 0)].decode("utf-16-le", "replace")
