"""Building the augmentation cache: incremental, resumable, the same bytes whatever happened before.

What lies in the folder already (finished shards, parts left by a killed run) is only a source of records,
found by key. The layout is a function of the wanted pages alone: a shard holds the pages whose ids begin with
its name, so a page more or less rewrites one shard, and rewriting copies.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.augment import records
from ml.augment.cache import FORMAT, INDEX, MANIFEST, ROW, VERSION
from ml.augment.photometric import engine_versions, steps
from ml.augment.shards import Job, Place, Wanted, write
from ml.config import CacheConfig
from ml.errors import InputError
from ml.pages.store import PageStore, write_text

#: Pages a shard at most, on average: at about 0.4 MB a record this keeps shards in the tens of megabytes.
SHARD_PAGES = 64


@dataclass(frozen=True)
class Built:
    """What a build did. `computed` and `reused` count records (pages x variants)."""

    pages: int
    variants: int
    computed: int
    reused: int
    dropped: int  # records that lay there and that nobody wants, or that are damaged
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Found:
    """What lies in the folder before a build."""

    records: dict[bytes, Place]  # whole ones, by key
    shards: dict[str, list[bytes]]  # intact shards: name -> keys in order
    seen: int  # records, whole or not


def build(
    store: Path,
    directory: Path,
    config: CacheConfig,
    *,
    seed: int,
    workers: int = 2,
    shard_pages: int = SHARD_PAGES,
) -> Built:
    """Make `directory` hold `config.variants` variants of every page of the store in folder `store`.

    Raises InputError when another build holds the folder, the disk is full, or the store is damaged.
    """
    began = time.monotonic()
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        wanted = _wanted(store, config, seed)
        groups = _groups(wanted, shard_pages)
        found = _scan(directory)
        keys = {record.key for record in wanted}
        computed = len(keys - found.records.keys())
        jobs = [
            Job(
                directory / name,
                store,
                seed,
                json.dumps(steps(config)),
                tuple(group),
                {record.key: found.records[record.key] for record in group if record.key in found.records},
            )
            for name, group in groups.items()
            if found.shards.get(name) != [record.key for record in group]
        ]
        if jobs:
            (directory / MANIFEST).unlink(missing_ok=True)
            try:
                write(jobs, workers if computed else 0, pages=len(wanted) // config.variants)
            except OSError as error:
                raise InputError(
                    f"{directory}: the cache cannot be written ({error}); "
                    f"put that right and run again: it goes on from there"
                ) from error
        _remove_all_but(directory, groups)
        shards = _index(directory, list(groups))
        _write_manifest(directory, shards, config, seed)
    return Built(
        pages=len(wanted) // config.variants,
        variants=config.variants,
        computed=computed,
        reused=len(keys) - computed,
        dropped=found.seen - (len(keys) - computed),
        bytes=sum(int(shard["bytes"]) for shard in shards),
        seconds=round(time.monotonic() - began, 3),
    )


def recipe(config: CacheConfig, seed: int) -> str:
    """SHA-256 of what decides a record's bytes beside its page: pipeline, seed, library versions, format."""
    parts = [steps(config), seed, engine_versions(), records.CODEC, records.LEVEL, VERSION]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _wanted(store: Path, config: CacheConfig, seed: int) -> list[Wanted]:
    """Records by page id and variant. A page that the store holds twice is wanted once."""
    base = recipe(config, seed)
    rows = {entry.id: row for row, entry in enumerate(PageStore(store).entries)}
    return [
        Wanted(page, rows[page], variant, hashlib.sha256(f"{base}:{page}:{variant}".encode()).digest())
        for page in sorted(rows)
        for variant in range(config.variants)
    ]


def _groups(wanted: list[Wanted], shard_pages: int) -> dict[str, list[Wanted]]:
    """Shard file name -> its records. Names are as many hex digits of the page id as keep shards small."""
    pages, digits = len({record.page for record in wanted}), 1
    while pages / 16**digits > shard_pages:
        digits += 1
    groups: dict[str, list[Wanted]] = {}
    for record in wanted:
        groups.setdefault(f"{record.page[:digits]}.shard", []).append(record)
    return groups


def _scan(directory: Path) -> Found:
    """Read and hash what lies in the folder (1.8 GB/s a core): a damaged record is made again."""
    found = Found({}, {}, 0)
    seen = 0
    for path in sorted([*directory.glob("*.shard"), *directory.glob("*.part")]):
        data = records.open_shard(path)
        keys: list[bytes] = []
        intact, end = True, 0
        for header, start, stop in records.frames(data):
            seen, end = seen + 1, stop
            if not records.whole(data[start:stop]):
                intact = False
                continue
            keys.append(header["key"].tobytes())
            found.records.setdefault(keys[-1], Place(path, start, stop))
        if path.suffix == ".shard" and intact and end == len(data):
            found.shards[path.name] = keys
    return Found(found.records, found.shards, seen)


def _remove_all_but(directory: Path, names: Iterable[str]) -> None:
    keep = set(names)
    for path in [*directory.glob("*.shard"), *directory.glob("*.part")]:
        if path.name not in keep:
            path.unlink()


def _index(directory: Path, names: list[str]) -> list[dict[str, str | int]]:
    """Write the index of the shards. Returns their rows for the manifest."""
    rows, shards = [], []
    for number, name in enumerate(names):
        data = records.open_shard(directory / name)
        before = len(rows)
        for header, start, stop in records.frames(data):
            rows.append((header["page"], header["variant"], number, start, stop))
        shards.append({"file": name, "records": len(rows) - before, "bytes": len(data)})
    part = directory / f"{INDEX}.part"
    with part.open("wb") as file:
        np.save(file, np.array(rows, ROW), allow_pickle=False)
    part.replace(directory / INDEX)
    return shards


def _write_manifest(
    directory: Path, shards: list[dict[str, str | int]], config: CacheConfig, seed: int
) -> None:
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "variants": config.variants,
        "recipe": recipe(config, seed),
        "seed": seed,
        "pipeline": steps(config),
        "engines": engine_versions(),
        "shards": shards,
    }
    write_text(directory / MANIFEST, json.dumps(manifest, indent=1) + "\n")


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the folder against a second build. The lock is on the folder itself and dies with the process."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f"{directory}: another `scriptorium cache` is at work here; wait for it") from None
    finally:
        os.close(descriptor)
