"""How fast are synthetic pages of 1024 px made with their truth, clean and degraded, by how many workers?

python bench/synth.py [--pages 200] [--workers 1 2] [--fonts DIR] [--out FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from typing import Any
from unittest import mock

import cv2
from reporting import add_out, table, write

from ml.config import SynthConfig
from ml.pages.synthesis import typesetting
from ml.pages.synthesis.command import generate

#: The steps of a page, as functions of the typesetting module.
STEPS = ("_compose", "render", "layout_of", "flaw_of", "degrade", "encode_png", "encode_jpeg")
KINDS = {"clean": 0.0, "degraded": 1.0}


def by_step(config: SynthConfig) -> dict[str, float]:
    """CPU milliseconds a page of each step, one process; `typst` and the rest of a page make up the total."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str):
        work = getattr(typesetting, name)

        def call(*args, **kwargs):
            start = time.process_time()
            try:
                return work(*args, **kwargs)
            finally:
                spent[name] += time.process_time() - start

        return mock.patch.object(typesetting, name, call)

    typesetting.make_page(0, 0, config)  # loads fonts and word lists
    patches = [timed(name) for name in STEPS]
    start = time.process_time()
    for patch in patches:
        patch.start()
    for index in range(config.pages):
        typesetting.make_page(1, index, config)
    for patch in patches:
        patch.stop()
    spent["total"] = time.process_time() - start
    return {name: round(1000 * seconds / config.pages, 2) for name, seconds in spent.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--fonts", help="folder of `scriptorium fonts install`")
    add_out(parser)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    report: dict[str, Any] = {"pages": args.pages, "long_edge": 1024}
    for kind, share in KINDS.items():
        config = SynthConfig(
            pages=args.pages, long_edge=1024, body_px=(9.5, 20.0), degrade=share, fonts=args.fonts
        )
        typesetting.make_page(0, 0, config)  # loads fonts and word lists
        start = time.process_time()
        words = sorted(len(typesetting.make_page(1, i, config).words or ()) for i in range(args.pages))
        report[kind] = {
            "pages_a_second_and_core": round(args.pages / (time.process_time() - start), 2),
            "words_a_page": {
                "p10": words[len(words) // 10],
                "p50": words[len(words) // 2],
                "p90": words[-len(words) // 10],
            },
            "pages_a_second_by_workers": {str(n): _speed(config, n) for n in args.workers},
            "cpu_ms_a_page": by_step(config.model_copy(update={"pages": min(args.pages, 60)})),
        }
    rows = [{"pages": kind} | report[kind]["pages_a_second_by_workers"] for kind in KINDS]
    table(rows, title="pages a second by workers")
    steps = [{"pages": kind} | report[kind]["cpu_ms_a_page"] for kind in KINDS]
    table(steps, title="processor milliseconds a page")
    write(report, args.out)
    return 0


def _speed(config: SynthConfig, workers: int) -> float:
    """Pages a second by the clock, the start of the workers included."""
    start = time.monotonic()
    made = sum(1 for _ in generate(config, 1, workers))
    return round(made / (time.monotonic() - start), 2)


if __name__ == "__main__":
    sys.exit(main())
