"""`scriptorium synth`: synthetic pages into a page store."""

from __future__ import annotations

import argparse
import difflib
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path

from ml.config import Params, SynthConfig, load_params, parse_params
from ml.errors import UsageError
from ml.models.charset import named
from ml.pages.labels import CANONICAL
from ml.pages.page import Page
from ml.pages.store import PageWriter
from ml.pages.synthesis.fonts import families
from ml.pages.synthesis.sheet import contact_sheet
from ml.pages.synthesis.templates import TEMPLATES
from ml.pages.synthesis.typesetting import DUE
from ml.progress import track

#: Pages on a contact sheet.
SHEET_PAGES = 12
KINDS = tuple(TEMPLATES)
#: Pages that a worker makes at a time.
CHUNK = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pages", type=int, metavar="N", help="how many pages (default: params)")
    parser.add_argument(
        "--seed", type=int, metavar="S", help="page i of seed S is always the same (default: params)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the page store to write"
    )
    parser.add_argument("--long-edge", type=int, metavar="PIXELS", help="pixels of the longer side")
    parser.add_argument(
        "--body-px", type=float, nargs=2, metavar=("LOW", "HIGH"), help="range of the body font size, pixels"
    )
    parser.add_argument(
        "--languages", nargs="+", metavar="CODE", help="ISO 639-1 codes of the words' languages"
    )
    parser.add_argument("--templates", nargs="+", metavar="NAME", help=f"kinds of pages: {', '.join(KINDS)}")
    parser.add_argument(
        "--fonts", metavar="DIR", help="folder of `scriptorium fonts install` (default: built-in)"
    )
    parser.add_argument(
        "--degrade", type=float, metavar="SHARE", help="share of pages that get scan degradation"
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one a core)")
    parser.add_argument(
        "--preview", type=Path, metavar="PNG", help=f"also draw the first {SHEET_PAGES} pages on one sheet"
    )
    parser.add_argument("--preview-boxes", action="store_true", help="with the truth drawn on the sheet")
    parser.add_argument(
        "--stats",
        action="store_true",
        help="print the share of pages of each region label, kind and language",
    )
    parser.add_argument(
        "--params", type=Path, metavar="FILE", help="parameters (default: params.yaml where it exists)"
    )


def run(args: argparse.Namespace) -> int:
    params = _params(args)
    config, out = params.synth, args.out
    stats = Stats()
    shown: list[Page] = []
    with PageWriter(out) as writer:
        pages = generate(config, params.seed, args.workers or len(os.sched_getaffinity(0)))
        for page in track(pages, config.pages, "synth"):
            writer.write(page)
            stats.add(page)
            if args.preview and len(shown) < SHEET_PAGES:
                shown.append(page)
    each = stats.words / config.pages
    print(f"{out}: {config.pages} pages, {stats.words} words ({each:.0f} a page), seed {params.seed}")
    if args.stats:
        print(stats.text(config))
    if args.preview:
        args.preview.parent.mkdir(parents=True, exist_ok=True)
        args.preview.write_bytes(contact_sheet(shown, boxes=args.preview_boxes))
        print(f"{args.preview}: the first {len(shown)} pages")
    return 0


