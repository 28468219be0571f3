"""`scriptorium check`: hold a batch, or a snapshot, against the data contracts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from data_contracts.plot import shift_png
from data_contracts.profile import Profile, as_text, read_profile
from data_contracts.report import headline, html, show
from data_contracts.snapshot import is_snapshot, judge_snapshot
from data_contracts.verdict import Verdict, judge
from ml.config import load_params
from ml.errors import UsageError
from ml.models.charset import Charset, named
from ml.pages.store import write_text

VERDICT, REPORT, PLOT = "verdict.json", "report.html", "shift.png"
PARAMS, REFERENCE = Path("params.yaml"), Path("reference.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "batch", type=Path, metavar="BATCH", help="folder of a batch, as ingest wrote it, or of a snapshot"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"folder for {VERDICT} and {REPORT}")
    parser.add_argument(
        "--record", action="store_true", help="write the verdict and exit 0 whatever it says (for the graph)"
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help=f"profile of the snapshot that a batch's shift is measured against (default: {REFERENCE}, "
        "where there is one)",
    )
    parser.add_argument(
        "--accept",
        action="store_true",
        help="make this snapshot the reference of later batches: write the profile of its training pages",
    )
    parser.add_argument(
        "--params", type=Path, metavar="FILE", help="parameters (default: params.yaml, where there is one)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        metavar="N",
        help="processes, if pages are many (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Exit 0 when nothing was set aside, 1 when the batch is rejected or has lost pages or inputs."""
    batch: Path = args.batch
    if not batch.is_dir():
        raise UsageError(f"{batch}: no such folder; give a batch that `scriptorium ingest` wrote")
    out: Path | None = args.out
    if args.record and out is None:
        raise UsageError("--record needs --out DIR, the folder to write the verdict to")
    if args.accept and not is_snapshot(batch):
        raise UsageError(f"{batch}: --accept takes a snapshot, and this has no folder 'train'")
    if is_snapshot(batch):
        verdict = judge_snapshot(batch, args.workers)
    else:
        verdict = judge(batch, _charset(args.params), _reference(args.reference), args.workers)
    if out is not None:
        write_verdict(verdict, out)
    if args.accept and verdict.accepted:
        write_text(args.reference or REFERENCE, as_text(verdict.profile))
    if args.record:
        print(f"{headline(verdict)} -> {out}")
        return 0
    show(verdict, Console())
    return 0 if verdict.accepted and not verdict.quarantined else 1


def write_verdict(verdict: Verdict, folder: Path) -> None:
    """Write verdict.json, report.html and, where there is a reference, the plot; equal verdicts are equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    plot = verdict.reference and shift_png(verdict.profile, verdict.reference, verdict.shift)
    if plot:
        (folder / PLOT).write_bytes(plot)
    else:
        (folder / PLOT).unlink(missing_ok=True)
    write_text(folder / REPORT, html(verdict, plot))
    text = json.dumps(verdict.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / VERDICT, text + "\n")


def _reference(path: Path | None) -> Profile | None:
    """The profile to measure shift against. Without one, and with one of no snapshot, there is no shift."""
    if path is None and not REFERENCE.is_file():
        return None
    return read_profile(path or REFERENCE)


def _charset(params: Path | None) -> Charset | None:
    """The charset that the texts are for. Where there are no parameters, texts are not held against one."""
    if params is None and not PARAMS.is_file():
        return None
    return named(load_params(params or PARAMS).trident.charset)
