"""`scriptorium train`: one command for the models that learn from pages alone."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path

from ml.config import Params, add_params_option, load_params
from ml.errors import UsageError
from ml.progress import say

#: Resumable states lie here, outside of what DVC owns and may delete.
STATES = Path(".scriptorium") / "training"
#: What must be alike for a network to start from another's weights; the rest is copied where it fits.
BUILD = ("backbone", "channels", "norm", "word_stride", "layout_stride", "roi")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=["trident", "teacher"], help="which model to train")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/snapshot"),
        metavar="DIR",
        help="the dataset (default: %(default)s)",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="augmentation cache; without it pages are used as they are"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="checkpoint folder (default: models/NAME)")
    parser.add_argument(
        "--metrics",
        type=Path,
        default=Path("metrics"),
        metavar="DIR",
        help="folder of NAME.json and NAME.csv",
    )
    parser.add_argument(
        "--start",
        type=Path,
        metavar="DIR",
        help="checkpoint to start Trident from (default: trident.start, where the network is built like it)",
    )
    parser.add_argument("--from-scratch", action="store_true", help="start Trident from random weights")
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="DIR",
        help="an older dataset whose pages are shown among the new ones (share: trident.replay), so that Trident "
        "does not forget them; what it reads of both is measured before and after",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="forget a training that was interrupted, and start over"
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that prepare batches (default: %(default)s)"
    )
    add_params_option(parser)


def run(args: argparse.Namespace) -> int:
    params = load_params(args.params)
    snapshot_digest(args.data)  # a missing dataset is said before torch is loaded
    out = args.out or Path("models") / args.name
    if args.name == "teacher":
        from ml.training.layout import train_teacher

        state = training_state(
            "teacher", params.teacher.model_dump_json(), params.seed, args.data, args.fresh
        )
        train_teacher(
            params, args.data, args.cache, out, metrics=args.metrics, state=state, workers=args.workers
        )
    else:
        start = start_of(params, args)
        config = params.trident.model_dump_json(exclude={"distill"}) + (
            weights_digest(start) if start else ""
        )
        config += snapshot_digest(args.replay) if args.replay else ""
        state = training_state("trident", config, params.seed, args.data, args.fresh)
        _train_trident(params, args, out, state, start)
    shutil.rmtree(state, ignore_errors=True)  # the checkpoint is whole: nothing is left to resume
    return 0


def start_of(params: Params, args: argparse.Namespace) -> Path | None:
    """The checkpoint that Trident starts from; None: random weights. Raises UsageError for contradictions."""
    if args.start and args.from_scratch:
        raise UsageError("--start and --from-scratch contradict each other; give one")
    if args.start or args.from_scratch or not params.trident.start:
        return args.start
    start = Path(params.trident.start)
    try:
        built = json.loads((start / "card.json").read_text(encoding="utf-8"))["config"]
    except FileNotFoundError:
        say(f"trident: from random weights; there is no {start}")
        return None
    own = params.trident.model_dump(mode="json")
    other = [key for key in BUILD if own[key] != built[key]]
    if other:
        say(
            f"trident: from random weights; {start} is built with another {', '.join(other)} "
            f"(`--start {start}` takes what fits of it)"
        )
        return None
    return start


def _train_trident(
    params: Params, args: argparse.Namespace, out: Path, state: Path, start: Path | None
) -> None:
    from ml.training.replay import ReplaySteps
    from ml.training.trident import TridentSteps, make
    from ml.training.trident_fit import fit_trident

    system, steps = make(params, args.data, args.cache)
    shown, golden = steps, None
    if args.replay:
        old = TridentSteps(args.replay, None, params.trident, params.seed)
        shown = ReplaySteps(steps, old, params.trident.replay, params.seed)
        golden = {"the new pages": steps.val, "the old pages": old.val}
    fit_trident(
        "trident",
        system,
        shown,
        params,
        data=args.data,
        val=steps.val,
        out=out,
        start=start,
        metrics=args.metrics,
        state=state,
        workers=args.workers,
        golden=golden,
    )


def write_metrics(path: Path, metrics: dict[str, float], **more: float) -> None:
    """A stage's figures as JSON, which DVC and Dagster read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({k: round(v, 6) for k, v in (metrics | more).items()}, indent=1) + "\n", encoding="utf-8"
    )


def weights_digest(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights. Raises UsageError where there are none."""
    try:
        return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    except FileNotFoundError:
        raise UsageError(f"{folder}: no checkpoint (model.safetensors is missing)") from None


def snapshot_digest(data: Path) -> str:
    """The digest of a dataset, which checkpoints carry. Raises UsageError where there is no dataset."""
    try:
        return json.loads((data / "manifest.json").read_text(encoding="utf-8"))["digest"]
    except FileNotFoundError:
        raise UsageError(
            f"{data}: no dataset (manifest.json is missing); make one with `scriptorium snapshot`"
        ) from None


def training_state(name: str, config: str, seed: int, data: Path, fresh: bool = False) -> Path:
    """Where a training of these parameters on this data keeps its resumable state: never shared with another."""
    key = hashlib.sha256(f"{config}\n{seed}\n{snapshot_digest(data)}".encode()).hexdigest()[:16]
    state = STATES / f"{name}-{key}"
    if fresh:
        shutil.rmtree(state, ignore_errors=True)
    return state
