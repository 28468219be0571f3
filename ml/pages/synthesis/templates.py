"""Templates: each composes one kind of page from blocks, its structure drawn anew for every page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ml.pages.synthesis import blocks
from ml.pages.synthesis.books import book, catalogue, contents, formulas, legal, report, typescript
from ml.pages.synthesis.manuscript import Manuscript
from ml.pages.synthesis.office import form, invoice, letter, questionnaire, receipt, statement

#: A4 and Letter most, then Legal, A5-like books, and what is cut by hand.
SHEETS = (210 / 297, 210 / 297, 210 / 297, 8.5 / 11, 8.5 / 11, 8.5 / 14, 0.66, 0.8)
_MIXED = (*SHEETS, 297 / 210)
_BOOKS = (0.6, 0.63, 0.66, 0.7, 0.74)
_SLIDES = (4 / 3, 16 / 9, 3 / 2)
_STRIPS = (0.36, 0.42, 0.5)


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of page: how it is composed, how often it is drawn, and its sheets' width over height."""

    compose: Callable[[Manuscript], None]
    weight: float
    ratios: tuple[float, ...] = SHEETS


def _measure(m: Manuscript, columns: int = 1) -> float:
    """Width of a column of text in pixels (the gutter is about a twelfth of the page)."""
    width = m.style.width - 2 * m.style.margin_x
    return width if columns == 1 else (width - m.style.width / 12) / columns


def _figure(m: Manuscript, measure: float, *, caption: bool = True) -> str:
    width = measure * float(m.prose.rng.uniform(0.55, 1.0))
    height = min(width * float(m.prose.rng.uniform(0.35, 0.75)), m.style.height * 0.26)
    return blocks.figure(m, width, height, caption=caption)


def _sections(m: Manuscript, measure: float, turn: int = 0) -> None:
    """Headings and paragraphs, between them lists, formulas, tables and figures, until the budget is spent.

    A new column begins when no more than `turn` words are left.
    """
    prose = m.prose
    extras = prose.rng.permutation(["list", "formula", "table", "figure", "note", "formula"])[
        : prose.whole(1, 3)
    ].tolist()
    while m.left > 14:
        if m.left <= turn:
            turn = 0
            m.add("#colbreak(weak: true)")
        if prose.chance(0.75):
            m.add(blocks.heading(m, 1 if m.sections == 0 or prose.chance(0.6) else 2))
        for _ in range(prose.whole(1, 2)):
            if m.left > 8:
                extra = extras.pop() if extras and prose.chance(0.75) else ""
                m.add(blocks.paragraph(m, min(prose.whole(14, 50), max(m.left, 6)), note=extra == "note"))
                _extra(m, extra, measure)


def _extra(m: Manuscript, kind: str, measure: float) -> None:
    if kind == "list":
        m.add(blocks.item_list(m, m.prose.whole(2, 4), (3, 10)))
    elif kind == "formula":
        m.add(blocks.formula(m))
    elif kind == "figure":
        m.add(_figure(m, measure))
    elif kind == "table":
        narrow = measure < 240
        m.add(
            blocks.table(
                m, 2 if narrow else m.prose.whole(2, 4), m.prose.whole(2, 4), caption=m.prose.chance(0.7)
            )
        )


def _authors(m: Manuscript, align: str) -> str:
    texts = [", ".join(m.prose.name() for _ in range(m.prose.whole(1, 3)))]
    if m.prose.chance(0.6):
        texts.append(m.prose.pick(m.prose.company(), m.prose.email(), m.prose.long_date()))
    return blocks.lines(m, texts, align)


def article(m: Manuscript) -> None:
    """A paper or report page in one column."""
    blocks.running(m)
    if m.prose.chance(0.65):
        m.add(blocks.title(m))
        if m.prose.chance(0.7):
            m.add(_authors(m, m.prose.pick("left", "center")))
        if m.prose.chance(0.5):
            lead = f'#strong({m.quoted(m.prose.term("abstract") + ".")})#" "'
            inset = m.prose.pick("0", "1", "2")
            m.add(f"#block(inset: (x: {inset}em))[{lead}{blocks.paragraph(m, 25)}]")
    _sections(m, _measure(m))


def article_two_columns(m: Manuscript) -> None:
    """A paper in two columns, title and authors across both."""
    _in_columns(m, 2)


def article_three_columns(m: Manuscript) -> None:
    """A journal's page in three columns."""
    m.style = replace(
        m.style, body=round(m.style.body * 0.92, 2), justify=m.style.justify or m.prose.chance(0.5)
    )
    _in_columns(m, 3)


