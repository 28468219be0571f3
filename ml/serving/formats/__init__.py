"""Result formats, each made from a page and its `PageResult` alone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import BinaryIO, Protocol

from ml.pages.result import PageResult
from ml.serving.documents import SourcePage


class Writer(Protocol):
    """Writes one file of results, page by page."""

    def __init__(self, file: BinaryIO) -> None: ...
    def add(self, page: SourcePage, result: PageResult) -> None: ...
    def close(self) -> None:
        """Write what comes after the last page; the file itself stays open."""
        ...


@dataclass(frozen=True)
class Format:
    """How results are written: `per_page` starts a new file for each page, `printable` may go to stdout."""

    module: str
    suffix: str
    per_page: bool = False
    printable: bool = True

    def writer(self, file: BinaryIO) -> Writer:
        return import_module(f"{__name__}.{self.module}").PageWriter(file)


FORMATS = {
    "json": Format("page_json", ".json", per_page=True),
    "text": Format("text", ".txt"),
    "overlay": Format("overlay", ".png", per_page=True, printable=False),
    "hocr": Format("hocr", ".hocr.html"),
    "alto": Format("alto", ".alto.xml"),
    "pdf": Format("searchable_pdf", ".ocr.pdf", printable=False),
}
