"""`scriptorium ingest`: files of any format that a reader knows into a batch of pages."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ml.errors import InputError, UsageError
from ml.pages.page import Page
from ml.pages.readers.coco import coco_files, read_coco
from ml.pages.readers.files import IMAGE_SUFFIXES, files_of
from ml.pages.readers.images import read_images
from ml.pages.readers.pdf import PdfLimits, read_pdf
from ml.pages.readers.refusal import Read, Refusal
from ml.pages.readers.store import read_store
from ml.pages.store import MANIFEST, PageWriter, write_text
from ml.progress import Meter

SOURCES = ("auto", "pdf", "coco", "images", "store")
QUARANTINE = "quarantine.json"
BATCH_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
#: Refusals named on the screen; all are in `quarantine.json`.
_NAMED = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", choices=SOURCES, help="what PATH holds; auto looks")
    parser.add_argument("path", type=Path, metavar="PATH", help="a file or a folder")
    parser.add_argument("--batch", required=True, metavar="NAME", help="what to call the batch")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write (default: data/batches/NAME)"
    )
    parser.add_argument(
        "--long-edge",
        type=int,
        default=0,
        metavar="PIXELS",
        # Not a model's size: pages at 144 dpi serve every model that reads at that size or below.
        help="render PDF pages to this size (default: 144 dpi)",
    )
    parser.add_argument(
        "--max-pages", type=int, default=200, metavar="N", help="pages read of one PDF (default: %(default)s)"
    )
    parser.add_argument(
        "--max-seconds", type=float, default=120, metavar="S", help="time for one PDF (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="read and report, write nothing")


def run(args: argparse.Namespace) -> int:
    path: Path = args.path
    if not BATCH_NAME.match(args.batch):
        raise UsageError(
            f"--batch '{args.batch}': letters, digits, dots, hyphens and underscores, 64 at most"
        )
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if not (args.long_edge == 0 or 128 <= args.long_edge <= 10_000):
        raise UsageError(f"--long-edge {args.long_edge}: must be from 128 to 10000 pixels")
    if args.max_pages < 1 or args.max_seconds <= 0:
        raise UsageError("--max-pages and --max-seconds must be above 0")
    out = args.out or Path("data/batches") / args.batch
    if not args.dry_run and (out.resolve() == path.resolve() or path.resolve().is_relative_to(out.resolve())):
        raise UsageError(f"--out {out}: lies over the input; choose another folder")
    limits = PdfLimits(long_edge=args.long_edge, pages=args.max_pages, seconds=args.max_seconds)
    reads = read_source(args.source, path, limits)
    report = Report(args.batch)
    if args.dry_run:
        for _ in report.counted(reads):
            pass
    else:
        with PageWriter(out, prefix=args.batch) as writer:
            for page in report.counted(reads):
                writer.write(page)
            report.refuse_empty(path)
        rows = [refusal.as_dict() for refusal in report.refused]
        write_text(out / QUARANTINE, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    report.refuse_empty(path)
    print(report.text("would be written" if args.dry_run else str(out)))
    return 0


def read_source(source: str, path: Path, limits: PdfLimits) -> Iterator[Read]:
    """Read `path` with the reader named `source`; `auto` chooses by what lies there."""
    readers = {
        "pdf": lambda: read_pdf(path, limits),
        "coco": lambda: read_coco(path),
        "images": lambda: read_images(path),
        "store": lambda: read_store(path),
    }
    if source != "auto":
        return readers[source]()
    kinds = kinds_of(path)
    if not kinds:
        raise InputError(
            f"{path}: no PDF, image, COCO JSON or page store in it; see `scriptorium ingest --help`"
        )
    return (read for kind in kinds for read in readers[kind]())


def kinds_of(path: Path) -> list[str]:
    """What lies at `path`: a store alone; else PDFs, and images with annotations or without."""
    if (path / MANIFEST).is_file():
        return ["store"]
    kinds = ["pdf"] if files_of(path, frozenset({".pdf"})) else []
    if coco_files(path):
        kinds.append("coco")
    elif files_of(path, IMAGE_SUFFIXES):
        kinds.append("images")
    return kinds


class Report:
    """Counts what was read, for the person who dropped the batch."""

    def __init__(self, batch: str) -> None:
        self.batch = batch
        self.refused: list[Refusal] = []
        self.pages = 0
        self.worded = 0
        self.words = 0
        self.laid_out = 0
        self.labels: Counter[str] = Counter()

    def counted(self, reads: Iterator[Read]) -> Iterator[Page]:
        """Pass pages on, keep refusals. A page that occurs twice is refused the second time."""
        seen: dict[str, str] = {}
        with Meter(0, f"ingest {self.batch}", "pages") as meter:
            for read in reads:
                if isinstance(read, Refusal):
                    self.refused.append(read)
                elif read.id in seen:
                    reason = f"{read.source}: the same image as {seen[read.id]}; drop one of them"
                    self.refused.append(Refusal(read.source, "page_twice", read.id[:12], reason, read.id))
                else:
                    seen[read.id] = read.source
                    self._count(read)
                    yield read
                meter.total = max(meter.total, meter.done + 1)
                meter.update()

    def _count(self, page: Page) -> None:
        self.pages += 1
        if page.words is not None:
            self.worded += 1
            self.words += len(page.words)
        if page.regions is not None:
            self.laid_out += 1
            self.labels.update(region.label for region in page.regions)

    def refuse_empty(self, path: Path) -> None:
        """Raises InputError when nothing at all could be read."""
        if self.pages == 0:
            first = (
                f"; the first of {len(self.refused)} refusals: {self.refused[0].reason}"
                if self.refused
                else ""
            )
            raise InputError(f"{path}: no page could be read from it{first}")

    def text(self, where: str) -> str:
        """The summary that is printed."""
        lines = [f"{self.batch}: {self.pages} pages -> {where}"]
        lines.append(
            f"  words     {self.words} on {self.worded} pages; not annotated on {self.pages - self.worded}"
        )
        labels = ", ".join(f"{name} {count}" for name, count in sorted(self.labels.items())) or "none"
        lines.append(
            f"  regions   {labels}, on {self.laid_out} pages; not annotated on {self.pages - self.laid_out}"
        )
        if self.refused:
            rules = ", ".join(
                f"{rule} {count}" for rule, count in sorted(Counter(r.rule for r in self.refused).items())
            )
            lines.append(f"  set aside {len(self.refused)} ({rules}), each named in {QUARANTINE}:")
            lines += [f"    {refusal.reason}" for refusal in self.refused[:_NAMED]]
        return "\n".join(lines)
