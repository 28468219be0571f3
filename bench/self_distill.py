"""Does a large Trident teach a small one more than the pages alone do?

    python bench/self_distill.py [--teacher starters/trident-small] [--steps 1500] [--seeds 1 2 3] [--out FILE]

The teacher is a trained Trident, the student one of about a third of its size. For each seed the student is trained
twice from the same random weights, alone and distilled: the same batches and number of steps, on the same synthetic
pages, in the teacher's charset. Scored on pages that none of them saw, by `ml.evaluation.evaluate`. A gain counts
where it has one sign in all seeds. Prints a table to stderr and JSON to stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from reporting import add_out, table, write

from ml.config import Params, SynthConfig, TridentConfig
from ml.models.trident.network import Trident
from ml.pages.store import PageStore, PageWriter
from ml.pages.synthesis.command import generate
from ml.training.checkpoint import load
from ml.training.engine import fit
from ml.training.replay import figures
from ml.training.trident import card, make, word_threshold
from ml.training.trident_distill import make_student

SEED = 7
FIGURES = ("words_f1", "reading_cer", "end_to_end_f1")
#: What a student takes from its teacher, and what it has of its own.
SHARED = {
    "word_stride",
    "layout_stride",
    "roi",
    "narrow",
    "charset",
    "length",
    "long_edge",
    "text_px",
    "zoom",
}
SMALL = {
    "start": None,
    "backbone": "resnet10t",
    "channels": 48,
    "tower": 1,
    "reader_width": 96,
    "reader_layers": 1,
    "decoder_width": 64,
    "dropout": 0.0,
    "norm": "batch",
}


def dataset(folder: Path, pages: int, like: TridentConfig) -> Path:
    """Synthetic pages: of ten, eight to train on, one to choose the weights by and one for the figures."""
    config = SynthConfig(pages=pages, long_edge=like.long_edge, languages=("en",), charset=like.charset)  # pyright: ignore[reportCallIssue]
    splits = ("val", "test", *["train"] * 8)
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(PageWriter(folder / name)) for name in set(splits)}
        for number, page in enumerate(generate(config, seed=SEED, workers=2)):
            writers[splits[number % 10]].write(page)
    return folder


def params_of(args: argparse.Namespace, like: TridentConfig, seed: int, **build: Any) -> Params:
    """A small Trident that can be compared with one built `like` that, but for `build`, and its training."""
    often = max(1, args.steps // 5)
    training = {"steps": args.steps, "batch": args.batch, "lr": args.lr, "ema": 0.99, "evaluate_every": often}
    trident = SMALL | like.model_dump(include=SHARED) | {"crop": args.crop} | build
    trident |= {"training": training | {"save_every": args.steps}}
    return Params.model_validate({"seed": seed, "trident": trident})


def scored(network: Trident, data: Path) -> dict[str, Any]:
    """Its figures on the test pages, its threshold chosen on the validation's."""
    model_card = card(network, "", {})
    model_card["thresholds"]["word"] = word_threshold(network, model_card, PageStore(data / "val"))
    found = figures(network, model_card, {"test": PageStore(data / "test")})["test"]
    return {name: found[name] for name in FIGURES}


def trained(params: Params, data: Path, teacher: Trident | None, workers: int) -> tuple[Trident, float]:
    """A Trident trained alone or by a teacher, and the seconds it took."""
    system, steps = make_student(params, teacher, data, None) if teacher else make(params, data, None)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        where = {"state": Path(folder) / "training" / "bench", "log": Path(folder) / "bench.csv"}
        what = "distilled" if teacher else "alone"
        done = fit(
            system, steps, params.trident.training, seed=params.seed, what=what, workers=workers, **where
        )
    return system.release() if teacher else system.network, round(done.seconds, 1)


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
    parser.add_argument("--teacher", default="starters/trident-small", help="checkpoint of a trained Trident")
    parser.add_argument("--pages", type=int, default=600, help="synthetic pages, eight of ten to train on")
    parser.add_argument("--crop", type=int, default=320, help="side of the squares trained on")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1500, help="of each student")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--alpha", type=float, default=1.0, help="weight of the teacher")
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the truth")
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches")
    add_out(parser)
    args = parser.parse_args()
    teacher = cast(Trident, load(Path(args.teacher))[0])
    distill = {"alpha": args.alpha, "beta": args.beta, "temperature": args.temperature}
    with tempfile.TemporaryDirectory() as folder:
        data = dataset(Path(folder), args.pages, teacher.config)
        rows = [{"seed": "", "student": "(teacher)", **scored(teacher, data), "seconds": ""}]
        for seed in args.seeds:
            params = params_of(args, teacher.config, seed, distill=distill)
            for way, source in (("alone", None), ("distilled", teacher)):
                student, seconds = trained(params, data, source, args.workers)
                rows.append({"seed": seed, "student": way, **scored(student, data), "seconds": seconds})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    report = {
        "settings": {key: value for key, value in vars(args).items() if key != "out"},
        "parameters": {
            name: sum(network.parameter_counts().values())
            for name, network in (("teacher", teacher), ("student", student))
        },
        "rows": rows,
        "gains": gains(rows),
    }
    table(rows)
    print(f"\n{json.dumps(report['gains'])}", file=sys.stderr)
    write(report, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
