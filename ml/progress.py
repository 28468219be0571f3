"""Progress with rates and time left: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

#: Seconds between two lines where stderr is no terminal (a log file, a pipe).
LINE_EVERY = 10.0


class Meter:
    """A running count with rate and time left. `update` takes the finished units and a note (losses, say)."""

    def __init__(self, total: int, what: str, unit: str, done: int = 0) -> None:
        self.total, self.what, self.unit, self.done = total, what, unit, done
        self._began, self._first, self._last_line = time.monotonic(), done, 0.0
        self._bar = None
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
            )
            self._task = self._bar.add_task(what, total=total, completed=done, rate="", note="")

    def __enter__(self) -> Meter:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
        elif self.done > self._first:
            self._line("")

    def update(self, units: int = 1, note: str = "") -> None:
        """Count `units` more as done and show `note` beside the bar."""
        self.done += units
        if self._bar:
            self._bar.update(
                self._task, completed=self.done, rate=f"{self._rate():.1f} {self.unit}/s", note=note
            )
        elif time.monotonic() - max(self._last_line, self._began) >= LINE_EVERY:
            self._line(note)

    def expect(self, units: int) -> None:
        """Count `units` more to do: what a file holds is known only once it is open."""
        self.total += units
        if self._bar:
            self._bar.update(self._task, total=self.total)

    def _rate(self) -> float:
        return (self.done - self._first) / max(time.monotonic() - self._began, 1e-9)

    def _line(self, note: str) -> None:
        self._last_line = time.monotonic()
        rate = self._rate()
        left = (self.total - self.done) / rate if rate else 0.0
        print(
            f"{self.what}: {self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s, {left:.0f} s left {note}".rstrip(),
            file=sys.stderr,
            flush=True,
        )


def track(items: Iterable[T], total: int, what: str, unit: str = "pages") -> Iterator[T]:
    """Iterate over `items` and show how far it got."""
    with Meter(total, what, unit) as meter:
        for item in items:
            yield item
            meter.update()


def say(text: str) -> None:
    """Print once, however many processes `torchrun` started."""
    if os.environ.get("RANK", "0") == "0":
        print(text)
