"""The page store: Parquet shards and a manifest.

One row a page, one row group a page, so that a random read touches exactly one page's bytes. The image is
kept as it came and is not compressed again. Why Parquet: docs/decisions/0002-page-store.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from ml.errors import InputError
from ml.pages.page import Box, Page, Provenance, Region, Word

MANIFEST = "manifest.json"
#: Beside the shards of a store in the making: its last checkpoint, and its entries so far, a line a page.
UNFINISHED, ENTRIES = ".unfinished.json", ".entries.jsonl"
VERSION = 1

_BOX = [pa.field(name, pa.float64(), nullable=False) for name in ("x1", "y1", "x2", "y2")]
_WORD = pa.struct([*_BOX, pa.field("text", pa.string(), nullable=False), pa.field("line", pa.int32())])
_REGION = pa.struct([*_BOX, pa.field("label", pa.string(), nullable=False)])
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("document", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("words", pa.list_(_WORD)),  # null: not annotated
        pa.field("regions", pa.list_(_REGION)),  # null: not annotated
        pa.field("provenance", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("meta", pa.map_(pa.string(), pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A page's row in the manifest: what can be known without decoding the page."""

    id: str
    document: str
    width: int
    height: int
    words: int | None  # how many; None: not annotated
    regions: int | None
    provenance: Provenance


@dataclass(frozen=True)
class Checkpoint:
    """A store that was not finished: its whole shards, the bytes of their entries, and what its writer noted."""

    told: dict[str, Any]
    shards: list[dict[str, Any]]
    entries: int


def unfinished(directory: Path) -> Checkpoint | None:
    """The last checkpoint in `directory`, if its shards are whole."""
    try:
        state = json.loads((directory / UNFINISHED).read_text(encoding="utf-8"))
        found = Checkpoint(state["told"], state["shards"], int(state["entries"]))
        if (directory / ENTRIES).stat().st_size < found.entries:
            return None
        for shard in found.shards:
            name = shard["file"]
            if Path(name).name != name or (directory / name).stat().st_size != shard["bytes"]:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


class PageWriter:
    """Writes pages into `directory` in the order given; same pages, same bytes. Its memory does not grow with them.

    Use as a context manager. The manifest is written on clean exit and last, so that a folder without one is
    known to be unfinished; after an error the shards written since the last `checkpoint` are removed. A store that
    already lies in `directory` is replaced, or gone on with from `resumed`, a checkpoint that `unfinished` found.
    """

    def __init__(
        self,
        directory: Path,
        prefix: str = "pages",
        shard_pages: int = 64,
        resumed: Checkpoint | None = None,
    ) -> None:
        self.directory, self.prefix, self.shard_pages = directory, prefix, shard_pages
        self._resumed = resumed
        self._entries: IO[bytes] | None = None
        self._shards: list[dict[str, Any]] = []
        self._shard: pq.ParquetWriter | None = None
        self._in_shard = 0
        self._of_prefix = 0
        self._safe = 0  # shards of the last checkpoint

    def __enter__(self) -> PageWriter:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._resumed is not None:
            self._shards = list(self._resumed.shards)
            self._of_prefix = self._safe = len(self._shards)
            os.truncate(self.directory / ENTRIES, self._resumed.entries)
        _clear(self.directory, keep={shard["file"] for shard in self._shards})
        self._entries = (self.directory / ENTRIES).open("ab")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close_shard()
        if self._entries is not None:
            self._entries.close()
        if kind is not None:
            for shard in self._shards[self._safe :]:
                (self.directory / shard["file"]).unlink(missing_ok=True)
            if not (self.directory / UNFINISHED).exists():
                (self.directory / ENTRIES).unlink(missing_ok=True)
            return
        _write_manifest(self.directory, self._shards)
        (self.directory / UNFINISHED).unlink(missing_ok=True)
        (self.directory / ENTRIES).unlink()

    def checkpoint(self, told: dict[str, Any]) -> None:
        """Make what is written so far survive a kill, with what its writer wants to be `told` when it goes on."""
        self._close_shard()
        self._safe = len(self._shards)
        log = self._log()
        log.flush()
        state = {"told": told, "shards": self._shards, "entries": log.tell()}
        write_text(self.directory / UNFINISHED, json.dumps(state))

    def begin(self, prefix: str) -> None:
        """Go on in shards named after `prefix`, so that what precedes does not move what follows."""
        self._close_shard()
        self.prefix, self._of_prefix = prefix, 0

    def write(self, page: Page) -> None:
        """Append a page."""
        if self._shard is None:
            name = f"{self.prefix}-{self._of_prefix:05d}.parquet"
            self._shards.append({"file": name, "pages": 0, "bytes": 0})
            self._of_prefix += 1
            self._shard = pq.ParquetWriter(
                self.directory / name,
                SCHEMA,
                compression=cast("Any", {"words": "zstd", "regions": "zstd", "image": "none"}),
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
                store_schema=False,
            )
        self._shard.write_batch(pa.RecordBatch.from_pylist([_row(page)], schema=SCHEMA), row_group_size=1)
        self._in_shard += 1
        self._log().write(json.dumps(asdict(_entry(page))).encode() + b"\n")
        if self._in_shard >= self.shard_pages:
            self._close_shard()

    def _log(self) -> IO[bytes]:
        if self._entries is None:
            raise RuntimeError("a PageWriter writes inside its `with` block")
        return self._entries

    def _close_shard(self) -> None:
        if self._shard is None:
            return
        self._shard.close()
        shard = self._shards[-1]
        shard["pages"], shard["bytes"] = self._in_shard, (self.directory / shard["file"]).stat().st_size
        self._shard, self._in_shard = None, 0


