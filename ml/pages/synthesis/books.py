"""Templates of what is bound: book and legal pages, contents, reports, catalogues, papers of formulas, typescripts."""

from __future__ import annotations

from dataclasses import replace

from ml.pages.synthesis import blocks
from ml.pages.synthesis.fonts import Family
from ml.pages.synthesis.manuscript import Manuscript, literal


def book(m: Manuscript) -> None:
    """A page of a book: justified text under a running head, now and then a chapter's opening."""
    prose = m.prose
    m.style = replace(
        m.style,
        justify=True,
        hyphenate=prose.chance(0.8),
        indent=float(prose.pick("1.2", "1.5", "2")),
        spacing=m.style.leading,
        paper=prose.pick("#ffffff", "#ffffff", "#fdfcf5", "#faf6ea"),
        accent="#000000",
    )
    opening = prose.chance(0.3)
    if not opening:
        blocks.running_head(m)
    if opening or prose.chance(0.4):
        blocks.running_foot(m)
    if opening:
        number = str(prose.whole(1, 30))
        m.add(f"#v({prose.whole(2, 6)}em)", blocks.lines(m, [f"{prose.term('chapter')} {number}"], "center"))
        m.add(blocks.title(m, (1, 6)), "#v(1.5em)")
    while m.left > 12:
        if prose.chance(0.08):
            m.add(f"#align(center)[#{m.quoted(prose.pick('* * *', '***', '—'))}]\n\n")
        if prose.chance(0.2):  # speech
            for _ in range(prose.whole(1, 3)):
                m.add(f"#{m.quoted('“' + prose.text(prose.whole(4, 14)) + '”')}\n\n")
        m.add(blocks.paragraph(m, min(prose.whole(30, 110), max(m.left, 8)), note=prose.chance(0.08)))


def legal(m: Manuscript) -> None:
    """A pleading or a contract: wide lines, numbered paragraphs, often numbers down the margin."""
    prose = m.prose
    m.style = replace(
        m.style, leading=round(float(prose.rng.uniform(0.9, 1.6)), 2), spacing=1.6, accent="#000000"
    )
    if prose.chance(0.3):
        blocks.running_head(m)
    blocks.running_foot(m)
    if prose.chance(0.7):
        _line_numbers(m)
    if prose.chance(0.6):
        m.add(blocks.lines(m, [prose.company().upper(), prose.name().upper()], "center"), "#v(0.8em)")
    m.add(blocks.title(m, (2, 5), text=prose.phrase(2, 5).upper()))
    number = prose.whole(1, 20)
    while m.left > 14:
        if prose.chance(0.3):
            m.add(blocks.heading(m))
        lead = prose.pick(f"{number}. ", f"({number}) ", f"§ {number} ", f"{number}.{prose.whole(1, 9)} ")
        number += 1
        m.add(f"#{m.quoted(lead)}", blocks.paragraph(m, min(prose.whole(20, 70), max(m.left, 8))))
        if prose.chance(0.25) and m.left > 20:
            m.add(blocks.item_list(m, prose.whole(2, 4), (6, 16)))
    if prose.chance(0.35):
        m.add(blocks.lines(m, ["_" * 24, prose.name()], prose.pick("left", "right")))


def _line_numbers(m: Manuscript) -> None:
    """Numbers down the left margin and a rule beside them, as pleading paper has them."""
    count = m.prose.whole(20, 32)
    numbers = [str(n) for n in range(1, count + 1)]
    m.record(" ".join(numbers))
    m.margin_words = count
    style = m.style
    # Beside the text alone: what stands at a page's head or foot is a running head or foot.
    top, bottom = style.height * 0.17, style.height * 0.83
    m.style = style = replace(style, margin_x=max(style.margin_x, style.body * 4.0))
    step = (bottom - top) / count
    marks = "".join(
        f"#place(dx: {style.margin_x - style.body * 3:.1f}pt, dy: {top + i * step:.1f}pt, "
        f"box(width: {style.body * 1.6:.1f}pt, align(right, text(size: {style.body * 0.85:.1f}pt, {literal(n)}))))"
        for i, n in enumerate(numbers)
    )
    beside = style.margin_x - style.body * 0.8
    rule = f"#place(dx: {beside:.1f}pt, line(angle: 90deg, length: 100%, stroke: 0.6pt))"
    m.page_settings.append(f"background: [#set align(left + top)\n{marks}{rule}]")


