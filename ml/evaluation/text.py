"""Reading figures: edit distance, character error rate, exact matches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


def levenshtein(truth: str, read: str) -> int:
    """Least number of insertions, deletions and substitutions of characters that turn `truth` into `read`."""
    if len(read) > len(truth):
        truth, read = read, truth
    row = list(range(len(read) + 1))
    for i, a in enumerate(truth, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(read, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


@dataclass(frozen=True, slots=True)
class ReadingCounts:
    """What the reading figures are made of; sums of pages are sums of counts."""

    words: int = 0
    characters: int = 0
    edits: int = 0
    exact: int = 0

    def __add__(self, other: ReadingCounts) -> ReadingCounts:
        return ReadingCounts(
            self.words + other.words,
            self.characters + other.characters,
            self.edits + other.edits,
            self.exact + other.exact,
        )

    @property
    def cer(self) -> float:
        """Edits per true character; over 1 when the reader invents more than there is."""
        return self.edits / self.characters if self.characters else 0.0

    @property
    def exact_share(self) -> float:
        """Share of words read without any error."""
        return self.exact / self.words if self.words else 0.0


def count_reading(pairs: Iterable[tuple[str, str]]) -> ReadingCounts:
    """Count the errors of (truth, read) pairs."""
    words = characters = edits = exact = 0
    for truth, read in pairs:
        words += 1
        characters += len(truth)
        edits += levenshtein(truth, read)
        exact += truth == read
    return ReadingCounts(words, characters, edits, exact)
