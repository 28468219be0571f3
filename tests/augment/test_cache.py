from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from ml.augment import records, shards
from ml.augment.build import build
from ml.augment.cache import AugmentationCache
from ml.config import CacheConfig
from ml.errors import InputError
from ml.pages.store import PageStore
from tests.augment.conftest import small_page, write_store

CONFIG = CacheConfig(variants=2)  # pyright: ignore[reportCallIssue]


def digest(directory: Path) -> str:
    """Of all file names and bytes in a folder."""
    whole = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def make(
    store: Path,
    directory: Path,
    *,
    seed: int = 3,
    workers: int = 0,
    config: CacheConfig = CONFIG,
    shard_pages: int = 64,
):
    return build(store, directory, config, seed=seed, workers=workers, shard_pages=shard_pages)


def test_every_variant_of_every_page_is_there_in_its_own_size(tmp_path: Path) -> None:
    pages = [small_page(0), small_page(1, (64, 160)), small_page(2, (128, 64))]
    make(write_store(tmp_path / "train", pages), tmp_path / "cache")
    cache = AugmentationCache(tmp_path / "cache")
    assert cache.variants == 2 and cache.ids == tuple(sorted(page.id for page in pages))
    for page in pages:
        for variant in range(2):
            image = cache.image(page.id, variant)
            assert image.shape == (page.height, page.width, 3) and image.dtype == np.uint8
            image[0, 0] = 0  # a trainer may write into it
    assert any(not np.array_equal(cache.image(p.id, 0), cache.image(p.id, 1)) for p in pages)
    with pytest.raises(KeyError):
        cache.image("0" * 64, 0)
    with pytest.raises(IndexError):
        cache.image(pages[0].id, 2)


def test_same_seed_same_bytes_whatever_the_workers_and_the_order_of_pages(tmp_path: Path) -> None:
    pages = [small_page(n) for n in range(6)]
    make(write_store(tmp_path / "a", pages), tmp_path / "one")
    make(write_store(tmp_path / "b", pages[::-1]), tmp_path / "two", workers=2)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    make(tmp_path / "a", tmp_path / "other", seed=4)
    assert digest(tmp_path / "one") != digest(tmp_path / "other")


def test_a_second_build_computes_nothing_and_changes_nothing(store: Path, tmp_path: Path) -> None:
    first = make(store, tmp_path / "cache")
    before = digest(tmp_path / "cache")
    second = make(store, tmp_path / "cache")
    assert (first.computed, first.reused) == (14, 0) and (second.computed, second.reused) == (0, 14)
    assert digest(tmp_path / "cache") == before


def test_pages_come_and_go_and_only_new_ones_are_computed(store: Path, tmp_path: Path) -> None:
    make(store, tmp_path / "cache")
    changed = write_store(tmp_path / "changed", [small_page(n) for n in (1, 2, 3, 4, 5, 7)])
    built = make(changed, tmp_path / "cache")
    assert (built.computed, built.reused, built.dropped) == (2, 10, 4)
    make(changed, tmp_path / "fresh")
    assert digest(tmp_path / "cache") == digest(tmp_path / "fresh")


def test_more_variants_reuse_the_first_ones_and_finer_shards_reuse_all(store: Path, tmp_path: Path) -> None:
    make(store, tmp_path / "cache")
    built = make(store, tmp_path / "cache", config=CacheConfig(variants=3))  # pyright: ignore[reportCallIssue]
    assert (built.computed, built.reused) == (7, 14)
    built = make(store, tmp_path / "cache", shard_pages=1, config=CacheConfig(variants=3))  # pyright: ignore[reportCallIssue]
    assert (built.computed, built.reused) == (0, 21)
    assert all(len(path.stem) == 1 for path in (tmp_path / "cache").glob("*.shard"))


def test_another_pipeline_or_seed_is_another_record(store: Path, tmp_path: Path) -> None:
    make(store, tmp_path / "cache")
    stronger = make(store, tmp_path / "cache", config=CacheConfig(variants=2, blur=1.0))  # pyright: ignore[reportCallIssue]
    assert (stronger.computed, stronger.dropped) == (14, 14)
    assert make(store, tmp_path / "cache", seed=9).computed == 14


