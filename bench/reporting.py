"""What every bench says at its end: a table for people on stderr, JSON for programs in a file or on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON here instead of to stdout")


def table(rows: Sequence[dict[str, Any]], title: str = "") -> None:
    """Rows with the first one's keys as columns, on stderr."""
    shown = Table(*rows[0], title=title or None)
    for row in rows:
        shown.add_row(*("" if row.get(key) is None else str(row[key]) for key in rows[0]))
    Console(stderr=True).print(shown)


def write(report: dict[str, Any], out: Path | None) -> None:
    """The report as JSON, with the command that made it."""
    text = json.dumps({"command": " ".join(["python", *sys.argv])} | report, indent=1)
    if out is None:
        print(text)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")
