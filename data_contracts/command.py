"""`scriptorium check`: hold a batch against the data contracts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from data_contracts.report import headline, html, show
from data_contracts.verdict import Verdict, judge
from ml.config import load_params
from ml.errors import UsageError
from ml.models.charset import Charset, named
from ml.pages.store import write_text

VERDICT, REPORT = "verdict.json", "report.html"
PARAMS = Path("params.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("batch", type=Path, metavar="BATCH", help="folder of the batch, as ingest wrote it")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"folder for {VERDICT} and {REPORT}")
    parser.add_argument(
        "--record", action="store_true", help="write the verdict and exit 0 whatever it says (for the graph)"
    )
    parser.add_argument(
        "--params", type=Path, metavar="FILE", help="parameters (default: params.yaml, where there is one)"
    )


def run(args: argparse.Namespace) -> int:
    """Exit 0 when nothing was set aside, 1 when the batch is rejected or has lost pages or inputs."""
    batch: Path = args.batch
    if not batch.is_dir():
        raise UsageError(f"{batch}: no such folder; give a batch that `scriptorium ingest` wrote")
    out: Path | None = args.out
    if args.record and out is None:
        raise UsageError("--record needs --out DIR, the folder to write the verdict to")
    verdict = judge(batch, _charset(args.params))
    if out is not None:
        write_verdict(verdict, out)
    if args.record:
        print(f"{headline(verdict)} -> {out}")
        return 0
    show(verdict, Console())
    return 0 if verdict.accepted and not verdict.quarantined else 1


def write_verdict(verdict: Verdict, folder: Path) -> None:
    """Write verdict.json and report.html; equal verdicts are equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / REPORT, html(verdict))
    text = json.dumps(verdict.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / VERDICT, text + "\n")


def _charset(params: Path | None) -> Charset | None:
    """The charset that the texts are for. Where there are no parameters, texts are not held against one."""
    if params is None and not PARAMS.is_file():
        return None
    return named(load_params(params or PARAMS).trident.charset)
