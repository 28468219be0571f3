"""`scriptorium read`: PDFs and images in, words, regions and text out, through a Triton server."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ml.errors import InputError, UsageError
from ml.pages.result import PageResult
from ml.progress import Meter
from ml.serving.client import ServedPredictor, connect
from ml.serving.commands.options import add_repository_option, add_url_option, repository_of
from ml.serving.documents import MAX_PAGES, SourcePage, check, pages_of
from ml.serving.formats import FORMATS, Format, Writer
from ml.serving.promotion import serve_champions
from ml.serving.repository import Repository
from ml.serving.server import EmbeddedTriton, announced_server

READER = "trident"  # the model that finds and reads words
LAYOUTS = ("student", "teacher", "trident")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="PDFs and images")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="json",
        help="what to write (default: %(default)s, a line a page)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write files here instead of to stdout")
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="model that finds the regions (default: student where it is served, else trident)",
    )
    parser.add_argument(
        "--max-pages",
        type=int,
        default=MAX_PAGES,
        metavar="N",
        help="pages read of one file at most (default: %(default)s)",
    )
    add_url_option(parser, "one is started for as long as it takes")
    add_repository_option(parser)


def run(args: argparse.Namespace) -> int:
    chosen = FORMATS[args.format]
    if args.out is None and not chosen.printable:
        raise UsageError(f"--format {args.format} writes files; say where with --out DIR")
    if args.max_pages < 1:
        raise UsageError(f"--max-pages {args.max_pages}: give at least 1")
    good = [path for path in args.files if _complaint(path) is None]
    refused = len(args.files) - len(good)
    if not good:
        return 1
    try:
        with contextlib.ExitStack() as ends:
            reader = ends.enter_context(_reader(args, ends))
            output = _Output(chosen, args.out)
            quiet = args.out is None and sys.stdout.isatty()  # what is printed shows how far it got
            meter = None if quiet else ends.enter_context(Meter(len(good), "read", "pages"))
            for path in good:
                try:
                    _read_file(path, reader, output, args.max_pages, meter)
                except InputError as error:
                    _say(error)
                    refused += 1
    except BrokenPipeError:  # `scriptorium read ... | head`: whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1 if refused else 0


def _say(error: InputError) -> None:
    print(f"scriptorium read: {error}", file=sys.stderr)


def _complaint(path: Path) -> InputError | None:
    try:
        check(path)
    except InputError as error:
        _say(error)
        return error
    return None


def _read_file(path: Path, reader: PageReader, output: _Output, max_pages: int, meter: Meter | None) -> None:
    with output.document(path) as document:
        for page in pages_of(path, max_pages):
            if meter and page.number == 1:
                meter.expect(min(page.pages, max_pages) - 1)
            document.add(page, reader.read(page.pixels))
            if meter:
                meter.update()


class PageReader:
    """Words from one served model, regions from another (or from the same one)."""

    def __init__(self, words: ServedPredictor, layout: ServedPredictor | None) -> None:
        self._words, self._layout = words, layout

    def read(self, pixels: np.ndarray) -> PageResult:
        """What both models find on a page, uint8 (H, W, 3) RGB; of the regions, those that are worth showing.

        A model returns regions down to a low score, because average precision counts them. People see the card's
        `shown` and more.
        """
        result = self._words.read(pixels)
        layout = self._layout or self._words
        regions = result.regions if layout is self._words else layout.read(pixels).regions
        shown = layout.card["thresholds"].get("shown", 0.0)
        return replace(result, regions=tuple(region for region in regions if region.score >= shown))


def open_reader(url: str, layout: str | None, ends: contextlib.ExitStack) -> PageReader:
    """A reader on the server at `url`. Raises UsageError when a model that is needed is not served there.

    layout: None takes the student's regions where it is served, else Trident's own.
    """
    if layout is None:
        with contextlib.closing(connect(url)) as client:
            layout = "student" if client.is_model_ready("student") else READER
    words = ends.enter_context(contextlib.closing(ServedPredictor(url, READER)))
    if layout == READER:
        return PageReader(words, None)
    return PageReader(words, ends.enter_context(contextlib.closing(ServedPredictor(url, layout))))


@contextlib.contextmanager
def _reader(args: argparse.Namespace, ends: contextlib.ExitStack) -> Iterator[PageReader]:
    """On the named server, or the one that `serve` runs, or one of our own for as long as the block lasts."""
    repository = repository_of(args)
    announced = None if args.url else announced_server(repository.folder)
    url = args.url or (announced[0] if announced else None)
    if url is None:
        names = _needed(repository, args.layout)
        server = ends.enter_context(EmbeddedTriton(repository.folder))
        serve_champions(repository, server.control, names)
        url = server.url
    yield open_reader(url, args.layout, ends)


def _needed(repository: Repository, layout: str | None) -> list[str]:
    """The models to load. Raises UsageError when one of them has no champion."""
    champions = repository.champions()
    names = [READER, *([layout] if layout else [name for name in ("student",) if name in champions])]
    for name in names:
        if name not in champions:
            raise UsageError(
                f"{repository.folder}: no published model '{name}' to read with; "
                "`make demo` makes one, or give the --url of a server"
            )
    return list(dict.fromkeys(names))


class _Output:
    """Opens the files (or stdout) that results go to."""

    def __init__(self, chosen: Format, folder: Path | None) -> None:
        self._format, self._folder = chosen, folder
        self._stems: set[str] = set()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(
                    f"--out {folder}: cannot be made ({error.strerror}); name another folder"
                ) from None

    @contextlib.contextmanager
    def document(self, path: Path) -> Iterator[_Document]:
        document = _Document(self._format, self._folder, self._unused(path.stem))
        try:
            yield document
        finally:
            document.close()

    def _unused(self, stem: str) -> str:
        """A stem that no earlier file took: a/scan.png and b/scan.png must not share one result."""
        name, count = stem, 1
        while name in self._stems:
            count += 1
            name = f"{stem}-{count}"
        self._stems.add(name)
        return name


class _Document:
    """Results of one input file, in one file or one a page."""

    def __init__(self, chosen: Format, folder: Path | None, stem: str) -> None:
        self._format, self._folder, self._stem = chosen, folder, stem
        self._file: BinaryIO | None = None
        self._writer: Writer | None = None

    def add(self, page: SourcePage, result: PageResult) -> None:
        if self._writer is None or self._format.per_page:
            self.close()
            numbered = self._format.per_page and page.pages > 1
            self._file = self._open(f"-{page.number:04d}" if numbered else "")
            self._writer = self._format.writer(self._file)
        self._writer.add(page, result)
        if self._folder is None:
            sys.stdout.buffer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._file is not None and self._folder is not None:
            self._file.close()
        self._file = self._writer = None

    def _open(self, number: str) -> BinaryIO:
        if self._folder is None:
            return sys.stdout.buffer
        return (self._folder / f"{self._stem}{number}{self._format.suffix}").open("wb")