class Stats:
    """What a set of pages shows."""

    def __init__(self) -> None:
        self.pages = self.words = self.handwritten = 0
        self.labels: Counter[str] = Counter()  # pages with each
        self.regions: Counter[str] = Counter()  # regions of each
        self.kinds: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.fonts: Counter[str] = Counter()
        self.effects: Counter[str] = Counter()
        self.characters: Counter[str] = Counter()

    def add(self, page: Page) -> None:
        self.pages += 1
        self.words += len(page.words or ())
        self.handwritten += int(page.meta["handwritten"])
        self.labels.update({region.label for region in page.regions or ()})
        self.regions.update(region.label for region in page.regions or ())
        self.kinds[page.meta["template"]] += 1
        self.languages[page.meta["language"]] += 1
        self.fonts[page.meta["font"]] += 1
        self.effects.update(page.meta["effects"].split())
        self.characters.update("".join(word.text for word in page.words or ()))

    def text(self, config: SynthConfig) -> str:
        """Tables of shares, and the characters of the charset that are rare or missing."""
        lines = ["  region label      pages  regions a page"]
        for label in CANONICAL:
            each = self.regions[label] / self.pages
            lines.append(f"  {label:<15} {self._share(self.labels[label])} {each:8.1f}")
        for title, counts in (
            ("kind of page", self.kinds),
            ("language", self.languages),
            ("degradation", self.effects),
        ):
            lines.append(f"  {title}")
            lines += [f"    {name:<22} {self._share(count)}" for name, count in counts.most_common()]
        symbols = named(config.charset).symbols
        missing = [symbol for symbol in symbols if not self.characters[symbol]]
        rarest = min(self.characters[symbol] for symbol in symbols)
        total = sum(self.characters.values())
        lines.append(f"  {len(self.fonts)} fonts, {self.handwritten} words by hand, {total} characters")
        found = (
            f"{len(missing)} are missing: {' '.join(missing)}"
            if missing
            else f"the rarest stands {rarest} times"
        )
        turns = -(-len(symbols) // DUE)
        lines.append(
            f"  charset {config.charset}: {len(symbols)} characters, each on every {turns}th page; here {found}"
        )
        return "\n".join(lines)

    def _share(self, count: int) -> str:
        return f"{100 * count / self.pages:6.1f} %"


def generate(config: SynthConfig, seed: int, workers: int = 1) -> Iterator[Page]:
    """Pages 0 to `config.pages` - 1 of `seed`, in order; the same for any number of `workers`."""
    make = partial(_make, seed, config)
    if workers == 1:
        yield from map(make, range(config.pages))
        return
    # Processes start from a clean server: a fork of this one would copy its threads' locks.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ml.pages.synthesis.typesetting"])
    # An executor, because a pool would replace workers that die at their start for ever. A few chunks ahead and no
    # more: a million pages need no more memory than a thousand.
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        ahead: deque[Future[list[Page]]] = deque()
        for start in range(0, config.pages, CHUNK):
            ahead.append(pool.submit(_make_some, make, range(start, min(start + CHUNK, config.pages))))
            if len(ahead) > 3 * workers:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()


def _make_some(make: Callable[[int], Page], indices: range) -> list[Page]:
    return [make(index) for index in indices]


def _make(seed: int, config: SynthConfig, index: int) -> Page:
    import cv2  # noqa: PLC0415  (each worker once; a thread pool per worker would fight for the cores)

    from ml.pages.synthesis.typesetting import make_page  # noqa: PLC0415  (loads fonts and word lists)

    cv2.setNumThreads(1)
    return make_page(seed, index, config)


def _params(args: argparse.Namespace) -> Params:
    """params.yaml where it exists, overridden by the flags."""
    if args.params is None and not Path("params.yaml").exists():
        base = Params()  # pyright: ignore[reportCallIssue]
    else:
        base = load_params(args.params or Path("params.yaml"))
    flags = {
        "pages": args.pages,
        "long_edge": args.long_edge,
        "body_px": args.body_px,
        "languages": args.languages,
        "templates": args.templates,
        "fonts": args.fonts,
        "degrade": args.degrade,
    }
    values = base.model_dump()
    values["synth"] |= {name: value for name, value in flags.items() if value is not None}
    if args.seed is not None:
        values["seed"] = args.seed
    params = parse_params(values, "scriptorium synth")
    low, high = params.synth.body_px
    if not 6 <= low <= high:
        raise UsageError(
            f"--body-px {low} {high}: the lower bound comes first, and at least 6 pixels are needed to read"
        )
    low, high = params.synth.density
    if not 0.5 <= low <= high <= 4:
        raise UsageError(f"synth.density {low} {high}: the lower bound comes first, from 0.5 to 4")
    if params.synth.long_edge < 480 or params.synth.long_edge > 4000:
        raise UsageError(f"--long-edge {params.synth.long_edge}: must be from 480 to 4000 pixels")
    unknown = [name for name in params.synth.templates if name not in KINDS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], KINDS, n=1, cutoff=0)[0]
        raise UsageError(f"synth.templates: no kind of page is called '{unknown[0]}'; did you mean '{near}'?")
    named(params.synth.charset)  # raises for an unknown one
    families(params.synth.fonts)
    if args.workers < 0:
        raise UsageError(f"--workers {args.workers}: must be 0 (one a core) or more")
    return params
