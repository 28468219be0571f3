"""Words, lines, regions and reading order of one PDF page, from its text layer and its tags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pypdfium2 as pdfium
from pypdfium2 import raw

from ml.pages.labels import TEXT_KINDS
from ml.pages.order import lines_of
from ml.pages.page import Box, Region, Word
from ml.pages.readers.pdf_tags import Block, blocks_of
from ml.pages.readers.pdf_words import Affine, PdfWord, is_artifact, words_of

#: Tags are believed when at least this share of the words carries them ...
TRUSTED_COVERAGE = 0.7
#: ... and at most this share of the words lies in a text region that is not their own.
TRUSTED_STRAYS = 0.05
#: Artifacts are running heads and feet in this share of the height at the top and at the bottom.
MARGIN = 0.15


@dataclass(frozen=True, slots=True)
class PageLayout:
    """What a page says and how it is laid out. Without believable tags `regions` is None.

    `tags`: "none" where the page has none, "distrusted" where they contradict its geometry, else "read".
    """

    words: tuple[Word, ...]
    regions: tuple[Region, ...] | None
    tags: str = "none"


@dataclass(slots=True)
class _Piece:
    """A block, or the part of it that stands in one column."""

    label: str
    lines: list[list[PdfWord]]
    box: Box


def layout_of(page: pdfium.PdfPage, pixels: np.ndarray) -> PageLayout:
    """Read `page`, rendered to `pixels`, uint8 (H, W, 3). Boxes are pixels of that rendering."""
    words = words_of(page, pixels)
    blocks = blocks_of(page)
    pieces = None if blocks is None else _pieces(page, pixels, words, blocks)
    if pieces is None:
        lines = lines_of(words)
        return PageLayout(tuple(_numbered(lines)), None, "none" if blocks is None else "distrusted")
    return PageLayout(
        tuple(_numbered([line for piece in pieces for line in piece.lines])),
        tuple(Region(piece.box, piece.label) for piece in pieces if piece.label),
        "read",
    )


def _numbered(lines: list[list[PdfWord]]) -> Iterator[Word]:
    for number, line in enumerate(lines):
        for word in line:
            yield Word(word.box, word.text, number)


def _pieces(
    page: pdfium.PdfPage, pixels: np.ndarray, words: list[PdfWord], blocks: list[Block]
) -> list[_Piece] | None:
    """The page's pieces in reading order, heads first and feet last; None when the tags are unbelievable."""
    owner = {
        mark: (index, rank) for index, block in enumerate(blocks) for rank, mark in enumerate(block.marks)
    }
    inside: list[list[tuple[int, int, PdfWord]]] = [[] for _ in blocks]
    loose: list[PdfWord] = []
    for index, word in enumerate(words):
        place = owner.get(word.mark)
        if place is None or word.artifact:
            loose.append(word)
        else:
            inside[place[0]].append((place[1], index, word))
    untagged = sum(not word.artifact for word in loose)
    if words and untagged > (1 - TRUSTED_COVERAGE) * len(words):
        return None
    graphics = _graphics(page, pixels)
    pieces: list[_Piece] = []
    for block, members in zip(blocks, inside, strict=True):
        ordered = [word for _, _, word in sorted(members, key=lambda member: member[:2])]
        drawn = [box for mark in block.marks for box in graphics.marked.get(mark, ())]
        pieces += _split(block.label, ordered, drawn)
    heads, feet = _running(loose, pixels.shape[0])
    pieces = [*heads, *_as_read(pieces), *feet]
    _frame_tables(pieces, graphics.rules)
    return pieces if _believable(pieces, words) else None


def _as_read(pieces: list[_Piece]) -> list[_Piece]:
    """From logical to visual order: footnotes last, a caption above or below what it names as it stands."""
    notes = [piece for piece in pieces if piece.label == "Footnote"]
    rest = [piece for piece in pieces if piece.label != "Footnote"]
    for first in range(len(rest) - 1):
        one, two = rest[first : first + 2]
        if (
            "Caption" in (one.label, two.label)
            and not {one.label, two.label} <= TEXT_KINDS
            and two.box[1] < one.box[1]
        ):
            rest[first], rest[first + 1] = two, one
    return rest + notes


def _split(label: str, words: list[PdfWord], drawn: list[Box]) -> list[_Piece]:
    """Words of a block into lines, and the block into the columns that it runs through."""
    if not words:
        return [_Piece(label, [], _union(drawn))] if drawn else []
    columns: list[list[list[PdfWord]]] = [[]]
    lines: list[list[PdfWord]] = columns[-1]
    for word in words:
        if lines and _same_line(lines[-1], word):
            lines[-1].append(word)
            continue
        if lines and label in TEXT_KINDS and word.box[3] < min(w.box[1] for w in lines[-1]) - 2 * word.size:
            columns.append([])
            lines = columns[-1]
        lines.append([word])
    pieces = [_Piece(label, column, _union([w.box for line in column for w in line])) for column in columns]
    if drawn:
        pieces[0].box = _union([pieces[0].box, *drawn])
    return pieces


