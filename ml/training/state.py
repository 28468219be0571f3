"""A resumable training state as files that cannot run code: tensors in safetensors, the rest in JSON.

The state is written beside and renamed into place, so a kill at any moment leaves the last whole one.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ml.errors import InputError


def _split(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Replace every tensor in a tree by its name; collect the tensors."""
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"__tensor__": path}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _split(item, f"{path}/{key}", tensors) for key, item in value.items()}
        return {"__dict__": [[key, _split(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_split(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a training state cannot hold {type(value).__name__} ({path})")


def _join(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if "__tensor__" in value:
            return tensors[value["__tensor__"]]
        pairs = value["__dict__"] if "__dict__" in value else value.items()
        return {key: _join(item, tensors) for key, item in pairs}
    if isinstance(value, list):
        return [_join(item, tensors) for item in value]
    return value


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` (nested dicts and lists of tensors and plain values) as `folder`, atomically."""
    beside = folder.with_name(folder.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    tensors: dict[str, torch.Tensor] = {}
    tree = _split(state, "", tensors)
    save_file(tensors, beside / "tensors.safetensors")
    (beside / "state.json").write_text(json.dumps(tree), encoding="utf-8")
    for file in beside.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    old = folder.with_name(folder.name + ".old")
    if folder.exists():  # else `old` is the last whole one: a kill came between these renames
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_state(folder: Path) -> dict[str, Any] | None:
    """The last whole state, or None where training never saved one. Raises InputError for a damaged one."""
    for candidate in (folder, folder.with_name(folder.name + ".old")):
        if (candidate / "state.json").exists():
            try:
                tensors = load_file(candidate / "tensors.safetensors")
                return _join(json.loads((candidate / "state.json").read_text(encoding="utf-8")), tensors)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                raise InputError(
                    f"{candidate}: the training state is damaged ({error}); delete the folder to start over"
                ) from error
    return None
