"""How fast are synthetic pages made, by how many workers, and where does the time go?

python bench/synth.py [--pages 100] [--workers 1 2] [--out bench/results/synth.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from unittest import mock

from ml.config import SynthConfig
from ml.pages.synthesis import typesetting
from ml.pages.synthesis.command import generate

#: The steps of a page, as functions of the typesetting module.
STEPS = ("_compose", "render", "layout_of", "flaw_of", "degrade", "encode_png", "encode_jpeg")


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
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("bench/results/synth.json"))
    args = parser.parse_args()
    config = SynthConfig(pages=args.pages)
    speed = {}
    labels: Counter[str] = Counter()
    words: list[int] = []
    for workers in args.workers:
        start = time.monotonic()
        pages = list(generate(config, seed=1, workers=workers))
        speed[str(workers)] = round(len(pages) / (time.monotonic() - start), 2)
        labels = Counter(label for page in pages for label in {r.label for r in page.regions or ()})
        words = sorted(len(page.words or ()) for page in pages)
    report = {
        "pages": args.pages,
        "pages_a_second_by_workers": speed,
        "cpu_ms_a_page": by_step(config.model_copy(update={"pages": min(args.pages, 60)})),
        "words_a_page": {
            "p10": words[len(words) // 10],
            "p50": words[len(words) // 2],
            "p90": words[-len(words) // 10],
        },
        "share_of_pages_with": {label: round(n / args.pages, 3) for label, n in sorted(labels.items())},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    for name, values in report.items():
        if isinstance(values, dict):
            print(name, *(f"\n  {key:<16} {value}" for key, value in values.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
