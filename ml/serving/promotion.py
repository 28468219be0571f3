"""Promotion and rollback: a champion is always ready, and only what has read the golden page becomes one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ml.errors import InputError, UsageError
from ml.predictor import Predictor, open_predictor
from ml.serving.client import TritonRunner
from ml.serving.control import ControlClient
from ml.serving.golden import golden_page, require_golden
from ml.serving.registry import Model, Registry, Version
from ml.serving.repository import CONFIG, Repository


@dataclass(frozen=True)
class Move:
    """A champion that moved, or stayed (`before` is then `now`)."""

    model: str
    before: int | None
    now: int
    note: str


def promote(
    repository: Repository, name: str, number: int, control: ControlClient, page: np.ndarray | None = None
) -> Move:
    """Make a published version the champion, on the server behind `control` and in the registry.

    It is loaded under another name first and reads the golden page (`page`, or a drawn one) there; then it is
    loaded beside the champion under the model's name, without unloading anything; then the registry moves.
    Raises InputError with the reason when a step fails; the champion is then the one it was.
    """
    version = repository.version(name, number)
    with repository.writing() as registry:
        model = registry.models[name]
        before = model.champion
        if before == number:
            repository.write_config(name, repository.config_text(name, model))
            control.load(name)
            return Move(name, before, number, "it is the champion already")
        try:
            repository.require_intact(name, version)
            note = _check(repository, name, version, model, control, page)
            model.champions = [*(champion for champion in model.champions if champion != number), number]
            _take_over(repository, name, model, control)
        except InputError as error:
            stays = f"version {before} stays the champion" if before else f"{name} still has no champion"
            _log_refusal(repository, name, number, str(error))
            raise InputError(f"{name} version {number} was not promoted: {error}; {stays}") from None
        repository.log(registry, "promote", name, number, note)
        repository.save(registry)
        return Move(name, before, number, note)


def rollback(repository: Repository, name: str, control: ControlClient | None) -> Move:
    """Make the champion before this one the champion again, on the server too where there is one.

    Raises UsageError when there was none before, InputError when the server cannot load it.
    """
    repository.model(name)
    with repository.writing() as registry:
        model = registry.models[name]
        if model.previous is None or model.champion is None:
            raise UsageError(f"{name} has no champion to go back to; see `scriptorium models`")
        before = model.champion
        repository.require_intact(name, model.versions[model.previous])
        model.champions = model.champions[:-1]
        now = model.champions[-1]
        _take_over(repository, name, model, control)
        repository.log(registry, "rollback", name, now, f"from version {before}")
        repository.save(registry)
        return Move(name, before, now, "rolled back")


def serve_champions(
    repository: Repository, control: ControlClient, names: Collection[str] | None = None
) -> dict[str, int]:
    """Load the champions (of `names`, or all) on a server that has just started. Returns model -> version.

    Raises InputError when one does not load; the others are loaded nevertheless.
    """
    failed = []
    with repository.writing() as registry:
        champions = {name: model.champion for name, model in registry.models.items() if model.champion}
        champions = {name: number for name, number in champions.items() if names is None or name in names}
        for name in champions:
            try:
                repository.write_config(name, repository.config_text(name, registry.models[name]))
                control.load(name)
            except InputError as error:
                failed.append(str(error))
    if failed:
        raise InputError("; ".join(failed))
    return champions


def _check(
    repository: Repository,
    name: str,
    version: Version,
    model: Model,
    control: ControlClient,
    page: np.ndarray | None,
) -> str:
    """Load the version where nobody asks for it, and compare its golden page with the graph's own reading."""
    with repository.challenger(name, version, model) as alias, _loaded(control, alias):
        runner = TritonRunner(control.url, alias, version.version)
        try:
            served = Predictor(runner.card, runner)
            local = open_predictor(repository.graph(name, version.version))
            return require_golden(served.read, local.read, golden_page() if page is None else page)
        finally:
            runner.close()


@contextmanager
def _loaded(control: ControlClient, name: str) -> Iterator[None]:
    control.load(name)
    try:
        yield
    finally:
        control.unload(name)


def _take_over(repository: Repository, name: str, model: Model, control: ControlClient | None) -> None:
    """Write the configuration and load it; put the old one back when the server refuses."""
    path = repository.folder / name / CONFIG
    old = path.read_text(encoding="utf-8") if path.exists() else None
    repository.write_config(name, repository.config_text(name, model))
    if control is None:
        return
    try:
        control.load(name)
    except InputError:
        if old is None:
            path.unlink()
        else:
            repository.write_config(name, old)
        raise


def _log_refusal(repository: Repository, name: str, number: int, why: str) -> None:
    """Into the audit log, on a registry that has nothing else changed. The caller holds the lock."""
    registry: Registry = repository.registry()
    repository.log(registry, "refuse", name, number, why)
    repository.save(registry)
