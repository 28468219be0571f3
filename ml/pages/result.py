"""What a model says about a page: the one result object that every form of a model returns."""

from __future__ import annotations

from dataclasses import dataclass

from ml.pages.page import Box


@dataclass(frozen=True, slots=True)
class ReadWord:
    """A word found and read. `score` is the lower of detection and reading confidence, in [0, 1]."""

    box: Box
    text: str
    score: float


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
    def text(self) -> str:
        """The words in reading order, a line of the page a line."""
        from ml.pages.order import text_of  # noqa: PLC0415  (order imports nothing of this module)

        return text_of(self.words)
