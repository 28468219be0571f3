"""Building the augmentation cache: incremental, resumable, the same bytes whatever happened before.

What lies in the folder already (finished shards, parts left by a killed run) is only a source of records,
found by key. The layout is a function of the wanted pages alone: a shard holds the pages whose ids begin with
its name, so a page more or less rewrites one shard, and rewriting copies.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ml.augment import records
from ml.augment.cache import FORMAT, INDEX, MANIFEST, ROW, VERSION
from ml.augment.photometric import engine_versions, steps
from ml.augment.shards import Job, Place, Wanted, frame, write
from ml.config import CacheConfig
from ml.errors import InputError
from ml.pages.store import PageStore, write_text

#: Pages a shard at most, on average: at 0.3 to 0.7 MB a record this keeps shards in the tens of megabytes.
SHARD_PAGES = 64

#: Records that say how well pages compress here, where the budget may not hold all variants, and by how much
#: the whole may be larger than they say.
SAMPLE, MARGIN = 128, 1.1


@dataclass(frozen=True)
class Built:
    """What a build did. `computed` and `reused` count records (pages x variants)."""

    pages: int
    asked: int  # variants that the configuration asks for
    variants: int  # that the budget holds
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

    Where `config.budget_gb` does not hold them, the highest variants of all pages are left out: pages keep
    equally many, and the first ones stay the same whatever the budget. While shards are being replaced the
    old ones lie beside the new.

    Raises InputError when another build holds the folder, the disk is full, the store is damaged, or the
    budget does not hold one variant.
    """
    began = time.monotonic()
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        before = _scan(directory)
        variants = _affordable(store, config, seed, before)
        wanted = _wanted(store, config, seed, variants)
        computed = len({record.key for record in wanted} - before.records.keys())
        reused = len(wanted) - computed
        make = partial(_make, directory, store, config, seed, workers=workers, shard_pages=shard_pages)
        shards = make(wanted, before)
        while _bytes(shards) > config.budget_gb * 1e9:  # the sample promised a little too much
            variants -= 1
            if not variants:
                raise _too_small(store, _bytes(shards), config)
            wanted = [record for record in wanted if record.variant < variants]
            shards = make(wanted, _scan(directory))
        _write_manifest(directory, shards, config, seed, variants)
    return Built(
        pages=len(wanted) // variants,
        asked=config.variants,
        variants=variants,
        computed=computed,
        reused=reused,
        dropped=before.seen - reused,
        bytes=_bytes(shards),
        seconds=round(time.monotonic() - began, 3),
    )


def _make(
    directory: Path,
    store: Path,
    config: CacheConfig,
    seed: int,
    wanted: list[Wanted],
    found: Found,
    *,
    workers: int,
    shard_pages: int,
) -> list[dict[str, str | int]]:
    """Make the shards hold exactly the records `wanted`. Returns the shards' rows for the manifest."""
    groups = _groups(wanted, shard_pages)
    jobs = [
        Job(
            directory / name,
            store,
            seed,
            json.dumps(steps(config)),
            config.codec,
            tuple(group),
            {record.key: found.records[record.key] for record in group if record.key in found.records},
        )
        for name, group in groups.items()
        if found.shards.get(name) != [record.key for record in group]
    ]
    if jobs:
        (directory / MANIFEST).unlink(missing_ok=True)
        computing = any(record.key not in found.records for record in wanted)
        try:
            write(jobs, workers if computing else 0, pages=len({record.page for record in wanted}))
        except OSError as error:
            raise InputError(
                f"{directory}: the cache cannot be written ({error}); "
                f"put that right and run again: it goes on from there"
            ) from error
    _remove_all_but(directory, groups)
    return _index(directory, list(groups))


def _affordable(store: Path, config: CacheConfig, seed: int, found: Found) -> int:
    """How many variants of every page the budget holds.

    Where even uncompressed pages fit there is nothing to ask. Else a sample is compressed: the pages with the
    lowest ids, which are hashes, so they are any pages and always the same.
    """
    pages = PageStore(store)
    raw = {entry.id: 3 * entry.width * entry.height for entry in pages.entries}
    budget = config.budget_gb * 1e9
    if config.variants * (sum(raw.values()) + len(raw) * records.HEADER.itemsize) <= budget:
        return config.variants
    sample = _wanted(store, config, seed, config.variants)[:SAMPLE]
    kept = 0
    for record in sample:
        place = found.records.get(record.key)
        kept += (
            place.stop - place.start
            if place
            else len(frame(record, pages[record.row].pixels(), seed, json.dumps(steps(config)), config.codec))
        )
    one = sum(raw.values()) * kept / sum(raw[record.page] for record in sample)  # bytes of one variant
    if one > budget:
        raise _too_small(store, one, config)
    return min(config.variants, max(1, math.floor(budget / (MARGIN * one))))


def _too_small(store: Path, one: float, config: CacheConfig) -> InputError:
    """The error for a budget that does not hold `one` variant, in bytes."""
    return InputError(
        f"{store}: one variant of its pages takes {one / 1e9:.3g} GB, and cache.budget_gb is "
        f"{config.budget_gb:g}; raise it, or train without a cache"
    )


def _bytes(shards: list[dict[str, str | int]]) -> int:
    return sum(int(shard["bytes"]) for shard in shards)


def recipe(config: CacheConfig, seed: int) -> str:
    """SHA-256 of what decides a record's bytes beside its page: pipeline, seed, library versions, format."""
    parts = [steps(config), seed, engine_versions(), config.codec, VERSION]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _wanted(store: Path, config: CacheConfig, seed: int, variants: int) -> list[Wanted]:
    """Records by page id and variant. A page that the store holds twice is wanted once."""
    base = recipe(config, seed)
    rows = {entry.id: row for row, entry in enumerate(PageStore(store).entries)}
    return [
        Wanted(page, rows[page], variant, hashlib.sha256(f"{base}:{page}:{variant}".encode()).digest())
        for page in sorted(rows)
        for variant in range(variants)
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
    directory: Path, shards: list[dict[str, str | int]], config: CacheConfig, seed: int, variants: int
) -> None:
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "variants": variants,
        "asked": config.variants,
        "recipe": recipe(config, seed),
        "seed": seed,
        "pipeline": steps(config),
        "codec": config.codec,
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
