"""Templates of the office: letters, invoices and other papers with items and totals, forms."""

from __future__ import annotations

from dataclasses import replace

from ml.pages.synthesis import blocks
from ml.pages.synthesis.manuscript import Manuscript, draw_family, font
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
    closings = (prose.term("regards"), *(_CLOSINGS if prose.language == "en" else ()))
    m.add(f"#{m.quoted(prose.pick(*closings))}\n\n")
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
    dear = prose.term("dear")
    english = ("Dear Sir or Madam,", "To whom it may concern:") if prose.language == "en" else ()
    return prose.pick(f"{dear} {name},", f"{dear} {first},", *english)


_CLOSINGS = ("Yours faithfully,", "Kind regards,", "Sincerely,", "Best wishes,")


def _letterhead(m: Manuscript) -> None:
    """A head with the sender's mark and address above a rule."""
    prose = m.prose
    size = m.style.body
    accent = f'rgb("{m.style.accent}")'
    name = f'#text(size: {size * 1.3:.1f}pt, weight: "bold", fill: {accent}, {m.quoted(prose.company())})'
    contact = prose.pick(", ".join(prose.address()), f"{prose.phone()}  {prose.email()}", prose.website())
    small = f"#text(size: {size * 0.85:.1f}pt, {m.quoted(contact)})"
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
                prose.term("invoice"),
                prose.term("invoice").upper(),
                prose.term("receipt"),
                prose.term("order"),
            ),
        )
    )
    party = [prose.company(), *prose.address(), *([prose.email()] if prose.chance(0.5) else [])]
    facts = [
        f"{prose.term('number')} {prose.reference()}",
        f"{prose.term('date')}: {prose.date()}",
        f"{prose.term('due')}: {prose.date()}",
        f"{prose.term('customer')}: {prose.reference()}",
    ][: prose.whole(2, 4)]
    m.add(_beside(m, party, facts))
    if prose.chance(0.4):
        m.add(blocks.paragraph(m, prose.whole(8, 20)))
    m.add(blocks.table(m, prose.whole(3, 4), prose.whole(3, 8), caption=prose.chance(0.15)))
    totals = [f"{name}: {prose.amount()}" for name in map(prose.term, ("subtotal", "tax", "total"))]
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


#: What a field may ask for.
_FIELDS = (
    "name",
    "date",
    "street",
    "town",
    "phone",
    "email",
    "number",
    "due",
    "customer",
    "signature",
    "total",
    "",
)


def _value(m: Manuscript, field: str) -> str:
    prose = m.prose
    if prose.chance(0.2):
        return ""
    if field in {"street", "town"}:
        return prose.address()[field == "town"]
    makers = {
        "date": prose.date,
        "due": prose.long_date,
        "phone": prose.phone,
        "email": prose.email,
        "number": prose.reference,
        "total": prose.amount,
        "": prose.label,
    }
    return makers.get(field, prose.name)()


def _fields(m: Manuscript, count: int) -> list[tuple[str, str]]:
    """Names and values; a name that is not a fixed word is drawn."""
    chosen = [_FIELDS[int(i)] for i in m.prose.rng.permutation(len(_FIELDS))[:count]]
    return [(m.prose.term(field) if field else m.prose.label(), _value(m, field)) for field in chosen]


def filled_in(m: Manuscript, value: str, hand: bool) -> str:
    """A field's value, by machine or by hand."""
    if not value or not hand:
        return m.quoted(value)
    m.handwritten += len(value.split())
    ink = m.prose.pick("#14245c", "#1a1a1a", "#22378c", "#3a3a3a")
    size = f"{float(m.prose.rng.uniform(1.1, 1.4)):.2f}em"
    return f'text(font: {font(m.style.hand)}, size: {size}, fill: rgb("{ink}"), hyphenate: false, {m.quoted(value)})'


def _fields_table(m: Manuscript, count: int) -> str:
    """Fields in a frame: a table of names and values."""
    hand = m.prose.chance(0.4)
    cells = [
        f"[#text(size: {m.style.body * 0.88:.1f}pt, {m.quoted(name)})], [#{filled_in(m, value, hand)}]"
        for name, value in _fields(m, count)
    ]
    fill = m.prose.pick("none", "luma(240)")
    fills = f"(x, y) => if x == 0 {{ {fill} }}"
    return f"#table(columns: (auto, 1fr), inset: 5pt, fill: {fills}, {', '.join(cells)})\n\n"


def _ruled_fields(m: Manuscript, count: int) -> str:
    """Fields on rules: each is one line of text."""
    end = m.prose.pick(":", ":", "")
    hand = m.prose.chance(0.4)
    rows = []
    for name, value in _fields(m, count):
        rule = f"#line(length: {m.prose.whole(60, 100)}%, stroke: 0.5pt)"
        shown = f'#" "#{filled_in(m, value, hand)}' if value else ""
        rows.append(f"#{m.quoted(name + end)}{shown}\n#v(2pt, weak: true){rule}\n\n")
    return "".join(rows)


def _ticks(m: Manuscript, count: int) -> str:
    """Boxes to tick, each before its text."""
    items = []
    for _ in range(count):
        items.append(f"{_box(m)}#{m.quoted(m.prose.text(m.prose.whole(3, 8)))}\n\n")
    return "".join(items)


