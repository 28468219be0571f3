"""`scriptorium serve`: the embedded Triton on the published repository, until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sys

from ml.errors import InputError, UsageError
from ml.serving.commands.options import add_repository_option, repository_of
from ml.serving.promotion import serve_champions
from ml.serving.server import EmbeddedTriton


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        type=int,
        default=8001,
        help="gRPC port on loopback (default: %(default)s; 0 takes a free one)",
    )
    parser.add_argument(
        "--metrics-port", type=int, metavar="PORT", help="also serve Prometheus metrics on this loopback port"
    )
    add_repository_option(parser)


def run(args: argparse.Namespace) -> int:
    repository = repository_of(args)
    if not repository.champions():
        raise UsageError(f"{repository.folder}: no model has a champion yet; `make demo` makes some")
    with EmbeddedTriton(
        repository.folder, port=args.port or None, metrics_port=args.metrics_port, announce=True
    ) as server:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            champions = serve_champions(repository, server.control)
            models = ", ".join(f"{name} version {version}" for name, version in champions.items())
            print(f"serving on {server.url} (gRPC): {models}")
            print(f"read with:  scriptorium read FILE... --url {server.url}")
            print(f"log:        {server.log}\nstop with Ctrl-C", flush=True)
            code = server.wait()
        except (KeyboardInterrupt, SystemExit):
            server.finish()
            print("stopped", file=sys.stderr)
            return 0
    raise InputError(f"the server ended by itself (exit {code}); see {server.log}")
