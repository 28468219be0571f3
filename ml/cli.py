"""The `scriptorium` command: a table of subcommands, each loaded only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import NamedTuple

from ml.errors import InputError, UsageError


class Command(NamedTuple):
    """A subcommand: `module` has `add_arguments(parser)` and `run(args) -> exit code`."""

    module: str
    summary: str


COMMANDS: dict[str, Command] = {
    "demo": Command(
        "orchestration.demo", "the whole main job on sample pages; ends with pages read by a real Triton"
    ),
    "profile": Command("ml.config", "write params.yaml from a profile (smoke, demo, paper)"),
    "synth": Command("ml.pages.synthesis.command", "typeset synthetic pages with exact truth"),
    "fonts": Command("ml.pages.synthesis.font_install", "fetch hundreds of font faces for synthetic pages"),
    "land": Command("orchestration.land", "register a folder of pages as a batch of the graph"),
    "ingest": Command("ml.pages.ingest", "read pages of any format into a batch; set bad ones aside"),
    "check": Command("data_contracts.command", "hold a batch against the data contracts"),
    "snapshot": Command("ml.pages.snapshot", "make a versioned dataset of the accepted pages"),
    "cache": Command("ml.augment.command", "compute the photometric augmentation cache"),
    "train": Command("ml.training.train", "train trident or teacher"),
    "distill": Command("ml.training.distill", "train a student from its teacher"),
    "export": Command("ml.export.command", "export a trained model to ONNX, and prove it equal"),
    "evaluate": Command("ml.evaluation.command", "score any form of a model on pages with truth"),
    "gate": Command("ml.evaluation.gate", "decide whether a challenger may be served"),
    "publish": Command("ml.serving.commands.publish", "put a model into the Triton repository"),
    "promote": Command("ml.serving.commands.promote", "make a published version the champion"),
    "rollback": Command("ml.serving.commands.rollback", "go back to the previous champion"),
    "models": Command("ml.serving.commands.models", "list published models and versions"),
    "serve": Command("ml.serving.commands.serve", "run the embedded Triton on the repository, loopback only"),
    "read": Command("ml.serving.commands.read", "read files through a Triton server"),
}


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scriptorium", description="Document pages to deployed models, kept current."
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show where in the code an input error was raised"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = subparsers.add_parser(
            name, help=command.summary, description=command.summary[0].upper() + command.summary[1:] + "."
        )
        if name == chosen:
            importlib.import_module(command.module).add_arguments(sub)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand. Returns the exit code: 0 good, 1 some inputs refused, 2 wrong usage."""
    argv = sys.argv[1:] if argv is None else argv
    chosen = next((word for word in argv if word in COMMANDS), None)
    args = _parser(chosen).parse_args(argv)
    try:
        return importlib.import_module(COMMANDS[args.command].module).run(args)
    except InputError as error:
        if args.traceback:
            raise
        print(f"scriptorium {args.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print(
            f"scriptorium {args.command}: interrupted; run it again to go on from where it stopped",
            file=sys.stderr,
        )
        return 130


if __name__ == "__main__":
    sys.exit(main())