def receipt(m: Manuscript) -> None:
    """A till's slip: shop, lines of goods and prices, sums."""
    prose = m.prose
    if prose.chance(0.7):
        family = draw_family(prose, m.families, "mono")
        m.style = replace(m.style, family=family, heading_family=family)
    m.style = replace(
        m.style, paper=prose.pick("#ffffff", "#fbfbf6"), accent="#000000", justify=False, indent=0.0
    )
    m.style = replace(m.style, margin_x=round(m.style.width * 0.06, 1))
    m.budget = min(m.budget, prose.whole(40, 140))
    m.add(
        blocks.lines(
            m,
            [prose.company().upper(), *prose.address(), prose.phone()],
            prose.pick("center", "center", "left"),
        )
    )
    rule = f'#line(length: 100%, stroke: (thickness: 0.8pt, dash: "{prose.pick("dashed", "dotted", "solid")}"))\n'
    m.add(
        blocks.lines(m, [f"{prose.date()} {prose.time()}", f"{prose.term('number')} {prose.reference()}"]),
        rule,
    )
    rows = [
        f"[#{m.quoted(f'{prose.whole(1, 9)} x {prose.label()}' if prose.chance(0.3) else prose.label())}], "
        f"[#{m.quoted(prose.grouped(10 ** float(prose.rng.uniform(-0.3, 2.4)), 2))}]"
        for _ in range(max(3, m.left // 5))
    ]
    table = "#table(columns: (1fr, auto), align: (left, right), stroke: none, inset: (x: 0pt, y: 2.5pt), "
    m.add(f"{table}{', '.join(rows)})\n", rule)
    sums = [
        (prose.term("total"), prose.amount()),
        (prose.term("tax"), prose.amount()),
        (prose.term("cash"), prose.amount()),
    ]
    cells = ", ".join(f"[#strong({m.quoted(name)})], [#strong({m.quoted(value)})]" for name, value in sums)
    m.add(f"{table}{cells})\n", rule, blocks.lines(m, [prose.term("thanks")], "center"))
    if prose.chance(0.5):
        m.add(blocks.lines(m, [prose.reference() + " " + prose.reference()], "center"))


def statement(m: Manuscript) -> None:
    """A bank's or a laboratory's sheet: whose it is, and one long table."""
    prose = m.prose
    if prose.chance(0.6):
        _letterhead(m)
    else:
        blocks.running_head(m)
    if prose.chance(0.8):
        blocks.running_foot(m)
    m.add("#set par(first-line-indent: 0em, justify: false)")
    bank = prose.chance(0.6)
    m.add(blocks.title(m, text=prose.term("statement" if bank else "report")))
    facts = [f"{prose.term('date')}: {prose.date()}", f"{prose.term('number')} {prose.reference()}"]
    if bank:
        facts.append(f"IBAN {prose.account()}")
    m.add(_beside(m, [prose.name(), *prose.address()], facts))
    columns = prose.whole(3, 6) if m.style.width > 500 else prose.whole(3, 4)
    rows = max(4, min(int(m.left / columns / 1.3), int(m.style.height * 0.55 / (m.style.body * 1.9))))
    kinds = ["date", "label", *["amount"] * (columns - 2)] if bank else ["label", *["figure"] * (columns - 1)]
    m.add(blocks.table(m, columns, rows, caption=prose.chance(0.3), kinds=kinds))
    if bank:
        m.add(blocks.lines(m, [f"{prose.term('balance')}: {prose.amount()}"], "right"))
    m.add(blocks.paragraph(m, prose.whole(8, 24), note=prose.chance(0.3)))


def questionnaire(m: Manuscript) -> None:
    """Numbered questions with boxes to tick, scales, and lines to write on."""
    prose = m.prose
    m.budget = int(0.6 * m.budget)
    blocks.running(m, head=0.5, foot=0.8)
    m.add("#set par(first-line-indent: 0em, justify: false)", blocks.title(m, (2, 6)))
    m.add(blocks.paragraph(m, prose.whole(10, 30)))
    number = prose.whole(1, 12)
    while m.left > 14:
        if prose.chance(0.2):
            m.add(blocks.heading(m))
        question = prose.text(prose.whole(5, 14)).rstrip(".!:") + "?"
        m.add(f"#strong({m.quoted(f'{number}. {question}')})\n\n")
        number += 1
        shape = prose.whole(0, 3)
        if shape == 0:
            m.add(_ticks(m, prose.whole(2, 5)))
        elif shape == 1:
            m.add(_scale(m))
        elif shape == 2:
            m.add(
                "#v(1.4em)#line(length: 100%, stroke: 0.5pt)#v(1.4em, weak: true)"
                f"#line(length: {prose.whole(50, 100)}%, stroke: 0.5pt)\n\n"
            )
        else:
            choice = _box(m)
            m.add(f"{choice}#{m.quoted(prose.term('yes'))}#h(2em){_box(m)}#{m.quoted(prose.term('no'))}\n\n")


def _scale(m: Manuscript) -> str:
    """Statements against a scale of numbers or boxes."""
    prose = m.prose
    steps, rows = prose.whole(3, 6), prose.whole(2, 5)
    head = ["[]", *(f"[#{m.quoted(str(step + 1))}]" for step in range(steps))]
    body = []
    for _ in range(rows):
        body.append(f"[#{m.quoted(prose.text(prose.whole(3, 7)))}]")
        body += [f"[{_box(m, gap=False)}]" for _ in range(steps)]
    widths = ", ".join(["1fr", *["auto"] * steps])
    align = "(x, y) => if x == 0 { left } else { center }"
    return f"#table(columns: ({widths}), align: {align}, inset: 4pt, {', '.join(head + body)})\n\n"


def _box(m: Manuscript, *, gap: bool = True) -> str:
    cross = "[#line(end: (100%, 100%), stroke: 0.8pt)]" if m.prose.chance(0.3) else "[]"
    radius = m.prose.pick("0pt", "0pt", "0.4em")
    return (
        f"#box(width: 0.75em, height: 0.75em, stroke: 0.7pt, radius: {radius}, baseline: 0.05em){cross}"
        + ("#h(0.6em)" if gap else "")
    )
