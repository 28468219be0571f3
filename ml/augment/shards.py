"""Writing the cache's shards: compute what is missing, copy what is there, rename when whole."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import secrets
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2
import numpy as np

from ml.augment import records
from ml.augment.photometric import Photometric, variant_seed
from ml.config import CacheCodec
from ml.pages.store import PageStore
from ml.progress import Meter


@dataclass(frozen=True, slots=True)
class Place:
    """Where a whole record lies."""

    file: Path
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A record that the cache shall hold."""

    page: str
    row: int  # of the page store
    variant: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Job:
    """A shard to write: its records in order, and where those lie that need no computing."""

    target: Path
    store: Path
    seed: int
    pipeline: str  # photometric.Steps as JSON
    codec: CacheCodec
    wanted: tuple[Wanted, ...]
    found: dict[bytes, Place]

    @property
    def pages(self) -> int:
        return len({record.page for record in self.wanted})


def write(jobs: list[Job], workers: int, pages: int) -> None:
    """Write the shards of `jobs` in `workers` processes or, with none, in this one.

    `pages` counts the pages of the whole cache, for the progress bar.
    """
    done = pages - sum(job.pages for job in jobs)
    with Meter(pages, "augmentation cache", "pages", done=done) as meter:
        if workers == 0:
            for job in jobs:
                meter.update(_fill(job))
            return
        # Spawned: the progress bar is a thread, and a forked child of a threaded process may deadlock.
        context = multiprocessing.get_context("spawn")
        stop = context.Event()
        with ProcessPoolExecutor(min(workers, len(jobs)), context, _enter, (stop, os.getpid())) as pool:
            futures = [pool.submit(_fill, job) for job in jobs]
            try:
                for future in as_completed(futures):
                    meter.update(future.result())
            except BaseException:  # what is written stays, and the next run goes on from it
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


_stop: Event | None = None
_parent: int | None = None


def _enter(stop: Event, parent: int) -> None:
    """Prepare a worker process."""
    global _stop, _parent  # an initializer has no other way to leave something behind
    _stop, _parent = stop, parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, by `stop`
    cv2.setNumThreads(1)  # the processes are the parallelism


def _abandoned() -> bool:
    return (_stop is not None and _stop.is_set()) or (_parent is not None and os.getppid() != _parent)


@functools.cache
def _transform(pipeline: str) -> Photometric:
    return Photometric(json.loads(pipeline))


@functools.cache
def _store(directory: Path) -> PageStore:
    return PageStore(directory)


def _fill(job: Job) -> int:
    """Write one shard; returns its pages. Unbuffered: a kill costs at most the record in the making."""
    part = job.target.with_name(f"{job.target.stem}.{secrets.token_hex(4)}.part")
    pixels, decoded = np.empty(0), ""
    with part.open("xb", buffering=0) as file:
        for record in job.wanted:
            if _abandoned():
                raise KeyboardInterrupt
            place = job.found.get(record.key)
            if place is not None:
                data = bytes(_map(place.file)[place.start : place.stop])
            else:
                if decoded != record.page:
                    pixels, decoded = _store(job.store)[record.row].pixels(), record.page
                data = frame(record, pixels, job.seed, job.pipeline, job.codec)
            _write_all(file.fileno(), data)
        os.fsync(file.fileno())
    part.replace(job.target)
    return job.pages


def frame(record: Wanted, pixels: np.ndarray, seed: int, pipeline: str, codec: CacheCodec) -> bytes:
    """The record of a page, uint8 (H, W, 3), as it lies in a shard. `pipeline`: see `Job`."""
    varied = _transform(pipeline)(pixels, variant_seed(seed, record.page, record.variant))
    return records.encode(varied, page=record.page, variant=record.variant, key=record.key, codec=codec)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@functools.lru_cache(maxsize=64)
def _map(path: Path) -> memoryview:
    return records.open_shard(path)
