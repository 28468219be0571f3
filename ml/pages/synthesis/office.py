"""Templates of the office: letters, invoices and other papers with items and totals, forms."""

from __future__ import annotations

from ml.pages.synthesis import blocks
from ml.pages.synthesis.manuscript import Manuscript
from ml.pages.synthesis.pictures import logo_svg, signature_svg


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
    m.add(f"#{m.quoted(_salutation(m))}\n\n")
    while m.left > 24:
        m.add(blocks.paragraph(m, min(prose.whole(18, 48), m.left - 12)))
        if prose.chance(0.2) and m.left > 40:
            m.add(blocks.item_list(m, prose.whole(2, 4), (3, 9)))
    m.add(f"#{m.quoted(prose.pick(*_CLOSINGS))}\n\n")
    if prose.chance(0.5):
        width = float(prose.rng.uniform(70, 130))
        svg = signature_svg(prose.rng, width, 30)
        m.add(f"#{blocks.svg_image(svg, width, 'signature')}\n\n")
    else:
        m.add("#v(1.8em)")
    m.add(blocks.lines(m, [prose.name(), *([prose.fake.job()] if prose.chance(0.6) else [])]))


def _salutation(m: Manuscript) -> str:
    prose = m.prose
    name, first = prose.name(), prose.fake.first_name()
    return prose.pick(f"Dear {name},", f"Dear {first},", "Dear Sir or Madam,", "To whom it may concern:")


_CLOSINGS = ("Yours sincerely,", "Yours faithfully,", "Kind regards,", "Sincerely,", "Best wishes,")


def _letterhead(m: Manuscript) -> None:
    """A head with the sender's mark and address above a rule."""
    prose = m.prose
    size = m.style.body
    accent = f'rgb("{m.style.accent}")'
    name = f'#text(size: {size * 1.3:.1f}pt, weight: "bold", fill: {accent}, {m.quoted(prose.company())})'
    contact = prose.pick(", ".join(prose.address()), f"{prose.phone()}  {prose.email()}", prose.website())
    small = f"#text(size: {max(size * 0.8, 9.5):.1f}pt, {m.quoted(contact)})"
    align = prose.pick("left", "center", "right")
    rule = f"#v(3pt, weak: true)#line(length: 100%, stroke: {prose.pick('0.6', '1.2', '2')}pt + {accent})"
    setting = "#set par(justify: false, leading: 0.35em)"
    below = rule if prose.chance(0.6) else ""
    m.page_settings.append(f"header: [{setting}\n#align({align})[{name}#linebreak(){small}]{below}]")
    if prose.chance(0.5):
        side = float(prose.rng.uniform(28, 46))
        where = (
            prose.pick("left", "right") if align == "center" else ("left" if align == "right" else "right")
        )
        mark = f"#{blocks.svg_image(logo_svg(prose.rng, side), side, 'logo')}"
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
    m.budget = int(0.62 * m.budget)  # fields take more room than text
    blocks.running(m, head=0.6, foot=0.75)
    m.add("#set par(first-line-indent: 0em, justify: false)", blocks.title(m, (2, 5)))
    if prose.chance(0.6):
        m.add(blocks.paragraph(m, prose.whole(10, 24), note=prose.chance(0.25)))
    while m.left > 22 or not m.sections:
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
    fills = f"(x, y) => if x == 0 {{ {fill} }}"
    return f"#table(columns: (auto, 1fr), inset: 5pt, fill: {fills}, {', '.join(cells)})\n\n"


def _ruled_fields(m: Manuscript, count: int) -> str:
    """Fields on rules: each is one line of text."""
    end = m.prose.pick(":", ":", "")
    rows = []
    for name, value in _fields(m, count):
        rule = f"#line(length: {m.prose.whole(60, 100)}%, stroke: 0.5pt)"
        rows.append(f"#{m.quoted(f'{name}{end} {value}')}\n#v(2pt, weak: true){rule}\n\n")
    return "".join(rows)


def _ticks(m: Manuscript, count: int) -> str:
    """Boxes to tick, each before its text."""
    items = []
    for _ in range(count):
        cross = "[#line(end: (100%, 100%), stroke: 0.8pt)]" if m.prose.chance(0.4) else "[]"
        box = f"#box(width: 0.75em, height: 0.75em, stroke: 0.7pt, baseline: 0.05em){cross}#h(0.6em)"
        items.append(f"{box}#{m.quoted(m.prose.text(m.prose.whole(3, 8)))}\n\n")
    return "".join(items)
