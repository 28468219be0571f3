"""The augmentation cache as trainers read it: variants of training pages at memory speed.

A folder of shards (`records`), an index (`index.npy`) and a manifest; without manifest it is unfinished.
`build` makes it; this module needs neither albumentations nor the page store.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ml.augment import records
from ml.errors import InputError

MANIFEST = "manifest.json"
INDEX = "index.npy"
FORMAT = "scriptorium-augmentations"
VERSION = 2

#: One row a record, sorted by page id and variant; every page has all variants.
ROW = np.dtype([("page", "u1", 32), ("variant", "<u4"), ("shard", "<u4"), ("start", "<u8"), ("stop", "<u8")])


class AugmentationCache:
    """Photometric variants of the training pages. Safe to hand to forked and spawned workers.

    Raises InputError when `directory` is no finished cache. A record is verified by its hash when this
    process reads it for the first time, and an InputError names the shard when it is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        manifest = _read_manifest(self.directory)
        self.variants: int = manifest["variants"]
        self._shards: list[str] = [shard["file"] for shard in manifest["shards"]]
        self._index = _read_index(self.directory, len(self._shards), self.variants)
        self.ids: tuple[str, ...] = tuple(
            page.tobytes().hex() for page in self._index["page"][:: self.variants]
        )
        self._positions = {page: position for position, page in enumerate(self.ids)}
        self._verified = np.zeros(len(self._index), bool)
        self._open: dict[int, memoryview] = {}

    def __len__(self) -> int:
        """How many pages."""
        return len(self.ids)

    def __contains__(self, page_id: object) -> bool:
        return page_id in self._positions

    def image(self, page_id: str, variant: int) -> np.ndarray:
        """Variant 0 .. variants-1 of a page: writable uint8 (H, W, 3) RGB of the page's own size.

        Raises KeyError for a page that is not in the training split, IndexError for a variant out of range.
        """
        if not 0 <= variant < self.variants:
            raise IndexError(f"variant {variant} of {self.variants}")
        return records.decode(self._frame(self._positions[page_id] * self.variants + variant))

    def read_bytes(self, page_id: str, variant: int) -> memoryview:
        """The verified frame of one record as it lies in its shard (for benches and tests)."""
        return self._frame(self._positions[page_id] * self.variants + variant)

    def _frame(self, number: int) -> memoryview:
        row = self._index[number]
        shard = int(row["shard"])
        if shard not in self._open:
            path = self.directory / self._shards[shard]
            if not path.is_file():
                raise InputError(f"{path}: the shard is missing; make the cache again (`scriptorium cache`)")
            self._open[shard] = records.open_shard(path)
        frame = self._open[shard][int(row["start"]) : int(row["stop"])]
        if not self._verified[number]:
            if len(frame) != int(row["stop"] - row["start"]) or not records.whole(frame):
                raise InputError(
                    f"{self.directory / self._shards[shard]}: the record of page "
                    f"{row['page'].tobytes().hex()} is damaged; make the cache again (`scriptorium cache`)"
                )
            self._verified[number] = True
        return frame

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # memory maps stay in the process that opened them


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    if not path.is_file():
        raise InputError(f"{directory}: no finished augmentation cache; make it with `scriptorium cache`")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or manifest["version"] != VERSION or int(manifest["variants"]) < 1:
            raise ValueError(f"not the manifest of a cache of version {VERSION}")
        if any(Path(shard["file"]).name != shard["file"] for shard in manifest["shards"]):
            raise ValueError("a shard lies outside this folder")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: damaged ({error}); make the cache again (`scriptorium cache`)") from error
    return manifest


def _read_index(directory: Path, shards: int, variants: int) -> np.ndarray:
    path = directory / INDEX
    try:
        index = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: damaged ({error}); make the cache again (`scriptorium cache`)") from error
    if index.dtype != ROW or len(index) % variants or (len(index) and index["shard"].max() >= shards):
        raise InputError(f"{path}: does not fit {MANIFEST}; make the cache again (`scriptorium cache`)")
    return index
