"""Plain text in reading order; a form feed ends each page, as pdftotext has it."""

from __future__ import annotations

from typing import BinaryIO

from ml.pages.result import PageResult
from ml.serving.documents import SourcePage


class PageWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, page: SourcePage, result: PageResult) -> None:
        self._file.write(f"{result.text}\n".encode())
        if page.number < page.pages:
            self._file.write(b"\f")

    def close(self) -> None:
        pass
