"""`scriptorium ingest`: files of any format that a reader knows into a batch of pages."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ml.errors import InputError, UsageError
from ml.pages.labels import CANONICAL, FROM_PUBLAYNET
from ml.pages.page import Page
from ml.pages.readers.coco import coco_files, read_coco
from ml.pages.readers.datasets import crop_files, funsd_files, read_crops, read_funsd
from ml.pages.readers.doclaynet import is_doclaynet, read_doclaynet
from ml.pages.readers.files import IMAGE_SUFFIXES, files_of
from ml.pages.readers.hocr import hocr_files, read_hocr
from ml.pages.readers.images import read_images
from ml.pages.readers.pdf import PdfLimits, read_pdf
from ml.pages.readers.pdf_tags import LABELS as PDF_LABELS
from ml.pages.readers.refusal import Read, Refusal, unit_of
from ml.pages.readers.store import read_store
from ml.pages.readers.xml_trees import LABELS as XML_LABELS
from ml.pages.readers.xml_trees import read_alto, read_page_xml, xml_files
from ml.pages.store import MANIFEST, PageStore, PageWriter, unfinished, write_text
from ml.progress import Meter

#: What `ingest` reads, in the order in which `auto` looks; a line each for `--help`.
SOURCES = {
    "auto": "look what lies there, and read all of it",
    "pdf": "PDF: words of the text layer; regions and reading order of tagged files",
    "images": "images alone (PNG, JPEG, TIFF with all frames, BMP, WebP): nothing is annotated",
    "coco": "COCO JSON: regions",
    "publaynet": "the same, with PubLayNet's five classes",
    "doclaynet": "DocLayNet: COCO regions, pages stretched back from 1025 x 1025, words of the JSON beside them",
    "funsd": "FUNSD JSON: words",
    "alto": "ALTO 2 to 4: words and lines; regions where blocks are typed",
    "pagexml": "PAGE 2010 to 2019: words or lines, regions",
    "hocr": "hOCR: words and lines",
    "csv": "CSV or TSV with the columns image and text: crops of words and lines",
    "store": "a page store, such as `scriptorium synth` writes",
}
QUARANTINE = "quarantine.json"
BATCH_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
#: Pages after which a shard is closed, at the end of the file that they came from.
SHARD_PAGES = 64
#: Refusals named on the screen; all are in `quarantine.json`.
_NAMED = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(map(len, SOURCES))
    parser.epilog = "sources:\n" + "\n".join(f"  {name:<{width}}  {told}" for name, told in SOURCES.items())
    parser.add_argument(
        "source", choices=SOURCES, metavar="SOURCE", help="what PATH holds, see below; auto looks"
    )
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
    parser.add_argument(
        "--known", type=Path, nargs="+", metavar="DIR", help="page stores whose pages are not stored again"
    )
    parser.add_argument(
        "--labels", action=ShowLabels, help="print how each format's names become the eleven labels, and exit"
    )
    parser.add_argument("--dry-run", action="store_true", help="read and report, write nothing")


class ShowLabels(argparse.Action):
    """Prints the label maps, as `--help` prints help."""

    def __init__(self, option_strings: list[str], dest: str, **options: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=options.get("help"))

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        for title, table in (
            ("PDF structure types", PDF_LABELS),
            ("PubLayNet", FROM_PUBLAYNET),
            ("ALTO, PAGE", XML_LABELS),
        ):
            print(f"{title}:")
            for label in CANONICAL:
                names = sorted(name for name, to in table.items() if to == label)
                if names:
                    print(f"  {label:<15} {', '.join(names)}")
        parser.exit()


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
    report = Report(args.batch, _known(args.known))
    if args.dry_run:
        for read in _metered(read_source(args.source, path, limits), report):
            report.take(read)
    else:
        _write(args.source, path, limits, out, report)
    report.refuse_empty(path)
    print(report.text("would be written" if args.dry_run else str(out)))
    return 0


def _write(source: str, path: Path, limits: PdfLimits, out: Path, report: Report) -> None:
    """Read into the store `out`, going on where a killed run of the same command on the same files ended."""
    key = _key(source, path, limits)
    resumed = unfinished(out)
    if resumed is not None and resumed.told.get("key") != key:
        resumed = None
    before: frozenset[str] = frozenset()
    if resumed is not None:
        before = frozenset(resumed.told["done"])
        report.restore(resumed.told["report"])
        print(f"{report.batch}: going on after {report.pages} pages of {len(before)} files")
    reads = _metered(read_source(source, path, limits, before), report)
    done = set(before)
    # Shards end where files do: what a checkpoint holds is whole files, and those are not read again.
    with PageWriter(out, prefix=report.batch, shard_pages=sys.maxsize, resumed=resumed) as writer:
        since = 0
        for unit, group in itertools.groupby(reads, lambda read: unit_of(_name(read))):
            if unit in before:
                continue
            for read in group:
                page = report.take(read)
                if page is not None:
                    writer.write(page)
                    since += 1
            done.add(unit)
            if since >= SHARD_PAGES:
                writer.checkpoint({"key": key, "done": sorted(done), "report": report.state()})
                since = 0
        report.refuse_empty(path)
        rows = [refusal.as_dict() for refusal in report.refused]
        write_text(out / QUARANTINE, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def _name(read: Read) -> str:
    return read.item if isinstance(read, Refusal) else read.source


def _key(source: str, path: Path, limits: PdfLimits) -> str:
    """Digest of what a run reads: the files by name, size and time, and how they are read."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    facts = [f"{p} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]
    return hashlib.sha256("\n".join([source, repr(limits), *facts]).encode("utf-8", "replace")).hexdigest()


