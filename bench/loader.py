"""Does the augmentation cache feed training at memory speed, and which codec should its records have?

    python bench/loader.py [--pages 120 --long-edge 1024 | --data data/snapshot/train] [--codec raw] [--out FILE]

The same torch DataLoader over the same pages, in its own process and with one and two workers, fed by decoding
and augmenting on the fly, from the cache, and by a bare read of the same bytes: the finished pixels, from a file
into new memory. Each feed counts with the number of workers that suits it best: on two cores, that is what each
can do. Prints tables to stderr and JSON to stdout.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from reporting import add_out, table, write
from torch.utils.data import DataLoader, Dataset

from ml.augment import AugmentationCache, records
from ml.augment.build import build
from ml.augment.photometric import Photometric, steps, variant_seed
from ml.config import CacheConfig, SynthConfig
from ml.pages.store import PageStore, PageWriter
from ml.pages.synthesis.command import generate

SEED = 7
WORKERS = (0, 1, 2)


class Source(Dataset):
    """Variant `index % variants` of page `index // variants`, as a tensor."""

    def __init__(self, store: Path, cache: Path, config: CacheConfig) -> None:
        self.store, self.cache, self.config = PageStore(store), AugmentationCache(cache), config

    def __len__(self) -> int:
        return len(self.store) * self.config.variants

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.require(self.read(*divmod(index, self.config.variants)), requirements="W"))

    def read(self, row: int, variant: int) -> np.ndarray:
        raise NotImplementedError("abstract")


class OnTheFly(Source):
    """Decode the page and transform it, each time."""

    name = "on the fly"
    _photometric: Photometric | None = None

    def read(self, row: int, variant: int) -> np.ndarray:
        if self._photometric is None:
            cv2.setNumThreads(1)
            self._photometric = Photometric(steps(self.config))
        page = self.store[row]
        return self._photometric(page.pixels(), variant_seed(SEED, page.id, variant))


class DecodeOnly(Source):
    """Decode the page and leave it as it is: what any training without augmentation pays."""

    name = "decode only"

    def read(self, row: int, variant: int) -> np.ndarray:
        return self.store[row].pixels()


class Cached(Source):
    """What trainers do."""

    name = "cache"

    def read(self, row: int, variant: int) -> np.ndarray:
        return self.cache.image(self.store.entries[row].id, variant)


class BareRead(Source):
    """Read the finished pixels from one flat file that the page cache holds: the floor of any cache."""

    name = "bare read"

    def __init__(self, store: Path, cache: Path, config: CacheConfig) -> None:
        super().__init__(store, cache, config)
        self._path = cache.with_name(f"{cache.name}.pixels")
        self._places: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {}
        with self._path.open("wb") as file:
            for row, entry in enumerate(self.store.entries):
                for variant in range(config.variants):
                    pixels = self.cache.image(entry.id, variant)
                    self._places[row, variant] = (file.tell(), pixels.shape)
                    file.write(pixels.data)

    def read(self, row: int, variant: int) -> np.ndarray:
        start, shape = self._places[row, variant]
        pixels = np.empty(shape, np.uint8)
        with self._path.open("rb", buffering=0) as file:
            file.seek(start)
            file.readinto(pixels.data)
        return pixels


def _as_it_is(batch: list[torch.Tensor]) -> list[torch.Tensor]:
    return batch


def load(source: Source, workers: int, batch: int, passes: int) -> dict[str, Any]:
    """Pages a second of the best of `passes` passes over the data, and CPU milliseconds a page over all."""
    loader = DataLoader(
        source,
        batch_size=batch,
        num_workers=workers,
        collate_fn=_as_it_is,
        persistent_workers=workers > 0,
        shuffle=True,
        generator=torch.Generator().manual_seed(SEED),
    )
    cpu, walls = _cpu(), []
    for _ in range(passes):
        start = time.perf_counter()
        loaded = sum(tensor.numel() for tensors in loader for tensor in tensors)
        walls.append(time.perf_counter() - start)
    del loader  # the workers end, and their time is counted
    return {
        "feed": getattr(source, "name", ""),
        "workers": workers,
        "pages_a_second": round(len(source) / min(walls), 1),
        "megabytes_a_second": round(loaded / 1e6 / min(walls), 1),
        "cpu_ms_a_page": round(1000 * (_cpu() - cpu) / (passes * len(source)), 3),
    }


def goals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The cache against on-the-fly work and a bare read, each with the workers that suit it, and with equally many."""

    def rate(feed: str, workers: int | None = None) -> float:
        return max(
            row["pages_a_second"]
            for row in rows
            if row["feed"] == feed and (workers is None or row["workers"] == workers)
        )

    def ratios(workers: int | None = None) -> dict[str, float]:
        cache = rate("cache", workers)
        return {
            "times_on_the_fly": round(cache / rate("on the fly", workers), 2),
            "of_bare_read": round(cache / rate("bare read", workers), 2),
        }

    best = ratios()
    return {
        "best": best,
        **{f"{workers} workers": ratios(workers) for workers in WORKERS},
        "reached": best["times_on_the_fly"] >= 10 and best["of_bare_read"] >= 0.5,
    }


