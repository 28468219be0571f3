"""Truth of synthetic pages: it is what the page shows, no more, no less, and exactly where."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
import pypdfium2 as pdfium
import pytest

from ml.cli import main
from ml.config import SynthConfig
from ml.errors import UsageError
from ml.models.charset import named
from ml.pages.labels import CANONICAL, TEXT_KINDS
from ml.pages.readers.pdf_words import fold
from ml.pages.readers.rendering import render
from ml.pages.store import PageStore
from ml.pages.synthesis.command import generate
from ml.pages.synthesis.fonts import BUILT_IN, Family, compiler
from ml.pages.synthesis.lexicon import lexicon
from ml.pages.synthesis.manuscript import draw_style, font, literal
from ml.pages.synthesis.prose import Prose
from ml.pages.synthesis.templates import TEMPLATES
from ml.pages.synthesis.typesetting import DUE, Setting, _due, _overprinted, flaw_of, make_page, set_page

CONFIG = SynthConfig(long_edge=760, body_px=(9.5, 15), charset="latin")
CASES = [(name, index) for name in TEMPLATES for index in range(2)]
every_template = pytest.mark.parametrize(("template", "index"), CASES)


@cache
def setting(template: str, index: int) -> Setting:
    return set_page(23, index, CONFIG, template)


def owners(box, regions):
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return [r for r in regions if r.box[0] <= x < r.box[2] and r.box[1] <= y < r.box[3]]


@every_template
def test_the_words_are_those_of_the_source(template, index):
    made = setting(template, index)
    source = Counter("".join(map(fold, "".join(made.manuscript.source).replace("-", ""))))
    shown = Counter("".join(word.text for word in made.layout.words).replace("-", ""))
    later = Counter("".join(map(fold, "".join(made.later))))
    assert not shown - source, "the page says more than its source"
    assert not source - shown - later, "the source says what no page shows"
    if not made.manuscript.style.hyphenate and not made.later:
        # Beyond formulas and footnote marks, which are set tight, words are found as they were written.
        missing = Counter(made.manuscript.source) - Counter(word.text for word in made.layout.words)
        broken = {word for word in missing if any(sign in word for sign in "-/–")}
        assert (
            sum(count for word, count in missing.items() if word not in broken) <= 0.2 * source.total() ** 0.8
        )


def test_running_text_is_set_in_the_styles_weight_and_tracking():
    made = setting("letter", 0)

    def pixels(**changed):
        made.manuscript.style = replace(style, **changed)
        with pdfium.PdfDocument(compiler(None).compile(made.manuscript.typst(), format="pdf")) as document:
            return render(document[0], 760)

    style = made.manuscript.style
    plain = {"family": Family("Roboto", "sans"), "weight": 400, "tracking": 0.0}
    try:
        regular, light, wide = (pixels(**plain | more) for more in ({}, {"weight": 300}, {"tracking": 0.03}))
    finally:
        made.manuscript.style = style
    assert light.mean() > regular.mean() + 0.2
    assert not np.array_equal(wide, regular)


def test_pages_differ_in_weight_and_tracking_and_typewriters_keep_their_pitch():
    drawn = [
        draw_style(Prose(np.random.default_rng(i), "en"), BUILT_IN, (10, 15), 600, 800) for i in range(60)
    ]
    assert {style.weight for style in drawn} == {300, 400, 500, 600}
    assert len({style.tracking for style in drawn}) > 10
    assert {style.tracking for style in drawn if style.family.kind == "mono"} == {0.0}


@every_template
def test_every_word_lies_on_the_page_and_in_one_region(template, index):
    made = setting(template, index)
    height, width = made.pixels.shape[:2]
    assert made.layout.regions is not None
    homeless = []
    for word in made.layout.words:
        x1, y1, x2, y2 = word.box
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        found = owners(word.box, made.layout.regions)
        homeless += [] if found else [word.text]
        assert sum(region.label in TEXT_KINDS for region in found) <= 1
    # Line numbers down the margin are in no region, and nothing else is.
    assert len(homeless) <= made.manuscript.margin_words
    assert all(text.isdigit() for text in homeless)


@every_template
def test_boxes_are_tight_on_the_ink(template, index):
    """Along each edge of a word's box there is ink: no row or column could be cut off."""
    made = setting(template, index)
    gray = made.pixels.astype(int).sum(axis=2) // 3
    for word in made.layout.words:
        x1, y1, x2, y2 = map(int, word.box)
        assert (x1, y1, x2, y2) == word.box
        inside = gray[y1:y2, x1:x2]
        around = gray[max(y1 - 5, 0) : y2 + 5, max(x1 - 5, 0) : x2 + 5]
        paper = np.bincount(around.ravel()).argmax()
        contrast = np.abs(inside - paper).max()
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert np.abs(edge - paper).max() >= contrast / 8, word


