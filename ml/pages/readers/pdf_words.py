"""Words of a PDF page: text from the text layer, boxes tight on the ink of the rendered page."""

from __future__ import annotations

import ctypes
import functools
import math
import unicodedata
from dataclasses import dataclass

import cv2
import numpy as np
import pypdfium2 as pdfium
from pypdfium2 import raw

from ml.pages.page import Box

#: Text longer than this on one page is not a page of text; the rest of the layer is left unread.
MAX_CHARACTERS = 100_000
#: Presentation forms, back to what people type: ligatures, formulas' letters, signs that look like ASCII.
_FORMS = ((0xFB00, 0xFB06), (0x1D400, 0x1D7FF), (0x210A, 0x2121), (0x2123, 0x2134))  # 0x2122 is ™
_FOLDED = {
    "\u2212": "-",
    "\u2010": "-",
    "\u2011": "-",
    "\u2215": "/",
    "\u2217": "*",
    "\u2223": "|",
    "\u22c5": "·",
    "\u2032": "'",
}
#: PDFium reports a hyphen at a line's end as U+0002, and what it cannot map as U+FFFE.
_LINE_HYPHENS = {"\x02", "\xad", "\ufffe"}


@dataclass(slots=True)
class PdfWord:
    """A run of characters without white space."""

    box: Box  # pixels of the rendered page
    text: str
    mark: int  # marked-content id of its first character; -1: none
    artifact: bool  # drawn as an artifact: running head, page number, watermark
    #: Height of its line in pixels, as the font has it: the same for all words of one line set alike.
    size: float


@dataclass(frozen=True, slots=True)
class Affine:
    """From PDF user space (points, origin bottom left) to pixels of the rendered page, rotation included."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    @classmethod
    def of(cls, page: pdfium.PdfPage, width: int, height: int) -> Affine:
        """The map that rendering `page` to `width` x `height` pixels uses, crop box and rotation included."""
        fine = 256  # FPDF_PageToDevice returns whole numbers

        def device(x: float, y: float) -> tuple[float, float]:
            px, py = ctypes.c_int(), ctypes.c_int()
            raw.FPDF_PageToDevice(page.raw, 0, 0, width * fine, height * fine, 0, x, y, px, py)
            return px.value / fine, py.value / fine

        span = 1000.0
        x0, y0 = device(0, 0)
        x1, y1 = device(span, 0)
        x2, y2 = device(0, span)
        return cls((x1 - x0) / span, (y1 - y0) / span, (x2 - x0) / span, (y2 - y0) / span, x0, y0)

    def box(self, left: float, bottom: float, right: float, top: float) -> Box:
        """The pixel box of a rectangle in user space."""
        if self.b == self.c == 0 and self.a > 0 > self.d:  # upright, as nearly all pages are
            x, y = self.e, self.f
            return self.a * left + x, self.d * top + y, self.a * right + x, self.d * bottom + y
        xs = [self.a * x + self.c * y + self.e for x in (left, right) for y in (bottom, top)]
        ys = [self.b * x + self.d * y + self.f for x in (left, right) for y in (bottom, top)]
        return min(xs), min(ys), max(xs), max(ys)


def words_of(page: pdfium.PdfPage, pixels: np.ndarray) -> list[PdfWord]:
    """The visible words of `page` in the order of the text layer.

    `pixels`: the rendered page, uint8 (H, W, 3). Words outside the crop box, and words that left no ink there
    (white on white, clipped away, hidden under a picture), are dropped: they are not on the page.
    """
    height, width = pixels.shape[:2]
    affine = Affine.of(page, width, height)
    layer = page.get_textpage()
    try:
        runs = _runs(layer, affine)
    finally:
        layer.close()
    gray = cv2.transform(pixels, np.full((1, 3), 1 / 3, np.float32))
    words = []
    for run in runs:
        x1, y1, x2, y2 = run.box
        middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
        if not (0 <= middle_x < width and 0 <= middle_y < height):
            continue
        tight = tighten(gray, run.box)
        if tight is not None:
            run.box = tight
            words.append(run)
    return words


def _runs(layer: pdfium.PdfTextPage, affine: Affine) -> list[PdfWord]:
    count = min(raw.FPDFText_CountChars(layer.raw), MAX_CHARACTERS)
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    marks: dict[int, tuple[int, bool]] = {}
    runs: list[PdfWord] = []
    current: PdfWord | None = None
    for index in range(count):
        character = _character(layer, index, count)
        if character.isspace() or character in "\0\u200b":
            current = None
            continue
        if not character or not raw.FPDFText_GetCharBox(layer.raw, index, left, right, bottom, top):
            continue
        hyphen = character in _LINE_HYPHENS
        text = "-" if hyphen else fold(character)
        if right.value <= left.value or top.value <= bottom.value:
            continue
        box = affine.box(left.value, bottom.value, right.value, top.value)
        if current is not None and _follows(current, box):
            current.text += text
            old = current.box
            current.box = (min(old[0], box[0]), min(old[1], box[1]), max(old[2], box[2]), max(old[3], box[3]))
        else:
            mark, artifact = _mark(layer, index, marks)
            current = PdfWord(box, text, mark, artifact, _size(layer, index, affine, box))
            runs.append(current)
        if hyphen:
            current = None
    return runs


def _character(layer: pdfium.PdfTextPage, index: int, count: int) -> str:
    """The character at `index`; "" for the second half of a UTF-16 pair, and for a half without its other."""
    code = raw.FPDFText_GetUnicode(layer.raw, index)
    if 0xD800 <= code < 0xDC00 and index + 1 < count:
        low = raw.FPDFText_GetUnicode(layer.raw, index + 1)
        return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)) if 0xDC00 <= low < 0xE000 else ""
    return "" if 0xD800 <= code < 0xE000 else chr(code)


@functools.cache
def fold(character: str) -> str:
    """Presentation forms to plain letters: what a person would type for what is drawn."""
    if any(first <= ord(character) <= last for first, last in _FORMS):
        return unicodedata.normalize("NFKC", character)
    return _FOLDED.get(character, character)


def _follows(word: PdfWord, box: Box) -> bool:
    """Whether a character's box continues `word`: breaks after hyphens, in some files all, are missing."""
    reach = max(word.size, word.box[3] - word.box[1], 1.0)
    across = max(box[0] - word.box[2], word.box[0] - box[2])
    down = max(box[1] - word.box[3], word.box[1] - box[3])
    return across < 1.5 * reach and down < 0.6 * reach


