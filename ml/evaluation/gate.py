"""`scriptorium gate`: may these graphs be served? Floors first, then no loss against the champions.

A challenger is refused when a figure lies under its floor, or when it is worse than the champion by more than
the tolerance in at least 95 % of the resamples: a difference that the pages' luck can explain does not block.
The verdict is in the file; the command succeeds either way.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ml.config import GateConfig, Params, add_params_option, load_params
from ml.errors import InputError, UsageError
from ml.evaluation.bootstrap import compare
from ml.evaluation.command import evaluate_store
from ml.predictor import open_predictor
from ml.serving.repository import Repository, digest_of

#: For each rule on a figure: where the evaluation has it, and whether the bound is a floor.
FLOORS = {
    "word_f1": (("words", "f1"), True),
    "cer": (("reading", "cer"), False),
    "end_to_end_f1": (("end_to_end", "f1"), True),
    "layout_ap50": (("layout", "ap50"), True),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "graphs", nargs="+", type=Path, metavar="GRAPH", help="graph folders, the challengers"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="STORE", help="the pages they were scored on"
    )
    parser.add_argument(
        "--metrics", type=Path, default=Path("metrics"), metavar="DIR", help="folder of evaluate_NAME.json"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("metrics/gate.json"), metavar="FILE", help="the verdicts"
    )
    add_params_option(parser)


def run(args: argparse.Namespace) -> int:
    params = load_params(args.params)
    names = [graph.name for graph in args.graphs]
    if len(set(names)) < len(names):
        raise UsageError(f"graphs: {', '.join(names)}: two folders have one name; a model is judged once")
    models = {graph.name: judge(graph, args.data, args.metrics, params) for graph in args.graphs}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"models": models}, indent=1) + "\n", encoding="utf-8")
    _print(models)
    return 0


def judge(graph: Path, data: Path, metrics: Path, params: Params) -> dict[str, Any]:
    """The verdict on one graph folder, every number and bound in it."""
    evaluation = read_evaluation(metrics / f"evaluate_{graph.name}.json")
    rules = floors(evaluation, params.gate)
    champion = None
    repository = Repository(Path(params.serving.repository))
    model = repository.registry().models.get(graph.name)
    if model is not None and model.champion is not None:
        version = model.versions[model.champion]
        champion = {"version": version.version, "digest": version.digest, "compared": False}
        if version.digest != digest_of(sorted(graph.iterdir())):
            served = evaluate_store(
                open_predictor(repository.graph(graph.name, version.version)), data
            ).to_json()
            champion["compared"] = True
            rules += against(evaluation, served, params.gate, params.seed)
    return {"passed": all(rule["passed"] for rule in rules), "rules": rules, "champion": champion}


def read_evaluation(path: Path) -> dict[str, Any]:
    """An evaluation as `scriptorium evaluate` wrote it. Raises UsageError or InputError without one."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such evaluation; run `scriptorium evaluate` first") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); evaluate the model again") from error
    if "documents" not in values:
        raise InputError(f"{path}: holds no counts of documents; evaluate the model again")
    return values


def floors(evaluation: dict[str, Any], config: GateConfig) -> list[dict[str, Any]]:
    """The floors of every figure that the model has. Trident is a reader: its layout is not its floor."""
    reads = "words" in evaluation
    rules = []
    for name, ((part, key), floor) in FLOORS.items():
        if part not in evaluation or (reads and part == "layout"):
            continue
        value, bound = evaluation[part][key], getattr(config, name)
        passed = value >= bound if floor else value <= bound
        rules.append({"rule": name, "value": value, "bound": bound, "passed": passed})
    if not rules:
        rules.append({"rule": "scored", "value": None, "bound": None, "passed": False})
    return rules


def against(
    challenger: dict[str, Any], champion: dict[str, Any], config: GateConfig, seed: int
) -> list[dict[str, Any]]:
    """One rule for each figure that both models have: value is the gain, bound the loss that is tolerated."""
    try:
        comparisons = compare(
            challenger["documents"],
            champion["documents"],
            resamples=config.resamples,
            tolerance=config.tolerance,
            seed=seed,
        )
    except ValueError as error:
        raise InputError(
            f"challenger and champion cannot be compared: {error}; evaluate the model again"
        ) from error
    return [
        {
            "rule": f"{comparison.figure} against the champion",
            "value": comparison.gain,
            "bound": -config.tolerance,
            "passed": not comparison.certainly_worse,
            **{key: value for key, value in asdict(comparison).items() if key not in ("figure", "gain")},
        }
        for comparison in comparisons
    ]


def _print(models: dict[str, Any]) -> None:
    table = Table(title="gate")
    for column in ("model", "rule", "value", "bound", "verdict"):
        table.add_column(column, justify="right" if column in ("value", "bound") else "left")
    for name, verdict in models.items():
        for rule in verdict["rules"]:
            value, bound = ("-" if rule[key] is None else f"{rule[key]:.4f}" for key in ("value", "bound"))
            table.add_row(name, rule["rule"], value, bound, "passed" if rule["passed"] else "FAILED")
    Console().print(table)
