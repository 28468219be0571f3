"""What does serving cost? The same page through ONNX Runtime in this process and through the embedded Triton;
then promotion and rollback while clients keep asking.

    python bench/serve.py graphs/trident [--seconds 10] [--clients 1 2 4] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from reporting import add_out, table, write

from ml.config import ServingConfig
from ml.errors import InputError
from ml.models.processor import Arrays, processor_for
from ml.runners import OnnxRunner
from ml.serving.client import ServedPredictor, TritonRunner
from ml.serving.golden import golden_page
from ml.serving.promotion import promote, rollback
from ml.serving.repository import Repository
from ml.serving.server import EmbeddedTriton


def figures(times: list[float], seconds: float, failed: int = 0) -> dict[str, Any]:
    """Requests a second, and latency percentiles in milliseconds."""
    p50, p99 = np.percentile(times, (50, 99)) * 1e3
    return {
        "requests": len(times),
        "failed": failed,
        "per_second": round(len(times) / seconds, 2),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
    }


class Load:
    """Clients that ask as fast as they are answered, while the block lasts."""

    def __init__(self, clients: int, open_client: Callable[[], Callable[[], object]]) -> None:
        self._open, self._times, self._failures = open_client, [], []
        self._stop, self._ready = threading.Event(), threading.Barrier(clients + 1)
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self._ready.wait()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.figures = figures(self._times, time.perf_counter() - self._began, len(self._failures))

    def _ask(self) -> None:
        ask = self._open()
        ask()  # the first request sets up memory for its shape
        self._ready.wait()
        while not self._stop.is_set():
            began = time.perf_counter()
            try:
                ask()
            except InputError as error:
                self._failures.append(str(error))
            self._times.append(time.perf_counter() - began)


def bench(graph: Path, seconds: float, clients: list[int], home: Path) -> dict[str, Any]:
    local = OnnxRunner(graph / "model.onnx")
    inputs, _ = processor_for(local.card).prepare(golden_page())
    megabytes = sum(array.nbytes for array in inputs.values()) / 1e6
    result: dict[str, Any] = {
        "graph": local.card["name"],
        "request_mb": round(megabytes, 2),
        "image": list(inputs["image"].shape),
        "throughput": {},
        "moves": {},
    }
    with Load(1, lambda: lambda: local(inputs)) as load:
        time.sleep(seconds)
    result["throughput"]["ONNX Runtime, in process"] = load.figures

    repository = Repository(home / "repository", by="bench/serve.py")
    serving = ServingConfig.model_validate({})
    name = graph.resolve().name
    repository.publish(graph, name, serving)
    again = home / name
    shutil.copytree(graph, again)
    card = json.loads((again / "card.json").read_text()) | {"note": "the same graph as another version"}
    (again / "card.json").write_text(json.dumps(card))
    repository.publish(again, name, serving)

    began = time.perf_counter()
    with EmbeddedTriton(repository.folder, logs=home / "logs") as server:
        result["moves"]["server start to ready"] = {"seconds": round(time.perf_counter() - began, 2)}
        timed(result, "first promotion, no load", lambda: promote(repository, name, 1, server.control))
        for count in clients:
            with Load(count, lambda: asking(TritonRunner(server.url, name), inputs)) as load:
                time.sleep(seconds)
            result["throughput"][f"Triton over gRPC, {count} client{'s'[: count > 1]}"] = load.figures

        def reading() -> Callable[[], object]:
            reader, page = ServedPredictor(server.url, name), golden_page()
            return lambda: reader.read(page)

        with Load(2, reading) as load:
            timed(result, "promotion, 2 clients asking", lambda: promote(repository, name, 2, server.control))
            timed(result, "rollback, 2 clients asking", lambda: rollback(repository, name, server.control))
        result["throughput"]["reading pages during promotion and rollback, 2 clients"] = load.figures
    return result


def asking(runner: TritonRunner, inputs: Arrays) -> Callable[[], object]:
    return lambda: runner(inputs)


def timed(result: dict[str, Any], what: str, do: Callable[[], object]) -> None:
    began = time.perf_counter()
    do()
    result["moves"][what] = {"seconds": round(time.perf_counter() - began, 2)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graph", type=Path, help="a graph folder")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of each measurement (default: %(default)s)"
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4])
    add_out(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        result = bench(args.graph, args.seconds, args.clients, Path(home))
    keys = ("per_second", "p50_ms", "p99_ms", "requests", "failed")
    rows = [
        {"requests of": what} | {key: row[key] for key in keys} for what, row in result["throughput"].items()
    ]
    moves = ", ".join(f"{what} {row['seconds']} s" for what, row in result["moves"].items())
    table(rows, title=f"{result['graph']}, {result['image']}; {moves}")
    write(result, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
