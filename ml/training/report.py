"""What people see of a training: how far it got, a table of its figures, and TensorBoard's curves and pictures."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ml.progress import Meter


@runtime_checkable
class Pictured(Protocol):
    """A system that can show what it does."""

    def pictures(self) -> dict[str, np.ndarray]:
        """Sample pages with predictions, uint8 (H, W, 3) RGB, by name; asked in evaluation mode."""
        ...


class Report:
    """The report of a training's first process; what a killed run told of steps after `start` is told again.

    `log` is the table, a CSV with a row a step; `board` the folder of TensorBoard's files; `pages` are those of a step.
    """

    def __init__(self, what: str, *, log: Path, board: Path, start: int, steps: int, pages: int) -> None:
        self._log, self._pages = log, pages
        self._rows = _rows(log, start)
        self._board = _open_board(board, start, what)
        self._meter = Meter(steps * pages, what, "pages", done=start * pages)
        self._words, self._began = 0, time.monotonic()

    def __enter__(self) -> Report:
        self._meter.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._meter.__exit__(*error)
        self.save()
        if self._board:
            self._board.close()

    def step(self, row: dict[str, Any], words: int) -> None:
        """A step's figures by name, a validation's as `val_NAME`, and how many words it saw (0: not known)."""
        self._rows.append({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
        if self._board:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(_tag(name), value, row["step"])
        self._words += words
        rate = self._words / (time.monotonic() - self._began)
        told = f"{rate:.0f} words/s, " if rate else ""
        self._meter.update(self._pages, f"{told}loss {row['loss']:.3f}")

    def pictures(self, step: int, system: object) -> None:
        """The system's sample pages, where it has any and TensorBoard is there to show them."""
        if self._board and isinstance(system, Pictured):
            for name, picture in system.pictures().items():
                self._board.add_image(name, picture, step, dataformats="HWC")

    def save(self) -> None:
        """Write what was told so far, so that a kill after this loses none of it."""
        columns = list(dict.fromkeys(key for row in self._rows for key in row))
        with self._log.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, columns, restval="")
            writer.writeheader()
            writer.writerows(self._rows)
        if self._board:
            self._board.flush()


class Silence:
    """The report of every other process: none."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *error: object) -> None: ...
    def step(self, row: dict[str, Any], words: int) -> None: ...
    def pictures(self, step: int, system: object) -> None: ...
    def save(self) -> None: ...


def _rows(log: Path, start: int) -> list[dict[str, Any]]:
    """The table's rows up to the resumed step; none of an earlier training."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if not (start and log.exists()):
        return []
    with log.open(newline="", encoding="utf-8") as handle:
        return [row for row in csv.DictReader(handle) if int(row["step"]) <= start]


def _tag(name: str) -> str:
    """TensorBoard groups curves by what stands before the slash."""
    return f"validation/{name[4:]}" if name.startswith("val_") else f"training/{name}"


def _open_board(folder: Path, start: int, what: str) -> Any:
    """TensorBoard's writer, which hides what an earlier run told of later steps; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (a bare machine trains without it)
    except ImportError:
        print(f"{what}: no curves, for TensorBoard is not installed; `pip install tensorboard` brings them")
        return None
    print(f"{what}: for curves and pages run `tensorboard --logdir {folder.parent}`")
    return SummaryWriter(str(folder), purge_step=start + 1)
