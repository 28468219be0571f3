"""Templates: each composes one kind of page from blocks, its structure drawn anew for every page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ml.pages.synthesis import blocks
from ml.pages.synthesis.manuscript import Manuscript
from ml.pages.synthesis.pictures import logo_svg, signature_svg


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of page: how it is composed, how often it is drawn, and whether it lies on its side."""

    compose: Callable[[Manuscript], None]
    weight: float
    landscape: bool = False


def _running(m: Manuscript, head: float = 0.7, foot: float = 0.7) -> None:
    if m.prose.chance(head):
        blocks.running_head(m)
    if m.prose.chance(foot):
        blocks.running_foot(m)


def _measure(m: Manuscript, columns: int = 1) -> float:
    """Width of a column of text in pixels (the gutter is about a twelfth of the page)."""
    width = m.style.width - 2 * m.style.margin_x
    return width if columns == 1 else (width - m.style.width / 12) / columns


def _figure(m: Manuscript, measure: float, *, caption: bool = True) -> str:
    width = measure * float(m.prose.rng.uniform(0.55, 1.0))
    height = min(width * float(m.prose.rng.uniform(0.35, 0.75)), m.style.height * 0.26)
    return blocks.figure(m, width, height, caption=caption)


def _sections(m: Manuscript, measure: float) -> None:
    """Headings and paragraphs, between them lists, formulas, tables and figures, until the budget is spent."""
    prose = m.prose
    extras = prose.rng.permutation(["list", "formula", "table", "figure", "note", "formula"])[
        : prose.whole(1, 3)
    ].tolist()
    while m.left > 14:
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
    _running(m)
    if m.prose.chance(0.65):
        m.add(blocks.title(m))
        if m.prose.chance(0.7):
            m.add(_authors(m, m.prose.pick("left", "center")))
        if m.prose.chance(0.5):
            m.add(
                f'#block(inset: (x: {m.prose.pick("0", "1", "2")}em))[#strong({m.quoted("Abstract.")})#" "{blocks.paragraph(m, 25)}]'
            )
    _sections(m, _measure(m))


def article_two_columns(m: Manuscript) -> None:
    """A paper in two columns, title and authors across both."""
    _running(m)
    m.page_settings.append("columns: 2")
    m.add(f"#set columns(gutter: {m.style.width / 12:.1f}pt)")
    if m.prose.chance(0.75):
        align = m.prose.pick("left", "center")
        m.add('#place(top, scope: "parent", float: true, clearance: 1.2em)[#block(width: 100%)[')
        m.add(blocks.title(m), _authors(m, align), "]]")
    if m.prose.chance(0.4):
        m.add(f"#strong({m.quoted(m.prose.pick('Abstract', 'Summary'))})\n\n", blocks.paragraph(m, 22))
    _sections(m, _measure(m, 2))


def letter(m: Manuscript) -> None:
    """A business letter."""
    prose = m.prose
    if prose.chance(0.7):
        _letterhead(m)
    elif prose.chance(0.4):
        blocks.running_head(m)
    if prose.chance(0.7):
        blocks.running_foot(m)
    m.add("#set par(first-line-indent: 0em)")
    if prose.chance(0.4):
        m.add(blocks.lines(m, [prose.name(), *prose.address()], prose.pick("left", "right")), "#v(0.6em)")
    date = blocks.lines(m, [prose.long_date()], prose.pick("left", "right"))
    address = blocks.lines(m, [prose.name(), prose.company(), *prose.address()])
    m.add(*(date, address) if prose.chance(0.6) else (address, date))
    m.add("#v(0.5em)")
    if prose.chance(0.6):
        m.add(blocks.heading(m))
    m.add(
        f"#{m.quoted(prose.pick(f'Dear {prose.name()},', 'Dear Sir or Madam,', f'Dear {prose.fake.first_name()},', 'To whom it may concern:'))}\n\n"
    )
    while m.left > 24:
        m.add(blocks.paragraph(m, min(prose.whole(18, 48), m.left - 12)))
        if prose.chance(0.2) and m.left > 40:
            m.add(blocks.item_list(m, prose.whole(2, 4), (3, 9)))
    m.add(
        f"#{m.quoted(prose.pick('Yours sincerely,', 'Yours faithfully,', 'Kind regards,', 'Sincerely,', 'Best wishes,'))}\n\n"
    )
    if prose.chance(0.5):
        width = float(prose.rng.uniform(70, 130))
        svg = signature_svg(prose.rng, width, 30)
        m.add(
            f'#image(bytes({blocks.svg_literal(svg)}), format: "svg", width: {width:.1f}pt, alt: "signature")\n\n'
        )
    else:
        m.add("#v(1.8em)")
    m.add(blocks.lines(m, [prose.name(), *([prose.fake.job()] if prose.chance(0.6) else [])]))


