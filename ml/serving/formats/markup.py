"""What ALTO and hOCR share: a file that opens with the first page, and text made safe for XML."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import BinaryIO

from ml.pages.result import PageResult
from ml.serving.documents import SourcePage


class MarkupWriter(ABC):
    """Writes `head` before the first page, named after its source, and `tail` after the last."""

    head: str  # holds {source}
    tail: str

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begun = False

    def add(self, page: SourcePage, result: PageResult) -> None:
        if not self._begun:
            self._begun = True
            self.put(self.head.format(source=xml_text(page.source)))
        self.page(page, result)

    def close(self) -> None:
        if self._begun:
            self.put(self.tail)

    def put(self, text: str) -> None:
        self._file.write(text.encode("utf-8", "replace"))

    @abstractmethod
    def page(self, page: SourcePage, result: PageResult) -> None:
        """Put one page."""


def xml_text(text: str) -> str:
    """`text` escaped for content and quoted attributes, without the characters that XML 1.0 cannot hold."""
    legal = "".join(
        c
        for c in text
        if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000"
    )
    return (
        legal.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
        .replace("'", "&#39;")
    )
