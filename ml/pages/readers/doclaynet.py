"""DocLayNet: COCO regions on pages squashed to 1025 x 1025, and a JSON file a page with its true size and its text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import cv2

from ml.pages.page import Box, Page, Word, page_id
from ml.pages.readers.annotated import MAX_ANNOTATION_BYTES, annotation_files
from ml.pages.readers.coco import coco_files, read_coco
from ml.pages.readers.files import RefusedError, inside, name_in, read_bytes
from ml.pages.readers.refusal import Read
from ml.pages.readers.rendering import encode_png

JSON = frozenset({".json"})


def doclaynet_files(root: Path) -> list[Path]:
    """The JSON files of single pages, where they lie beside COCO annotations."""
    annotations = set(coco_files(root))
    if not annotations:
        return []
    pages = annotation_files(root, JSON, lambda head: b'"original_width"' in head)
    return [path for path in pages if path not in annotations]


def read_doclaynet(root: Path) -> Iterator[Read]:
    """Every annotated page under `root`, stretched back to its own proportions, with the text cells as words.

    A page whose JSON is missing is refused: nothing else tells how it was squashed.
    """
    beside = {path.stem: path for path in doclaynet_files(root)}
    for read in read_coco(root):
        if not isinstance(read, Page):
            yield read
            continue
        try:
            yield _stretched(root, read, beside.get(PurePosixPath(read.source).stem))
        except RefusedError as error:
            yield error.refusal


def _stretched(root: Path, page: Page, path: Path | None) -> Page:
    item = page.source
    if path is None:
        stem = PurePosixPath(item).stem
        raise RefusedError(
            item, "doclaynet_size", stem, f"{item}: {stem}.json with its original size is missing; add it"
        )
    try:
        told = json.loads(read_bytes(inside(root, path, item), name_in(root, path), MAX_ANNOTATION_BYTES))
        width, height = float(told["metadata"]["original_width"]), float(told["metadata"]["original_height"])
        if not (math.isfinite(width) and math.isfinite(height) and 0.05 < width / height < 20):
            raise ValueError(f"{width} x {height} is no size of a page")
        cells = [_cell(cell) for cell in told.get("cells", ()) if str(cell.get("text", "")).strip()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ArithmeticError) as error:
        detail = f"{type(error).__name__}: {str(error)[:100]}"
        raise RefusedError(
            item, "doclaynet_unreadable", detail, f"{path.name}: not DocLayNet's ({detail})"
        ) from error
    long_edge = max(page.width, page.height)
    size = (
        (long_edge, round(long_edge * height / width))
        if width > height
        else (round(long_edge * width / height), long_edge)
    )
    pixels = cv2.resize(page.pixels(), size, interpolation=cv2.INTER_AREA)
    image = encode_png(pixels)
    x, y = size[0] / page.width, size[1] / page.height

    def scaled(box: Box) -> Box:
        return box[0] * x, box[1] * y, box[2] * x, box[3] * y

    return replace(
        page,
        id=page_id(image),
        width=size[0],
        height=size[1],
        image=image,
        words=tuple(Word(scaled(box), text, None) for box, text in cells),
        regions=tuple(replace(region, box=scaled(region.box)) for region in page.regions or ()),
    )


def _cell(cell: dict[str, Any]) -> tuple[Box, str]:
    x, y, width, height = map(float, cell["bbox"])
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        raise ValueError(f"a cell with the box {cell['bbox']}")
    return (x, y, x + width, y + height), " ".join(str(cell["text"]).split())
