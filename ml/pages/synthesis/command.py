"""`scriptorium synth`: synthetic pages into a page store."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from ml.config import Params, SynthConfig, load_params, parse_params
from ml.errors import UsageError
from ml.pages.labels import CANONICAL
from ml.pages.page import Page
from ml.pages.store import PageWriter
from ml.pages.synthesis.sheet import contact_sheet
from ml.progress import track

#: Pages on a contact sheet.
SHEET_PAGES = 12


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
    parser.add_argument(
        "--degrade", type=float, metavar="SHARE", help="share of pages that get scan degradation"
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one a core)")
    parser.add_argument(
        "--preview", type=Path, metavar="PNG", help=f"also draw the first {SHEET_PAGES} pages on one sheet"
    )
    parser.add_argument("--preview-boxes", action="store_true", help="with the truth drawn on the sheet")
    parser.add_argument(
        "--stats", action="store_true", help="print the share of pages that have each region label"
    )
    parser.add_argument(
        "--params", type=Path, metavar="FILE", help="parameters (default: params.yaml where it exists)"
    )


def run(args: argparse.Namespace) -> int:
    params = _params(args)
    config, out = params.synth, args.out
    counts: Counter[str] = Counter()
    words = 0
    shown: list[Page] = []
    with PageWriter(out) as writer:
        pages = generate(config, params.seed, args.workers or len(os.sched_getaffinity(0)))
        for page in track(pages, config.pages, "synth"):
            writer.write(page)
            counts.update({region.label for region in page.regions or ()})
            words += len(page.words or ())
            if args.preview and len(shown) < SHEET_PAGES:
                shown.append(page)
    print(
        f"{out}: {config.pages} pages, {words} words ({words / config.pages:.0f} a page), seed {params.seed}"
    )
    if args.stats:
        for label in CANONICAL:
            print(f"  {label:<15} on {100 * counts[label] / config.pages:5.1f} % of the pages")
    if args.preview:
        args.preview.parent.mkdir(parents=True, exist_ok=True)
        args.preview.write_bytes(contact_sheet(shown, boxes=args.preview_boxes))
        print(f"{args.preview}: the first {len(shown)} pages")
    return 0


def generate(config: SynthConfig, seed: int, workers: int = 1) -> Iterator[Page]:
    """Pages 0 to `config.pages` - 1 of `seed`, in order; the same for any number of `workers`."""
    make = partial(_make, seed, config)
    if workers == 1:
        yield from map(make, range(config.pages))
        return
    # Processes start from a clean server: a fork of this one would copy its threads' locks.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ml.pages.synthesis.typesetting"])
    # An executor, because a pool would replace workers that die at their start for ever.
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(make, range(config.pages), chunksize=4)


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
    if params.synth.long_edge < 480 or params.synth.long_edge > 4000:
        raise UsageError(f"--long-edge {params.synth.long_edge}: must be from 480 to 4000 pixels")
    if args.workers < 0:
        raise UsageError(f"--workers {args.workers}: must be 0 (one a core) or more")
    return params