def read(source: Source) -> dict[str, Any]:
    """The same without a loader: milliseconds of one read, in this process, second pass."""
    order = np.random.default_rng(SEED).permutation(len(source))
    for _ in range(2):
        cpu = time.process_time()
        for index in order:
            source[int(index)]
    return {
        "feed": getattr(source, "name", ""),
        "cpu_ms_a_read": round(1000 * (time.process_time() - cpu) / len(source), 3),
    }


def _cpu() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


Encode = Callable[[np.ndarray], bytes]
Decode = Callable[[bytes, tuple[int, ...]], np.ndarray]


def _arrow(name: str, level: int | None = None) -> tuple[Encode, Decode]:
    codec = pa.Codec(name, compression_level=level)
    return (
        lambda pixels: codec.compress(pixels.data, asbytes=True),
        lambda data, shape: np.frombuffer(
            codec.decompress(data, decompressed_size=int(np.prod(shape))), np.uint8
        ).reshape(shape),
    )


def _image(suffix: str, *options: int) -> tuple[Encode, Decode]:
    return (
        lambda pixels: cv2.imencode(suffix, pixels, options)[1].tobytes(),
        lambda data, _: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR),
    )


CODECS: dict[str, tuple[Encode, Decode]] = {
    "raw": (
        lambda pixels: pixels.tobytes(),
        lambda data, shape: np.frombuffer(data, np.uint8).reshape(shape).copy(),
    ),
    "lz4": _arrow("lz4"),
    "zstd 1": _arrow("zstd", 1),
    "zstd 3": _arrow("zstd", 3),
    "zstd 6": _arrow("zstd", 6),
    "png 1": _image(".png", cv2.IMWRITE_PNG_COMPRESSION, 1),
    "webp lossless": _image(".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
}


def codecs(cache: AugmentationCache, most: int = 120) -> list[dict[str, Any]]:
    """Size and CPU of each codec on the cache's own pages. All are lossless; that is checked."""
    keys = [(page, variant) for page in cache.ids for variant in range(cache.variants)][:most]
    pages = [cache.image(*key) for key in keys]
    rows = []
    for name, (encode, decode) in CODECS.items():
        start = time.process_time()
        coded = [encode(page) for page in pages]
        encoding = time.process_time() - start
        start = time.process_time()
        for data, page in zip(coded, pages, strict=True):
            decode(data, page.shape)
        decoding = time.process_time() - start
        if any(not np.array_equal(decode(d, p.shape), p) for d, p in zip(coded, pages, strict=True)):
            raise RuntimeError(f"{name} is not lossless")
        rows.append(
            {
                "codec": name,
                "size": round(sum(map(len, coded)) / sum(page.nbytes for page in pages), 3),
                "encode_ms": round(1000 * encoding / len(pages), 2),
                "decode_ms": round(1000 * decoding / len(pages), 2),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=120, help="synthetic pages, where no --data is given")
    parser.add_argument("--long-edge", type=int, default=1024, help="pixels of their longer side")
    parser.add_argument("--data", type=Path, help="folder of a page store")
    parser.add_argument("--codec", choices=list(records.MAGIC), default="lz4", help="of the cache's records")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--passes", type=int, default=3)
    add_out(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = CacheConfig(codec=args.codec)  # pyright: ignore[reportCallIssue]
    with tempfile.TemporaryDirectory() as folder:
        store, cache = args.data or Path(folder) / "store", Path(folder) / "cache"
        if args.data is None:
            with PageWriter(store) as writer:
                wanted = SynthConfig(pages=args.pages, long_edge=args.long_edge)  # pyright: ignore[reportCallIssue]
                for page in generate(wanted, seed=SEED, workers=2):
                    writer.write(page)
        built = build(store, cache, config, seed=SEED)
        again = build(store, cache, config, seed=SEED)
        sources = [kind(store, cache, config) for kind in (OnTheFly, DecodeOnly, Cached, BareRead)]
        loaded = [load(source, n, args.batch, args.passes) for source in sources for n in WORKERS]
        report = {
            "pages": built.pages,
            "variants": built.variants,
            "codec": args.codec,
            "build": asdict(built),
            "rebuild_seconds": again.seconds,
            "reads": [read(source) for source in sources],
            "loader": loaded,
            "goals": goals(loaded),
            "codecs": codecs(AugmentationCache(cache)),
            "hash_gigabytes_a_second": _hash_rate(),
        }
    print(
        f"{built.pages} pages x {built.variants}: {built.bytes / 1e6:.0f} MB in {built.seconds:.1f} s",
        file=sys.stderr,
    )
    for name in ("reads", "loader", "codecs"):
        table(report[name])
    print(f"\n{json.dumps(report['goals'])}", file=sys.stderr)
    write(report, args.out)
    return 0


def _hash_rate() -> float:
    data = bytes(50_000_000)
    start = time.process_time()
    hashlib.sha256(data).digest()
    return round(0.05 / (time.process_time() - start), 2)


if __name__ == "__main__":
    sys.exit(main())