def _in_columns(m: Manuscript, columns: int) -> None:
    blocks.running(m)
    m.page_settings.append(f"columns: {columns}")
    gutter = m.style.width / (12 if columns == 2 else 22)
    m.add(f"#set columns(gutter: {gutter:.1f}pt)")
    if m.prose.chance(0.75):
        align = m.prose.pick("left", "center")
        m.add('#place(top, scope: "parent", float: true, clearance: 1.2em)[#block(width: 100%)[')
        m.add(blocks.title(m), _authors(m, align), "]]")
    if m.prose.chance(0.4):
        m.add(f"#strong({m.quoted(m.prose.term('abstract'))})\n\n", blocks.paragraph(m, 22))
    measure = (m.style.width - 2 * m.style.margin_x - (columns - 1) * gutter) / columns
    # Most pages break their first column where a full text would; the others run on as far as they go.
    _sections(m, measure, turn=m.left * (columns - 1) // columns if m.prose.chance(0.7) else 0)


def figures(m: Manuscript) -> None:
    """A page of pictures with captions between text."""
    blocks.running(m)
    two = m.prose.chance(0.3)
    if two:
        m.page_settings.append("columns: 2")
        m.add(f"#set columns(gutter: {m.style.width / 12:.1f}pt)")
    if m.prose.chance(0.5):
        m.add(blocks.heading(m))
    measure = _measure(m, 2 if two else 1)
    for _ in range(m.prose.whole(1, 2)):
        if m.prose.chance(0.8):
            m.add(blocks.paragraph(m, m.prose.whole(14, 40), note=m.prose.chance(0.15)))
        m.add(_figure(m, measure, caption=m.prose.chance(0.9)))
    while m.left > 20:
        if m.prose.chance(0.3):
            m.add(blocks.heading(m))
        m.add(blocks.paragraph(m, min(m.prose.whole(14, 45), m.left)))


def manual(m: Manuscript) -> None:
    """A page of a manual: numbered steps, a boxed remark, formulas, footnotes."""
    prose = m.prose
    blocks.running(m, head=0.75)
    if prose.chance(0.25):
        m.add(blocks.title(m))
    m.add(blocks.heading(m), blocks.paragraph(m, prose.whole(12, 30), note=prose.chance(0.6)))
    m.add(blocks.item_list(m, prose.whole(2, 6)))
    kinds = ["formula", "remark", "list", "table", "formula", "figure"]
    for kind in prose.rng.permutation(kinds).tolist():
        if m.left < 14:
            break
        if kind == "remark":
            m.add(blocks.remark(m))
        else:
            _extra(m, kind, _measure(m))
        if prose.chance(0.6) and m.left > 12:
            m.add(blocks.paragraph(m, prose.whole(8, 26), note=prose.chance(0.25)))


def tables(m: Manuscript) -> None:
    """A page of figures in tables."""
    m.budget = int(0.85 * m.budget)  # cells take more room than text
    blocks.running(m)
    if m.prose.chance(0.4):
        m.add(blocks.title(m))
    while m.left > 25:
        if m.prose.chance(0.5):
            m.add(blocks.heading(m))
        if m.prose.chance(0.7):
            m.add(blocks.paragraph(m, m.prose.whole(8, 28), note=m.prose.chance(0.3)))
        columns = m.prose.whole(2, 5)
        rows = max(2, min(m.prose.whole(3, 9), m.left // columns))
        m.add(blocks.table(m, columns, rows, wide=m.prose.chance(0.7), caption=m.prose.chance(0.75)))


def newspaper(m: Manuscript) -> None:
    """Headlines over narrow columns, with a picture."""
    blocks.running_head(m, rule=True)
    if m.prose.chance(0.5):
        blocks.running_foot(m)
    columns = 2 if m.style.body > 12.5 else 3
    m.add(blocks.title(m, (3, 8)))
    if m.prose.chance(0.6):
        m.add(blocks.paragraph(m, m.prose.whole(8, 18), emphasis=False))
    m.add(f"#columns({columns}, gutter: {m.style.width / 16:.1f}pt)[")
    measure = (m.style.width - 2 * m.style.margin_x - (columns - 1) * m.style.width / 16) / columns
    pictured = False
    while m.left > 14:
        if m.prose.chance(0.4):
            m.add(blocks.heading(m, 2))
        m.add(blocks.paragraph(m, min(m.prose.whole(16, 45), m.left)))
        if not pictured and m.prose.chance(0.7):
            pictured = True
            m.add(blocks.figure(m, measure * 0.98, measure * float(m.prose.rng.uniform(0.5, 0.9))))
    m.add("]")


def slide(m: Manuscript) -> None:
    """A slide: a title, a few points, a picture or a table."""
    blocks.running(m, head=0.2, foot=0.8)
    m.add("#set par(first-line-indent: 0em, justify: false)", blocks.title(m, (2, 5)))
    if m.prose.chance(0.5):
        m.add(blocks.item_list(m, m.prose.whole(2, 5), (3, 9)))
        _extra(m, m.prose.pick("figure", "table", "formula"), _measure(m) * 0.7)
        return
    kind = m.prose.pick("figure", "table")
    aside = (
        _figure(m, _measure(m) * 0.42)
        if kind == "figure"
        else blocks.table(m, 2, m.prose.whole(3, 5), caption=m.prose.chance(0.5))
    )
    sides = [f"[{blocks.item_list(m, m.prose.whole(2, 4), (3, 8))}]", f"[{aside}]"]
    if m.prose.chance(0.3):
        sides.reverse()
    m.add(f"#grid(columns: (1fr, 1fr), column-gutter: 1.5em, {', '.join(sides)})\n\n")
    if m.prose.chance(0.4):
        m.add(blocks.paragraph(m, m.prose.whole(6, 16)))


TEMPLATES = {
    "article": Template(article, 1.6),
    "article_two_columns": Template(article_two_columns, 2.0),
    "article_three_columns": Template(article_three_columns, 0.7),
    "report": Template(report, 1.4),
    "letter": Template(letter, 1.2),
    "invoice": Template(invoice, 1.3),
    "receipt": Template(receipt, 0.6, _STRIPS),
    "statement": Template(statement, 0.8, _MIXED),
    "form": Template(form, 1.2),
    "questionnaire": Template(questionnaire, 0.6),
    "figures": Template(figures, 1.2, _MIXED),
    "manual": Template(manual, 1.5),
    "tables": Template(tables, 1.0, _MIXED),
    "newspaper": Template(newspaper, 0.8),
    "slide": Template(slide, 0.7, _SLIDES),
    "book": Template(book, 1.1, _BOOKS),
    "legal": Template(legal, 0.8),
    "contents": Template(contents, 0.5),
    "catalogue": Template(catalogue, 0.6, _MIXED),
    "formulas": Template(formulas, 0.8),
    "typescript": Template(typescript, 1.4),
}
