"""What do integer convolutions cost and gain? The float graph and the integer one on the same pages, in turns.

    python bench/int8.py [MODEL] [--pages 16] [--rounds 3] [--out FILE]

MODEL is a checkpoint of Trident (default: the starter). Ranges are taken from synthetic pages of one seed, figures
from pages of another. Prints a table to stderr and JSON to stdout.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reporting import add_out, table, write

from ml.config import SynthConfig, load_profile
from ml.evaluation.evaluator import evaluate
from ml.export.int8 import quantise
from ml.export.onnx import export_onnx
from ml.models.processor import processor_for
from ml.pages import Page
from ml.pages.synthesis.command import generate
from ml.predictor import Predictor
from ml.runners import OnnxRunner
from ml.training.checkpoint import load


def pages_of(config: SynthConfig, seed: int, count: int) -> list[Page]:
    return list(generate(config.model_copy(update={"pages": count, "fonts": None}), seed))


def measure(model: Path, count: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """A row a graph: bytes, milliseconds a page (median of the pages, best of the rounds), and its figures."""
    network, card = load(model)
    paths = {"float32": folder / "float32.onnx", "int8": folder / "int8.onnx"}
    synth = load_profile("small").synth
    processor = processor_for(card)
    export_onnx(network, card, paths["float32"], 20)
    ranges = (processor.prepare(page.pixels())[0] for page in pages_of(synth, 1, 12))
    quantise(paths["float32"], paths["int8"], ranges)
    pages = pages_of(synth, 2, count)
    runners = {name: OnnxRunner(path) for name, path in paths.items()}
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, runner in runners.items():
            spent = []
            for page in pages:
                inputs, _ = processor.prepare(page.pixels())
                began = time.perf_counter()
                runner(inputs)
                spent.append(1000 * (time.perf_counter() - began))
            best[name] = min(best.get(name, float("inf")), statistics.median(spent))
    rows = []
    for name, runner in runners.items():
        scores = evaluate(Predictor(card, runner), pages).to_json()
        rows.append(
            {
                "convolutions": name,
                "megabytes": round(paths[name].stat().st_size / 1e6, 1),
                "ms_a_page": round(best[name], 1),
                "times_float": round(best["float32"] / best[name], 2),
                "word_f1": round(scores["words"]["f1"], 4),
                "cer": round(scores["reading"]["cer"], 4),
                "end_to_end_f1": round(scores["end_to_end"]["f1"], 4),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=Path("starters/trident-small"))
    parser.add_argument("--pages", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    add_out(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args.model, args.pages, args.rounds, Path(folder))
    table(rows)
    write({"model": str(args.model), "pages": args.pages, "graphs": rows}, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
