"""Which format should the page store have? The same pages written, read in order, read at random.

    python bench/store.py [--pages 256] [--out FILE]

Peers that are not installed are named and left out (`uv pip install pylance litdata webdataset`).
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import random
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from reporting import add_out, table, write

from ml.config import SynthConfig
from ml.pages.page import Page, Region, Word
from ml.pages.store import PageStore, PageWriter
from ml.pages.synthesis.command import generate


class Parquet:
    """What the project uses: ml.pages.store."""

    name, package = "parquet", "pyarrow"

    def write(self, folder: Path, pages: Sequence[Page]) -> None:
        with PageWriter(folder) as writer:
            for page in pages:
                writer.write(page)

    def open(self, folder: Path) -> Sequence[Page]:
        return PageStore(folder)


class Lance:
    """Columnar with random access in mind."""

    name, package = "lance", "lance"

    def write(self, folder: Path, pages: Sequence[Page]) -> None:
        import lance
        import pyarrow as pa

        from ml.pages.store import SCHEMA, _row

        fields = [field for field in SCHEMA if field.name != "meta"]  # Lance has no maps
        rows = [
            {k: v for k, v in _row(page).items() if k != "meta"} | {"meta": json.dumps(page.meta)}
            for page in pages
        ]
        schema = pa.schema([*fields, pa.field("meta", pa.string())])
        lance.write_dataset(pa.Table.from_pylist(rows, schema), folder, max_rows_per_file=64)

    def open(self, folder: Path) -> Any:
        import lance

        from ml.pages.store import _page

        data = lance.dataset(folder)

        def one(index: int) -> Page:
            row = data.take([index]).to_pylist()[0]
            return _page(row | {"meta": list(json.loads(row["meta"]).items())})

        return _Indexed(data.count_rows(), one)


class WebDataset:
    """Tar shards, read in order only."""

    name, package = "webdataset", "webdataset"

    def write(self, folder: Path, pages: Sequence[Page]) -> None:
        folder.mkdir()
        for first in range(0, len(pages), 64):
            with tarfile.open(folder / f"{first // 64:05d}.tar", "w") as tar:
                for page in pages[first : first + 64]:
                    _add(tar, f"{page.id}.img", page.image)
                    _add(tar, f"{page.id}.json", json.dumps(asdict(page) | {"image": None}).encode())

    def open(self, folder: Path) -> Any:
        import webdataset

        shards = [str(path) for path in sorted(folder.glob("*.tar"))]
        data = webdataset.WebDataset(shards, shardshuffle=False)
        return (_from_json(json.loads(sample["json"]), sample["img"]) for sample in data)


class LitData:
    """Lightning's chunks, made for streaming from object stores."""

    name, package = "litdata", "litdata"

    def write(self, folder: Path, pages: Sequence[Page]) -> None:
        from litdata.streaming import Cache

        cache = Cache(str(folder), chunk_size=64)
        for index, page in enumerate(pages):
            cache[index] = {"image": page.image, "rest": json.dumps(asdict(page) | {"image": None})}
        cache.done()
        cache.merge()

    def open(self, folder: Path) -> Any:
        from litdata import StreamingDataset

        data = StreamingDataset(str(folder))
        return _Indexed(
            len(data), lambda index: _from_json(json.loads(data[index]["rest"]), data[index]["image"])
        )


class _Indexed:
    def __init__(self, size: int, one: Callable[[int], Page]) -> None:
        self.size, self.one = size, one

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Page:
        return self.one(index)

    def __iter__(self) -> Iterator[Page]:
        return map(self.one, range(self.size))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _from_json(row: dict[str, Any], image: bytes) -> Page:
    words = (
        None
        if row["words"] is None
        else tuple(Word(tuple(w["box"]), w["text"], w["line"]) for w in row["words"])
    )
    regions = (
        None if row["regions"] is None else tuple(Region(tuple(r["box"]), r["label"]) for r in row["regions"])
    )
    return Page(**(row | {"image": image, "words": words, "regions": regions}))


def measure(form: Any, pages: list[Page], order: list[int], folder: Path) -> dict[str, Any]:
    """CPU and wall milliseconds a page, size, and what the format can do."""
    result: dict[str, Any] = {"format": form.name}
    result["write_ms"] = _timed(lambda: form.write(folder, pages), len(pages))
    result["files"] = sum(path.is_file() for path in folder.rglob("*"))
    result["bytes_over_images"] = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / sum(
        len(page.image) for page in pages
    )
    result["in_order_ms"] = _timed(lambda: _check(list(form.open(folder)), pages), len(pages))
    opened = form.open(folder)
    random_reads = hasattr(opened, "__getitem__")
    result["at_random_ms"] = (
        _timed(lambda: [opened[index] for index in order], len(order)) if random_reads else None
    )
    again = folder.with_name(folder.name + "-again")
    form.write(again, pages)
    result["same_bytes"] = _bytes(folder) == _bytes(again)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            result["handed_to_workers"] = random_reads and pool.submit(len, opened).result() == len(pages)
    except Exception as error:  # noqa: BLE001  (formats refuse in many ways; all mean the same here)
        print(f"{form.name}: not handed to another process ({type(error).__name__})", file=sys.stderr)
        result["handed_to_workers"] = False
    return result


def _check(read: list[Page], pages: list[Page]) -> None:
    if [(p.id, p.words, p.regions) for p in read] != [(p.id, p.words, p.regions) for p in pages]:
        raise RuntimeError("the pages did not come back as they were written")


def _timed(work: Callable[[], Any], count: int) -> float:
    start = time.process_time()
    work()
    return round((time.process_time() - start) / count * 1000, 3)


def _bytes(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=256)
    add_out(parser)
    args = parser.parse_args()
    pages = list(generate(SynthConfig(pages=args.pages), seed=1, workers=2))
    order = random.Random(0).choices(range(len(pages)), k=len(pages))
    rows, absent = [], []
    with tempfile.TemporaryDirectory() as folder:
        for form in (Parquet(), Lance(), LitData(), WebDataset()):
            if importlib.util.find_spec(form.package) is None:
                absent.append(form.name)
                continue
            rows.append(measure(form, pages, order, Path(folder) / form.name))
    report = {"pages": len(pages), "cpu_ms_a_page": rows, "not_installed": absent}
    table(rows)
    write(report, args.out)
    if absent:
        print(f"not installed, left out: {', '.join(absent)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
