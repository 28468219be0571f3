"""`scriptorium rollback`: the champion before this one serves again."""

from __future__ import annotations

import argparse

from ml.serving.commands.options import add_repository_option, add_url_option, control_of, repository_of
from ml.serving.promotion import rollback


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a published model")
    add_url_option(parser, "none: the next server starts with it")
    add_repository_option(parser)


def run(args: argparse.Namespace) -> int:
    repository = repository_of(args)
    with control_of(repository, args.url, embedded=False) as control:
        move = rollback(repository, args.name, control)
        where = f"served at {control.url}" if control else "the next server starts with it"
    print(f"{args.name}: version {move.now} is the champion again, after {move.before} ({where})")
    return 0
