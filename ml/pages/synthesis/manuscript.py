"""A manuscript: Typst source and, beside it, every word that the source puts on the page.

All text goes through `Manuscript.quoted` or is recorded with `record`, so that what the reader finds on the
page can be held against what was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ml.pages.synthesis.fonts import FALLBACK, Family
from ml.pages.synthesis.prose import Prose


@dataclass(frozen=True, slots=True)
class Style:
    """How one page looks. Lengths are pixels of the rendered page (Typst points, one to one)."""

    width: int
    height: int
    body: float  # font size of running text
    family: Family
    heading_family: Family
    hand: Family  # of what is filled in by hand
    margin_x: float
    margin_y: float
    leading: float  # em
    spacing: float  # em, between paragraphs
    justify: bool
    hyphenate: bool
    ligatures: bool
    tracking: float  # em, between letters
    weight: int  # of running text, 400 is regular; a family without it gives its nearest
    indent: float  # em, first line
    ink: str
    accent: str  # headings, rules, fills
    paper: str
    heading_style: str  # markup function around a heading's words
    heading_numbers: str  # "", "1" or "1."
    captions_above: bool
    capitals: bool  # nothing but capitals, as forms, notices and old printers' lists have it
    language: str


#: Inks and accents are dark enough to be read on the papers; both sets are weighted by repetition.
_INKS = ("#000000",) * 6 + ("#1a1a1a", "#222222", "#333333", "#0b1f3a", "#2b1a10")
_ACCENTS = ("#000000",) * 5 + ("#1f3b73", "#7a1f1f", "#1d5c3a", "#444444", "#5a2a6b", "#8a4b08", "#0f5a6b")
_PAPERS = ("#ffffff",) * 8 + ("#fdfcf5", "#faf6ea", "#f4f6f8", "#f7f3ee")


def draw_style(
    prose: Prose, families: Sequence[Family], body_px: tuple[float, float], width: int, height: int
) -> Style:
    """A style drawn by `prose.rng` for a page of `width` x `height` pixels."""
    kind = prose.pick(*["serif"] * 10, *["sans"] * 9, *["mono"] * 3)
    family = draw_family(prose, families, kind)
    heading = (
        family
        if prose.chance(0.6) or kind == "mono"
        else draw_family(prose, families, prose.pick("serif", "sans"))
    )
    low, high = body_px
    # Small type is commoner than large: of two draws the smaller.
    body = float(min(prose.rng.uniform(low, high, 2)))
    if kind == "mono":  # wide letters: the lower half of the range
        body = float(prose.rng.uniform(low, (low + high) / 2))
    justify = prose.chance(0.5) and kind != "mono"
    tracked = prose.chance(0.4) and kind != "mono"
    return Style(
        width=width,
        height=height,
        body=round(body, 2),
        family=family,
        heading_family=heading,
        hand=draw_family(prose, families, "hand"),
        margin_x=round(width * float(prose.rng.uniform(0.06, 0.15)), 1),
        margin_y=round(height * float(prose.rng.uniform(0.075, 0.12)), 1),
        leading=round(float(prose.rng.uniform(0.45, 0.95)), 3),
        spacing=round(float(prose.rng.uniform(0.9, 1.7)), 3),
        justify=justify,
        hyphenate=justify and prose.chance(0.5),
        ligatures=prose.chance(0.4),
        tracking=round(float(np.clip(prose.rng.normal(0, 0.02), -0.03, 0.05)), 3) if tracked else 0.0,
        weight=int(prose.pick(*["400"] * 6, "300", "300", "500", "600")),
        indent=float(prose.pick("0", "0", "0", "0", "0", "1.2", "1.8")),
        ink=prose.pick(*_INKS),
        accent=prose.pick(*_ACCENTS),
        paper=prose.pick(*_PAPERS),
        heading_style=prose.pick("strong", "strong", "strong", "emph", "box"),
        heading_numbers=prose.pick("", "", "1", "1."),
        captions_above=prose.chance(0.3),
        capitals=prose.chance(0.05),
        language=prose.language,
    )


def draw_family(prose: Prose, families: Sequence[Family], kind: str) -> Family:
    """A family of that kind."""
    fitting = [family for family in families if family.kind == kind]
    return fitting[int(prose.rng.integers(len(fitting)))]


@dataclass(slots=True)
class Manuscript:
    """Typst source in the making."""

    prose: Prose
    style: Style
    budget: int  # words that the page should hold
    families: Sequence[Family]
    parts: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)  # every word that the page shows
    page_settings: list[str] = field(default_factory=list)  # header, footer, columns
    handwritten: int = 0  # words set in a hand
    margin_words: int = 0  # line numbers: words beside the text, in no region
    notes: int = 0
    sections: int = 0
    figures: int = 0
    tables: int = 0
    equations: int = 0

    def record(self, text: str) -> str:
        """Count `text` as shown."""
        self.source += text.split()
        return text

    def quoted(self, text: str) -> str:
        """`text`, in capitals where the style has it, as a Typst string literal: nothing in it is markup.

        Counts it as shown.
        """
        return literal(self.record(text.upper() if self.style.capitals else text))

    def add(self, *parts: str) -> None:
        self.parts += parts

    @property
    def left(self) -> int:
        """Words that may still be written."""
        return self.budget - len(self.source)

    def typst(self) -> bytes:
        """The whole source."""
        return "\n".join([_preamble(self.style, self.page_settings), *self.parts]).encode()


def literal(text: str) -> str:
    """A Typst string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def font(family: Family) -> str:
    """Typst's font list: the family, and for what it lacks one that has everything."""
    return f'("{family.name}", "{FALLBACK[family.kind]}")'


def _preamble(style: Style, settings: list[str]) -> str:
    body, accent = style.body, style.accent
    wrap = {
        "strong": 'weight: "bold"',
        "emph": 'weight: "regular", style: "italic"',
        "box": 'weight: "regular"',
    }
    return f"""#set page(width: {style.width}pt, height: {style.height}pt, fill: rgb("{style.paper}"),
  margin: (x: {style.margin_x}pt, y: {style.margin_y}pt), {", ".join(settings)})
#set text(font: {font(style.family)}, size: {body}pt, fill: rgb("{style.ink}"), lang: "{style.language}",
  weight: {style.weight}, tracking: {style.tracking}em,
  hyphenate: {str(style.hyphenate).lower()}, ligatures: {str(style.ligatures).lower()},
  discretionary-ligatures: false, fallback: false,
  features: (clig: 0, calt: 0, locl: 0))
#set smartquote(enabled: false)
#set par(justify: {str(style.justify).lower()}, leading: {style.leading}em, spacing: {style.spacing}em,
  first-line-indent: {style.indent}em)
#set figure(numbering: none, supplement: none)
#set figure.caption(position: {"top" if style.captions_above else "bottom"})
#set table(stroke: 0.7pt + rgb("{accent}"))
#set math.lr(size: 1em)
#show math.equation: set text(font: "New Computer Modern Math", fallback: true)
#show heading: set text(font: {font(style.heading_family)}, fill: rgb("{accent}"))
#show heading: set text({wrap[style.heading_style]})
#show heading.where(level: 1): set text(size: {body * 1.25:.2f}pt)
#show heading.where(level: 2): set text(size: {body * 1.08:.2f}pt)
#show title: set text(font: {font(style.heading_family)}, fill: rgb("{accent}"))
#show figure.caption: set text(size: {body * 0.88:.2f}pt)
#show footnote.entry: set text(size: {body * 0.85:.2f}pt)
"""
