"""The blocks that pages are made of. Each returns Typst markup and records the words that it shows."""

from __future__ import annotations

from ml.pages.synthesis.manuscript import Manuscript, literal
from ml.pages.synthesis.pictures import picture_svg


def paragraph(m: Manuscript, count: int, *, note: bool = False, emphasis: bool = True) -> str:
    """Running text of about `count` words, with runs that stand out, and a footnote when `note`."""
    words = m.prose.text(max(count, 3)).split()
    pieces: list[str] = []
    plain: list[str] = []
    noted = m.prose.whole(1, len(words)) if note else 0
    index = 0
    while index < len(words):
        styled = emphasis and m.prose.chance(0.025)
        run = words[index : index + (m.prose.whole(1, 4) if styled else 1)]
        index += len(run)
        if styled:
            pieces += [_flush(m, plain), _run(m, " ".join(run)), '#" "']
        else:
            plain += run
        if noted and index >= noted:
            noted = 0
            pieces += [_flush(m, plain, end=""), footnote(m), '#" "']
    pieces.append(_flush(m, plain, end=""))
    return "".join(pieces) + "\n\n"


def _run(m: Manuscript, text: str) -> str:
    """Words that stand out: italic, bold, underlined, marked, in small capitals, or followed by a raised number."""
    style = m.prose.pick(
        "emph", "emph", "emph", "strong", "strong", "underline", "highlight", "caps", "link", "raised"
    )
    if style == "caps":
        return f"#text(size: 0.82em, tracking: 0.06em, {m.quoted(text.upper())})"
    if style == "link":
        return f'#underline(text(fill: rgb("#1a3fb0"), {m.quoted(text)}))'
    if style == "raised":
        number = str(m.prose.whole(1, 40))
        m.record(text + number)
        return f"#{literal(text)}#super(typographic: false, {literal(number)})"
    if style == "highlight":
        return f'#highlight(fill: rgb("{m.prose.pick("#fff3a0", "#d8f0c8", "#e4e4e4")}"), {m.quoted(text)})'
    return f"#{style}({m.quoted(text)})"


def _flush(m: Manuscript, plain: list[str], end: str = " ") -> str:
    if not plain:
        return ""
    text = " ".join(plain) + end
    plain.clear()
    return f"#{m.quoted(text)}"


def footnote(m: Manuscript) -> str:
    """A footnote mark, and its text at the page's foot."""
    m.notes += 1
    m.record(f"{m.notes} {m.notes}")
    text = m.prose.pick(
        m.prose.text(m.prose.whole(4, 14)),
        f"{m.prose.term('see')} {m.prose.website()}",
        f"{m.prose.name()}, {m.prose.phrase(2, 5)}, {m.prose.whole(1950, 2029)}.",
    )
    return f"#footnote[#h(0.25em)#{m.quoted(text)}]"


def title(m: Manuscript, words: tuple[int, int] = (2, 7), text: str = "") -> str:
    """The page's title."""
    size = m.style.body * float(m.prose.rng.uniform(1.5, 2.3))
    weight = m.prose.pick("bold", "bold", "regular")
    align = m.prose.pick("left", "center", "center")
    shown = m.quoted(text or m.prose.phrase(*words))
    below = m.style.body * float(m.prose.rng.uniform(0.3, 1.0))
    return (
        f'#[#set text(size: {size:.1f}pt, weight: "{weight}", hyphenate: false)\n'
        "#set par(justify: false, leading: 0.4em)\n"
        f"#align({align}, title[#{shown}])]#v({below:.1f}pt, weak: true)\n"
    )


def heading(m: Manuscript, level: int = 1) -> str:
    """A section heading, numbered when the style numbers its headings."""
    number = ""
    if level == 1:
        m.sections += 1
    if m.style.heading_numbers:
        number = f"{m.sections}." if level == 1 else f"{m.sections}.{m.prose.whole(1, 6)}"
        number = (number if m.style.heading_numbers == "1." or level > 1 else number.rstrip(".")) + " "
    return f"#heading(level: {level})[#{m.quoted(number + m.prose.phrase(1, 5))}]\n"