def _letterhead(m: Manuscript) -> None:
    """A head with the sender's mark and address above a rule."""
    prose = m.prose
    size = m.style.body
    name = f'#text(size: {size * 1.3:.1f}pt, weight: "bold", fill: rgb("{m.style.accent}"), {m.quoted(prose.company())})'
    contact = f"#text(size: {max(size * 0.8, 9.5):.1f}pt, {m.quoted(prose.pick(', '.join(prose.address()), f'{prose.phone()}  {prose.email()}', prose.website()))})"
    align = prose.pick("left", "center", "right")
    rule = f'#v(3pt, weak: true)#line(length: 100%, stroke: {prose.pick("0.6", "1.2", "2")}pt + rgb("{m.style.accent}"))'
    m.page_settings.append(
        f"header: [#set par(justify: false, leading: 0.35em)\n#align({align})[{name}#linebreak(){contact}]{rule if prose.chance(0.6) else ''}]"
    )
    if prose.chance(0.5):
        side = float(prose.rng.uniform(28, 46))
        where = (
            prose.pick("left", "right") if align == "center" else ("left" if align == "right" else "right")
        )
        mark = f'#image(bytes({blocks.svg_literal(logo_svg(prose.rng, side))}), format: "svg", width: {side:.1f}pt, alt: "logo")'
        m.add(f"#align({where})[{mark}]")


def invoice(m: Manuscript) -> None:
    """An invoice: parties, reference lines, a table of items, totals, terms."""
    prose = m.prose
    if prose.chance(0.6):
        _letterhead(m)
    if prose.chance(0.75):
        blocks.running_foot(m)
    m.add("#set par(first-line-indent: 0em, justify: false)")
    m.add(
        blocks.title(
            m,
            text=prose.pick(
                "Invoice", "INVOICE", "Receipt", "Purchase Order", "Statement", "Delivery Note", "Quotation"
            ),
        )
    )
    party = [prose.company(), *prose.address(), *([prose.email()] if prose.chance(0.5) else [])]
    facts = [
        f"{prose.pick('Invoice No', 'No', 'Number', 'Ref')}: {prose.reference()}",
        f"Date: {prose.date()}",
        f"{prose.pick('Due', 'Payable by', 'Valid until')}: {prose.date()}",
        f"{prose.pick('Customer', 'Account', 'VAT ID')}: {prose.reference()}",
    ][: prose.whole(2, 4)]
    m.add(_beside(m, party, facts))
    if prose.chance(0.4):
        m.add(blocks.paragraph(m, prose.whole(8, 20)))
    m.add(blocks.table(m, prose.whole(3, 4), prose.whole(3, 8), caption=prose.chance(0.15)))
    totals = [
        f"{name}: {prose.amount()}"
        for name in ("Subtotal", prose.pick("VAT 20%", "Tax", "Discount"), "Total")
    ]
    m.add(blocks.lines(m, totals, prose.pick("right", "right", "left")))
    if prose.chance(0.6):
        m.add(blocks.heading(m), blocks.item_list(m, prose.whole(2, 4), (4, 10)))
    if m.left > 15:
        m.add(blocks.paragraph(m, min(m.left, 40), note=prose.chance(0.3)))


def _beside(m: Manuscript, left: list[str], right: list[str]) -> str:
    """Two blocks of lines side by side."""
    return (
        f"#grid(columns: (1fr, 1fr), column-gutter: 2em, [{blocks.lines(m, left)}], "
        f"[{blocks.lines(m, right, m.prose.pick('left', 'right'))}])\n#v(0.8em)\n"
    )