def contents(m: Manuscript) -> None:
    """A table of contents: entries, dotted leaders, page numbers, in two or three levels."""
    prose = m.prose
    m.budget = int(0.6 * m.budget)
    blocks.running(m, head=0.4, foot=0.8)
    m.add("#set par(first-line-indent: 0em, justify: false)", blocks.title(m, text=prose.term("contents")))
    leader = prose.pick("dotted", "dotted", "none", "loosely-dotted")
    page, chapter, section = prose.whole(1, 9), 0, 0
    rows: list[str] = []
    while m.left > 10:
        top = not rows or prose.chance(0.3)
        chapter, section = (chapter + 1, 0) if top else (chapter, section + 1)
        page += prose.whole(0, 12)
        number = f"{chapter} " if top else f"{chapter}.{section} "
        weight = "bold" if top and prose.chance(0.7) else "regular"
        name = m.quoted(number + prose.phrase(1, 6 if m.style.width > 560 else 4))
        line = (
            "#box(width: 1fr)"
            if leader == "none"
            else f'#box(width: 1fr, inset: (x: 3pt), line(length: 100%, stroke: (thickness: 0.8pt, dash: "{leader}")))'
        )
        indent = "" if top else "#h(1.4em)"
        rows += [f'[{indent}#text(weight: "{weight}", {name}){line}]', f"[#{m.quoted(str(page))}]"]
    gap = float(prose.rng.uniform(2, 5))
    m.add(
        f"#table(columns: (1fr, auto), stroke: none, align: (left, right), "
        f"inset: (x: 2pt, y: {gap:.1f}pt), {', '.join(rows)})\n"
    )


def report(m: Manuscript) -> None:
    """A company's report: headings in bands, shaded boxes, key figures, lists and tables."""
    prose = m.prose
    blocks.running(m, head=0.6, foot=0.9)
    if prose.chance(0.5):
        m.add(
            blocks.title(m, (2, 6)),
            blocks.lines(m, [prose.pick(prose.company(), prose.long_date())]),
            "#v(0.6em)",
        )
    while m.left > 16:
        m.add(_band(m) if prose.chance(0.35) else blocks.heading(m, prose.whole(1, 2)))
        m.add(blocks.paragraph(m, min(prose.whole(16, 60), max(m.left, 6)), note=prose.chance(0.15)))
        draw = prose.rng.random()
        if m.left < 24:
            continue
        if draw < 0.25:
            m.add(blocks.item_list(m, prose.whole(2, 5), (3, 14)))
        elif draw < 0.45:
            m.add(blocks.table(m, prose.whole(3, 5), prose.whole(2, 6), caption=prose.chance(0.6)))
        elif draw < 0.6:
            m.add(blocks.remark(m))
        elif draw < 0.72:
            m.add(_key_figures(m))
        elif draw < 0.85:
            width = (m.style.width - 2 * m.style.margin_x) * float(prose.rng.uniform(0.4, 0.9))
            m.add(blocks.figure(m, width, min(width * 0.5, m.style.height * 0.2), caption=prose.chance(0.8)))


def _band(m: Manuscript) -> str:
    """A heading in white on a band of colour."""
    fill = m.style.accent if m.style.accent != "#000000" else "#333333"
    return (
        f'#block(fill: rgb("{fill}"), width: 100%, inset: (x: 6pt, y: 4pt), sticky: true)'
        f"[#show heading: set text(fill: white)\n{blocks.heading(m)}]\n"
    )


def _key_figures(m: Manuscript) -> str:
    """Large numbers over small labels, side by side."""
    count = m.prose.whole(2, 3)
    cells = [
        f'[#text(size: 1.6em, weight: "bold", {m.quoted(m.prose.pick(m.prose.percent(), m.prose.figure(), m.prose.amount()))})'
        f"#linebreak()#text(size: 0.9em, {m.quoted(m.prose.label())})]"
        for _ in range(count)
    ]
    return f"#table(columns: {count * ('1fr',)}, stroke: none, align: center, inset: 6pt, {', '.join(cells)})\n\n".replace(
        "'", ""
    )


