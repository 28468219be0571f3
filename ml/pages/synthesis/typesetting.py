"""From a seed and a number to a page with exact truth: composed, set, read back, held against its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pypdfium2 as pdfium
import typst

from ml.config import SynthConfig
from ml.models.charset import named
from ml.pages.labels import TEXT_KINDS
from ml.pages.page import Page, page_id
from ml.pages.readers.pdf_layout import PageLayout, layout_of
from ml.pages.readers.pdf_words import fold
from ml.pages.readers.rendering import encode_jpeg, encode_png, render
from ml.pages.synthesis.degradation import Degraded, degrade
from ml.pages.synthesis.fonts import compiler, families
from ml.pages.synthesis.manuscript import Manuscript, draw_style
from ml.pages.synthesis.prose import Prose
from ml.pages.synthesis.templates import TEMPLATES

#: Compositions tried for one page; each is held to fewer words than the one before.
ATTEMPTS = 12
#: Characters of the charset that each page must show, in turn: with 240 characters, each on every 60th page.
DUE = 4


@dataclass(frozen=True, slots=True)
class Setting:
    """One page as set: clean pixels, what is on it, and the source that it came from."""

    template: str
    manuscript: Manuscript
    pdf: bytes
    pixels: np.ndarray  # uint8 (H, W, 3)
    layout: PageLayout
    later: tuple[str, ...]  # words that ran on to further pages, which are not kept


def set_page(seed: int, index: int, config: SynthConfig, template: str | None = None) -> Setting:
    """Page `index` of seed `seed`, clean. The same on every machine and for any number of workers.

    What does not fit runs on to pages that are not kept, as in any document. A composition whose page does not say
    exactly what its source says is drawn again with fewer words. Raises RuntimeError when none will do (a parameter
    makes pages impossible).
    """
    density = float(np.random.default_rng([seed, index, ATTEMPTS + 1]).uniform(*config.density))
    flaw = ""
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, index, attempt])
        manuscript, name = _compose(rng, config, template, 1.0 - 0.07 * attempt, _due(index, config))
        try:
            pdf = compiler(config.fonts).compile(manuscript.typst(), format="pdf")
        except typst.TypstError as error:
            raise RuntimeError(
                f"template {name}: Typst refuses page {index} of seed {seed}: {error}"
            ) from error
        if not isinstance(pdf, bytes):
            raise TypeError("Typst returned no PDF")
        with pdfium.PdfDocument(pdf) as document:
            page = document[0]
            pixels = render(page, round(config.long_edge * density))
            layout = layout_of(page, pixels)
            later = [text for number in range(1, len(document)) for text in _texts(document[number])]
        flaw = flaw_of(layout, manuscript, pixels.shape, later)
        if not flaw:
            return Setting(name, manuscript, pdf, pixels, layout, tuple(later))
    raise RuntimeError(
        f"page {index} of seed {seed}: {ATTEMPTS} compositions failed, the last because {flaw}"
    )


def make_page(seed: int, index: int, config: SynthConfig) -> Page:
    """Page `index` of seed `seed`, degraded like a scan with probability `config.degrade`."""
    setting = set_page(seed, index, config)
    words, regions = setting.layout.words, setting.layout.regions or ()
    rng = np.random.default_rng([seed, index, ATTEMPTS])
    worn = Degraded(setting.pixels, words, regions, None, ())
    if rng.random() < config.degrade:
        worn = degrade(rng, setting.pixels, words, regions)
    pixels = worn.pixels
    image = encode_png(pixels) if worn.quality is None else encode_jpeg(pixels, worn.quality)
    height, width = pixels.shape[:2]
    style = setting.manuscript.style
    return Page(
        id=page_id(image),
        document=f"synthetic-{seed}-{index:06d}",
        width=width,
        height=height,
        image=image,
        words=worn.words,
        regions=worn.regions,
        provenance="synthetic",
        source=f"synth seed {seed} page {index}",
        meta={
            "template": setting.template,
            "font": style.family.name,
            "language": style.language,
            "handwritten": str(setting.manuscript.handwritten),
            "effects": " ".join(worn.effects),
        },
    )


def _compose(
    rng: np.random.Generator, config: SynthConfig, template: str | None, room: float, due: str
) -> tuple[Manuscript, str]:
    names = list(config.templates) or list(TEMPLATES)
    weights = np.array([TEMPLATES[name].weight for name in names])
    name = template or names[int(rng.choice(len(names), p=weights / weights.sum()))]
    language = config.languages[int(rng.integers(len(config.languages)))]
    prose = Prose(rng, language, due)
    ratios = TEMPLATES[name].ratios
    ratio = ratios[int(rng.integers(len(ratios)))]
    long, short = config.long_edge, round(config.long_edge * min(ratio, 1 / ratio))
    width, height = (long, short) if ratio > 1 else (short, long)
    drawn_from = families(config.fonts)
    style = draw_style(prose, drawn_from, config.body_px, width, height)
    # As many words as such pages hold.
    area = (width - 2 * style.margin_x) * (height - 2 * style.margin_y)
    full = area / (style.body**2 * (1 + style.leading) * 2.6)
    budget = int(np.clip(full * rng.uniform(0.6, 1.25) * room, 30, config.max_words))
    manuscript = Manuscript(prose, style, budget, drawn_from)
    TEMPLATES[name].compose(manuscript)
    if prose.due:  # a page of cells and fields has no sentence to put them in
        manuscript.add(
            f"#{manuscript.quoted(' '.join(prose.rare(character) for character in prose.due))}\n\n"
        )
    return manuscript, name


def _due(index: int, config: SynthConfig) -> str:
    symbols = named(config.charset).symbols
    return "".join(symbols[(index * DUE + i) % len(symbols)] for i in range(DUE))


def _texts(page: pdfium.PdfPage) -> list[str]:
    """All words of a page, wherever they stand."""
    layer = page.get_textpage()
    try:
        return layer.get_text_range().split()
    finally:
        layer.close()


def flaw_of(
    layout: PageLayout, manuscript: Manuscript, shape: Sequence[int], later: Sequence[str] = ()
) -> str:
    """Why the truth of a page of `shape` (H, W, ...) is not exact, in words; "" when it is.

    `later`: what stands on the pages after it.
    """
    if layout.regions is None:
        return "its tags contradict it"
    written, read = _characters(manuscript.source), _characters(word.text for word in layout.words)
    missing, added = written - read - _characters(later), read - written
    if missing or added:
        return f"it shows {dict(added)} too many and {dict(missing)} too few"
    height, width = shape[:2]
    for box in [word.box for word in layout.words] + [region.box for region in layout.regions]:
        if box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height:
            return f"{box} reaches over the page's edge"
    if due := _characters(manuscript.prose.shown).keys() - read.keys():
        return f"it does not show {due}, which are its turn"
    texts = [region for region in layout.regions if region.label in TEXT_KINDS]
    alone = manuscript.margin_words
    for word in layout.words:
        x, y = (word.box[0] + word.box[2]) / 2, (word.box[1] + word.box[3]) / 2
        owners = [r for r in layout.regions if r.box[0] <= x < r.box[2] and r.box[1] <= y < r.box[3]]
        if not owners and word.text.isdigit() and alone:
            alone -= 1
        elif not owners or sum(owner in texts for owner in owners) > 1:
            return f"'{word.text}' lies in {len(owners)} regions"
    return _overprinted(layout)


def _overprinted(layout: PageLayout) -> str:
    """Words set over one another, such as long ones in narrow cells; "" when there are none.

    Single characters may: a formula's index tucks itself under its letter.
    """
    words = [word for word in layout.words if len(word.text) > 1]
    boxes = np.array([word.box for word in words], np.float32).reshape(-1, 4)
    x1, y1, x2, y2 = boxes.T
    wide = np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1)
    high = np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1)
    area = (x2 - x1) * (y2 - y1)
    shared = (wide > 1) & (high > 0) & (wide * high > 0.2 * np.minimum(area[:, None], area))
    np.fill_diagonal(shared, False)
    if not shared.any():
        return ""
    first, second = np.argwhere(shared)[0]
    return f"'{words[first].text}' is printed over '{words[second].text}'"


def _characters(words: Iterable[str]) -> Counter[str]:
    """Characters without hyphens: those at a line's end are the typesetter's, not the author's."""
    return Counter(folded for word in words for sign in word if sign != "-" for folded in fold(sign))