@every_template
def test_no_ink_of_text_lies_outside_the_words(template, index):
    """Without words, pictures and tables, paper, rules, frames and fills are left: nothing like letters."""
    made = setting(template, index)
    blank = made.pixels.copy()
    boxes = [word.box for word in made.layout.words]
    boxes += [r.box for r in made.layout.regions or () if r.label in {"Picture", "Table"}]
    for box in boxes:
        x1, y1, x2, y2 = int(box[0]), int(box[1]), int(np.ceil(box[2])), int(np.ceil(box[3]))
        blank[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = blank[max(y1 - 2, 0), max(x1 - 2, 0)]
    edges = cv2.morphologyEx(blank.max(axis=2), cv2.MORPH_BLACKHAT, np.ones((5, 5), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats((edges > 80).astype(np.uint8))
    letters = [
        s
        for s in stats[1:count]
        if 4 <= s[cv2.CC_STAT_HEIGHT] <= 20 and 3 <= s[cv2.CC_STAT_WIDTH] <= 20 and s[cv2.CC_STAT_AREA] > 12
    ]
    if template in {"form", "questionnaire"}:  # boxes to tick look like letters
        letters = [s for s in letters if abs(s[cv2.CC_STAT_HEIGHT] - s[cv2.CC_STAT_WIDTH]) > 3]
    assert len(letters) <= 2, letters


@every_template
def test_words_are_in_reading_order(template, index):
    """Lines are counted without gaps, and a line's words run from left to right."""
    words = setting(template, index).layout.words
    lines = [word.line for word in words]
    assert lines[0] == 0
    assert all(later - earlier in (0, 1) for earlier, later in pairwise(lines))
    for one, two in pairwise(words):
        if one.line == two.line:
            assert two.box[0] > one.box[0]


def test_regions_are_read_column_by_column():
    made = setting("article_two_columns", 1)
    regions = [r for r in made.layout.regions or () if r.label in {"Text", "Section-header", "Formula"}]
    body = [r for r in regions if r.box[2] - r.box[0] < 0.5 * made.pixels.shape[1]]
    middle = made.pixels.shape[1] / 2
    sides = [r.box[0] > middle for r in body]
    assert sides == sorted(sides), "the right column is read before the left one ends"
    for side in (False, True):
        tops = [r.box[1] for r, of in zip(body, sides, strict=True) if of == side]
        assert tops == sorted(tops)


def test_all_text_is_in_the_charset_that_models_read():
    charset = named(CONFIG.charset)
    outside = {
        c
        for template, index in CASES
        for w in setting(template, index).layout.words
        for c in charset.outside(w.text)
    }
    assert not outside


def test_each_character_of_the_charset_has_its_turn():
    symbols = named("latin").symbols
    turns = "".join(_due(index, CONFIG) for index in range(-(-len(symbols) // DUE)))
    assert set(turns) == set(symbols)
    for index in (0, 20, 40, 60):
        shown = "".join(word.text for word in set_page(3, index, CONFIG).layout.words)
        assert {fold(symbol) for symbol in _due(index, CONFIG)} <= set(shown)


@pytest.mark.parametrize("family", BUILT_IN, ids=lambda family: family.name)
@pytest.mark.parametrize("face", ['weight: "regular"', 'weight: "bold"', 'style: "italic"'])
def test_every_font_or_its_fallback_draws_every_character_of_the_charset(family, face):
    """Each is drawn, and not as the sign for a missing glyph."""
    symbols = named("latin").symbols
    shown = [*symbols, "\U000f1234"]  # the last is in no font
    source = f"#set page(width: 480pt, height: 760pt, margin: 4pt)\n#set text(font: {font(family)}, {face}, "
    source += "size: 14pt, fallback: false)\n"
    for index, symbol in enumerate(shown):
        source += f"#place(dx: {index % 15 * 32}pt, dy: {index // 15 * 36}pt, text({literal(symbol)}))\n"
    with pdfium.PdfDocument(compiler().compile(source.encode(), format="pdf")) as document:
        gray = render(document[0], 760).mean(axis=2)
    cells = [
        gray[i // 15 * 36 : i // 15 * 36 + 34, i % 15 * 32 : i % 15 * 32 + 30] for i in range(len(shown))
    ]
    drawn = [np.abs(cell - cells[-1]).max() > 30 and cell.min() < 200 for cell in cells[:-1]]
    assert not [symbol for symbol, found in zip(symbols, drawn, strict=True) if not found]


def test_every_label_occurs_often():
    pages = [make_page(5, index, SynthConfig(degrade=0, long_edge=760)) for index in range(80)]
    counts = Counter(label for one in pages for label in {region.label for region in one.regions or ()})
    assert set(counts) == set(CANONICAL)
    assert min(counts.values()) >= 0.05 * len(pages), counts
    assert len({one.meta["language"] for one in pages}) >= 6
    assert len({one.meta["template"] for one in pages}) >= 15


def test_some_pages_are_in_capitals_only():
    shouting = []
    for made in (setting("letter", index) for index in range(40)):
        words = [word.text for word in made.layout.words]
        loud = sum(word == word.upper() for word in words) / len(words)
        assert (loud > 0.95) == made.manuscript.style.capitals
        shouting.append(loud > 0.95)
    assert 1 <= sum(shouting) <= 6


def test_fields_filled_in_by_hand_are_marked():
    forms = [set_page(2, index, CONFIG, "form") for index in range(8)]
    assert any(form.manuscript.handwritten for form in forms)
    assert all(
        form.manuscript.handwritten == 0 or "Intuitive" in str(form.manuscript.parts) for form in forms
    )


def test_the_number_of_workers_changes_nothing():
    config = SynthConfig(pages=6)
    assert list(generate(config, 3, workers=1)) == list(generate(config, 3, workers=2))


def test_pages_do_not_depend_on_how_python_hashes():
    """Italian letters and German forms from two interpreters that order their sets differently."""
    code = """if True:
        from ml.config import SynthConfig
        from ml.pages.synthesis.typesetting import make_page
        config = SynthConfig(long_edge=600, templates=("letter", "form", "invoice"))
        print([make_page(7, index, config).id for index in range(16)])
    """
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout and b"', '" in runs[0].stdout


def test_seeds_and_numbers_give_other_pages():
    ids = {make_page(seed, index, CONFIG).id for seed in (1, 2) for index in (0, 1)}
    assert len(ids) == 4


def test_a_page_that_says_something_else_than_its_source_is_found_out():
    made = next(one for index in range(9) if not (one := setting("slide", index)).later)
    manuscript, layout, shape = made.manuscript, made.layout, made.pixels.shape
    assert flaw_of(layout, manuscript, shape, made.later) == ""
    unsaid = replace(manuscript, source=[*manuscript.source, "unseen"])
    assert "too few" in flaw_of(layout, unsaid, shape, made.later)
    shorter = replace(manuscript, source=manuscript.source[1:])
    assert "too many" in flaw_of(layout, shorter, shape, made.later)
    assert "edge" in flaw_of(layout, manuscript, (shape[0], shape[1] // 2), made.later)


def test_a_denser_page_is_the_same_page_with_more_pixels():
    config = SynthConfig(long_edge=640, degrade=0.0)
    plain, dense = make_page(7, 3, config), make_page(7, 3, config.model_copy(update={"density": (2.0, 2.0)}))
    assert (dense.width, dense.height) == (2 * plain.width, 2 * plain.height)
    assert [word.text for word in dense.words or ()] == [word.text for word in plain.words or ()]
    boxes = [np.array([word.box for word in page.words or ()]) for page in (plain, dense)]
    assert np.abs(boxes[1] - 2 * boxes[0]).max() <= 3


def test_words_printed_over_one_another_are_found_out():
    made = setting("letter", 0)
    one, two, *rest = [word for word in made.layout.words if len(word.text) > 2]
    over = replace(made.layout, words=(one, replace(two, box=one.box), *rest))
    assert _overprinted(made.layout) == ""
    assert _overprinted(over) == f"'{one.text}' is printed over '{two.text}'"


def test_degraded_pages_are_the_share_asked_for():
    clean = [make_page(9, index, SynthConfig(degrade=0)) for index in range(6)]
    worn = [make_page(9, index, SynthConfig(degrade=1)) for index in range(6)]
    assert all(one.image.startswith(b"\x89PNG") for one in clean)
    assert all(one.id != other.id for one, other in zip(clean, worn, strict=True))
    assert [[w.text for w in one.words or ()] for one in clean] == [
        [w.text for w in one.words or ()] for one in worn
    ]


def test_text_is_a_function_of_the_generator_alone():
    def said() -> list[str]:
        prose = Prose(np.random.default_rng(4))
        return [prose.text(30), prose.name(), prose.long_date(), prose.email(), *prose.address()]

    assert said() == said()


def test_other_languages_have_their_own_words():
    german = set(lexicon("de").words)
    assert {"und", "nicht"} <= german
    made = set_page(1, 0, SynthConfig(languages=("de",)), "letter")
    assert sum(word.text.lower().strip(".,") in german for word in made.layout.words) > 0.4 * len(
        made.layout.words
    )


def test_an_unknown_language_is_refused():
    with pytest.raises(UsageError, match="ISO 639-1"):
        lexicon("xx")


def test_the_command_writes_a_store_a_sheet_and_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # no params.yaml: the defaults hold
    flags = [
        "--seed",
        "4",
        "--long-edge",
        "512",
        "--workers",
        "1",
        "--preview",
        "sheet.png",
        "--preview-boxes",
        "--stats",
    ]
    assert main(["synth", "--pages", "3", "--out", "made", *flags]) == 0
    store = PageStore(tmp_path / "made")
    assert len(store) == 3
    assert all(max(one.width, one.height) == 512 for one in store)
    assert all(max(one.pixels().shape) == 512 for one in store)
    assert cv2.imread("sheet.png") is not None
    assert "Section-header" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags", [["--pages", "0"], ["--body-px", "15", "11"], ["--long-edge", "5"], ["--degrade", "2"]]
)
def test_impossible_settings_are_refused(tmp_path, monkeypatch, capsys, flags):
    monkeypatch.chdir(tmp_path)
    assert main(["synth", "--out", "made", *flags]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
