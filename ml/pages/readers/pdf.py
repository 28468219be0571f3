"""PDF documents: every page rendered, with the words of its text layer and the regions of its tags.

PDFs come from strangers and PDFium is C++: each document is read by a process of its own, with limits on
pages, time and memory. It hands its pages over as a page store, so that nothing of it is executed here.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import resource
import tempfile
import time
from collections import deque
from collections.abc import Container, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pypdfium2 as pdfium

from ml.pages.page import MAX_PIXELS, Page, page_id
from ml.pages.readers.files import RefusedError, files_of, inside, name_in, read_bytes
from ml.pages.readers.pdf_layout import layout_of
from ml.pages.readers.refusal import Read, Refusal
from ml.pages.readers.rendering import encode_png, render
from ml.pages.store import PageStore, PageWriter

MAX_PDF_BYTES = 500_000_000
#: Address space of a reading process.
MAX_MEMORY = 8 << 30
#: Seconds that a page may run over the document's time before its process is ended.
GRACE = 15.0


@dataclass(frozen=True, slots=True)
class PdfLimits:
    """How much of one document is read, and at what size."""

    long_edge: int = 0  # pixels of the longer side; 0 renders at `dpi`
    dpi: int = 144
    pages: int = 200
    seconds: float = 120.0


def read_pdf(
    root: Path, limits: PdfLimits = PdfLimits(), workers: int = 0, skip: Container[str] = ()
) -> Iterator[Read]:
    """Every page of every PDF under `root` (or of `root` itself), documents in the order of their names.

    Documents that are called as in `skip` are left out.

    Tagged pages have words and regions; untagged ones, or such whose tags contradict the page, only words.
    """
    paths = [path for path in files_of(root, frozenset({".pdf"})) if name_in(root, path) not in skip]
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:  # each waits for one process
        ahead: deque[Future[list[Read]]] = deque()
        # A few documents ahead and no more: all of a large folder would not fit into memory.
        for path in paths:
            ahead.append(pool.submit(_read_apart, root, path, limits))
            if len(ahead) > 4:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()


def _read_apart(root: Path, path: Path, limits: PdfLimits) -> list[Read]:
    item = name_in(root, path)
    try:
        target = inside(root, path, item)
    except RefusedError as error:
        return [error.refusal]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ml.pages.readers.pdf"])
    with tempfile.TemporaryDirectory(prefix="scriptorium-pdf-") as folder:
        process = context.Process(target=_read_here, args=(target, item, folder, limits), daemon=True)
        process.start()
        process.join(limits.seconds + GRACE)
        if process.is_alive():
            process.kill()
            process.join()
            seconds = limits.seconds + GRACE
            reason = f"{item}: not read within {seconds:.0f} s; split it or raise --max-seconds"
            return [Refusal(item, "pdf_time", f"{limits.seconds:g} s", reason)]
        refused = Path(folder) / "refused.json"
        if process.exitcode != 0 or not refused.exists():
            code = str(process.exitcode)
            reason = f"{item}: its reader ended with code {code}; repair the file, say by printing it to PDF"
            return [Refusal(item, "pdf_crash", code, reason)]
        rows = [Refusal(**row) for row in json.loads(refused.read_text(encoding="utf-8"))]
        store = Path(folder) / "pages"
        return [*(PageStore(store) if store.exists() else ()), *rows]


def _read_here(path: Path, item: str, folder: str, limits: PdfLimits) -> None:
    """Read one document in this process: pages into `folder`/pages, refusals into `folder`/refused.json."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, hard))
    # Should whoever waits for this process be killed, a document that hangs ends all the same.
    seconds = math.ceil(limits.seconds + GRACE) + 5
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    refused: list[Refusal] = []
    with PageWriter(Path(folder) / "pages") as writer:
        for read in document_pages(path, item, limits):
            if isinstance(read, Page):
                writer.write(read)
            else:
                refused.append(read)
    (Path(folder) / "refused.json").write_text(json.dumps([r.as_dict() for r in refused]), encoding="utf-8")


def document_pages(path: Path, item: str, limits: PdfLimits) -> Iterator[Read]:
    """The pages of one document, read in this process. `item` is what reports call it."""
    try:
        data = read_bytes(path, item, MAX_PDF_BYTES)
        document = _open(data, item)
    except RefusedError as error:
        yield error.refusal
        return
    name = f"pdf-{hashlib.sha256(data).hexdigest()[:16]}"
    until = time.monotonic() + limits.seconds
    with document:
        count = len(document)
        for number in range(count):
            left = f"pages {number + 1} to {count}"
            if number >= limits.pages:
                reason = f"{item}: {left} are over the limit of {limits.pages} pages; raise --max-pages"
                yield Refusal(item, "pdf_pages", str(count), reason)
                return
            if time.monotonic() > until:
                reason = f"{item}: {left} were not reached in {limits.seconds:g} s; raise --max-seconds"
                yield Refusal(item, "pdf_time", f"{limits.seconds:g} s", reason)
                return
            yield _page(document, number, name, f"{item}#{number + 1}", limits)


def _open(data: bytes, item: str) -> pdfium.PdfDocument:
    if b"%PDF-" not in data[:1024]:
        raise RefusedError(
            item, "pdf_unreadable", "no header", f"{item}: not a PDF, whatever its name says; export it again"
        )
    try:
        document = pdfium.PdfDocument(data)
        if len(document) == 0:
            raise RefusedError(item, "pdf_empty", 0, f"{item}: the PDF has no pages")
        return document
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            reason = f"{item}: the PDF wants a password; save it without one"
            raise RefusedError(item, "pdf_password", "encrypted", reason) from error
        raise RefusedError(
            item, "pdf_unreadable", error, f"{item}: not a readable PDF ({error}); export it again"
        ) from error


def _page(document: pdfium.PdfDocument, number: int, name: str, source: str, limits: PdfLimits) -> Read:
    try:
        page = document[number]
        width, height = page.get_size()
        if min(width, height) < 1:
            return Refusal(
                source,
                "pdf_page_size",
                f"{width} x {height}",
                f"{source}: a page of {width} x {height} points shows nothing",
            )
        long_edge = limits.long_edge or max(round(max(width, height) * limits.dpi / 72), 1)
        if long_edge**2 * min(width, height) / max(width, height) > MAX_PIXELS:
            size = f"{width:.0f} x {height:.0f} points"
            reason = f"{source}: {size} need over {MAX_PIXELS:,} pixels; give --long-edge"
            return Refusal(source, "image_pixels", size, reason)
        pixels = render(page, long_edge)
        layout = layout_of(page, pixels)
    except (pdfium.PdfiumError, MemoryError, ValueError) as error:
        return Refusal(
            source,
            "pdf_page",
            str(error) or type(error).__name__,
            f"{source}: the page cannot be drawn ({error})",
        )
    image = encode_png(pixels)
    return Page(
        id=page_id(image),
        document=name,
        width=pixels.shape[1],
        height=pixels.shape[0],
        image=image,
        words=layout.words,
        regions=layout.regions,
        provenance="pdf",
        source=source,
        meta={"tags": layout.tags},
    )