def item_list(m: Manuscript, items: int, words: tuple[int, int] = (3, 14), *, nested: bool = False) -> str:
    """A bulleted or numbered list."""
    if m.prose.chance(0.5):
        signs = ("–", "-", "o") if nested else ("•", "•", "•", "•", "–", "-", "*", "o", ">")
        marker = m.prose.pick(*signs)
        setting, marks = f"list(marker: [#{literal(marker)}], ", [marker] * items
    else:
        pattern = m.prose.pick("1.", "1.", "1)", "(1)", "a)", "(a)", "A.")
        first = m.prose.whole(1, 4) if m.prose.chance(0.2) else 1
        setting = f'enum(numbering: "{pattern}", start: {first}, '
        marks = [_numbered(pattern, first + index) for index in range(items)]
    bodies = []
    for mark in marks:
        m.record(mark)
        body = f"#{m.quoted(m.prose.text(m.prose.whole(*words)))}"
        if not nested and m.prose.chance(0.12) and m.left > 20:
            body += "\n#" + item_list(m, m.prose.whole(2, 3), (2, 6), nested=True).strip().lstrip("#")
        bodies.append(f"[{body}]")
    gap, indent = float(m.prose.rng.uniform(0.5, 1.1)), m.prose.pick("0", "0.6", "1.2")
    return f"#{setting}spacing: {gap:.2f}em, indent: {indent}em, {', '.join(bodies)})\n\n"


def _numbered(pattern: str, number: int) -> str:
    symbol = {"1": str(number), "a": chr(96 + number), "A": chr(64 + number)}
    return "".join(symbol.get(character, character) for character in pattern)


def table(
    m: Manuscript,
    columns: int,
    rows: int,
    *,
    wide: bool = True,
    caption: bool = False,
    kinds: list[str] | None = None,
) -> str:
    """A table with a header row; rules, fills and alignment vary. `kinds` says what each column holds."""
    prose = m.prose
    kinds = kinds or [
        "label",
        *(prose.pick("figure", "amount", "figure", "date", "reference", "label") for _ in range(columns - 1)),
    ]
    ruling = prose.pick("grid", "grid", "rows", "header", "zebra", "frame", "none")
    accent = m.style.accent
    stroke = {
        "grid": f'0.7pt + rgb("{accent}")',
        "rows": f'(x, y) => (bottom: 0.6pt + rgb("{accent}"))',
        "frame": "none",
    }
    inverse = ruling in {"grid", "zebra", "header"} and prose.chance(0.35)
    head_fill = f'rgb("{accent}")' if inverse else prose.pick("none", "luma(235)", "luma(215)")
    body_fill = "if calc.odd(y) { luma(240) } else { none }" if ruling == "zebra" else "none"
    aligns = ", ".join(
        "left" if kind == "label" else prose.pick("right", "right", "center") for kind in kinds
    )
    cells = [_head_cell(m, inverse) for _ in kinds]
    rows_markup = [f"[#{m.quoted(_cell(m, kind))}]" for _ in range(rows) for kind in kinds]
    widths = ", ".join(["1.4fr", *["1fr"] * (columns - 1)] if wide else ["auto"] * columns)
    size = m.style.body * float(prose.rng.uniform(0.85, 1.0))
    inset = f"(x: {prose.rng.uniform(3, 6):.1f}pt, y: {prose.rng.uniform(2.5, 6):.1f}pt)"
    rules = ""
    if ruling in {"header", "frame"}:
        rules = "".join(
            f'table.hline(y: {y}, stroke: {weight}pt + rgb("{accent}")), '
            for y, weight in ((0, 1), (1, 0.6), (rows + 1, 1))
        )
    body = (
        f"table(columns: ({widths}), align: (x, y) => ({aligns}).at(x), inset: {inset},\n"
        f"  stroke: {stroke.get(ruling, 'none')},\n"
        f"  fill: (x, y) => if y == 0 {{ {head_fill} }} else {{ {body_fill} }}, {rules}\n"
        f"  table.header({', '.join(cells)}), {', '.join(rows_markup)})"
    )
    setting = f"#set text(size: {size:.1f}pt, hyphenate: false)"
    styled = f"[{setting}\n#set par(justify: false, leading: 0.4em)\n#{body}]"
    if not caption:
        return f"#{styled}\n\n"
    m.tables += 1
    shown = _caption(m, prose.pick(*[prose.term("table")] * 3, prose.term("table").upper()), m.tables)
    return f"#figure(kind: table, {styled}, caption: {shown})\n\n"


