"""The command `scriptorium cache`: photometric variants of training pages, computed once for all models."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ml.augment.build import build
from ml.config import add_params_option, load_params
from ml.errors import UsageError
from ml.pages.store import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="the snapshot; only its train split is read"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the cache; what lies there is reused"
    )
    parser.add_argument(
        "--metrics",
        type=Path,
        default=Path("metrics/cache.json"),
        metavar="FILE",
        help="counts (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="processes (default: %(default)s)"
    )
    add_params_option(parser)


def run(args: argparse.Namespace) -> int:
    params = load_params(args.params)
    train = args.data / "train"
    if not train.is_dir():
        raise UsageError(
            f"{args.data}: no snapshot (it has no folder 'train'); make one with `scriptorium snapshot`"
        )
    if args.workers < 1:
        raise UsageError(f"--workers {args.workers}: at least one process is needed")
    built = build(train, args.out, params.cache, seed=params.seed, workers=args.workers)
    args.metrics.parent.mkdir(parents=True, exist_ok=True)
    write_text(args.metrics, json.dumps(asdict(built), indent=1) + "\n")
    fit = "" if built.variants == built.asked else f" (of {built.asked}: cache.budget_gb holds no more)"
    print(
        f"{args.out}: {built.variants} variants{fit} of {built.pages} pages, {built.bytes / 1e6:.0f} MB; "
        f"{built.computed} computed, {built.reused} reused, {built.dropped} dropped in {built.seconds:.1f} s"
    )
    return 0
