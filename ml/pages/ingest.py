"""`scriptorium ingest`: files of any format that a reader knows into a batch of pages."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ml.errors import InputError, UsageError
from ml.pages.labels import CANONICAL, FROM_PUBLAYNET
from ml.pages.page import Page
from ml.pages.readers.coco import coco_files, read_coco
from ml.pages.readers.datasets import crop_files, funsd_files, read_crops, read_funsd
from ml.pages.readers.doclaynet import doclaynet_files, read_doclaynet
from ml.pages.readers.files import IMAGE_SUFFIXES, files_of, name_in
from ml.pages.readers.hocr import hocr_files, read_hocr
from ml.pages.readers.images import read_images
from ml.pages.readers.pdf import PdfLimits, read_pdf
from ml.pages.readers.pdf_tags import LABELS as PDF_LABELS
from ml.pages.readers.refusal import Read, Refusal, unit_of
from ml.pages.readers.store import read_store
from ml.pages.readers.xml_trees import LABELS as XML_LABELS
from ml.pages.readers.xml_trees import alto_files, page_xml_files, read_alto, read_page_xml
from ml.pages.store import MANIFEST, PageStore, PageWriter, unfinished, write_text
from ml.progress import Meter


@dataclass(frozen=True)
class Source:
    """A format that `ingest` reads."""

    told: str  # in a line, for `--help`
    files: Callable[[Path], list[Path]]  # those under a path that look like the format
    #: Reads a path within limits. Of PDF and image files, such as are called as in the third argument stay closed.
    read: Callable[[Path, PdfLimits, Container[str]], Iterator[Read]]


def _source(told: str, files: Callable[[Path], list[Path]], read: Callable[[Path], Iterator[Read]]) -> Source:
    return Source(told, files, lambda path, limits, skip: read(path))


def _stores(path: Path) -> list[Path]:
    return [path / MANIFEST] if (path / MANIFEST).is_file() else []


AUTO = "auto"
#: In the order in which `auto` reads them.
SOURCES = {
    "pdf": Source(
        "PDF: words of the text layer; regions and reading order of tagged files",
        partial(files_of, suffixes=frozenset({".pdf"})),
        lambda path, limits, skip: read_pdf(path, limits, skip=skip),
    ),
    "doclaynet": _source(
        "DocLayNet: COCO regions, pages stretched back from 1025 x 1025, words of the JSON beside them",
        doclaynet_files,
        read_doclaynet,
    ),
    "coco": _source("COCO JSON: regions", coco_files, read_coco),
    "publaynet": _source("the same, with PubLayNet's five classes", coco_files, read_coco),
    "funsd": _source("FUNSD JSON: words", funsd_files, read_funsd),
    "alto": _source("ALTO 2 to 4: words and lines; regions where blocks are typed", alto_files, read_alto),
    "pagexml": _source("PAGE 2010 to 2019: words or lines, regions", page_xml_files, read_page_xml),
    "hocr": _source("hOCR: words and lines", hocr_files, read_hocr),
    "csv": _source("CSV or TSV with the columns image and text: crops of words and lines", crop_files, read_crops),
    "images": Source(
        "images alone (PNG, JPEG, TIFF with all frames, BMP, WebP): nothing is annotated",
        partial(files_of, suffixes=IMAGE_SUFFIXES),
        lambda path, limits, skip: read_images(path, skip),
    ),
    "store": _source("a page store, such as `scriptorium synth` writes", _stores, read_store),
}  # fmt: skip
QUARANTINE = "quarantine.json"
BATCH_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
#: Pages of a shard; a killed run goes on after the last whole one.
SHARD_PAGES = 64
#: Refusals named on the screen; all are in `quarantine.json`.
_NAMED = 8
#: For people; `pdf_layout` has the rule.
_PDF_ARTIFACTS = {"artifacts at the head": "Page-header", "artifacts at the foot": "Page-footer"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    told = {AUTO: "look what lies there, and read all of it"}
    told |= {name: source.told for name, source in SOURCES.items()}
    width = max(map(len, told))
    parser.epilog = "sources:\n" + "\n".join(f"  {name:<{width}}  {line}" for name, line in told.items())
    parser.add_argument(
        "source", choices=told, metavar="SOURCE", help="what PATH holds, see below; auto looks"
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
        "--known",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="batches, or folders of batches, whose pages are not stored again",
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
            ("PDF structure types", PDF_LABELS | _PDF_ARTIFACTS),
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
    if args.max_pages < 1 or not 0 < args.max_seconds <= 86_400:
        raise UsageError("--max-pages must be above 0, and --max-seconds above 0 and up to 86400")
    out = args.out or Path("data/batches") / args.batch
    if not args.dry_run and (out.resolve() == path.resolve() or path.resolve().is_relative_to(out.resolve())):
        raise UsageError(f"--out {out}: lies over the input; choose another folder")
    limits = PdfLimits(long_edge=args.long_edge, pages=args.max_pages, seconds=args.max_seconds)
    report = Report(args.batch, _known(args.known or [], out))
    if args.dry_run:
        for read in _metered(read_source(args.source, path, limits), report):
            report.take(read)
    else:
        _write(args.source, path, limits, out, report)
    report.refuse_empty(path)
    print(report.text("would be written" if args.dry_run else str(out)))
    if strange := strange_files(path):
        print(f"  left alone {len(strange)} files that no reader knows: {_some(strange)}")
    return 0


def _write(source: str, path: Path, limits: PdfLimits, out: Path, report: Report) -> None:
    """Read into the store `out`, going on where a killed run of the same command on the same files ended."""
    key = _key(source, path, limits)
    resumed = unfinished(out)
    if resumed is not None and resumed.told.get("key") != key:
        resumed = None
    done: Counter[str] = Counter()  # reads by file; the last file may have more
    if resumed is not None:
        done.update(resumed.told["done"])
        report.restore(resumed.told["report"])
        print(f"{report.batch}: going on after {report.pages} pages of {len(done)} files")
    passed = done.copy()
    whole = frozenset(list(done)[:-1])
    with PageWriter(out, prefix=report.batch, shard_pages=SHARD_PAGES, resumed=resumed) as writer:
        since = 0
        for read in _metered(read_source(source, path, limits, whole), report):
            unit = unit_of(read)
            if passed[unit] > 0:
                passed[unit] -= 1
                continue
            done[unit] = done.pop(unit, 0) + 1  # last in the order of the dict
            page = report.take(read)
            if page is None:
                continue
            writer.write(page)
            since += 1
            # Whole shards; ever more of them, because a checkpoint tells all pages: a tenth is lost at most.
            if since == SHARD_PAGES * max(1, report.pages // (10 * SHARD_PAGES)):
                writer.checkpoint({"key": key, "done": dict(done), "report": report.state()})
                since = 0
        report.refuse_empty(path)
        rows = [refusal.as_dict() for refusal in report.refused]
        write_text(out / QUARANTINE, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


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


def _known(folders: list[Path], out: Path) -> dict[str, str]:
    """Ids of the pages in the stores that `folders` are or hold, and which has each. `out` is replaced: not it."""
    if lost := next((folder for folder in folders if not folder.is_dir()), None):
        raise UsageError(f"--known {lost}: no such folder")
    stores = [
        place for folder in folders for place in ([folder] if _stores(folder) else sorted(folder.glob("*/")))
    ]
    others = [place for place in stores if place.resolve() != out.resolve() and _stores(place)]
    return {entry.id: str(place) for place in others for entry in PageStore(place).entries}


def read_source(source: str, path: Path, limits: PdfLimits, skip: Container[str] = ()) -> Iterator[Read]:
    """Read `path` with the reader named `source`; `auto` chooses by what lies there.

    PDF and image files that are called as in `skip` are not opened.
    """
    if source != AUTO:
        return SOURCES[source].read(path, limits, skip)
    kinds = kinds_of(path)
    if not kinds:
        raise InputError(f"{path}: nothing that a reader knows lies there; see `scriptorium ingest --help`")
    alone = bool({"images", "store"} & set(kinds))
    return _all_of((SOURCES[kind].read(path, limits, skip) for kind in kinds), path, plain=not alone)


def _all_of(readings: Iterable[Iterator[Read]], path: Path, *, plain: bool) -> Iterator[Read]:
    """What several readers find and, if `plain`, the images that none of them spoke of."""
    known: set[str] = set()  # ids of pages, and names of what was refused
    for read in itertools.chain.from_iterable(readings):
        known.add(read.item if isinstance(read, Refusal) else read.id)
        if isinstance(read, Page):
            known.add(read.document)
        yield read
    for read in read_images(path, skip=known) if plain else ():
        name = read.item if isinstance(read, Refusal) else read.source
        if isinstance(read, Refusal) or not known & {read.id, name, PurePosixPath(name).name, read.document}:
            yield read


def kinds_of(path: Path) -> list[str]:
    """What lies at `path`: a store alone; else PDFs, and images with annotations or, where there are none, without."""
    if SOURCES["store"].files(path):
        return ["store"]
    kinds = [name for name, source in SOURCES.items() if name != "publaynet" and source.files(path)]
    if "doclaynet" in kinds:
        kinds.remove("coco")
    if "images" in kinds and not set(kinds) <= {"pdf", "images"}:
        kinds.remove("images")
    return kinds


def strange_files(path: Path) -> list[str]:
    """Names of the files in folder `path` that no reader takes for its own; hidden ones do not count."""
    if path.is_file() or SOURCES["store"].files(path):
        return []
    taken = {file for source in SOURCES.values() for file in source.files(path)}
    names = [name_in(path, file) for file in path.rglob("*") if file not in taken and not file.is_dir()]
    return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))


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
        self.tags: dict[str, list[str]] = {}  # PDF pages by what became of their tags

    def state(self) -> dict[str, Any]:
        """All of it as JSON, for a checkpoint."""
        fields = {name: value for name, value in vars(self).items() if name not in {"batch", "known"}}
        return fields | {"refused": [refusal.as_dict() for refusal in self.refused]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        for name, value in state.items():
            setattr(self, name, Counter(value) if name == "labels" else value)
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
            self.tags.setdefault(page.meta["tags"], []).append(page.source)
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
            kinds = ("read", "read on"), ("distrusted", "at odds with the page on"), ("none", "none on")
            told = (f"{words} {_pages(self.tags.get(kind, []))}" for kind, words in kinds)
            lines.append(f"  PDF tags  {', '.join(told)}")
        if self.refused:
            rules = ", ".join(
                f"{rule} {count}" for rule, count in sorted(Counter(r.rule for r in self.refused).items())
            )
            lines.append(f"  set aside {len(self.refused)} ({rules}), each named in {QUARANTINE}:")
            lines += [f"    {refusal.reason}" for refusal in self.refused[:_NAMED]]
        return "\n".join(lines)


def _some(names: list[str], count: int = _NAMED) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _pages(names: list[str]) -> str:
    return f"{len(names)} ({_some(names, 3)})" if names else "0"
