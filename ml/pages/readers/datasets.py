"""Data sets with formats of their own: FUNSD's forms, and CSV lists of cropped words and lines."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from ml.pages.page import Page, Word, page_id
from ml.pages.readers.annotated import MAX_ANNOTATION_BYTES, Sheet, annotation_files, read_annotated
from ml.pages.readers.files import MAX_IMAGE_BYTES, RefusedError, images_in, inside, name_in, read_bytes
from ml.pages.readers.refusal import Read

JSON = frozenset({".json"})
CSV = frozenset({".csv", ".tsv"})
#: Column names that people use.
_IMAGE_COLUMNS, _TEXT_COLUMNS = (
    ("image", "file_name", "filename", "file", "path"),
    ("text", "label", "transcription"),
)


def is_funsd(head: bytes) -> bool:
    return re.search(rb'"form"\s*:', head) is not None


def is_crops(head: bytes) -> bool:
    names = head.splitlines()[0].decode("utf-8-sig", "replace").lower() if head else ""
    columns = [name.strip().strip('"') for name in names.replace("\t", ",").replace(";", ",").split(",")]
    return any(name in columns for name in _IMAGE_COLUMNS) and any(name in columns for name in _TEXT_COLUMNS)


def read_funsd(root: Path) -> Iterator[Read]:
    """Every form under `root`. Words with empty text, which FUNSD has, are left out.

    Its entities (question, answer, header, other) say what a text means, not what it looks like: regions stay unknown.
    """
    return read_annotated(root, JSON, "funsd_unreadable", _funsd, is_funsd)


def funsd_files(root: Path) -> list[Path]:
    return annotation_files(root, JSON, is_funsd)


def crop_files(root: Path) -> list[Path]:
    return annotation_files(root, CSV, is_crops)


def _funsd(data: bytes, item: str) -> list[Sheet]:
    words = []
    for entity in json.loads(data)["form"]:
        for word in entity["words"]:
            text = str(word["text"]).strip()
            if text:
                x1, y1, x2, y2 = map(float, word["box"])
                words.append(Word((x1, y1, x2, y2), text, None))
    return [Sheet(None, None, words, None)]


def read_crops(root: Path) -> Iterator[Read]:
    """Every row of every CSV file under `root` with a column `image` and a column `text`, as a page of its own.

    A crop is a page that one box fills, and the box says what the row says. A crop of a line is one box with several
    words in it: the contracts name it, and a recogniser of lines learns from it.
    """
    for path in crop_files(root):
        item = name_in(root, path)
        try:
            rows = list(_rows(read_bytes(inside(root, path, item), item, MAX_ANNOTATION_BYTES), item))
            if not rows:
                raise RefusedError(
                    item, "csv_unreadable", "no row", f"{item}: it has no row below its heading"
                )
        except RefusedError as error:
            yield error.refusal
            continue
        taken: set[str] = set()
        for number, name, text in rows:
            try:
                yield _crop(root, path, item, number, name, text, taken)
            except RefusedError as error:
                yield error.refusal


def _rows(data: bytes, item: str) -> Iterator[tuple[int, str, str]]:
    """Line number, image and text of every row."""
    try:
        text = data.decode("utf-8-sig")
        dialect = "excel-tab" if "\t" in text.partition("\n")[0] else "excel"
        delimiter = ";" if ";" in text.partition("\n")[0] else ("\t" if dialect == "excel-tab" else ",")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns = {str(name).strip().lower(): name for name in reader.fieldnames or ()}
        image = next(columns[name] for name in _IMAGE_COLUMNS if name in columns)
        told = next(columns[name] for name in _TEXT_COLUMNS if name in columns)
        for row in reader:
            yield reader.line_num, row[image] or "", row[told] or ""
    except (ValueError, csv.Error, StopIteration, RuntimeError) as error:
        reason = (
            f"{item}: not a readable CSV file ({str(error)[:120]}); it needs UTF-8 and the columns image,text"
        )
        raise RefusedError(item, "csv_unreadable", str(error)[:120], reason) from error


def _crop(root: Path, path: Path, item: str, number: int, name: str, text: str, taken: set[str]) -> Page:
    source = f"{item}:{number} {name}"[:200]
    text = " ".join(text.split())
    if not text:
        raise RefusedError(source, "text_empty", name[:80], f"{source}: the row has no text")
    if not name or "\0" in name or "\\" in name or Path(name).is_absolute():
        raise RefusedError(
            source, "path_escape", name[:80], f"{source}: the image must be a path beside the CSV file"
        )
    if name in taken:
        reason = f"{source}: the image is listed once more; drop one of its rows"
        raise RefusedError(source, "page_twice", name[:80], reason)
    taken.add(name)
    data, width, height = next(
        images_in(read_bytes(inside(root, path.parent / name, source), source, MAX_IMAGE_BYTES), source)
    )
    return Page(
        id=page_id(data),
        document=name,
        width=width,
        height=height,
        image=data,
        words=(Word((0.0, 0.0, float(width), float(height)), text, 0),),
        regions=None,
        provenance="human",
        source=source,
        meta={"crop": "line" if " " in text else "word"},
    )