class PageStore(Sequence[Page]):
    """Pages of a folder, readable at random and in order. Safe to hand to forked and spawned workers.

    Raises InputError when the folder is no store, or a shard is missing, cut short or damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.entries, shards = _read_manifest(self.directory)
        self._places: list[tuple[str, int]] = []
        for shard in shards:
            path = self.directory / shard["file"]
            size = path.stat().st_size if path.is_file() else -1
            if size != shard["bytes"]:
                what = "is missing" if size < 0 else f"has {size} bytes, not {shard['bytes']}"
                raise InputError(
                    f"{path}: the shard {what}; make the store again (`dvc checkout` or `dvc repro`)"
                )
            self._places += [(shard["file"], row) for row in range(shard["pages"])]
        if len(self._places) != len(self.entries):
            raise InputError(
                f"{self.directory / MANIFEST}: {len(self.entries)} entries for {len(self._places)} pages"
            )
        self._open: dict[str, pq.ParquetFile] = {}
        self._pid = os.getpid()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Page:  # pyright: ignore[reportIncompatibleMethodOverride]  (no slices)
        name, row = self._places[index]
        try:
            table = self._file(name).read_row_group(row, use_threads=False)
            return _page(table.to_pylist()[0])
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self.directory / name}: page {row} is damaged: {error}") from error

    def __iter__(self) -> Iterator[Page]:
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def _file(self, name: str) -> pq.ParquetFile:
        if self._pid != os.getpid():  # forked: the parent's handles are not ours
            self._open, self._pid = {}, os.getpid()
        if name not in self._open:
            self._open[name] = pq.ParquetFile(
                self.directory / name, memory_map=True, page_checksum_verification=True
            )
        return self._open[name]


def _row(page: Page) -> dict[str, Any]:
    words = (
        None if page.words is None else [_boxed(w.box) | {"text": w.text, "line": w.line} for w in page.words]
    )
    regions = None if page.regions is None else [_boxed(r.box) | {"label": r.label} for r in page.regions]
    return {
        "id": page.id,
        "document": page.document,
        "width": page.width,
        "height": page.height,
        "image": page.image,
        "words": words,
        "regions": regions,
        "provenance": page.provenance,
        "source": page.source,
        "meta": sorted(page.meta.items()),
    }


def _boxed(box: Box) -> dict[str, Any]:
    return {"x1": box[0], "y1": box[1], "x2": box[2], "y2": box[3]}


def _box(item: dict[str, Any]) -> Box:
    return (item["x1"], item["y1"], item["x2"], item["y2"])


def _page(row: dict[str, Any]) -> Page:
    words, regions = row["words"], row["regions"]
    return Page(
        id=row["id"],
        document=row["document"],
        width=row["width"],
        height=row["height"],
        image=row["image"],
        words=None if words is None else tuple(Word(_box(w), w["text"], w["line"]) for w in words),
        regions=None if regions is None else tuple(Region(_box(r), r["label"]) for r in regions),
        provenance=row["provenance"],
        source=row["source"],
        meta=dict(row["meta"]),
    )


def _entry(page: Page) -> Entry:
    return Entry(
        page.id,
        page.document,
        page.width,
        page.height,
        None if page.words is None else len(page.words),
        None if page.regions is None else len(page.regions),
        page.provenance,
    )


def _write_manifest(directory: Path, shards: list[dict[str, Any]]) -> None:
    """JSON with a line a page, so that two manifests can be compared by eye and by diff. Whole or not there."""
    part = directory / f".{MANIFEST}.part"
    files = ",\n    ".join(json.dumps(shard) for shard in shards)
    pages = sum(shard["pages"] for shard in shards)
    with part.open("w", encoding="utf-8") as out, (directory / ENTRIES).open(encoding="utf-8") as entries:
        out.write(
            f'{{\n  "format": "scriptorium-pages",\n  "version": {VERSION},\n  "pages": {pages},\n'
            f'  "shards": [\n    {files}\n  ],\n  "entries": [\n    '
        )
        for number, line in enumerate(entries):
            out.write((",\n    " if number else "") + line.rstrip("\n"))
        out.write("\n  ]\n}\n")
    part.replace(directory / MANIFEST)


def _read_manifest(directory: Path) -> tuple[tuple[Entry, ...], list[dict[str, Any]]]:
    path = directory / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{directory}: no page store ({MANIFEST} is missing); give a folder that synth or ingest wrote"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest.get("format") != "scriptorium-pages" or manifest["version"] != VERSION:
            raise InputError(
                f"{path}: not the manifest of a page store of version {VERSION}; make the store again"
            )
        shards = manifest["shards"]
        for shard in shards:
            if Path(shard["file"]).name != shard["file"]:
                raise InputError(
                    f"{path}: shard '{shard['file']}' does not lie in this folder; make the store again"
                )
        return tuple(Entry(**entry) for entry in manifest["entries"]), shards
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: damaged manifest ({error}); make the store again") from error


def _clear(directory: Path, keep: set[str]) -> None:
    """Remove the store that lies in `directory`, also one that was never finished: the manifest first."""
    path = directory / MANIFEST
    if path.is_file():
        if '"scriptorium-pages"' not in path.read_text(encoding="utf-8", errors="replace"):
            raise InputError(f"{path}: not a page store's manifest; choose another folder")
        path.unlink()
    for shard in directory.glob("*-[0-9][0-9][0-9][0-9][0-9].parquet"):
        if shard.name not in keep:
            shard.unlink()
    for part in directory.glob(".*.part"):  # of a `write_text` that was killed
        part.unlink()
    if not keep:
        (directory / UNFINISHED).unlink(missing_ok=True)
        (directory / ENTRIES).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file that is either whole or not there."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
