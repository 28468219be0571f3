"""What a reader sets aside, and why."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from ml.pages.page import Page


@dataclass(frozen=True, slots=True)
class Refusal:
    """An input that is no page. The fields are a row of `quarantine.json`."""

    item: str  # the file, and the page in it, as people find it in their folder
    rule: str  # a short code that stays the same
    value: str  # what was found
    reason: str  # a sentence that says what is wrong and what to do
    page: str | None = None  # the page's id, where it has one

    def as_dict(self) -> dict[str, str | None]:
        return asdict(self)


#: What every reader yields, in the order of the input.
Read = Page | Refusal


def unit_of(read: Read) -> str:
    """The file that a page or a refusal is called after: pages of one file are `file#2`."""
    return re.sub(r"#\d+$", "", read.item if isinstance(read, Refusal) else read.source)
