"""DVC as a Dagster resource: one stage at a time, with its output streamed and its results read back."""

import json
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import yaml
from pydantic import Field

from orchestration.graph import Output, Stage, StageGraph

#: Lines of a failing stage that go into the failure.
TAIL_LINES = 40

#: What DVC says when another process holds a path (`dvc/rwlock.py`). `--wait-for-lock` covers only the
#: repository lock; the paths of a running stage have locks of their own, and are refused at once.
BUSY = "is busy, it is being blocked by"
BUSY_RETRY_SECONDS = 2.0

#: What a person can do about the failures that happen to everyone; the first match wins.
HINTS: tuple[tuple[str, str], ...] = (
    (
        "missing data 'source'",
        "materialise the assets upstream first, or the file that the message names is gone",
    ),
    ("': [Errno 2] No such file or directory", "materialise the assets upstream first"),
    ("command not found", "the project is not installed here: run `make setup`"),
    ("scriptorium: not found", "the project is not installed here: run `make setup`"),
    ("No module named", "the environment is out of date: run `make setup`"),
    ("MemoryError", "out of memory: lower the batch size in params.yaml"),
    ("exited with -9", "killed, most likely out of memory: lower the batch size in params.yaml"),
    ("exited with 137", "killed, most likely out of memory: lower the batch size in params.yaml"),
    ("out of memory", "out of memory: lower the batch size in params.yaml"),
    ("No space left on device", "the disk is full: `dvc gc --workspace` drops cached data that nothing uses"),
)


@dataclass(frozen=True)
class StageRun:
    """What one call of a stage came to. `metrics` are flat: "words.f1" -> 0.91."""

    stage: Stage
    cached: bool
    seconds: float
    metrics: Mapping[str, float]


class StageError(Exception):
    """A stage did not succeed. `cause` is a sentence, `tail` its last lines, `hint` what to do."""

    def __init__(self, name: str, code: int, tail: list[str]) -> None:
        self.name, self.code, self.tail = name, code, tail
        self.cause = _cause(tail)
        self.hint = _hint(name, tail)
        super().__init__(f"stage '{name}' failed (exit {code}): {self.cause}. {self.hint}")


class DvcResource(dg.ConfigurableResource):
    """Runs stages with `dvc repro --single-item` in the project's root."""

    project: str = Field(description="folder with dvc.yaml")

    @property
    def root(self) -> Path:
        return Path(self.project)

    def repro(self, name: str, log: Callable[[str], Any]) -> StageRun:
        """Run stage `name` unless it is up to date. Each line it prints goes to stderr and to `log`.

        Waits while another DVC process holds the repository or the stage's paths. Raises StageError.
        """
        began = time.monotonic()
        while True:
            code, lines = self._call(["--wait-for-lock", "repro", "--single-item", name], log)
            if code == 0 or not any(BUSY in line for line in lines):
                break
            log(f"stage '{name}' waits for another process that uses the same files")
            time.sleep(BUSY_RETRY_SECONDS)
        if code:
            raise StageError(name, code, list(lines))
        stage = StageGraph.load(self.root)[name]
        return StageRun(
            stage=stage,
            cached=f"Running stage '{name}':" not in lines.heads,
            seconds=time.monotonic() - began,
            metrics=read_metrics(self.root, stage),
        )

    def _call(self, arguments: list[str], log: Callable[[str], Any]) -> tuple[int, "_Lines"]:
        lines = _Lines()
        command = [sys.executable, "-m", "dvc", *arguments]
        with _process(command, self.root) as process:
            assert process.stdout is not None
            for raw in process.stdout:
                line = raw.rstrip()
                if not line:
                    continue
                lines.append(line)
                if line.startswith(_CHATTER):
                    continue
                print(f"    {line}", file=sys.stderr, flush=True)
                log(line)
            return process.wait(), lines


#: DVC's own remarks that say nothing about the stage.
_CHATTER = (
    "Updating lock file",
    "Generating lock file",
    "Use `dvc push`",
    "To track the changes",
    "	git add",
    "To enable auto",
    "	dvc config",
    "Data and pipelines are up to date",
    "> ",
    "Running stage",
    "Stage '",
)


class _Lines(deque[str]):
    """The last lines of an output, and the few of DVC's own that say whether the stage ran."""

    def __init__(self) -> None:
        super().__init__(maxlen=TAIL_LINES)
        self.heads: set[str] = set()

    def append(self, line: str) -> None:
        super().append(line)
        if line.startswith("Running stage "):
            self.heads.add(line)


@contextmanager
def _process(command: list[str], root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process whose family ends when the caller is interrupted, so that no training runs on unseen."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"}
    # Stages call `scriptorium` by name: it lies beside the interpreter that runs us.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        yield process
    except BaseException:
        _end(process)
        raise


def _end(process: "subprocess.Popen[str]") -> None:
    """End a process and its family, held still first: a shell between two commands would start one more."""
    family: set[psutil.Process] = set()
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(process.pid)
        new = {first}
        while new:
            for member in new:
                with suppress(psutil.NoSuchProcess):
                    member.suspend()
            family |= new
            new = set(first.children(recursive=True)) - family
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
            member.resume()
    _, alive = psutil.wait_procs(list(family), timeout=10)
    for member in alive:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def read_metrics(root: Path, stage: Stage) -> dict[str, float]:
    """Every number in the stage's metrics files, flat. Lists are details, not metrics: they are left out."""
    metrics: dict[str, float] = {}
    for out in stage.outs:
        if out.metric and (root / out.path).is_file():
            metrics.update(flatten(_load(root, out)))
    return metrics


def flatten(values: Any, prefix: str = "") -> dict[str, float]:
    """{"a": {"b": 1}} -> {"a.b": 1.0}; only numbers and truth values."""
    if isinstance(values, Mapping):
        flat: dict[str, float] = {}
        for key, value in values.items():
            flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
        return flat
    return {prefix: float(values)} if isinstance(values, int | float) and prefix else {}


def _load(root: Path, out: Output) -> Any:
    text = (root / out.path).read_text()
    return json.loads(text) if out.path.endswith(".json") else yaml.safe_load(text)


#: How our own commands say what is wrong (ml/cli.py); a long message may go on for lines.
_SENTENCE = re.compile(r"scriptorium [a-z]+: ")

#: DVC's wrapping of a stage's failure; the stage's own last words come before it.
_WRAPPING = ("ERROR: failed to reproduce", "ERROR: failed to run:")


def _cause(tail: list[str]) -> str:
    own = [line for line in tail if not line.startswith((*_WRAPPING, *_CHATTER))]
    wrapped = [line for line in tail if line.startswith(_WRAPPING)]
    sentences = [line for line in own if _SENTENCE.match(line)]
    words = next((lines[-1] for lines in (sentences, own, wrapped) if lines), "it printed nothing")
    return words.removeprefix("ERROR: ").strip().rstrip(".")


def _hint(name: str, tail: list[str]) -> str:
    text = "\n".join(tail)
    for sign, hint in HINTS:
        if sign in text:
            return hint[0].upper() + hint[1:] + "."
    return f"Fix what it names, or see all of it with `dvc repro --single-item {name}`."