def test_every_codec_keeps_the_same_pixels_and_another_codec_is_another_record(
    store: Path, tmp_path: Path
) -> None:
    pictures, sizes = [], []
    for codec in ("raw", "lz4", "zstd"):
        config = CacheConfig(variants=2, codec=codec)  # pyright: ignore[reportCallIssue]
        built = make(store, tmp_path / "cache", config=config)
        assert built.computed == 14
        sizes.append(built.bytes)
        cache = AugmentationCache(tmp_path / "cache")
        pictures.append([cache.image(page, variant) for page in cache.ids for variant in range(2)])
    for raw, lz4, zstd in zip(*pictures, strict=True):
        assert np.array_equal(raw, lz4) and np.array_equal(raw, zstd)
        raw[0, 0] = 0  # a trainer may write into it
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("after", [0, 1, 5, 13])
def test_a_build_that_dies_goes_on_where_it_stopped(
    store: Path, tmp_path: Path, monkeypatch, after: int
) -> None:
    make(store, tmp_path / "whole", shard_pages=4)
    encode, made = records.encode, 0

    def dying(*args, **kwargs):
        nonlocal made
        if made == after:
            raise KeyboardInterrupt
        made += 1
        return encode(*args, **kwargs)

    monkeypatch.setattr(shards.records, "encode", dying)
    with pytest.raises(KeyboardInterrupt):
        make(store, tmp_path / "cache", shard_pages=4)
    monkeypatch.undo()
    with pytest.raises(InputError, match="no finished augmentation cache"):
        AugmentationCache(tmp_path / "cache")
    for part in (tmp_path / "cache").glob("*.part"):  # a kill in the middle of a write leaves half a record
        part.write_bytes(
            part.read_bytes()
            + encode(np.zeros((9, 9, 3), np.uint8), page="0" * 64, variant=0, key=bytes(32))[:150]
        )
    built = make(store, tmp_path / "cache", shard_pages=4)
    assert (built.computed, built.reused) == (14 - after, after)
    assert digest(tmp_path / "cache") == digest(tmp_path / "whole")


DYING = """
import os, signal, sys
from pathlib import Path
from ml.augment import records
from ml.augment.build import build
from ml.config import CacheConfig

encode, made = records.encode, 0

def dying(*args, **kwargs):
    global made
    made += 1
    if made == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(*args, **kwargs)

records.encode = dying
build(Path(sys.argv[1]), Path(sys.argv[2]), CacheConfig(variants=2), seed=3, workers=0)
"""