def _metered(reads: Iterator[Read], report: Report) -> Iterator[Read]:
    with Meter(0, f"ingest {report.batch}", "pages") as meter:
        for read in reads:
            yield read
            meter.total = max(meter.total, meter.done + 1)
            meter.update()


def _known(folders: list[Path] | None) -> dict[str, str]:
    """Ids of the pages in other stores, and which store has each."""
    return {entry.id: str(folder) for folder in folders or () for entry in PageStore(folder).entries}


def read_source(source: str, path: Path, limits: PdfLimits, skip: Container[str] = ()) -> Iterator[Read]:
    """Read `path` with the reader named `source`; `auto` chooses by what lies there.

    PDF and image files that are called as in `skip` are not opened.
    """
    readers = {
        "pdf": lambda: read_pdf(path, limits, skip=skip),
        "coco": lambda: read_coco(path),
        "publaynet": lambda: read_coco(path),
        "doclaynet": lambda: read_doclaynet(path),
        "funsd": lambda: read_funsd(path),
        "alto": lambda: read_alto(path),
        "pagexml": lambda: read_page_xml(path),
        "hocr": lambda: read_hocr(path),
        "csv": lambda: read_crops(path),
        "images": lambda: read_images(path, skip),
        "store": lambda: read_store(path),
    }
    if source != "auto":
        return readers[source]()
    kinds = kinds_of(path)
    if not kinds:
        raise InputError(f"{path}: nothing that a reader knows lies there; see `scriptorium ingest --help`")
    return _all_of((readers[kind]() for kind in kinds), path, plain="images" not in kinds)


def _all_of(readings: Iterable[Iterator[Read]], path: Path, *, plain: bool) -> Iterator[Read]:
    """What several readers find and, if `plain`, the images that none of them spoke of."""
    known: set[str] = set()  # ids of pages, and names of what was refused
    for read in itertools.chain.from_iterable(readings):
        known.add(read.item if isinstance(read, Refusal) else read.id)
        if isinstance(read, Page):
            known.add(read.document)
        yield read
    for read in read_images(path) if plain else ():
        name = read.item if isinstance(read, Refusal) else read.source
        if isinstance(read, Refusal) or not known & {read.id, name, PurePosixPath(name).name, read.document}:
            yield read


def kinds_of(path: Path) -> list[str]:
    """What lies at `path`: a store alone; else PDFs, and images with annotations or, where there are none, without."""
    if (path / MANIFEST).is_file():
        return ["store"]
    alto, page_xml = xml_files(path)
    annotated = {
        "doclaynet" if is_doclaynet(path) else "coco": bool(coco_files(path)),
        "funsd": bool(funsd_files(path)),
        "alto": bool(alto),
        "pagexml": bool(page_xml),
        "hocr": bool(hocr_files(path)),
        "csv": bool(crop_files(path)),
    }
    kinds = ["pdf"] if files_of(path, frozenset({".pdf"})) else []
    kinds += [kind for kind, found in annotated.items() if found]
    if not any(annotated.values()) and files_of(path, IMAGE_SUFFIXES):
        kinds.append("images")
    return kinds


class Report:
    """Counts what was read, for the person who dropped the batch."""

    def __init__(self, batch: str, known: Mapping[str, str] | None = None) -> None:
        self.batch = batch
        self.known = known or {}
        self.seen: dict[str, str] = {}
        self.refused: list[Refusal] = []
        self.pages = 0
        self.worded = 0
        self.words = 0
        self.laid_out = 0
        self.labels: Counter[str] = Counter()
        self.tags: Counter[str] = Counter()  # of PDF pages

    def state(self) -> dict[str, Any]:
        """All of it as JSON, for a checkpoint."""
        fields = {name: value for name, value in vars(self).items() if name not in {"batch", "known"}}
        return fields | {"refused": [refusal.as_dict() for refusal in self.refused]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        for name, value in state.items():
            setattr(self, name, Counter(value) if name in {"labels", "tags"} else value)
        self.refused = [Refusal(**row) for row in state["refused"]]

    def take(self, read: Read) -> Page | None:
        """Count a page and pass it on, or keep a refusal. A page that is there already is refused."""
        if isinstance(read, Refusal):
            self.refused.append(read)
            return None
        if read.id in self.seen or read.id in self.known:
            where = self.seen.get(read.id) or self.known[read.id]
            rule = "page_twice" if read.id in self.seen else "page_known"
            reason = f"{read.source}: the same image as {where}; drop one of them"
            self.refused.append(Refusal(read.source, rule, read.id[:12], reason, read.id))
            return None
        self.seen[read.id] = read.source
        self._count(read)
        return read

    def _count(self, page: Page) -> None:
        self.pages += 1
        if "tags" in page.meta:
            self.tags[page.meta["tags"]] += 1
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
        if self.tags:
            read, lies, none = (self.tags[kind] for kind in ("read", "distrusted", "none"))
            lines.append(f"  PDF tags  read on {read} pages, at odds with the page on {lies}, none on {none}")
        if self.refused:
            rules = ", ".join(
                f"{rule} {count}" for rule, count in sorted(Counter(r.rule for r in self.refused).items())
            )
            lines.append(f"  set aside {len(self.refused)} ({rules}), each named in {QUARANTINE}:")
            lines += [f"    {refusal.reason}" for refusal in self.refused[:_NAMED]]
        return "\n".join(lines)
