"""The registered batches (`batches.yaml`) and what may be added to them."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from ml.errors import UsageError

BATCHES = "batches.yaml"
LANDING = Path("data/landing")
AUTO = "auto"  # the reader looks at what the folder holds
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")

HEADER = (
    "# The landed batches: name, how to read them, where they lie. `scriptorium land` adds to this list.\n"
)


@dataclass(frozen=True)
class Batch:
    """A landed batch: `source` is a reader's name, `path` relative to the project."""

    name: str
    source: str
    path: str


def batch_name(name: str) -> str:
    """`name` if it can name a batch. Raises UsageError otherwise (it becomes a folder and a DVC stage)."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot name a batch: use 1 to 48 of a-z, 0-9, '-' and '_', a letter or digit first"
        )
    return name


def read_batches(root: Path) -> dict[str, Batch]:
    """The batches of `batches.yaml`. Raises UsageError where the file is missing or not as it must be."""
    path = root / BATCHES
    try:
        listed = (yaml.safe_load(path.read_text()) or {})["batches"] or {}
        return {
            str(name): Batch(str(name), str(entry["source"]), str(entry["path"]))
            for name, entry in listed.items()
        }
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: not a list of batches ({error}); each needs a name, `source` and `path`"
        ) from error


def register(root: Path, batch: Batch) -> bool:
    """Add `batch` to batches.yaml, replacing its entry. Returns False when it was there just so.

    The file is renamed into place, so that a reader sees the old list or the new one.
    """
    batches = read_batches(root)
    if batches.get(batch.name) == batch:
        return False
    batches[batch_name(batch.name)] = batch
    listed = {b.name: {"source": b.source, "path": b.path} for b in batches.values()}
    part = root / f".{BATCHES}.{os.getpid()}"
    part.write_text(HEADER + yaml.safe_dump({"batches": listed}, sort_keys=False))
    part.replace(root / BATCHES)
    return True


def require_readable(folder: Path) -> None:
    """Raises UsageError where a folder holds nothing that `scriptorium ingest auto` can read."""
    from ml.pages.ingest import kinds_of  # noqa: PLC0415  (readers of every format)

    if not kinds_of(folder):
        raise UsageError(f"{folder}: no PDF and no image is in it; land PDFs, or images with COCO boxes")


def landed_folders(root: Path) -> list[Path]:
    """The folders under data/landing that could be batches, by name."""
    landing = root / LANDING
    if not landing.is_dir():
        return []
    return sorted(path for path in landing.iterdir() if path.is_dir() and NAME.fullmatch(path.name))


def is_stable(folder: Path, quiet_seconds: float, now: float | None = None) -> bool:
    """Whether nothing in `folder` changed for `quiet_seconds`: a copy in progress must not become a batch."""
    now = time.time() if now is None else now
    latest = max((path.stat().st_mtime for path in [folder, *folder.rglob("*")]), default=now)
    return now - latest >= quiet_seconds