def _head_cell(m: Manuscript, inverse: bool) -> str:
    text = m.quoted(m.prose.label())
    fill = ", fill: white" if inverse else ""
    return f'[#text(weight: "bold"{fill}, {text})]'


def _cell(m: Manuscript, kind: str) -> str:
    prose = m.prose
    if kind == "label":
        return prose.label() if prose.chance(0.85) else prose.name()
    return {"figure": prose.figure, "amount": prose.amount, "date": prose.date, "reference": prose.reference}[
        kind
    ]()


def figure(m: Manuscript, width: float, height: float, *, caption: bool = True) -> str:
    """A picture of `width` x `height` pixels, with a caption."""
    image = svg_image(picture_svg(m.prose.rng, width, height), width, "picture")
    if not caption:
        return f"#{image}\n\n"
    m.figures += 1
    shown = _caption(
        m,
        m.prose.pick(*[m.prose.term("figure")] * 2, m.prose.term("fig"), m.prose.term("figure").upper()),
        m.figures,
    )
    return f"#figure({image}, caption: {shown})\n\n"


def svg_image(svg: str, width: float, alt: str) -> str:
    """Typst's image of an SVG, `width` pixels wide. Its `alt` makes it a Figure in the PDF's tags."""
    return f'image(bytes({literal(svg)}), format: "svg", width: {width:.1f}pt, alt: "{alt}")'


def _caption(m: Manuscript, kind: str, number: int) -> str:
    number += m.prose.whole(0, 8)
    mark = m.prose.pick(":", ".", "", ".")
    return f"[#{m.quoted(f'{kind} {number}{mark} {m.prose.text(m.prose.whole(4, 16))}')}]"


def formula(m: Manuscript) -> str:
    """A display formula, sometimes numbered."""
    left, right = _term(m, 1), " ".join(_operand(m, depth) for depth in (0, 1))
    numbered = m.prose.chance(0.4)
    sign = m.record(m.prose.pick("=", "=", "<", ">"))
    markup = f"{left} {sign} {right} {_term(m, 0)}"
    setting = ""
    if numbered:
        m.equations += 1
        m.record(f"({m.equations})")
        setting = '#set math.equation(numbering: "(1)")\n'
    return f"#[{setting}$ {markup} $]\n\n"


def _operand(m: Manuscript, depth: int) -> str:
    term = _term(m, depth)
    return f"{term} {m.record(m.prose.pick('+', '-', '+', '-', '/'))}".replace("/", "\\/")


def _term(m: Manuscript, depth: int) -> str:
    """A term in Typst's math; the letters and digits it shows are recorded."""
    letter = m.prose.pick(*"abcdeghkmnpqrstuvwxyzABCDEFGHKLMNPQRSTUVXYZ")
    flat = ("product", "power", "index", "function", "letter")
    shape = m.prose.pick(*flat, *["sum", "fraction", "fraction"] * depth)
    if shape == "sum":
        m.record("( )")
        return f"({_term(m, 0)} {m.record(m.prose.pick('+', '-'))} {_term(m, 0)})"
    if shape == "fraction":
        return f"frac({_term(m, 0)} {m.record('+')} {_term(m, 0)}, {_term(m, 0)})"
    m.record(letter)
    if shape == "product":
        return f"{m.record(str(m.prose.whole(2, 99)))} {letter}"
    if shape == "function":
        return f"{m.record(m.prose.pick('sin', 'cos', 'log', 'max', 'exp'))} {letter}"
    if shape == "power":
        return f"{letter}^{m.record(str(m.prose.whole(2, 9)))}"
    return f"{letter}_{m.record(m.prose.pick(*'012ijkn'))}" if shape == "index" else letter


