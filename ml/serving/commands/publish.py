"""`scriptorium publish`: put models that passed the gate into the Triton repository."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ml.config import add_params_option, load_params
from ml.errors import UsageError
from ml.serving.registry import write_whole
from ml.serving.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "graphs", type=Path, nargs="+", metavar="GRAPH", help="graph folders; a folder's name is its model's"
    )
    parser.add_argument(
        "--gate", type=Path, metavar="FILE", help="the gate's verdicts; only models that passed are published"
    )
    parser.add_argument(
        "--force", metavar="REASON", help="publish without, or against, a verdict; the reason is logged"
    )
    parser.add_argument(
        "--receipt", type=Path, metavar="FILE", help="write here which versions these graphs are"
    )
    parser.add_argument(
        "--repository",
        type=Path,
        metavar="DIR",
        help="the model repository (default: that of the parameters)",
    )
    add_params_option(parser)


def run(args: argparse.Namespace) -> int:
    if args.gate is None and args.force is None:
        raise UsageError("give the gate's verdicts (--gate metrics/gate.json), or --force 'REASON'")
    serving = load_params(args.params).serving
    repository = Repository(args.repository or Path(serving.repository))
    verdicts = {} if args.gate is None else _verdicts(args.gate)
    receipt: dict[str, dict[str, Any]] = {}
    for graph in args.graphs:
        name = graph.resolve().name
        refusal = None if args.force else _refusal(verdicts.get(name), args.gate)
        if refusal:
            print(f"scriptorium publish: {name} is not published: {refusal}", file=sys.stderr)
            continue
        done = repository.publish(graph, name, serving, note=f"forced: {args.force}" if args.force else "")
        receipt[name] = {"version": done.version.version, "digest": done.version.digest}
        before = "" if done.new else " (published before)"
        print(f"{name}: version {done.version.version}{before}, {done.version.bytes / 1e6:.1f} MB")
    if args.receipt:
        args.receipt.parent.mkdir(parents=True, exist_ok=True)
        write_whole(args.receipt, (json.dumps({"models": receipt}, indent=1) + "\n").encode())
    # A challenger that fails its gate is the gate's good work, and no reason to hold back the others.
    return 0 if receipt else 1


def _verdicts(path: Path) -> dict[str, dict[str, Any]]:
    try:
        models = json.loads(path.read_text(encoding="utf-8"))["models"]
        return {name: dict(verdict) for name, verdict in models.items()}
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; run `scriptorium gate` first") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: holds no verdicts ({error!r}); write it with `scriptorium gate`") from None


def _refusal(verdict: dict[str, Any] | None, gate: Path | None) -> str | None:
    if verdict is None:
        return f"{gate} has no verdict on it"
    if verdict.get("passed") is True:
        return None
    reasons = verdict.get("reasons") or verdict.get("reason") or "see there"
    why = "; ".join(map(str, reasons)) if isinstance(reasons, list) else reasons
    return f"the gate refused it ({why}; {gate})"
