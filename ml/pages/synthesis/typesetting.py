"""From a seed and a number to a page with exact truth: composed, set, read back, held against its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pypdfium2 as pdfium
import typst

from ml.config import SynthConfig
from ml.pages.labels import TEXT_KINDS
from ml.pages.page import Page, page_id
from ml.pages.readers.pdf_layout import PageLayout, layout_of
from ml.pages.readers.pdf_words import fold
from ml.pages.readers.rendering import encode_jpeg, encode_png, render
from ml.pages.synthesis.degradation import degrade
from ml.pages.synthesis.fonts import compiler
from ml.pages.synthesis.manuscript import Manuscript, draw_style
from ml.pages.synthesis.prose import Prose
from ml.pages.synthesis.templates import TEMPLATES

#: Compositions tried for one page; each is held to fewer words than the one before.
ATTEMPTS = 12
#: Pages are proportioned like A4, Letter, and a little around them.
_RATIOS = (210 / 297, 210 / 297, 8.5 / 11, 8.5 / 11, 0.68, 0.8)


@dataclass(frozen=True, slots=True)
class Setting:
    """One page as set: clean pixels, what is on it, and the source that it came from."""

    template: str
    manuscript: Manuscript
    pdf: bytes
    pixels: np.ndarray  # uint8 (H, W, 3)
    layout: PageLayout


def set_page(seed: int, index: int, config: SynthConfig, template: str | None = None) -> Setting:
    """Page `index` of seed `seed`, clean. The same on every machine and for any number of workers.

    A composition that does not fit on the page, or whose page does not say exactly what its source says, is
    drawn again with fewer words. Raises RuntimeError when none fits (a parameter makes pages impossible).
    """
    flaw = ""
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, index, attempt])
        manuscript, name = _compose(rng, config, template, 1.0 - 0.07 * attempt)
        try:
            pdf = compiler().compile(manuscript.typst(), format="pdf")
        except typst.TypstError as error:
            raise RuntimeError(
                f"template {name}: Typst refuses page {index} of seed {seed}: {error}"
            ) from error
        if not isinstance(pdf, bytes):
            raise TypeError("Typst returned no PDF")
        with pdfium.PdfDocument(pdf) as document:
            if len(document) > 1:
                flaw = "it does not fit on one page"
                continue
            page = document[0]
            pixels = render(page, config.long_edge)
            layout = layout_of(page, pixels)
        flaw = flaw_of(layout, manuscript.source, pixels.shape[1], pixels.shape[0])
        if not flaw:
            return Setting(name, manuscript, pdf, pixels, layout)
    raise RuntimeError(
        f"page {index} of seed {seed}: {ATTEMPTS} compositions failed, the last because {flaw}"
    )


def make_page(seed: int, index: int, config: SynthConfig) -> Page:
    """Page `index` of seed `seed`, degraded like a scan with probability `config.degrade`."""
    setting = set_page(seed, index, config)
    words, regions = setting.layout.words, setting.layout.regions or ()
    rng = np.random.default_rng([seed, index, ATTEMPTS])
    pixels, quality = setting.pixels, None
    if rng.random() < config.degrade:
        pixels, words, regions, quality = degrade(rng, pixels, words, regions)
    image = encode_png(pixels) if quality is None else encode_jpeg(pixels, quality)
    height, width = pixels.shape[:2]
    style = setting.manuscript.style
    return Page(
        id=page_id(image),
        document=f"synthetic-{seed}-{index:06d}",
        width=width,
        height=height,
        image=image,
        words=words,
        regions=regions,
        provenance="synthetic",
        source=f"synth seed {seed} page {index}",
        meta={"template": setting.template, "font": style.family.name, "language": style.language},
    )


def _compose(
    rng: np.random.Generator, config: SynthConfig, template: str | None, room: float
) -> tuple[Manuscript, str]:
    names = list(TEMPLATES)
    weights = np.array([TEMPLATES[name].weight for name in names])
    name = template or names[int(rng.choice(len(names), p=weights / weights.sum()))]
    language = config.languages[int(rng.integers(len(config.languages)))]
    prose = Prose(rng, language)
    long, short = config.long_edge, round(config.long_edge * _RATIOS[int(rng.integers(len(_RATIOS)))])
    width, height = (long, round(long * 0.75)) if TEMPLATES[name].landscape else (short, long)
    style = draw_style(prose, config.body_px, width, height, language)
    # As many words as such pages hold, at 640 px about 80 to 180.
    area = (width - 2 * style.margin_x) * (height - 2 * style.margin_y)
    full = area / (style.body**2 * (1 + style.leading) * 2.6)
    budget = int(np.clip(full * rng.uniform(0.55, 0.95) * room, 30, 190))
    manuscript = Manuscript(prose, style, budget)
    TEMPLATES[name].compose(manuscript)
    return manuscript, name


def flaw_of(layout: PageLayout, source: Iterable[str], width: int, height: int) -> str:
    """Why a page's truth is not exact, in words; "" when it is."""
    if layout.regions is None:
        return "its tags contradict it"
    written, read = _characters(source), _characters(word.text for word in layout.words)
    if written != read:
        return f"it shows {dict(read - written)} too many and {dict(written - read)} too few"
    for box in [word.box for word in layout.words] + [region.box for region in layout.regions]:
        if box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height:
            return f"{box} reaches over the page's edge"
    texts = [region for region in layout.regions if region.label in TEXT_KINDS]
    for word in layout.words:
        x, y = (word.box[0] + word.box[2]) / 2, (word.box[1] + word.box[3]) / 2
        owners = [r for r in layout.regions if r.box[0] <= x < r.box[2] and r.box[1] <= y < r.box[3]]
        if not owners or sum(owner in texts for owner in owners) > 1:
            return f"'{word.text}' lies in {len(owners)} regions"
    return ""


def _characters(words: Iterable[str]) -> Counter[str]:
    """Characters without hyphens: those at a line's end are the typesetter's, not the author's."""
    return Counter(fold(character) for word in words for character in word if character != "-")
