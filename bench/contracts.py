"""Do ten thousand pages validate in under a minute, and what takes the time?

    python bench/contracts.py [--pages 10000] [--long-edge 1024] [--workers 2] [--out FILE]

A store of that many pages is made from a few hundred synthetic ones, each with noise of its own in a corner, so
that every page is an image, an id and a document of its own (and looks like others, which is found). Then
`scriptorium check` runs on it as a person would run it. Prints a table to stderr and JSON to stdout.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from reporting import add_out, table, write

from data_contracts.expectations import hold
from data_contracts.facts import facts_of
from data_contracts.likeness import first_twins
from data_contracts.suites import PAGE_RULES
from data_contracts.verdict import conclude
from ml.config import SynthConfig
from ml.pages.page import Page, page_id
from ml.pages.store import PageStore, PageWriter
from ml.pages.synthesis.command import generate

SEED = 7
GOAL = 60.0  # seconds


def copies(number: int, source: Page, step: int) -> Page:
    """Copy `number` of a page: noisy in a corner, so that its image is another one and as costly to decode."""
    rng = np.random.default_rng([SEED, step, number])
    pixels = source.pixels().copy()
    corner = pixels[:32, :32]
    corner[...] = rng.integers(0, 256, corner.shape, np.uint8)
    jpeg = source.image.startswith(b"\xff\xd8")
    suffix, options = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 85]) if jpeg else (".png", [])
    grey = not jpeg and (pixels[..., :1] == pixels)[32:].all()
    image = cv2.imencode(suffix, pixels[:, :, 0] if grey else pixels[:, :, ::-1], options)[1].tobytes()
    return replace(source, id=page_id(image), image=image, document=f"{source.document}-{step}")


def _copies(job: tuple[int, Page], step: int) -> Page:
    return copies(*job, step)


def many(count: int, long_edge: int, distinct: int) -> Iterator[Page]:
    """`count` pages of `distinct` synthetic ones."""
    config = SynthConfig(pages=min(distinct, count), long_edge=long_edge)  # pyright: ignore[reportCallIssue]
    pages = list(generate(config, seed=SEED, workers=2))
    yield from pages
    with ProcessPoolExecutor(2) as pool:
        for step in range(1, -(-count // len(pages))):
            wanted = pages[: count - step * len(pages)]
            yield from pool.map(partial(_copies, step=step), enumerate(wanted), chunksize=8)


def checked(store: Path, workers: int) -> dict[str, Any]:
    """Wall and CPU seconds, and memory, of `scriptorium check` as a process of its own."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "ml.cli", "check", str(store), "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1) or "pages are good" not in " ".join(done.stdout.split()):
        raise RuntimeError(f"scriptorium check failed: {done.stderr[-2000:]}")
    return {
        "seconds": round(wall, 1),
        "cpu_seconds": round(
            sum(getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime")), 1
        ),
        "largest_process_mb": round(after.ru_maxrss / 1024),
        "headline": done.stdout.strip().splitlines()[-1],
    }


def parts(store: Path, workers: int) -> list[dict[str, Any]]:
    """Wall seconds of each part, in this process."""
    rows = []

    def timed(name: str, run: Any) -> Any:
        began = time.perf_counter()
        result = run()
        rows.append({"part": name, "seconds": round(time.perf_counter() - began, 2)})
        return result

    facts = timed("facts of the pages", lambda: facts_of(PageStore(store), workers=workers))
    documents = facts.pages["document"].astype("category").cat.codes.to_numpy()
    timed("of these: near-duplicates", lambda: first_twins(facts.fingerprints, documents))
    one = tuple(rule for rule in PAGE_RULES if rule.suite == "pages")
    timed("import of Great Expectations", lambda: hold(one, facts.pages[:1]))
    timed("rules and verdict", lambda: conclude("bench", facts, []))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument(
        "--distinct", type=int, default=250, help="synthetic pages that the store is made from"
    )
    parser.add_argument("--long-edge", type=int, default=1024, help="pixels")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--store", type=Path, help="a page store, instead of making one")
    add_out(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = args.store or Path(folder) / "store"
        if args.store is None:
            with PageWriter(store) as writer:
                for page in many(args.pages, args.long_edge, args.distinct):
                    writer.write(page)
        entries = PageStore(store).entries
        report = {
            "pages": len(entries),
            "megapixels_a_page": round(sum(e.width * e.height for e in entries) / len(entries) / 1e6, 2),
            "workers": args.workers,
            "check": checked(store, args.workers),
            "parts": parts(store, args.workers),
        }
    report["under_a_minute"] = report["check"]["seconds"] < GOAL
    whole = [{"part": name, "seconds": value} for name, value in list(report["check"].items())[:3]]
    table([*whole, *report["parts"]], title=report["check"]["headline"])
    write(report, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
