"""The model repository: immutable version folders, one champion a model, and the file that Triton reads.

repository/registry.json          what is published and who serves (ml/serving/registry.py)
repository/NAME/config.pbtxt      written when a champion is chosen, from the registry alone
repository/NAME/N/model.onnx      version N; written beside, synced, renamed into place, never touched again
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ml.config import ServingConfig
from ml.errors import InputError, UsageError
from ml.models.processor import Card
from ml.serving.registry import (
    Clock,
    Event,
    Model,
    Registry,
    Version,
    actor,
    sync_folder,
    utc_now,
    write_whole,
)
from ml.serving.triton_config import Signature, model_config, signature_of

CONFIG = "config.pbtxt"
#: The name under which a version is loaded and checked before it may answer anybody (see promotion.py).
CHALLENGER = "-challenger"


@dataclass(frozen=True)
class Published:
    """What became of a graph folder: its version, and whether the call wrote it."""

    version: Version
    new: bool


class Repository:
    """A model repository in a folder. Writers of all processes take turns.

    now, by: the clock and the actor of the audit log.
    """

    def __init__(self, folder: Path, *, now: Clock = utc_now, by: str | None = None) -> None:
        self.folder, self._now, self._by = folder, now, actor() if by is None else by

    # --- reading -------------------------------------------------------------------------------------------

    def registry(self) -> Registry:
        return Registry.load(self.folder)

    def model(self, name: str) -> Model:
        """Raises UsageError that lists what is published."""
        models = self.registry().models
        if name not in models:
            known = f"published are: {', '.join(sorted(models))}" if models else "nothing is published yet"
            raise UsageError(f"{self.folder}: no model '{name}'; {known}")
        return models[name]

    def version(self, name: str, version: int) -> Version:
        """Raises UsageError that lists the versions there are."""
        versions = self.model(name).versions
        if version not in versions:
            known = ", ".join(map(str, sorted(versions)))
            raise UsageError(f"{self.folder}: {name} has no version {version}; there are: {known}")
        return versions[version]

    def graph(self, name: str, version: int) -> Path:
        """The folder of a version: `model.onnx` and `card.json`, as `graphs/NAME` has them."""
        return self.folder / name / str(version)

    def champions(self) -> dict[str, int]:
        """Champion of every model that has one."""
        return {
            name: model.champion
            for name, model in self.registry().models.items()
            if model.champion is not None
        }

    # --- writing -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[Registry]:
        """Hold the repository's lock; the registry as it is now, for the holder to change and `save`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.registry()

    def log(self, registry: Registry, action: str, model: str, version: int, note: str = "") -> None:
        """Append a line to the audit log."""
        event = {
            "time": self._now(),
            "action": action,
            "model": model,
            "version": version,
            "by": self._by,
            "note": note,
        }
        registry.audit.append(Event.model_validate(event))

    def save(self, registry: Registry) -> None:
        registry.save(self.folder)

    def publish(self, graph: Path, name: str, serving: ServingConfig, note: str = "") -> Published:
        """Copy a graph folder in as the next version of `name`.

        The same graph published before is that version again, and nothing is copied. Raises InputError for a
        folder that holds no usable graph.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name.endswith(CHALLENGER):
            rule = f"use letters, digits, '_', '.' and '-', not ending in '{CHALLENGER}'"
            raise UsageError(f"'{name}' cannot be a model's name; {rule}")
        files, card = _graph_files(graph)
        signature_of(graph / "model.onnx")
        digest = digest_of(files)
        with self.writing() as registry:
            model = registry.models.setdefault(
                name, Model(max_batch=serving.max_batch, queue_us=serving.queue_us)
            )
            moved = (model.max_batch, model.queue_us) != (serving.max_batch, serving.queue_us)
            model.max_batch, model.queue_us = serving.max_batch, serving.queue_us
            same = next((v for v in model.versions.values() if v.digest == digest), None)
            if same is not None and self.graph(name, same.version).is_dir():
                if moved:
                    self.save(registry)
                return Published(same, new=False)
            number = same.version if same else 1 + max([*model.versions, *self._folders(name)], default=0)
            self._place(name, number, files, digest)
            size = sum(file.stat().st_size for file in files)
            version = Version(
                version=number, digest=digest, bytes=size, card=card, published=self._now(), by=self._by
            )
            model.versions[number] = version
            self.log(registry, "publish", name, number, note)
            self._prune(registry, name, serving.keep)
            self.save(registry)
            return Published(version, new=True)

    def _place(self, name: str, number: int, files: list[Path], digest: str) -> None:
        """Write a version folder beside its place, make it durable, rename it."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        for left in home.glob(".stage-*"):  # of a publisher that was killed; we hold the lock
            shutil.rmtree(left)
        stage = home / f".stage-{number}"
        stage.mkdir()
        for file in files:
            shutil.copyfile(file, stage / file.name)
            with (stage / file.name).open("rb") as written:
                os.fsync(written.fileno())
        if digest_of(sorted(stage.iterdir())) != digest:
            shutil.rmtree(stage)
            raise InputError(f"{files[0].parent}: changed while it was being published; publish it again")
        sync_folder(stage)
        stage.rename(home / str(number))
        sync_folder(home)

    def _prune(self, registry: Registry, name: str, keep: int) -> None:
        """Remove all but the last `keep` versions; the champion and the one before it stay."""
        model = registry.models[name]
        kept = {*sorted(model.versions)[-keep:], *model.champions[-2:]}
        for number in sorted(set(model.versions) - kept):
            del model.versions[number]
            self.log(registry, "prune", name, number)
            shutil.rmtree(self.graph(name, number), ignore_errors=True)
        model.champions = [number for number in model.champions if number in model.versions]

    def _folders(self, name: str) -> list[int]:
        home = self.folder / name
        return [int(path.name) for path in home.iterdir() if path.name.isdecimal()] if home.is_dir() else []

    # --- what Triton reads ---------------------------------------------------------------------------------

    def require_intact(self, name: str, version: Version) -> None:
        """Raises InputError when the version's files are not the ones that were published."""
        folder = self.graph(name, version.version)
        try:
            intact = digest_of(sorted(folder.iterdir())) == version.digest
        except FileNotFoundError:
            raise InputError(f"{folder}: the published files are gone; publish the graph again") from None
        if not intact:
            raise InputError(
                f"{folder}: not the files that were published (digest differs); publish the graph again"
            )

    def config_text(self, name: str, model: Model) -> str:
        """`config.pbtxt` for the champion, and beside it the one before where Triton can serve both.

        It can where their tensors are alike (one configuration describes both) and the champion is the higher
        number (Triton answers a request without a version from the highest).
        """
        champion = model.champion
        if champion is None:
            raise UsageError(f"{name} has no champion; run `scriptorium promote {name} VERSION`")
        served = [champion]
        signature = self._signature(name, champion)
        before = model.previous
        if before is not None and before < champion and self._signature(name, before) == signature:
            served.append(before)
        cards = {number: model.versions[number].card for number in served}
        return model_config(
            name, signature, cards, champion, max_batch=model.max_batch, queue_us=model.queue_us
        )

    def _signature(self, name: str, version: int) -> Signature:
        return signature_of(self.graph(name, version) / "model.onnx")

    def write_config(self, name: str, text: str) -> None:
        """Replace the model's `config.pbtxt` (an equal one is left alone: Triton reloads by time stamp)."""
        path = self.folder / name / CONFIG
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text.encode())

    @contextlib.contextmanager
    def challenger(self, name: str, version: Version, model: Model) -> Iterator[str]:
        """The version as a model of its own, under a name that nobody asks for, while the block lasts."""
        alias = name + CHALLENGER
        home = self.folder / alias
        shutil.rmtree(home, ignore_errors=True)
        place = home / str(version.version)
        place.mkdir(parents=True)
        try:
            for file in self.graph(name, version.version).iterdir():
                os.link(file, place / file.name)
            text = model_config(
                alias,
                self._signature(name, version.version),
                {version.version: version.card},
                version.version,
                max_batch=model.max_batch,
                queue_us=model.queue_us,
            )
            self.write_config(alias, text)
            yield alias
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _graph_files(graph: Path) -> tuple[list[Path], Card]:
    """The files of a graph folder, and its card. Raises InputError for what is missing or foreign."""
    if not (graph / "model.onnx").is_file() or not (graph / "card.json").is_file():
        raise InputError(
            f"{graph}: no model.onnx with a card.json is there; make it with `scriptorium export`"
        )
    files = sorted(graph.iterdir())
    odd = next((file for file in files if file.is_symlink() or not file.is_file()), None)
    if odd is not None:
        raise InputError(f"{odd}: a graph folder holds plain files only; remove it")
    try:
        card = json.loads((graph / "card.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{graph / 'card.json'}: not JSON ({error}); export the model again") from None
    return files, card


def digest_of(files: list[Path]) -> str:
    """SHA-256 over names and contents, in the order given."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            inner = hashlib.file_digest(content, "sha256").hexdigest()
        digest.update(f"{file.name}\0{inner}\n".encode())
    return digest.hexdigest()
