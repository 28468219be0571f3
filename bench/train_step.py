"""How much faster is a step of the engine than the plainest correct loop?

    python bench/train_step.py [--steps 30] [--batch 2] [--data STORE] [--out FILE]

The network of profile small on the same batches of synthetic pages, in turns. The engine is `ml.training.fit` as
trainings call it: bfloat16 autocast, channels_last, fused AdamW, batches prepared in another process. The plain loop
is float32, contiguous, with torch's own AdamW and attention and torchvision's RoIAlign, and prepares each batch when it
needs it. On a GPU, the engine's share of what the matrix units can do is given too. Prints a table to stderr and JSON
to stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from reporting import add_out, table, write
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ml.config import Params, SynthConfig, load_profile, parse_params
from ml.models.trident.reading import aligned
from ml.pages.store import PageStore, PageWriter
from ml.training.engine import fit
from ml.training.trident import TridentSteps, TridentSystem, make

#: Side of the matrices whose product measures the matrix units.
SIDE = 8192
GOAL = 1.5


class Timed(TridentSystem):
    """Notes when each training step begins."""

    began: list[float]

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.network.training:
            self.began.append(time.perf_counter())
        return super().loss(batch)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def system_and_steps(params: Params, data: Path) -> tuple[Timed, TridentSteps]:
    system, steps = make(params, data, None)
    timed = Timed(system.network, bool(system.layout_weight))
    timed.began = []
    return timed, steps


def engine(params: Params, data: Path, workers: int) -> list[float]:
    """Seconds of each of the engine's steps."""
    system, steps = system_and_steps(params, data)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        where = {"state": Path(folder) / "training" / "bench", "log": Path(folder) / "bench.csv"}
        fit(system, steps, params.trident.training, seed=params.seed, workers=workers, what="engine", **where)
    torch.use_deterministic_algorithms(False)
    return gaps(system.began)


def plain(params: Params, data: Path) -> list[float]:
    """Seconds of each of the plain loop's steps."""
    with (
        patch("ml.models.trident.network.word_features", aligned),
        patch("ml.training.trident.sdpa_kernel", lambda _: contextlib.nullcontext()),
    ):
        return plain_steps(params, data)


def plain_steps(params: Params, data: Path) -> list[float]:
    system, steps = system_and_steps(params, data)
    system.to(device(), memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    system.train()
    # The network takes images as they are stored, NHWC; a plain loop gives its convolutions NCHW.
    system.network.backbone.register_forward_pre_hook(lambda _, images: (images[0].contiguous(),))
    config = params.trident.training
    optimizer = torch.optim.AdamW(system.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    for step in range(config.steps):
        torch.manual_seed(params.seed * 1_000_003 + step)  # the engine's words
        losses = system.loss(on_device(steps[step]))
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(system.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()
        losses["total"].item()  # the loss is watched, as the engine's is
    return gaps(system.began)


def on_device(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(device()) for name, value in batch.items()}


def gaps(moments: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(moments)]


def operations(params: Params, data: Path) -> float:
    """Floating-point operations of a step's matrix products and convolutions, forward and backward."""
    system, steps = system_and_steps(params, data)
    system.to(device()).train()
    with FlopCounterMode(display=False) as counter:
        system.loss(on_device(steps[0]))["total"].backward()
    return float(counter.get_total_flops())


def matrix_peak() -> float:
    """Operations a second of a large bfloat16 matrix product of random numbers."""
    a, b = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(13):
        torch.cuda.synchronize()
        start = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * SIDE**3 / statistics.median(seconds[3:])


def dataset(folder: Path, store: Path | None, params: Params, pages: int) -> Path:
    """A dataset to train on: the pages of `store` or synthetic ones, two of them held out for the validation."""
    if store is None:
        from ml.pages.synthesis.command import generate

        wanted = params.synth.model_dump() | {"pages": pages, "fonts": None}
        with PageWriter(folder / "train") as writer:
            for page in generate(SynthConfig.model_validate(wanted), seed=params.seed, workers=2):
                writer.write(page)
    else:
        (folder / "train").symlink_to(store.resolve())
    given = PageStore(folder / "train")
    with PageWriter(folder / "val") as writer:
        for number in range(2):
            writer.write(given[number])
    return folder


def measure(params: Params, data: Path, warmup: int, rounds: int, workers: int) -> dict[str, Any]:
    """Both loops in turns; each counts with the median step of its best round."""
    seconds: dict[str, list[float]] = {"plain": [], "engine": []}
    for _ in range(rounds):
        seconds["plain"].append(statistics.median(plain(params, data)[warmup:]))
        seconds["engine"].append(statistics.median(engine(params, data, workers)[warmup:]))
    batch = params.trident.training.batch
    rows = [
        {"loop": name, "step_ms": round(1000 * min(s), 2), "pages_a_second": round(batch / min(s), 2)}
        for name, s in seconds.items()
    ]
    times = min(seconds["plain"]) / min(seconds["engine"])
    flops = operations(params, data)
    report = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "batch": batch,
        "crop": params.trident.crop,
        "gigaflop_a_step": round(flops / 1e9, 2),
        "loops": rows,
        "goal": {"times_plain": round(times, 2), "reached": times >= GOAL},
    }
    if torch.cuda.is_available():
        peak, rate = matrix_peak(), flops / min(seconds["engine"])
        report["matrix_units"] = {
            "peak_teraflops": round(peak / 1e12, 1),
            "engine_teraflops": round(rate / 1e12, 1),
            "share": round(rate / peak, 3),
        }
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of a page store (default: synthetic pages)")
    parser.add_argument("--pages", type=int, default=24, help="synthetic pages, where no --data is given")
    parser.add_argument("--steps", type=int, default=30, help="steps of a round")
    parser.add_argument("--warmup", type=int, default=10, help="of them not counted")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, help="pages a step (default: the profile's)")
    parser.add_argument("--crop", type=int, help="side of the squares trained on (default: the profile's)")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 takes all cores")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare the engine's batches")
    add_out(parser)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    values = load_profile("small").model_dump()
    trident = values["trident"]
    trident["training"] |= {"steps": args.steps, "evaluate_every": args.steps, "save_every": args.steps}
    trident["training"]["batch"] = args.batch or trident["training"]["batch"]
    trident["crop"] = args.crop or trident["crop"]
    params = parse_params(values, "bench/train_step.py")
    with tempfile.TemporaryDirectory() as folder:
        data = dataset(Path(folder), args.data, params, args.pages)
        report = measure(params, data, args.warmup, args.rounds, args.workers)
    table(report["loops"])
    print(f"\n{json.dumps(report['goal'] | report.get('matrix_units', {}))}", file=sys.stderr)
    write(report, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
