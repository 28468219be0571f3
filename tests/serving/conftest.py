from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ml.config import ServingConfig
from ml.errors import InputError
from ml.serving.environment import default_folder, find_environment
from ml.serving.promotion import promote
from ml.serving.repository import Repository
from ml.serving.server import EmbeddedTriton
from ml.serving.setup import make_environment

from .graphs import write_trident


@pytest.fixture(scope="session")
def environment():
    """The embedded server's environment, made when it is not there."""
    try:
        return find_environment()
    except InputError:
        try:
            make_environment(default_folder())
            return find_environment()
        except InputError as error:
            pytest.skip(f"no embedded server: {error}")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository", by="a test")


@pytest.fixture
def publish(repository: Repository, tmp_path: Path) -> Callable[..., int]:
    """Publish a graph that reads a text, as the next version of `trident`."""

    def publish_(text: str, keep: int = 3, **kind) -> int:
        graph = write_trident(
            tmp_path / f"graph-{text}-{len(list(tmp_path.iterdir()))}" / "trident", text, **kind
        )
        return repository.publish(
            graph, "trident", ServingConfig.model_validate({"keep": keep})
        ).version.version

    return publish_


@pytest.fixture
def triton(environment, repository: Repository, tmp_path: Path) -> Iterator[EmbeddedTriton]:
    """A server on the repository, serving nothing yet."""
    repository.folder.mkdir(exist_ok=True)
    with EmbeddedTriton(repository.folder, logs=tmp_path / "logs", environment=environment) as server:
        yield server


@pytest.fixture(scope="session")
def served(
    environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EmbeddedTriton, Repository]]:
    """A server that serves `trident` version 1, which reads "page"; not to be changed by tests."""
    home = tmp_path_factory.mktemp("served")
    repository = Repository(home / "repository", by="a test")
    repository.publish(write_trident(home / "trident"), "trident", ServingConfig.model_validate({}))
    with EmbeddedTriton(repository.folder, logs=home / "logs", environment=environment) as server:
        promote(repository, "trident", 1, server.control)
        yield server, repository
