"""`scriptorium export`: a checkpoint to ONNX, refused unless it is proven equal."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import shutil
from pathlib import Path

from ml.config import add_params_option, load_params
from ml.errors import UsageError


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
        (beside / "card.json").write_text(
            json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        shutil.rmtree(out, ignore_errors=True)
        beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    size = (out / "model.onnx").stat().st_size
    args.metrics.mkdir(parents=True, exist_ok=True)
    report = dataclasses.asdict(parity) | {"bytes": size}
    (args.metrics / f"export_{args.name}.json").write_text(
        json.dumps(report, indent=1) + "\n", encoding="utf-8"
    )
    print(
        f"{out / 'model.onnx'}: {size / 1e6:.1f} MB, equal to {model} on {parity.pages} pages: "
        f"boxes within {parity.boxes:.1e}, scores within {parity.scores:.1e}, {parity.texts:.1%} of texts differ"
    )
    return 0