def catalogue(m: Manuscript) -> None:
    """Goods in a grid: a picture, a name, a few words, a price."""
    prose = m.prose
    m.budget = int(0.7 * m.budget)
    blocks.running(m, head=0.7, foot=0.7)
    m.add("#set par(first-line-indent: 0em, justify: false)")
    if prose.chance(0.6):
        m.add(blocks.title(m, (1, 4)))
    columns = 2 if m.style.width < 520 or prose.chance(0.5) else 3
    gutter = m.style.width / 20
    measure = (m.style.width - 2 * m.style.margin_x - (columns - 1) * gutter) / columns
    height = min(measure * float(prose.rng.uniform(0.4, 0.8)), m.style.height * 0.16)
    cells: list[str] = []
    rows = max(1, int((m.style.height * 0.72) / (height + m.style.body * 8)))
    for _ in range(rows * columns):
        if m.left < 8 and len(cells) % columns == 0:
            break
        body = [blocks.figure(m, measure * 0.95, height, caption=False), blocks.heading(m, 2)]
        body.append(f"#{m.quoted(prose.text(prose.whole(3, 12)))}\n\n")
        body.append(f"#strong({m.quoted(prose.reference() + ' ' + prose.amount())})\n\n")
        cells.append(f"[{''.join(body)}]")
    fractions = ", ".join(["1fr"] * columns)
    m.add(f"#grid(columns: ({fractions}), gutter: {gutter:.1f}pt, {', '.join(cells)})\n")


def formulas(m: Manuscript) -> None:
    """A page of mathematics: statements, display formulas, proofs."""
    prose = m.prose
    blocks.running(m)
    m.add(blocks.heading(m), blocks.paragraph(m, prose.whole(15, 40)))
    number = prose.whole(1, 9)
    while m.left > 16:
        draw = prose.rng.random()
        if draw < 0.3:
            lead = m.quoted(f"{prose.term('theorem')} {number}.{prose.whole(1, 20)}.")
            m.add(
                f'#strong({lead})#" "#emph[{blocks.paragraph(m, prose.whole(10, 30), emphasis=False).strip()}]\n\n'
            )
        elif draw < 0.5:
            m.add(f'#emph({m.quoted(prose.term("proof"))})#" "{blocks.paragraph(m, prose.whole(10, 40))}')
        else:
            m.add(blocks.paragraph(m, prose.whole(8, 30), note=prose.chance(0.1)))
        for _ in range(prose.whole(1, 2)):
            m.add(blocks.formula(m))
            if prose.chance(0.5):
                m.add(f'#{m.quoted(prose.term("where"))}#" "{blocks.paragraph(m, prose.whole(4, 14))}')


_TYPEWRITERS = (
    "Courier Prime",
    "Cousine",
    "Cutive Mono",
    "Special Elite",
    "Nimbus Mono PS",
    "FreeMono",
    "CMU Typewriter Text",
)


def typescript(m: Manuscript) -> None:
    """A typewritten letter or report: one face, one size, ragged lines, underlined headings."""
    prose = m.prose
    machines = [family for family in m.families if family.name in _TYPEWRITERS]
    family = Family(prose.pick(*[f.name for f in machines]), "mono") if machines else m.style.family
    if family.kind != "mono":
        family = Family(prose.pick("DejaVu Sans Mono", "Fira Mono"), "mono")
    leading = float(prose.pick("0.6", "0.8", "1.3", "1.5"))
    m.style = replace(
        m.style, family=family, heading_family=family, justify=False, hyphenate=False, ligatures=False,
        leading=leading, spacing=leading + 0.5, heading_style="box", accent=m.style.ink,
    )  # fmt: skip
    m.budget = int(0.6 * m.budget / (leading + 0.4))
    if prose.chance(0.5):
        m.page_settings.append(
            f"header: align({prose.pick('center', 'right')})[#{m.quoted(f'- {prose.whole(2, 40)} -')}]"
        )
    m.add("#show heading: set text(size: 1em)", "#show heading: underline")
    if prose.chance(0.5):
        m.add(blocks.lines(m, [prose.name(), *prose.address()], "left"), "#v(0.6em)")
        m.add(blocks.lines(m, [prose.long_date()], "right"))
    if prose.chance(0.4):
        m.add(blocks.lines(m, [prose.phrase(2, 5).upper()], "center"))
    while m.left > 12:
        if prose.chance(0.25):
            m.add(blocks.heading(m))
        m.add(blocks.paragraph(m, min(prose.whole(20, 80), max(m.left, 8)), emphasis=False))
        if prose.chance(0.15) and m.left > 24:
            m.add(blocks.item_list(m, prose.whole(2, 4), (3, 10)))
    if prose.chance(0.5):
        m.add("#v(1.5em)", blocks.lines(m, [prose.name()], prose.pick("left", "right")))
