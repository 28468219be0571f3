"""`scriptorium promote`: make versions the champions; as stage `served`, score them through the server."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ml.errors import InputError, UsageError
from ml.evaluation.command import evaluate_store
from ml.pages.store import PageStore
from ml.serving.client import ServedPredictor
from ml.serving.commands.options import add_repository_option, add_url_option, control_of, repository_of
from ml.serving.control import ControlClient
from ml.serving.promotion import promote
from ml.serving.registry import write_whole
from ml.serving.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a published model")
    parser.add_argument("version", nargs="?", type=int, help="one of its versions")
    parser.add_argument(
        "--receipt", type=Path, metavar="FILE", help="promote what `publish --receipt` wrote here instead"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="pages with truth; the first is the golden page"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="score the champions on --data through the server, into this file",
    )
    add_url_option(parser, "one is started for as long as it takes")
    add_repository_option(parser)


def run(args: argparse.Namespace) -> int:
    if (args.receipt is None) == (args.name is None) or (args.name is not None and args.version is None):
        raise UsageError("give either NAME VERSION or --receipt FILE")
    if args.out and not args.data:
        raise UsageError("--out needs --data, the pages to score on")
    wanted = _receipt(args.receipt) if args.receipt else {str(args.name): int(args.version)}
    repository = repository_of(args)
    for name, version in wanted.items():
        repository.version(name, version)
    store = PageStore(args.data) if args.data else None
    refused = 0
    with control_of(repository, args.url, embedded=True) as control:
        assert control is not None
        for name, version in wanted.items():
            try:
                move = promote(repository, name, version, control, store[0].pixels() if store else None)
            except InputError as error:
                print(f"scriptorium promote: {error}", file=sys.stderr)
                refused += 1
                continue
            after = f" after {move.before}" if move.before else ""
            print(f"{name}: version {move.now} is the champion{after} ({move.note})")
        if args.out and not refused:
            scores = served_scores(repository, control, list(wanted), args.data)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            write_whole(args.out, (json.dumps(scores, indent=1) + "\n").encode())
    return 1 if refused else 0


def _receipt(path: Path) -> dict[str, int]:
    try:
        models = json.loads(path.read_text(encoding="utf-8"))["models"]
        wanted = {name: int(entry["version"]) for name, entry in models.items()}
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; run `scriptorium publish` first") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: no receipt ({error!r}); write it with `scriptorium publish`") from None
    if not wanted:
        raise UsageError(f"{path}: names no model, because none passed the gate")
    return wanted


def served_scores(
    repository: Repository, control: ControlClient, names: list[str], data: Path
) -> dict[str, Any]:
    """The figures of the champions of `names`, measured through the server on the pages in `data`.

    Figures of words are those of the model that reads words; the layout of each model is listed by its name.
    """
    champions = repository.champions()
    scores: dict[str, Any] = {"pages": len(PageStore(data))}
    layouts: dict[str, Any] = {}
    latency: dict[str, Any] = {}
    for name in names:
        predictor = ServedPredictor(control.url, name)
        try:
            figures = evaluate_store(predictor, data).to_json()
        finally:
            predictor.close()
        scores |= {part: figures[part] for part in ("words", "reading", "end_to_end") if part in figures}
        if "layout" in figures:
            layouts[name] = {figure: figures["layout"][figure] for figure in ("ap", "ap50")}
        latency[name] = figures["latency_ms"]
    return scores | {
        "layout": layouts,
        "latency_ms": latency,
        "models": {name: champions[name] for name in names},
    }
