"""Region labels: DocLayNet's eleven are canonical, PubLayNet's five are what Trident predicts."""

from __future__ import annotations

from typing import Final

CANONICAL: Final = (
    "Caption",
    "Footnote",
    "Formula",
    "List-item",
    "Page-footer",
    "Page-header",
    "Picture",
    "Section-header",
    "Table",
    "Text",
    "Title",
)
PUBLAYNET: Final = ("text", "title", "list", "table", "figure")

#: PubLayNet annotates neither running heads nor feet, and counts captions, footnotes and formulas as text.
TO_PUBLAYNET: Final[dict[str, str | None]] = {
    "Caption": "text",
    "Footnote": "text",
    "Formula": "text",
    "List-item": "list",
    "Page-footer": None,
    "Page-header": None,
    "Picture": "figure",
    "Section-header": "title",
    "Table": "table",
    "Text": "text",
    "Title": "title",
}
FROM_PUBLAYNET: Final[dict[str, str]] = {
    "text": "Text",
    "title": "Section-header",
    "list": "List-item",
    "table": "Table",
    "figure": "Picture",
}
#: Regions whose inside is running text: a word lies in at most one of these.
TEXT_KINDS: Final = frozenset(CANONICAL) - {"Picture", "Table"}
