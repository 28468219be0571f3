"""Renders a PDF in a process of its own, so that a hostile file can cost neither time, memory nor the reader.

`python -I render.py FILE DPI MAX_PIXELS MAX_PAGES CPU_SECONDS MEMORY_BYTES` writes to stdout, page by page,
a line of JSON {"page", "pages", "width", "height"} and then width * height * 3 bytes of RGB; {"error": why}
ends it early.
"""

from __future__ import annotations

import json
import resource
import sys

import pypdfium2 as pdfium

POINTS_PER_INCH = 72


def main(path: str, dpi: float, max_pixels: int, max_pages: int) -> None:
    out = sys.stdout.buffer

    def say(**fields: object) -> None:
        out.write(json.dumps(fields).encode() + b"\n")

    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        why = str(error)
        say(
            error="it is encrypted; save a copy without a password"
            if "assword" in why
            else f"it is not a readable PDF ({why})"
        )
        return
    pages = len(document)
    if pages == 0:
        say(error="it has no pages")
    for number in range(min(pages, max_pages)):
        try:
            page = document[number]
            width, height = page.get_size()
            # A poster is read at a lower resolution rather than not at all.
            fit = (max_pixels / max(width * height, 1.0)) ** 0.5
            bitmap = page.render(scale=min(dpi / POINTS_PER_INCH, fit), rev_byteorder=True, prefer_bgrx=False)
            pixels = bitmap.to_numpy()
        except (pdfium.PdfiumError, MemoryError, ValueError) as error:
            say(error=f"its page {number + 1} cannot be drawn ({error})")
            return
        say(page=number + 1, pages=pages, width=pixels.shape[1], height=pixels.shape[0])
        out.write(pixels[:, :, :3].tobytes())
        out.flush()
        page.close()


if __name__ == "__main__":
    file, resolution, pixels_, pages_, seconds, memory = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    main(file, float(resolution), int(pixels_), int(pages_))
