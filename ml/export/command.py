"""`scriptorium export`: a checkpoint to ONNX, refused unless it is proven equal; in integers where that is harmless."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import shutil
from pathlib import Path

from ml.config import ExportConfig, add_params_option, load_params
from ml.errors import UsageError
from ml.progress import track

#: Bootstrap resamples in which integers are held against floats.
RESAMPLES = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the model; its metrics are written under it")
    parser.add_argument("--model", type=Path, metavar="DIR", help="checkpoint folder (default: models/NAME)")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/snapshot"),
        metavar="DIR",
        help="dataset whose validation pages prove parity (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="graph folder (default: graphs/NAME)")
    parser.add_argument(
        "--metrics",
        type=Path,
        default=Path("metrics"),
        metavar="DIR",
        help="folder of export_NAME.json (default: %(default)s)",
    )
    add_params_option(parser)


def run(args: argparse.Namespace) -> int:
    config = load_params(args.params).export
    model, out = args.model or Path("models") / args.name, args.out or Path("graphs") / args.name
    if not (model / "card.json").exists():
        raise UsageError(f"{model}: no checkpoint there; train '{args.name}' first")
    from ml.export.graphs import graph_of
    from ml.export.onnx import export_onnx
    from ml.export.parity import judge, measure
    from ml.pages.store import PageStore
    from ml.runners import OnnxRunner, TorchRunner
    from ml.training.checkpoint import load

    network, card = load(model)
    card["name"] = args.name
    beside = out.with_name(out.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        export_onnx(network, card, beside / "model.onnx", config.opset)
        pages = itertools.islice(PageStore(args.data / "val"), config.pages)
        parity = measure(card, TorchRunner(graph_of(network, card)), OnnxRunner(beside / "model.onnx"), pages)
        judge(parity, config.tensor_bound, config.metric_bound, args.name)
        lost = _to_int8(beside, args.data, config) if args.name in config.int8 else None
        (beside / "card.json").write_text(
            json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        shutil.rmtree(out, ignore_errors=True)
        beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    size = (out / "model.onnx").stat().st_size
    args.metrics.mkdir(parents=True, exist_ok=True)
    report = dataclasses.asdict(parity) | {"bytes": size} | ({"int8": lost} if lost else {})
    (args.metrics / f"export_{args.name}.json").write_text(
        json.dumps(report, indent=1) + "\n", encoding="utf-8"
    )
    print(
        f"{out / 'model.onnx'}: {size / 1e6:.1f} MB; in floats equal to {model} on {parity.pages} pages: "
        f"boxes within {parity.boxes:.1e}, scores within {parity.scores:.1e}, {parity.texts:.1%} of texts differ"
    )
    return 0


def _to_int8(folder: Path, data: Path, config: ExportConfig) -> dict[str, float]:
    """Put the graph's convolutions in integers, unless a figure certainly falls by more than the bound; what each lost."""
    from ml.evaluation.bootstrap import compare
    from ml.evaluation.evaluator import evaluate
    from ml.export.int8 import quantise
    from ml.models.processor import processor_for
    from ml.pages.store import PageStore
    from ml.predictor import Predictor
    from ml.runners import OnnxRunner

    exact, integers = folder / "model.onnx", folder / "int8.onnx"
    runner = OnnxRunner(exact)
    processor, train = processor_for(runner.card), PageStore(data / "train")
    shown = range(0, len(train), max(1, len(train) // config.calibration))[: config.calibration]
    inputs = (processor.prepare(train[number].pixels())[0] for number in track(shown, len(shown), "int8"))
    quantise(exact, integers, inputs)
    pages = list(itertools.islice(PageStore(data / "val"), config.pages))
    documents = [
        evaluate(Predictor(runner.card, form), pages).to_json()["documents"]
        for form in (OnnxRunner(integers), runner)
    ]
    compared = compare(*documents, resamples=RESAMPLES, tolerance=config.metric_bound, seed=0)
    told = ", ".join(f"{one.figure.replace('_', ' ')} {one.gain:+.4f}" for one in compared)
    if any(one.certainly_worse for one in compared):
        integers.unlink()
        print(f"int8: the float graph is kept, integers cost more than {config.metric_bound} ({told})")
    else:
        integers.replace(exact)
        print(f"int8: convolutions are integers now ({told})")
    return {one.figure: -one.gain for one in compared}
