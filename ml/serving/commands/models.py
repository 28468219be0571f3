"""`scriptorium models`: what is published, and who serves."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from ml.serving.commands.options import add_repository_option, repository_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the whole registry with its audit log, as JSON")
    add_repository_option(parser)


def run(args: argparse.Namespace) -> int:
    repository = repository_of(args)
    registry = repository.registry()
    if args.json:
        print(registry.model_dump_json(indent=2))
        return 0
    if not registry.models:
        print(f"{repository.folder}: nothing is published yet; `make demo` or `scriptorium publish` does")
        return 0
    table = Table("model", "version", "", "published", "by", "data", "MB", "digest")
    for name, model in sorted(registry.models.items()):
        for number, version in sorted(model.versions.items(), reverse=True):
            role = {model.champion: "champion", model.previous: "previous"}.get(number, "")
            data = str(version.card.get("data", ""))[:12]
            table.add_row(
                name,
                str(number),
                role,
                version.published,
                version.by,
                data,
                f"{version.bytes / 1e6:.1f}",
                version.digest[:12],
            )
    Console().print(table)
    return 0