def _size(layer: pdfium.PdfTextPage, index: int, affine: Affine, box: Box) -> float:
    """Pixels from the font's ascent to its descent. The font size would not do: a matrix may scale it."""
    loose = raw.FS_RECTF()
    if raw.FPDFText_GetLooseCharBox(layer.raw, index, loose):
        box = affine.box(loose.left, loose.bottom, loose.right, loose.top)
    return max(box[2] - box[0], box[3] - box[1])


def _mark(layer: pdfium.PdfTextPage, index: int, known: dict[int, tuple[int, bool]]) -> tuple[int, bool]:
    thing = raw.FPDFText_GetTextObject(layer.raw, index)
    if not thing:
        return -1, False
    address = ctypes.addressof(thing.contents)
    if address not in known:
        known[address] = (raw.FPDFPageObj_GetMarkedContentID(thing), is_artifact(thing))
    return known[address]


def is_artifact(thing: object) -> bool:
    """Whether a page object is marked as an artifact: not part of what the document says."""
    buffer = ctypes.create_string_buffer(64)
    length = ctypes.c_ulong()
    for index in range(raw.FPDFPageObj_CountMarks(thing)):
        mark = raw.FPDFPageObj_GetMark(thing, index)
        wide = ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR))
        fits = raw.FPDFPageObjMark_GetName(mark, wide, len(buffer), length)
        if fits and buffer.raw[: max(length.value - 2, 0)].decode("utf-16-le", "replace") == "Artifact":
            return True
    return False


def tighten(gray: np.ndarray, box: Box, contrast: int = 40) -> Box | None:
    """Shrink `box` to the pixels in it that differ from its surroundings; None when there are none.

    `gray`: uint8 (H, W). Only pixels under the box count, so that a rule or a frame beside the
    word does not widen it; the paper's tone is the commonest in the box and, three times over, in the ring
    of pixels around it.
    """
    height, width = gray.shape
    x1, y1 = max(math.floor(box[0] + 0.02), 0), max(math.floor(box[1] + 0.02), 0)
    x2, y2 = min(math.ceil(box[2] - 0.02), width), min(math.ceil(box[3] - 0.02), height)
    if x2 <= x1 or y2 <= y1:
        return None
    # Of the ring alone, a rule above and one below can be most; of the inside alone, a bold I is most.
    levels = gray[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] >> 3
    inside = np.bincount((gray[y1:y2, x1:x2] >> 3).ravel(), minlength=32)
    level = (3 * np.bincount(levels.ravel(), minlength=32) - 2 * inside).argmax()
    tone = 8 * int(level) + 4
    ink = np.abs(gray[y1:y2, x1:x2].astype(np.int16) - tone)
    strongest = int(ink.max())
    if strongest < contrast:
        return None
    marked = ink >= max(contrast // 2, strongest // 6)
    left, top, width, height = cv2.boundingRect(marked.view(np.uint8))
    return float(x1 + left), float(y1 + top), float(x1 + left + width), float(y1 + top + height)
