"""Does a large Trident teach a small one more than the pages alone do?

    python bench/self_distill.py [--steps 1500] [--teacher-steps 4000] [--seeds 3] [--out FILE]

One large Trident is trained first. Then, for each seed, the same small one twice, alone and distilled: the same first
weights, batches and number of steps, on the same synthetic pages. Scored on pages that neither saw, by
`ml.evaluation.evaluate`. A gain counts where it has one sign in all seeds. Prints a table to stderr and JSON to stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from reporting import add_out, table, write

from ml.config import Params, SynthConfig
from ml.models.trident.network import Trident
from ml.pages.store import PageStore, PageWriter
from ml.pages.synthesis.command import generate
from ml.training.engine import fit
from ml.training.replay import figures
from ml.training.trident import card, make, word_threshold
from ml.training.trident_distill import make_student

SEED = 7
FIGURES = ("words_f1", "reading_cer", "end_to_end_f1")
#: What both have in common, and what each has of its own.
SHARED = {"start": None, "layout_stride": 16, "roi": [4, 32], "dropout": 0.0, "norm": "batch"}
LARGE = {"backbone": "resnet18", "channels": 96, "reader_width": 160, "reader_layers": 3}
SMALL = {
    "backbone": "resnet10t",
    "channels": 48,
    "tower": 1,
    "reader_width": 96,
    "reader_layers": 1,
    "decoder_width": 64,
}


def dataset(folder: Path, pages: int, long_edge: int) -> Path:
    """Synthetic pages: of ten, eight to train on, one to choose the weights by and one for the figures."""
    config = SynthConfig(pages=pages, long_edge=long_edge, languages=("en",), charset="english")  # pyright: ignore[reportCallIssue]
    splits = ("val", "test", *["train"] * 8)
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(PageWriter(folder / name)) for name in set(splits)}
        for number, page in enumerate(generate(config, seed=SEED, workers=2)):
            writers[splits[number % 10]].write(page)
    return folder


def params_of(args: argparse.Namespace, build: dict[str, Any], steps: int, seed: int) -> Params:
    """A Trident of this build, trained for so many steps."""
    often = max(1, steps // 5)
    training = {"steps": steps, "batch": args.batch, "lr": args.lr, "ema": 0.99, "evaluate_every": often}
    distill = {"alpha": args.alpha, "beta": args.beta, "temperature": args.temperature}
    trident = SHARED | build | {"long_edge": args.long_edge, "crop": args.crop}
    trident |= {"training": training | {"save_every": steps}, "distill": distill}
    return Params.model_validate({"seed": seed, "trident": trident})


def trained(
    params: Params, data: Path, teacher: Trident | None, workers: int
) -> tuple[Trident, dict[str, Any]]:
    """A Trident trained alone or by a teacher, and its figures on the test pages."""
    system, steps = make_student(params, teacher, data, None) if teacher else make(params, data, None)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        where = {"state": Path(folder) / "training" / "bench", "log": Path(folder) / "bench.csv"}
        what = "distilled" if teacher else "alone"
        done = fit(
            system, steps, params.trident.training, seed=params.seed, what=what, workers=workers, **where
        )
    network = system.release() if teacher else system.network
    model_card = card(network, "", done.metrics)
    model_card["thresholds"]["word"] = word_threshold(network, model_card, steps.val)
    scored = figures(network, model_card, {"test": PageStore(data / "test")})["test"]
    return network, {name: scored[name] for name in FIGURES} | {"seconds": round(done.seconds, 1)}


def gains(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Distilled less alone: of each seed, their mean, and whether all have one sign."""
    both = {way: [row for row in rows if row["student"] == way] for way in ("alone", "distilled")}
    report = {}
    for name in FIGURES:
        each = [round(d[name] - a[name], 6) for a, d in zip(both["alone"], both["distilled"], strict=True)]
        one_sign = all(x > 0 for x in each) or all(x < 0 for x in each)
        report[name] = {"each": each, "mean": round(statistics.mean(each), 6), "one_sign": one_sign}
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=600, help="synthetic pages, eight of ten to train on")
    parser.add_argument("--long-edge", type=int, default=640, help="pixels of their longer side")
    parser.add_argument(
        "--crop", type=int, default=320, help="side of the squares trained on; 0: whole pages"
    )
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1500, help="of each student")
    parser.add_argument("--teacher-steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--alpha", type=float, default=1.0, help="weight of the teacher")
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the truth")
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches")
    add_out(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = dataset(Path(folder), args.pages, args.long_edge)
        teacher, taught_by = trained(
            params_of(args, LARGE, args.teacher_steps, SEED), data, None, args.workers
        )
        rows = []
        for seed in range(1, args.seeds + 1):
            params = params_of(args, SMALL, args.steps, seed)
            for way, source in (("alone", None), ("distilled", teacher)):
                student, scored = trained(params, data, source, args.workers)
                rows.append({"seed": seed, "student": way, **scored})
    report = {
        "settings": {key: value for key, value in vars(args).items() if key != "out"},
        "parameters": {
            name: sum(network.parameter_counts().values())
            for name, network in (("teacher", teacher), ("student", student))
        },
        "teacher": taught_by,
        "students": rows,
        "gains": gains(rows),
    }
    table([{"seed": SEED, "student": "(teacher)", **taught_by}, *rows])
    print(f"\n{json.dumps(report['gains'])}", file=sys.stderr)
    write(report, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
