from __future__ import annotations

import gc
import json
import string
import tempfile
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.errors import InputError
from ml.pages.page import Region, Word
from ml.pages.store import MANIFEST, PageStore, PageWriter
from tests.pages.making import page

number = st.floats(-1e6, 1e6, allow_nan=False)
boxes = st.tuples(number, number, number, number)
texts = st.text(string.printable + "äß€“漢", max_size=12)
words = st.none() | st.lists(st.builds(Word, boxes, texts, st.none() | st.integers(0, 999)), max_size=4).map(
    tuple
)
regions = st.none() | st.lists(st.builds(Region, boxes, texts), max_size=3).map(tuple)


def write(folder: Path, pages, **options) -> Path:
    with PageWriter(folder, **options) as writer:
        for one in pages:
            writer.write(one)
    return folder


@settings(max_examples=25, deadline=None)
@given(words=words, regions=regions, text=texts)
def test_a_page_comes_back_as_it_was_written(words, regions, text):
    given_page = page(3, words=words, regions=regions, source=text, meta={"key": text})
    with tempfile.TemporaryDirectory() as folder:
        store = PageStore(write(Path(folder) / "store", [given_page]))
        assert store[0] == given_page
        entry = store.entries[0]
        assert entry.words == (None if words is None else len(words))
        assert entry.regions == (None if regions is None else len(regions))


def test_pages_lie_in_shards_and_are_read_at_random_and_in_order(tmp_path):
    pages = [page(seed) for seed in range(7)]
    store = PageStore(write(tmp_path / "s", pages, shard_pages=3))
    assert len(list((tmp_path / "s").glob("*.parquet"))) == 3
    assert [store[5], store[0], store[6]] == [pages[5], pages[0], pages[6]]
    assert list(store) == pages
    assert [entry.id for entry in store.entries] == [one.id for one in pages]


def test_the_same_pages_give_the_same_bytes(tmp_path):
    pages = [page(seed) for seed in range(5)]
    one, two = (write(tmp_path / name, pages, shard_pages=2) for name in "ab")
    for path in sorted(one.iterdir()):
        assert path.read_bytes() == (two / path.name).read_bytes()


def test_shards_of_one_prefix_do_not_depend_on_those_before(tmp_path):
    for name, first in (("a", 3), ("b", 1)):
        with PageWriter(tmp_path / name, prefix="early", shard_pages=2) as writer:
            for seed in range(first):
                writer.write(page(seed))
            writer.begin("late")
            writer.write(page(9))
    assert (tmp_path / "a/late-00000.parquet").read_bytes() == (
        tmp_path / "b/late-00000.parquet"
    ).read_bytes()


def test_a_store_is_replaced_as_a_whole(tmp_path):
    write(tmp_path, [page(seed) for seed in range(5)], prefix="old", shard_pages=2)
    write(tmp_path, [page(9)], prefix="new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "new-00000.parquet"]


def test_many_pages_take_no_more_memory_than_few(tmp_path):
    """Only what each shard is called stays in memory, 64 pages a shard: not what each page is called."""
    one = page()
    tracemalloc.start()
    with PageWriter(tmp_path) as writer:
        held = []
        for number in range(3 * 640):
            writer.write(
                replace(one, id=f"{number:064d}", document=f"a document of its own, number {number}")
            )
            if number % 640 == 639:
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[2] - held[1] < 640 * 100  # an entry takes 500 bytes


def test_an_error_while_writing_leaves_no_store(tmp_path):
    with pytest.raises(RuntimeError), PageWriter(tmp_path) as writer:
        writer.write(page())
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_manifest_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / MANIFEST).write_text('{"name": "a web app"}')
    with pytest.raises(InputError, match="choose another folder"):
        write(tmp_path, [page()])
    assert "web app" in (tmp_path / MANIFEST).read_text()


@pytest.mark.parametrize("damage", ["missing", "short", "flipped", "manifest", "escape"])
def test_damage_is_named(tmp_path, damage):
    write(tmp_path, [page(seed) for seed in range(3)])
    shard, manifest = tmp_path / "pages-00000.parquet", tmp_path / MANIFEST
    data = bytearray(shard.read_bytes())
    if damage == "missing":
        shard.unlink()
    elif damage == "short":
        shard.write_bytes(data[:-10])
    elif damage == "flipped":
        data[data.index(b"\x89PNG") + 500] ^= 0xFF
        shard.write_bytes(data)
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-20])
    else:
        manifest.write_text(manifest.read_text().replace("pages-00000", "../pages-00000"))
    with pytest.raises(InputError, match=r"pages-00000|manifest"):
        list(PageStore(tmp_path))


def test_a_folder_without_manifest_is_no_store(tmp_path):
    with pytest.raises(InputError, match="no page store"):
        PageStore(tmp_path)


def _ids(store: PageStore) -> list[str]:
    return [one.id for one in store]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_open_store_can_be_handed_to_other_processes(tmp_path, method):
    store = PageStore(write(tmp_path, [page(seed) for seed in range(4)], shard_pages=2))
    here = _ids(store)  # shards are open now
    # Not multiprocessing.Pool: ending it terminates workers, which can die holding the lock another waits for.
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        assert list(pool.map(_ids, [store, store])) == [here, here]


def test_the_manifest_has_a_line_a_page(tmp_path):
    pages = [page(seed) for seed in range(3)]
    manifest = (write(tmp_path, pages) / MANIFEST).read_text()
    assert json.loads(manifest)["pages"] == 3
    assert all(sum(one.id in line for line in manifest.splitlines()) == 1 for one in pages)
