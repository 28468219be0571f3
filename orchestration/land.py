"""`scriptorium land FOLDER`: a folder of pages becomes a batch of the graph."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from ml.errors import UsageError
from orchestration.batches import (
    AUTO,
    LANDING,
    NAME,
    Batch,
    batch_name,
    read_batches,
    register,
    require_readable,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="PDFs with a text layer, or images with COCO boxes")
    parser.add_argument("--name", help="the batch's name (default: the folder's)")
    parser.add_argument("--source", default=AUTO, help="reader to use; auto looks at what the folder holds")


def run(args: argparse.Namespace) -> int:
    batch = land(Path.cwd(), args.folder, args.name, args.source)
    print(f"landed {batch.name}: {batch.path}, read as {batch.source}", file=sys.stderr)
    print(f"next: `dvc repro batch@{batch.name} contract@{batch.name}`, or `make demo`", file=sys.stderr)
    return 0


def land(root: Path, folder: Path, name: str | None = None, source: str = AUTO) -> Batch:
    """Copy `folder` to data/landing and register it. A batch landed before under the name is replaced.

    Copied, not linked: a batch must not change when the folder does.
    Raises UsageError for what cannot be landed.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give a folder of PDFs, or of images with COCO boxes")
    name = batch_name(name or _name_of(folder))
    require_readable(folder)
    target = root / LANDING / name
    batch = Batch(name, source, (LANDING / name).as_posix())
    registered = read_batches(root).get(name)
    if registered and registered.path != batch.path:
        raise UsageError(f"batch '{name}' is already at {registered.path}; choose another --name")
    if _made_by_stage(root, batch.path):
        raise UsageError(
            f"'{name}' is the name of a batch that the graph makes itself; choose another --name"
        )
    if target.resolve() != folder.resolve():
        _place(folder, target)
    register(root, batch)
    return batch


def _name_of(folder: Path) -> str:
    """A batch name from a folder's name: lower case, other characters as dashes."""
    plain = "".join(
        c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in folder.resolve().name.lower()
    )
    plain = plain.strip("-_")[:48]
    return plain if NAME.fullmatch(plain) else folder.name


def _made_by_stage(root: Path, path: str) -> bool:
    from orchestration.graph import StageGraph  # noqa: PLC0415  (DVC: only once the rest is known to be good)

    return any(out.path == path for stage in StageGraph.load(root).values() for out in stage.outs)


def _place(folder: Path, target: Path) -> None:
    """Copy beside and rename into place, so that nobody sees half a batch. Links are not followed."""
    part = target.parent / f".{target.name}.{os.getpid()}"
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(folder, part, copy_function=shutil.copyfile, ignore=_hidden_or_link)
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _hidden_or_link(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name.startswith(".") or (Path(folder) / name).is_symlink()}
