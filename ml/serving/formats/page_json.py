"""JSON: one object a page, on one line."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from ml.pages.page import Box
from ml.pages.result import PageResult
from ml.serving.documents import SourcePage


def to_json(result: PageResult, source: str, page: int) -> dict[str, Any]:
    """The page as plain values; boxes in pixels of the page as given, `text` in reading order."""
    return {
        "source": source,
        "page": page,
        "width": result.width,
        "height": result.height,
        "words": [{"box": _box(w.box), "text": w.text, "score": round(w.score, 4)} for w in result.words],
        "regions": [
            {"box": _box(r.box), "label": r.label, "score": round(r.score, 4)} for r in result.regions
        ],
        "text": result.text,
    }


def _box(box: Box) -> list[float]:
    return [round(value, 2) for value in box]


class PageWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, page: SourcePage, result: PageResult) -> None:
        line = json.dumps(to_json(result, page.source, page.number), ensure_ascii=False)
        self._file.write(line.encode("utf-8", "replace") + b"\n")

    def close(self) -> None:
        pass
