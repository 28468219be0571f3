"""A searchable PDF: the page's picture with its words over it, invisible, each as wide as its box.

Written by hand as a stream of objects, so that a document of any length takes one page of memory. The text
uses one composite font without any glyph, as Tesseract does it: what is invisible needs none, and any
character of the Basic Multilingual Plane can be searched and copied.
"""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO

from PIL import Image

from ml.pages.result import PageResult, ReadWord
from ml.serving.documents import DPI, SourcePage

POINTS = 72 / DPI  # of a pixel
QUALITY = 85  # of the JPEG that the page becomes
_CATALOG, _PAGES, _FONT, _CID_FONT, _TO_UNICODE, _DESCRIPTOR, _INFO = range(1, 8)
_WIDTH = 500  # of every character, in thousandths of the font size

_CMAP = b"""/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
1 beginbfrange
<0000> <FFFF> <0000>
endbfrange
endcmap
CMapName currentdict /CMap defineresource pop
end
end
"""


class PageWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0
        self._offsets: dict[int, int] = {}
        self._kids: list[int] = []
        self._next = _INFO + 1
        self._put(b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n")

    def add(self, page: SourcePage, result: PageResult) -> None:
        jpeg = io.BytesIO()
        Image.fromarray(page.pixels).save(jpeg, "JPEG", quality=QUALITY)
        width, height = result.width * POINTS, result.height * POINTS
        picture, content, leaf = self._next, self._next + 1, self._next + 2
        self._next += 3
        self._stream(
            picture,
            f"/Type /XObject /Subtype /Image /Width {result.width} /Height {result.height} "
            "/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode",
            jpeg.getvalue(),
        )
        drawing = [f"q {width:.2f} 0 0 {height:.2f} 0 0 cm /Im Do Q", "BT 3 Tr"]
        drawing += [_word(word, result.height) for word in result.words if word.text]
        packed = zlib.compress("\n".join([*drawing, "ET"]).encode())
        self._stream(content, "/Filter /FlateDecode", packed)
        self._object(
            leaf,
            f"<< /Type /Page /Parent {_PAGES} 0 R /MediaBox [0 0 {width:.2f} {height:.2f}] "
            f"/Contents {content} 0 R "
            f"/Resources << /XObject << /Im {picture} 0 R >> /Font << /F {_FONT} 0 R >> >> >>",
        )
        self._kids.append(leaf)

    def close(self) -> None:
        kids = " ".join(f"{kid} 0 R" for kid in self._kids)
        self._object(_CATALOG, f"<< /Type /Catalog /Pages {_PAGES} 0 R >>")
        self._object(_PAGES, f"<< /Type /Pages /Kids [{kids}] /Count {len(self._kids)} >>")
        self._object(
            _FONT,
            "<< /Type /Font /Subtype /Type0 /BaseFont /GlyphLess /Encoding /Identity-H "
            f"/DescendantFonts [{_CID_FONT} 0 R] /ToUnicode {_TO_UNICODE} 0 R >>",
        )
        self._object(
            _CID_FONT,
            "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /GlyphLess /CIDToGIDMap /Identity "
            f"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /DW {_WIDTH} "
            f"/FontDescriptor {_DESCRIPTOR} 0 R >>",
        )
        self._stream(_TO_UNICODE, "", _CMAP)
        self._object(
            _DESCRIPTOR,
            "<< /Type /FontDescriptor /FontName /GlyphLess /Flags 5 /FontBBox [0 -200 500 800] "
            "/ItalicAngle 0 /Ascent 800 /Descent -200 /CapHeight 800 /StemV 80 >>",
        )
        self._object(_INFO, "<< /Producer (scriptorium) >>")
        start = self._at
        count = len(self._offsets) + 1
        rows = "".join(f"{self._offsets[number]:010d} 00000 n \n" for number in sorted(self._offsets))
        self._put(f"xref\n0 {count}\n0000000000 65535 f \n{rows}".encode())
        trailer = f"<< /Size {count} /Root {_CATALOG} 0 R /Info {_INFO} 0 R >>"
        self._put(f"trailer\n{trailer}\nstartxref\n{start}\n%%EOF\n".encode())

    def _object(self, number: int, body: str) -> None:
        self._offsets[number] = self._at
        self._put(f"{number} 0 obj\n{body}\nendobj\n".encode())

    def _stream(self, number: int, entries: str, content: bytes) -> None:
        self._offsets[number] = self._at
        self._put(f"{number} 0 obj\n<< {entries} /Length {len(content)} >>\nstream\n".encode())
        self._put(content + b"\nendstream\nendobj\n")

    def _put(self, content: bytes) -> None:
        self._file.write(content)
        self._at += len(content)


def _word(word: ReadWord, page_height: int) -> str:
    """Show one word, and the blank after it, so stretched that its characters fill its box."""
    x1, _, x2, y2 = word.box
    height = max(1.0, (y2 - word.box[1]) * POINTS)
    natural = len(word.text) * height * _WIDTH / 1000
    stretch = max(1.0, 100 * (x2 - x1) * POINTS / natural)
    # Descenders hang a fifth of the height below the baseline, as the descriptor says.
    baseline = (page_height - y2) * POINTS + 0.2 * height
    code = "".join(
        c if c <= "\uffff" and not "\ud800" <= c <= "\udfff" else "\ufffd" for c in f"{word.text} "
    )
    shown = code.encode("utf-16-be").hex()
    return f"/F {height:.2f} Tf {stretch:.2f} Tz 1 0 0 1 {x1 * POINTS:.2f} {baseline:.2f} Tm <{shown}> Tj"
