"""What is published, who serves, and who decided it: `registry.json` of a model repository."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field

from ml.errors import InputError

REGISTRY = "registry.json"


class _Record(BaseModel):
    model_config = ConfigDict(
        extra="ignore"
    )  # `champion` and `previous` are written for people, and derived here


class Version(_Record):
    """One published graph. Its folder never changes."""

    version: int
    digest: str = Field(description="SHA-256 over the names and contents of the graph folder's files")
    bytes: int
    card: dict[str, Any]
    published: str = Field(description="UTC, ISO 8601")
    by: str


class Event(_Record):
    """One line of the audit log."""

    time: str
    action: Literal["publish", "promote", "refuse", "rollback", "prune"]
    model: str
    version: int
    by: str
    note: str = ""


class Model(_Record):
    """One model: its versions, and the order in which they were champions."""

    max_batch: int
    queue_us: int
    champions: list[int] = Field(
        default_factory=list, description="oldest first, each version once; the last serves"
    )
    versions: dict[int, Version] = Field(default_factory=dict)

    @computed_field
    @property
    def champion(self) -> int | None:
        return self.champions[-1] if self.champions else None

    @computed_field
    @property
    def previous(self) -> int | None:
        return self.champions[-2] if len(self.champions) > 1 else None


class Registry(_Record):
    """The whole of `registry.json`."""

    models: dict[str, Model] = Field(default_factory=dict)
    audit: list[Event] = Field(default_factory=list)

    @classmethod
    def load(cls, folder: Path) -> Registry:
        """The registry in `folder`, an empty one where none is. Raises InputError when it is damaged."""
        path = folder / REGISTRY
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"{path}: damaged at '{where}': {first['msg']}; restore it from a backup"
            ) from None

    def save(self, folder: Path) -> None:
        """Replace `registry.json` as a whole."""
        plain = self.model_dump(mode="json")
        write_whole(folder / REGISTRY, (json.dumps(plain, indent=2, ensure_ascii=False) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that readers see old or new, never half, also after a power cut."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def actor() -> str:
    """Who acts: SCRIPTORIUM_ACTOR (an orchestrator sets it), else the user."""
    named = os.environ.get("SCRIPTORIUM_ACTOR")
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


Clock = Callable[[], str]
