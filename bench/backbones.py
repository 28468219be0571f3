"""Which backbone for a small Trident? What the same heads learn from each in as many steps, and what a page then costs.

    python bench/backbones.py [--backbones resnet18 resnet10t ...] [--steps 1500] [--out FILE]

Each network begins from random weights and sees the same batches; its heads are those of `bench/self_distill.py`'s
student. Scored on pages that none saw, by `ml.evaluation.evaluate`. A page's time is that of the exported graph with
integer convolutions on one core, the best of several runs in turns; that page is empty, so nothing on it is read.
Prints a table to stderr and JSON to stdout.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from reporting import add_out, table, write
from self_distill import dataset, params_of, scored, trained

from ml.config import load_profile
from ml.export.int8 import quantise
from ml.export.onnx import export_onnx
from ml.models.processor import processor_for
from ml.models.trident.network import Trident
from ml.pages.store import PageStore
from ml.training.trident import card

ROUNDS = 5


def session_of(network: Trident, data: Path, folder: Path) -> ort.InferenceSession:
    """The network's graph with integer convolutions, on one core."""
    model_card = card(network, "", {})
    processor, pages = processor_for(model_card), PageStore(data / "val")
    export_onnx(network.eval(), model_card, folder / "float.onnx", 20)
    ranges = (processor.prepare(pages[i].pixels())[0] for i in range(min(8, len(pages))))
    quantise(folder / "float.onnx", folder / "model.onnx", ranges)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])


def milliseconds(sessions: dict[str, ort.InferenceSession], page: np.ndarray) -> dict[str, float]:
    """The best of `ROUNDS` runs of each on one page without words, in turns."""
    inputs = {"image": page[None], "boxes": np.zeros((1, 1, 4), np.float32)}
    best = dict.fromkeys(sessions, float("inf"))
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            began = time.perf_counter()
            session.run(None, inputs)
            best[name] = min(best[name], 1000 * (time.perf_counter() - began))
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--backbones",
        nargs="+",
        default=["resnet18", "resnet10t", "lcnet_100", "regnety_002"],
        help="timm names",
    )
    parser.add_argument("--pages", type=int, default=600, help="synthetic pages, eight of ten to train on")
    parser.add_argument("--crop", type=int, default=320, help="side of the squares trained on")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches")
    add_out(parser)
    args = parser.parse_args()
    like = load_profile("small").trident
    rows: list[dict[str, Any]] = []
    sessions = {}
    with tempfile.TemporaryDirectory() as temporary:
        data = dataset(Path(temporary) / "pages", args.pages, like)
        for backbone in args.backbones:
            network, seconds = trained(
                params_of(args, like, args.seed, backbone=backbone), data, None, args.workers
            )
            counts = network.parameter_counts()
            rows.append(
                {
                    "backbone": backbone,
                    "parameters": counts["backbone"],
                    **scored(network, data),
                    "seconds": seconds,
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
            (folder := Path(temporary) / backbone).mkdir()
            sessions[backbone] = session_of(network, data, folder)
        best = milliseconds(sessions, np.full((1024, 768, 3), 255, np.uint8))
    rows = [row | {"page_ms": round(best[row["backbone"]], 1)} for row in rows]
    table(rows)
    write(
        {"settings": {key: value for key, value in vars(args).items() if key != "out"}, "rows": rows},
        args.out,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