def remark(m: Manuscript) -> str:
    """A paragraph in a box: framed, shaded, or white on dark."""
    accent = m.style.accent
    shape, ink = (
        (f'stroke: 0.7pt + rgb("{accent}")', ""),
        (f'fill: luma(238), stroke: (left: 3pt + rgb("{accent}"))', ""),
        (f'fill: rgb("{accent}").lighten(88%)', ""),
        (f'fill: rgb("{accent}")', "#set text(fill: white)\n"),
    )[m.prose.whole(0, 3)]
    return f"#block(inset: 7pt, width: 100%, {shape})[{ink}{paragraph(m, m.prose.whole(8, 22))}]\n\n"


def lines(m: Manuscript, texts: list[str], align: str = "left") -> str:
    """Lines that stand as written: an address, a signature block. One text region."""
    shown = "#linebreak()".join(f"#{m.quoted(text)}" for text in texts)
    return f"#align({align})[#set par(justify: false, first-line-indent: 0em)\n{shown}\n\n]\n"


def running_head(m: Manuscript, *, rule: bool | None = None) -> None:
    """A running head: one or two texts at the page's top."""
    prose = m.prose
    left = prose.pick(prose.phrase(1, 4), prose.company(), prose.long_date(), prose.reference())
    right = prose.pick(
        str(prose.whole(1, 400)), f"{prose.term('page')} {prose.whole(1, 90)}", prose.long_date(), ""
    )
    m.page_settings.append(
        f"header: [{_running(m, left, right, below=True, rule=prose.chance(0.35) if rule is None else rule)}]"
    )


def running_foot(m: Manuscript) -> None:
    """A running foot: a page number, an address, a notice."""
    prose = m.prose
    number = prose.whole(1, 400)
    left, right = (
        (str(number), ""),
        (f"- {number} -", ""),
        (f"{prose.term('page')} {number} {prose.term('of')} {number + prose.whole(0, 50)}", ""),
        (prose.company(), str(number)),
        (prose.website(), prose.phone()),
        (f"© {prose.whole(1980, 2029)} {prose.company()}", f"{number}"),
        (prose.email(), f"p. {number}"),
    )[prose.whole(0, 6)]
    m.page_settings.append(f"footer: [{_running(m, left, right, below=False, rule=prose.chance(0.25))}]")


def _running(m: Manuscript, left: str, right: str, *, below: bool, rule: bool) -> str:
    size = m.style.body * float(m.prose.rng.uniform(0.8, 0.95))
    style = m.prose.pick("normal", "normal", "italic")
    line = f'#line(length: 100%, stroke: 0.6pt + rgb("{m.style.accent}"))'
    if right:
        text = f"#grid(columns: (1fr, auto), column-gutter: 3em, [#{m.quoted(left)}], [#{m.quoted(right)}])"
    else:
        text = f"#align({m.prose.pick('left', 'center', 'center', 'right')})[#{m.quoted(left)}]"
    parts = [text, line] if below else [line, text]
    shown = "#v(3pt, weak: true)".join(parts) if rule else text
    setting = f'#set text(size: {size:.1f}pt, style: "{style}", hyphenate: false)'
    return f"{setting}\n#set par(justify: false, leading: 0.3em, spacing: 3pt)\n{shown}"


def running(m: Manuscript, head: float = 0.7, foot: float = 0.7) -> None:
    """A running head and a running foot, each with its probability, and now and then an ornament."""
    _ornaments(m)
    if m.prose.chance(head):
        running_head(m)
    if m.prose.chance(foot):
        running_foot(m)


def _ornaments(m: Manuscript) -> None:
    """What stands on a page and says nothing: a frame, a bar along an edge, a rule between columns."""
    if not m.prose.chance(0.12):
        return
    accent, inset = m.style.accent, min(m.style.margin_x, m.style.margin_y) * 0.4
    shape = m.prose.pick(
        f'pad({inset:.1f}pt, rect(width: 100%, height: 100%, stroke: 0.8pt + rgb("{accent}")))',
        f'place(rect(width: {inset:.1f}pt, height: 100%, fill: rgb("{accent}")))',
        f'place(rect(width: 100%, height: {inset * 0.6:.1f}pt, fill: rgb("{accent}")))',
        f'place(bottom, rect(width: 100%, height: {inset * 0.6:.1f}pt, fill: rgb("{accent}")))',
    )
    m.page_settings.append(f"background: {shape}")