def test_a_killed_process_leaves_a_folder_that_the_next_run_finishes(store: Path, tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", DYING, store, tmp_path / "cache"], check=False)
    assert killed.returncode == -signal.SIGKILL
    built = make(store, tmp_path / "cache")
    assert (built.computed, built.reused) == (9, 5)
    make(store, tmp_path / "whole")
    assert digest(tmp_path / "cache") == digest(tmp_path / "whole")


def budget(variants: int, size: float) -> CacheConfig:
    """A configuration that asks for `variants` and may take `size` bytes."""
    return CacheConfig(variants=variants, budget_gb=size / 1e9)  # pyright: ignore[reportCallIssue]


def test_a_budget_takes_the_highest_variants_of_all_pages(store: Path, tmp_path: Path) -> None:
    two = make(store, tmp_path / "two")
    five = make(store, tmp_path / "cache", config=budget(5, 1e9))
    limit = 1.3 * two.bytes
    built = make(store, tmp_path / "cache", config=budget(5, limit))
    assert (built.asked, built.variants, built.computed, built.reused, built.dropped) == (5, 2, 0, 14, 21)
    assert built.bytes <= limit < five.bytes
    cache, whole = AugmentationCache(tmp_path / "cache"), AugmentationCache(tmp_path / "two")
    assert (cache.variants, len(cache)) == (2, 7)
    assert json.loads((tmp_path / "cache" / "manifest.json").read_text())["asked"] == 5
    assert all(np.array_equal(cache.image(page, 1), whole.image(page, 1)) for page in whole.ids)
    assert make(store, tmp_path / "cache", config=budget(5, limit)).computed == 0


def test_a_budget_holds_although_the_sample_promised_too_much(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = make(store, tmp_path / "two")
    monkeypatch.setattr("ml.augment.build._affordable", lambda *_: 3)
    built = make(store, tmp_path / "cache", config=budget(3, two.bytes))
    assert (built.variants, built.bytes) == (2, two.bytes)
    assert AugmentationCache(tmp_path / "cache").variants == 2


def test_a_budget_below_one_variant_is_refused_with_what_it_takes(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one variant of its pages takes .* GB.*cache\.budget_gb"):
        make(store, tmp_path / "cache", config=budget(2, 1000))


def test_a_damaged_record_is_refused_on_read_and_made_again_on_build(store: Path, tmp_path: Path) -> None:
    make(store, tmp_path / "cache")
    before = digest(tmp_path / "cache")
    shard = next((tmp_path / "cache").glob("*.shard"))
    data = bytearray(shard.read_bytes())
    data[records.HEADER.itemsize + 40] ^= 1
    shard.write_bytes(data)
    cache = AugmentationCache(tmp_path / "cache")
    with pytest.raises(InputError, match=rf"{shard.name}.*damaged"):
        for page in cache.ids:
            cache.image(page, 0)
    assert make(store, tmp_path / "cache").computed == 1
    assert digest(tmp_path / "cache") == before


def test_a_cut_or_missing_shard_is_refused_with_its_name(store: Path, tmp_path: Path) -> None:
    make(store, tmp_path / "cache")
    page = AugmentationCache(tmp_path / "cache").ids[-1]
    shard = tmp_path / "cache" / f"{page[0]}.shard"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(InputError, match=rf"{shard.name}.*damaged"):
        AugmentationCache(tmp_path / "cache").image(page, 1)
    shard.unlink()
    with pytest.raises(InputError, match=rf"{shard.name}.*missing"):
        AugmentationCache(tmp_path / "cache").image(page, 1)


def test_a_second_build_of_a_folder_at_work_is_refused(store: Path, tmp_path: Path, monkeypatch) -> None:
    def meanwhile(*_: object, **__: object) -> None:
        make(store, tmp_path / "cache")

    monkeypatch.setattr("ml.augment.build.write", meanwhile)
    with pytest.raises(InputError, match="another"):
        make(store, tmp_path / "cache")


def test_a_cache_travels_to_other_processes(store: Path, tmp_path: Path) -> None:
    make(store, tmp_path / "cache")
    cache = AugmentationCache(tmp_path / "cache")
    here = cache.image(cache.ids[0], 1)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(cache.image, cache.ids[0], 1).result()
    assert np.array_equal(there, here)


def test_the_command_reads_the_train_split_only_and_writes_metrics(
    store: Path, tmp_path: Path, capsys
) -> None:
    from ml.cli import main

    (tmp_path / "params.yaml").write_text("cache: {variants: 1}\n")
    write_store(tmp_path / "val", [small_page(99)])
    arguments = [
        "cache",
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path / "cache"),
        "--params",
        str(tmp_path / "params.yaml"),
    ]
    assert main([*arguments, "--metrics", str(tmp_path / "m" / "cache.json"), "--workers", "1"]) == 0
    metrics = json.loads((tmp_path / "m" / "cache.json").read_text())
    assert (metrics["pages"], metrics["variants"], metrics["computed"], metrics["reused"]) == (7, 1, 7, 0)
    assert metrics["bytes"] == sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.shard"))
    assert set(AugmentationCache(tmp_path / "cache").ids) == {page.id for page in PageStore(store)}
    assert (
        main(
            [
                "cache",
                "--data",
                str(tmp_path / "val"),
                "--out",
                str(tmp_path / "x"),
                "--params",
                str(tmp_path / "params.yaml"),
            ]
        )
        == 2
    )
    assert "no snapshot" in capsys.readouterr().err