def _same_line(line: list[PdfWord], word: PdfWord) -> bool:
    last = line[-1].box
    overlap = min(last[3], word.box[3]) - max(last[1], word.box[1])
    shorter = min(last[3] - last[1], word.box[3] - word.box[1])
    gap = word.box[0] - last[2]
    near = overlap > 0.3 * shorter or -overlap < 0.35 * max(word.size, 1)
    return near and -0.5 * word.size < gap < 3 * word.size


def _running(words: list[PdfWord], height: int) -> tuple[list[_Piece], list[_Piece]]:
    """Running heads and feet: artifact words near the page's edges, each group of lines a region.

    Other loose words are kept as lines without a region.
    """
    heads: list[_Piece] = []
    feet: list[_Piece] = []
    for line in lines_of(words):
        box = _union([word.box for word in line])
        middle = (box[1] + box[3]) / 2
        artifact = all(word.artifact for word in line)
        if middle < height / 2:
            label = "Page-header" if artifact and middle < MARGIN * height else ""
            _join(heads, _Piece(label, [line], box))
        else:
            label = "Page-footer" if artifact and middle > (1 - MARGIN) * height else ""
            _join(feet, _Piece(label, [line], box))
    return heads, feet


def _join(pieces: list[_Piece], piece: _Piece) -> None:
    """Append `piece`, or add it to one of the same label right above it."""
    size = piece.lines[0][0].size
    for other in pieces:
        apart_x = max(other.box[0], piece.box[0]) - min(other.box[2], piece.box[2])
        apart_y = max(other.box[1], piece.box[1]) - min(other.box[3], piece.box[3])
        if other.label == piece.label and apart_x < 0 and apart_y < size:
            other.lines += piece.lines
            other.box = _union([other.box, piece.box])
            return
    pieces.append(piece)


@dataclass(frozen=True, slots=True)
class _Graphics:
    """Boxes of what is drawn besides text: by marked-content id, and of rules, frames and fills."""

    marked: dict[int, list[Box]]
    rules: list[Box]


def _graphics(page: pdfium.PdfPage, pixels: np.ndarray) -> _Graphics:
    height, width = pixels.shape[:2]
    affine = Affine.of(page, width, height)
    marked: dict[int, list[Box]] = {}
    rules: list[Box] = []
    for thing in page.get_objects(max_depth=1):
        kind = raw.FPDFPageObj_GetType(thing.raw)
        if kind == raw.FPDF_PAGEOBJ_TEXT:
            continue
        x1, y1, x2, y2 = affine.box(*thing.get_bounds())
        box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        mark = raw.FPDFPageObj_GetMarkedContentID(thing.raw)
        if mark >= 0:
            marked.setdefault(mark, []).append(box)
        elif kind == raw.FPDF_PAGEOBJ_PATH and is_artifact(thing.raw):
            rules.append(box)
    return _Graphics(marked, rules)


def _frame_tables(pieces: list[_Piece], rules: list[Box]) -> None:
    """Widen each table to the rules and fills that touch it and hold no word of another piece."""
    for table in pieces:
        if table.label != "Table" or not table.lines:
            continue
        others = [w.box for piece in pieces if piece is not table for line in piece.lines for w in line]
        reach = 0.9 * table.lines[0][0].size
        pending = list(rules)
        grown = True
        while grown:
            grown = False
            for rule in list(pending):
                box = table.box
                touches = (
                    rule[0] < box[2] + reach
                    and rule[2] > box[0] - reach
                    and rule[1] < box[3] + reach
                    and rule[3] > box[1] - reach
                )
                if not touches:
                    continue
                union = _union([box, rule])
                if not any(_middle_inside(other, union) for other in others):
                    table.box, grown = union, True
                pending.remove(rule)


def _believable(pieces: list[_Piece], words: list[PdfWord]) -> bool:
    """Tags contradict the page when many words lie in a text region that is not their own."""
    strays = 0
    boxes = [(piece.box, piece) for piece in pieces if piece.label in TEXT_KINDS]
    for piece in pieces:
        for line in piece.lines:
            for word in line:
                strays += any(other is not piece and _middle_inside(word.box, box) for box, other in boxes)
    return strays <= TRUSTED_STRAYS * max(len(words), 1)


def _middle_inside(box: Box, frame: Box) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return frame[0] <= x < frame[2] and frame[1] <= y < frame[3]


def _union(boxes: list[Box]) -> Box:
    return (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )
