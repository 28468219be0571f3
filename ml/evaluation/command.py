"""`scriptorium evaluate`: score a checkpoint, a graph or a served model on pages with truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ml.errors import InputError, UsageError
from ml.evaluation.evaluator import Reader, Scores, evaluate
from ml.pages.store import PageStore
from ml.predictor import Predictor, open_predictor
from ml.progress import track


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", help="a folder of `models/` or `graphs/`, or with --url the name of a served model"
    )
    parser.add_argument("data", type=Path, help="a folder of pages, such as data/snapshot/test")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the figures here, as JSON")
    parser.add_argument(
        "--url", metavar="HOST:PORT", help="gRPC address of a Triton server that serves MODEL"
    )
    parser.add_argument("--pages", type=int, metavar="N", help="score only the first N pages")


def run(args: argparse.Namespace) -> int:
    if args.pages is not None and args.pages < 1:
        raise UsageError(f"--pages {args.pages}: give a number of pages of at least 1")
    scores = evaluate_store(open_any(args.model, args.url), args.data, args.pages)
    print_scores(scores)
    if args.out:
        write_scores(scores, args.out)
    return 0


def open_any(model: str, url: str | None) -> Reader:
    """A predictor of a served model (with `url`), or of a checkpoint or graph folder."""
    if url is None:
        return open_predictor(Path(model))
    from ml.serving.client import TritonRunner  # noqa: PLC0415  (only here is tritonclient needed)

    runner = TritonRunner(url, model)
    return Predictor(runner.card, runner)


def evaluate_store(reader: Reader, data: Path, pages: int | None = None) -> Scores:
    """Score `reader` on the pages (all, or the first few) of a store, with progress."""
    store = PageStore(data)
    count = len(store) if pages is None else min(pages, len(store))
    chosen = (store[i] for i in range(count))
    try:
        return evaluate(reader, track(chosen, count, f"evaluate {reader.card.get('name', '')}".strip()))
    except InputError as error:
        raise InputError(f"{data}: {error}") from error


def print_scores(scores: Scores) -> None:
    """The figures as a table on stdout."""
    table = Table(title=f"{scores.model} on {scores.pages} pages")
    table.add_column("figure")
    table.add_column("value", justify="right")
    if scores.words is not None:
        for name in ("precision", "recall", "f1"):
            table.add_row(f"words: {name} at IoU 0.5", f"{getattr(scores.words, name):.4f}")
    if scores.reading is not None:
        table.add_row("reading: character error rate on true boxes", f"{scores.reading.cer:.4f}")
        table.add_row("reading: exact words on true boxes", f"{scores.reading.exact_share:.4f}")
    if scores.end_to_end is not None:
        table.add_row("end to end: f1 (IoU 0.5 and equal text)", f"{scores.end_to_end.f1:.4f}")
    if scores.layout is not None:
        table.add_row("layout: AP (0.50:0.95)", f"{scores.layout.ap:.4f}")
        table.add_row("layout: AP50", f"{scores.layout.ap50:.4f}")
        for label, value in scores.layout.by_label.items():
            table.add_row(f"  AP50 of {label}", f"{value:.4f}")
    table.add_row("one page, median and p95, ms", f"{scores.latency_ms[0]:.1f}, {scores.latency_ms[1]:.1f}")
    Console().print(table)


def write_scores(scores: Scores, path: Path) -> None:
    """Write the figures as JSON, a line a document."""
    values = scores.to_json()
    documents = ",\n  ".join(json.dumps(row, separators=(",", ":")) for row in values.pop("documents"))
    head = json.dumps(values, indent=1).removesuffix("\n}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head},\n "documents": [\n  {documents}\n ]\n}}\n', encoding="utf-8")
