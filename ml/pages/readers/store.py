"""A page store as a source: what synth or another project wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ml.errors import InputError
from ml.pages.readers.refusal import Read, Refusal
from ml.pages.store import PageStore


def read_store(root: Path) -> Iterator[Read]:
    """Every page of the store in `root`; a damaged one is refused. Raises InputError when it is no store."""
    store = PageStore(root)
    for index, entry in enumerate(store.entries):
        try:
            yield store[index]
        except InputError as error:
            yield Refusal(f"{root.name}#{index}", "store_damaged", entry.id[:12], str(error), entry.id)
