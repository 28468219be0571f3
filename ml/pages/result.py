"""What a model says about a page: the one result object that every form of a model returns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from ml.pages.page import Box


@dataclass(frozen=True, slots=True)
class ReadWord:
    """A word found and read. `score` is the lower of detection and reading confidence, in [0, 1].

    `line` numbers the page's lines in reading order.
    """

    box: Box
    text: str
    score: float
    line: int = 0


@dataclass(frozen=True, slots=True)
class FoundRegion:
    """A region found, with its label's name and confidence in [0, 1]."""

    box: Box
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class PageResult:
    """Words and regions of one page, boxes in pixels of the page as given, words in reading order."""

    width: int
    height: int
    words: tuple[ReadWord, ...] = ()
    regions: tuple[FoundRegion, ...] = ()
    #: Texts read in the boxes that the caller gave, in their order (empty when none were given).
    given: tuple[ReadWord, ...] = ()

    @property
    def lines(self) -> list[list[ReadWord]]:
        """The words, a list a line."""
        return [list(line) for _, line in groupby(self.words, key=lambda word: word.line)]

    @property
    def text(self) -> str:
        """The words in reading order, a line of the page a line."""
        return "\n".join(" ".join(word.text for word in line) for line in self.lines)
