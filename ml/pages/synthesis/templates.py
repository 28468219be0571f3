"""Templates: each composes one kind of page from blocks, its structure drawn anew for every page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ml.pages.synthesis import blocks
from ml.pages.synthesis.manuscript import Manuscript
from ml.pages.synthesis.office import form, invoice, letter


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of page: how it is composed, how often it is drawn, and whether it lies on its side."""

    compose: Callable[[Manuscript], None]
    weight: float
    landscape: bool = False


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
            lead = f'#strong({m.quoted("Abstract.")})#" "'
            inset = m.prose.pick("0", "1", "2")
            m.add(f"#block(inset: (x: {inset}em))[{lead}{blocks.paragraph(m, 25)}]")
    _sections(m, _measure(m))


def article_two_columns(m: Manuscript) -> None:
    """A paper in two columns, title and authors across both."""
    blocks.running(m)
    m.page_settings.append("columns: 2")
    m.add(f"#set columns(gutter: {m.style.width / 12:.1f}pt)")
    if m.prose.chance(0.75):
        align = m.prose.pick("left", "center")
        m.add('#place(top, scope: "parent", float: true, clearance: 1.2em)[#block(width: 100%)[')
        m.add(blocks.title(m), _authors(m, align), "]]")
    if m.prose.chance(0.4):
        m.add(f"#strong({m.quoted(m.prose.pick('Abstract', 'Summary'))})\n\n", blocks.paragraph(m, 22))
    # Half of the pages break the column where a full text would; the others run on as far as they go.
    _sections(m, _measure(m, 2), turn=m.left // 2 if m.prose.chance(0.7) else 0)


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
            m.add(_remark(m))
        else:
            _extra(m, kind, _measure(m))
        if prose.chance(0.6) and m.left > 12:
            m.add(blocks.paragraph(m, prose.whole(8, 26), note=prose.chance(0.25)))


def _remark(m: Manuscript) -> str:
    """A paragraph in a box: framed, shaded, or white on dark."""
    accent = m.style.accent
    shape, ink = (
        (f'stroke: 0.7pt + rgb("{accent}")', ""),
        (f'fill: luma(238), stroke: (left: 3pt + rgb("{accent}"))', ""),
        (f'fill: rgb("{accent}").lighten(88%)', ""),
        (f'fill: rgb("{accent}")', "#set text(fill: white)\n"),
    )[m.prose.whole(0, 3)]
    return f"#block(inset: 7pt, width: 100%, {shape})[{ink}{blocks.paragraph(m, m.prose.whole(8, 22))}]\n\n"


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
    "article": Template(article, 2.0),
    "article_two_columns": Template(article_two_columns, 2.0),
    "letter": Template(letter, 1.4),
    "invoice": Template(invoice, 1.4),
    "form": Template(form, 1.2),
    "figures": Template(figures, 1.4),
    "manual": Template(manual, 1.8),
    "tables": Template(tables, 1.1),
    "newspaper": Template(newspaper, 0.9),
    "slide": Template(slide, 0.6, landscape=True),
}
