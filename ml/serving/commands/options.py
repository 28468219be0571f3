"""Options that several serving commands share, and what they lead to."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml.config import ServingConfig, load_params
from ml.serving.control import ControlClient
from ml.serving.repository import Repository
from ml.serving.server import EmbeddedTriton, announced_server

KEY_VARIABLE = "SCRIPTORIUM_TRITON_KEY"


def add_repository_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repository",
        type=Path,
        metavar="DIR",
        help="the model repository (default: params.yaml's, or `repository`)",
    )


def repository_of(args: argparse.Namespace) -> Repository:
    """The repository that was named, or the one of the parameters, or the default one."""
    if args.repository is not None:
        return Repository(args.repository)
    params = Path("params.yaml")
    serving = load_params(params).serving if params.exists() else ServingConfig.model_validate({})
    return Repository(Path(serving.repository))


def add_url_option(parser: argparse.ArgumentParser, otherwise: str) -> None:
    parser.add_argument(
        "--url",
        metavar="HOST:PORT",
        help=f"gRPC address of a running server (default: the one `serve` runs here, else {otherwise})",
    )


@contextmanager
def control_of(repository: Repository, url: str | None, *, embedded: bool) -> Iterator[ControlClient | None]:
    """Model control of the named server, or of the one that `serve` runs on the repository.

    Where there is neither: of a server started for the time of the block (`embedded`), or None. The key of a
    server that this machine's `serve` did not start is read from the environment (SCRIPTORIUM_TRITON_KEY).
    """
    announced = announced_server(repository.folder)
    if url is not None or announced is not None:
        key = announced[1] if announced and url in (None, announced[0]) else os.environ.get(KEY_VARIABLE)
        with ControlClient(url or announced[0], key) as control:  # type: ignore[index]
            yield control
    elif embedded:
        with EmbeddedTriton(repository.folder) as server:
            yield server.control
    else:
        yield None