def form(m: Manuscript) -> None:
    """A form: labelled fields with boxes or rules, some filled in, and boxes to tick."""
    prose = m.prose
    _running(m, head=0.6, foot=0.75)
    m.add("#set par(first-line-indent: 0em, justify: false)", blocks.title(m, (2, 5)))
    if prose.chance(0.6):
        m.add(blocks.paragraph(m, prose.whole(10, 24), note=prose.chance(0.25)))
    while m.left > 22:
        m.add(blocks.heading(m))
        shape = prose.whole(0, 2)
        if shape == 0:
            m.add(_fields_table(m, prose.whole(3, 6)))
        elif shape == 1:
            m.add(_ruled_fields(m, prose.whole(3, 6)))
        else:
            m.add(_ticks(m, prose.whole(2, 5)))
        if prose.chance(0.3):
            m.add(blocks.paragraph(m, prose.whole(8, 18)))
        if prose.chance(0.25):
            m.add(blocks.table(m, prose.whole(2, 4), prose.whole(2, 4), caption=prose.chance(0.3)))


_FIELDS = (
    "Name",
    "Date of birth",
    "Street",
    "Town",
    "Phone",
    "E-mail",
    "Occupation",
    "Reference",
    "Amount",
    "Signature",
    "Date",
    "Employer",
)


def _value(m: Manuscript, name: str) -> str:
    prose = m.prose
    if prose.chance(0.2):
        return ""
    if name in {"Date", "Date of birth"}:
        return prose.date()
    if name in {"Street", "Town"}:
        return prose.address()[name == "Town"]
    makers = {
        "Phone": prose.phone,
        "E-mail": prose.email,
        "Reference": prose.reference,
        "Amount": prose.amount,
        "Occupation": prose.fake.job,
        "Employer": prose.company,
    }
    return makers.get(name, prose.name)()


def _fields(m: Manuscript, count: int) -> list[tuple[str, str]]:
    names = [_FIELDS[int(i)] for i in m.prose.rng.permutation(len(_FIELDS))[:count]]
    return [(name, _value(m, name)) for name in names]


def _fields_table(m: Manuscript, count: int) -> str:
    """Fields in a frame: a table of names and values."""
    cells = [
        f"[#text(size: {max(m.style.body * 0.85, 9.5):.1f}pt, {m.quoted(name)})], [#{m.quoted(value)}]"
        for name, value in _fields(m, count)
    ]
    fill = m.prose.pick("none", "luma(240)")
    return f"#table(columns: (auto, 1fr), inset: 5pt, fill: (x, y) => if x == 0 {{ {fill} }}, {', '.join(cells)})\n\n"


def _ruled_fields(m: Manuscript, count: int) -> str:
    """Fields on rules: each is one line of text."""
    end = m.prose.pick(":", ":", "")
    rows = [
        f"#{m.quoted(f'{name}{end} {value}')}\n#v(2pt, weak: true)#line(length: {m.prose.whole(60, 100)}%, stroke: 0.5pt)\n\n"
        for name, value in _fields(m, count)
    ]
    return "".join(rows)


def _ticks(m: Manuscript, count: int) -> str:
    """Boxes to tick, each before its text."""
    items = []
    for _ in range(count):
        cross = "[#line(end: (100%, 100%), stroke: 0.8pt)]" if m.prose.chance(0.4) else "[]"
        box = f"#box(width: 0.75em, height: 0.75em, stroke: 0.7pt, baseline: 0.05em){cross}#h(0.6em)"
        items.append(f"{box}#{m.quoted(m.prose.text(m.prose.whole(3, 8)))}\n\n")
    return "".join(items)


def figures(m: Manuscript) -> None:
    """A page of pictures with captions between text."""
    _running(m)
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
    _running(m, head=0.75)
    if prose.chance(0.25):
        m.add(blocks.title(m))
    m.add(blocks.heading(m), blocks.paragraph(m, prose.whole(12, 30), note=prose.chance(0.6)))
    m.add(blocks.item_list(m, prose.whole(2, 6)))
    kinds = ["formula", "remark", "list", "table", "formula", "figure"]
    for kind in prose.rng.permutation(kinds).tolist():
        if m.left < 14:
            break
        if kind == "remark":
            fill = prose.pick("luma(240)", "none", f'rgb("{m.style.accent}").lighten(88%)')
            shape = prose.pick(f'fill: {fill}, stroke: 0.7pt + rgb("{m.style.accent}")', f"fill: {fill}")
            m.add(f"#block(inset: 7pt, width: 100%, {shape})[{blocks.paragraph(m, prose.whole(8, 22))}]\n\n")
        else:
            _extra(m, kind, _measure(m))
        if prose.chance(0.6) and m.left > 12:
            m.add(blocks.paragraph(m, prose.whole(8, 26), note=prose.chance(0.25)))


def tables(m: Manuscript) -> None:
    """A page of figures in tables."""
    _running(m)
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
    _running(m, head=0.2, foot=0.8)
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
