"""Pages of the files that people give: PDFs and images, one page at a time, within limits."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from ml.errors import InputError

DPI = 144
MAX_PIXELS = 50_000_000  # of one page; a larger image is refused, a larger PDF page drawn smaller
MAX_PAGES = 1000
PAGE_SECONDS = 30  # to draw one page
FILE_SECONDS = 600  # of processor time to draw one file
MEMORY_BYTES = 4 << 30  # address space of the process that draws

_IMAGES = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000")


@dataclass(frozen=True)
class SourcePage:
    """One page of a file: uint8 (H, W, 3) RGB."""

    source: str  # the file as it was named
    number: int  # from 1
    pages: int  # of the file
    pixels: np.ndarray


def check(path: Path) -> None:
    """Raises InputError for what is no readable file, before any server is started for it."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name its files, such as {path}/*.pdf")
    if not path.exists():
        raise InputError(f"{path}: no such file; check the name")
    if not os.access(path, os.R_OK) or not path.is_file():
        raise InputError(f"{path}: cannot be read; check its permissions")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; give a PDF or an image")
    if path.suffix.lower() == ".pdf" and not _is_pdf(path):
        raise InputError(f"{path}: is not a PDF, whatever its name says; give a PDF or an image")


def pages_of(path: Path, max_pages: int = MAX_PAGES) -> Iterator[SourcePage]:
    """Yield the pages of a file, the next one drawn while the caller works on this one.

    PDF pages are drawn at 144 dpi; photographs are turned upright by their EXIF note.
    Raises InputError at the point where the file cannot be read on, and after `max_pages` pages if it has
    more.
    """
    check(path)
    pages = _pdf_pages(path, max_pages) if _is_pdf(path) else _image_pages(path, max_pages)
    total = 0
    for page in pages:
        total = page.pages
        yield page
    if total > max_pages:
        raise InputError(
            f"{path}: has {total} pages, of which the first {max_pages} were read; raise --max-pages"
        )


def _is_pdf(path: Path) -> bool:
    with path.open("rb") as file:
        return b"%PDF-" in file.read(1024)


def _image_pages(path: Path, max_pages: int) -> Iterator[SourcePage]:
    try:
        with Image.open(path, formats=_IMAGES) as image:
            pages = getattr(image, "n_frames", 1)
            for number, frame in enumerate(ImageSequence.Iterator(image), start=1):
                if number > max_pages:
                    return
                if frame.width * frame.height > MAX_PIXELS:
                    size = f"{frame.width} x {frame.height}"
                    raise InputError(f"{path}: {size} is over {MAX_PIXELS:,} pixels; give it smaller")
                upright = ImageOps.exif_transpose(frame)
                yield SourcePage(str(path), number, pages, _rgb(upright))
    except UnidentifiedImageError:
        raise InputError(f"{path}: is neither a PDF nor a readable image; give one of these") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: is a damaged image ({error}); give a whole one") from None


def _rgb(image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3); what is transparent is white, as paper is, and 16-bit greys are scaled, not cut."""
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return np.asarray(image.convert("RGB"))


def _pdf_pages(path: Path, max_pages: int) -> Iterator[SourcePage]:
    limits = [DPI, MAX_PIXELS, max_pages, FILE_SECONDS, MEMORY_BYTES]
    script = Path(__file__).with_name("render.py")
    command = [sys.executable, "-I", str(script), str(path.resolve()), *map(str, limits)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as renderer:
        try:
            assert renderer.stdout is not None
            stream = _Timed(renderer.stdout.fileno(), path)
            while head := stream.line():
                fields = json.loads(head)
                if "error" in fields:
                    raise InputError(f"{path}: {fields['error']}")
                width, height = fields["width"], fields["height"]
                pixels = np.frombuffer(stream.exactly(width * height * 3), np.uint8).reshape(height, width, 3)
                yield SourcePage(str(path), fields["page"], fields["pages"], pixels)
            if renderer.wait() != 0:
                raise InputError(
                    f"{path}: drawing it was ended: it is damaged, or takes over {FILE_SECONDS} s "
                    f"or {MEMORY_BYTES >> 30} GiB; leave it out"
                )
        finally:
            renderer.kill()


class _Timed:
    """Reads a pipe; each read must be answered within the time that a page may take."""

    def __init__(self, handle: int, path: Path) -> None:
        self._handle, self._path, self._left = handle, path, bytearray()

    def line(self) -> bytes:
        """The next line, or b"" at the end."""
        until = time.monotonic() + PAGE_SECONDS
        while b"\n" not in self._left:
            if not self._more(until):
                return b""
        line, _, rest = self._left.partition(b"\n")
        self._left = rest
        return bytes(line)

    def exactly(self, count: int) -> bytes:
        until = time.monotonic() + PAGE_SECONDS
        while len(self._left) < count:
            if not self._more(until):
                raise InputError(f"{self._path}: drawing it was ended in the middle of a page")
        taken = bytes(self._left[:count])
        del self._left[:count]
        return taken

    def _more(self, until: float) -> bool:
        ready, _, _ = select.select([self._handle], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise InputError(
                f"{self._path}: one of its pages took over {PAGE_SECONDS} s to draw; leave it out"
            )
        chunk = os.read(self._handle, 1 << 20)
        self._left += chunk
        return bool(chunk)
