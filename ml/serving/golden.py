"""The golden check: a version may answer only if the server reads a known page as ONNX Runtime does here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ml.errors import InputError
from ml.evaluation.detection import match
from ml.pages.result import FoundRegion, PageResult, ReadWord

#: Share of words and regions that both sides must find alike. Equal graphs on equal machines give 1; a last
#: bit that differs between two CPUs may tip a word that stands on its threshold.
AGREEMENT = 0.95
OVERLAP = 0.9  # IoU from which two boxes count as the same

_LINES = (
    "Golden page",
    "Every version reads these lines twice: once through the server",
    "and once beside it. If the two disagree, it is not promoted.",
    "No. 4711   Total: 1,284.50   Date: 12 March 1987",
)


def golden_page() -> np.ndarray:
    """A drawn page of four lines: uint8 (640, 480, 3) RGB, the same everywhere: the font is Pillow's."""
    page = Image.new("RGB", (480, 640), "white")
    draw = ImageDraw.Draw(page)
    for i, line in enumerate(_LINES):
        draw.text((32, 40 + 40 * i), line, fill="black", font=ImageFont.load_default(24 if i == 0 else 14))
    draw.rectangle((32, 240, 448, 420), outline="black")
    return np.asarray(page)


def require_golden(
    served: Callable[[np.ndarray], PageResult], local: Callable[[np.ndarray], PageResult], page: np.ndarray
) -> str:
    """Read `page` both ways. Returns what agreed, in words; raises InputError when it is too little."""
    there, here = served(page), local(page)
    share = agreement(there, here)
    what = f"{len(there.words)} words and {len(there.regions)} regions, {share:.0%} as in ONNX Runtime"
    if share < AGREEMENT:
        raise InputError(
            f"the golden check failed: the server read {what}, which finds {len(here.words)} and "
            f"{len(here.regions)}; at least {AGREEMENT:.0%} must agree"
        )
    return what


def agreement(a: PageResult, b: PageResult) -> float:
    """Share of the words and regions of both results that have a partner in the other."""
    found = len(a.words) + len(b.words) + len(a.regions) + len(b.regions)
    if not found:
        return 1.0
    paired = _pairs(a.words, b.words, lambda word: word.text) + _pairs(
        a.regions, b.regions, lambda region: region.label
    )
    return 2 * paired / found


def _pairs(
    a: Sequence[ReadWord] | Sequence[FoundRegion],
    b: Sequence[ReadWord] | Sequence[FoundRegion],
    name: Callable,
) -> int:
    groups: dict[str, tuple[list, list]] = {}
    for side, items in enumerate((a, b)):
        for item in items:
            groups.setdefault(name(item), ([], []))[side].append(item)
    return sum(
        j >= 0
        for left, right in groups.values()
        for j in match([x.box for x in left], [x.box for x in right], [x.score for x in right], OVERLAP)
    )
