"""The demo's report: one self-contained HTML file, and its figures as JSON."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from PIL import Image

from ml.pages.page import Box, Page
from ml.pages.result import PageResult

#: Overlap at which a found word counts as the true one, as in the evaluation.
SAME = 0.5


@dataclass(frozen=True)
class AssetTime:
    """One materialised asset (or check) of the run; `seconds` is this run's, cached or not."""

    name: str
    seconds: float
    cached: bool


@dataclass(frozen=True)
class Report:
    """All that the report shows. `figures` is what report.json holds."""

    run_id: str
    figures: Mapping[str, Any]
    assets: Sequence[AssetTime]
    metrics: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, str]  # stage -> data URI
    pages: Sequence[tuple[Page, PageResult]]
    notes: Sequence[str] = field(default_factory=tuple)


def figures(
    served: Mapping[str, Any], assets: Sequence[AssetTime], total: float, read: int
) -> dict[str, Any]:
    """report.json: the quality measured through the server (`served`: metrics/served.json) and the times."""
    layout = served.get("layout", {})
    both = {
        name: {key: layout.get(name, {}).get(key) for key in ("ap", "ap50")}
        for name in ("teacher", "student")
    }
    return {
        "served": read > 0,
        "pages": served.get("pages", 0),
        "words": served.get("words"),
        "reading": served.get("reading"),
        "end_to_end": served.get("end_to_end"),
        "layout": both,
        "seconds": {"total": round(total, 1), "assets": {a.name: round(a.seconds, 1) for a in assets}},
        "cached": [a.name for a in assets if a.cached],
    }


def render(report: Report) -> str:
    """The whole page. It refers to nothing outside itself."""
    sections = (
        _headline(report),
        _section("Pages read by the server, beside their truth", _pages(report.pages)),
        _section("Training curves", _curves(report.curves)),
        _section("Metrics", _metrics(report.metrics)),
        _section("Time per asset", _times(report.assets)),
    )
    return _PAGE.format(title="Scriptorium demo", style=_style(), body="\n".join(sections))


def _style() -> str:
    return resources.files("orchestration").joinpath("report.css").read_text(encoding="utf-8")


def _headline(report: Report) -> str:
    figures = report.figures
    cards = [
        ("word detection F1", _at(figures, "words", "f1")),
        ("character error rate", _at(figures, "reading", "cer")),
        ("words read exactly", _at(figures, "reading", "exact")),
        ("end-to-end word F1", _at(figures, "end_to_end", "f1")),
        ("teacher layout AP50", _at(figures, "layout", "teacher", "ap50")),
        ("student layout AP50", _at(figures, "layout", "student", "ap50")),
    ]
    tiles = "".join(
        f'<div class="card"><b>{_number(value)}</b><span>{_text(name)}</span></div>' for name, value in cards
    )
    notes = "".join(f"<p>{_text(note)}</p>" for note in report.notes)
    seconds = figures["seconds"]["total"]
    return (
        f"<header><h1>Scriptorium: from pages to a served model</h1>"
        f"<p>Run <code>{_text(report.run_id)}</code>, {_duration(seconds)}, "
        f"{len(figures['cached'])} of {len(report.assets)} assets cached. Figures are measured through the "
        f"Triton server on {figures['pages']} pages that no training saw.</p></header>"
        f'<div class="cards">{tiles}</div>{notes}'
    )


def _pages(pages: Sequence[tuple[Page, PageResult]]) -> str:
    legend = (
        '<p class="legend"><i class="true"></i> word read right <i class="false"></i> wrong or not there '
        '<i class="region"></i> region. Hold the pointer over a box for its text.</p>'
    )
    return legend + "".join(_page(number, page, result) for number, (page, result) in enumerate(pages))


def _page(number: int, page: Page, result: PageResult) -> str:
    picture = f"page{number}"
    truth = _overlay(
        page,
        f'<defs><image id="{picture}" width="{page.width}" height="{page.height}" '
        f'href="{_picture(page)}"/></defs>'
        f'<use href="#{picture}"/>',
        [_rect(word.box, "word", word.text) for word in page.words or ()]
        + [_rect(region.box, "region", region.label, region.label) for region in page.regions or ()],
    )
    words = [
        _rect(word.box, "true" if _is_right(word.box, word.text, page) else "false", word.text)
        + _written(word.box, word.text)
        for word in result.words
    ]
    regions = [
        _rect(region.box, "region", f"{region.label} {region.score:.2f}", region.label)
        for region in result.regions
    ]
    served = _overlay(page, f'<use href="#{picture}" opacity="0.13"/>', words + regions)
    counts = f"{len(result.words)} words, {len(result.regions)} regions"
    return (
        f'<div class="pair">{_figure(truth, f"truth: {page.source or page.id[:12]}")}'
        f"{_figure(served, f'served: {counts}')}</div>"
    )


def _figure(body: str, caption: str) -> str:
    return f"<figure>{body}<figcaption>{_text(caption)}</figcaption></figure>"


def _overlay(page: Page, picture: str, marks: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {page.width} {page.height}" role="img">{picture}' + "".join(marks) + "</svg>"


def _rect(box: Box, kind: str, title: str, label: str = "") -> str:
    x1, y1, x2, y2 = box
    name = f'<text class="label" x="{x1:.1f}" y="{y1 - 2:.1f}">{_text(label)}</text>' if label else ""
    return (
        f'<rect class="{kind}" x="{x1:.1f}" y="{y1:.1f}" width="{max(x2 - x1, 0):.1f}" '
        f'height="{max(y2 - y1, 0):.1f}"><title>{_text(title)}</title></rect>{name}'
    )


def _written(box: Box, text: str) -> str:
    """The text that was read, set into its box."""
    x1, y1, x2, y2 = box
    width, height = max(x2 - x1, 1), max(y2 - y1, 1)
    return (
        f'<text class="read" x="{x1:.1f}" y="{y2 - 0.22 * height:.1f}" font-size="{0.85 * height:.1f}" '
        f'textLength="{width:.1f}" lengthAdjust="spacingAndGlyphs">{_text(text)}</text>'
    )


def _is_right(box: Box, text: str, page: Page) -> bool:
    return any(word.text == text and overlap(word.box, box) >= SAME for word in page.words or ())


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0 for empty ones."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def _picture(page: Page) -> str:
    buffer = io.BytesIO()
    Image.fromarray(page.pixels()).save(buffer, "JPEG", quality=78)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _curves(curves: Mapping[str, str]) -> str:
    return "".join(
        _figure(f'<img alt="curves of {_text(name)}" src="{_text(uri)}">', name)
        for name, uri in curves.items()
    )


def _metrics(metrics: Mapping[str, Mapping[str, float]]) -> str:
    rows = "".join(
        f"<tr><td>{_text(stage)}</td><td>{_text(name)}</td><td class=n>{_number(value)}</td></tr>"
        for stage, values in metrics.items()
        for name, value in values.items()
    )
    table = f"<table><tr><th>asset<th>metric<th>value</tr>{rows}</table>"
    return f"<details><summary>all numbers of all stages</summary>{table}</details>"


def _times(assets: Sequence[AssetTime]) -> str:
    longest = max((asset.seconds for asset in assets), default=1.0) or 1.0
    rows = "".join(
        f"<tr><td>{_text(a.name)}</td><td class=n>{a.seconds:.1f} s</td>"
        f"<td>{'cached' if a.cached else ''}</td>"
        f'<td class="wide"><div class="bar" style="width:{100 * a.seconds / longest:.1f}%"></div></td></tr>'
        for a in assets
    )
    return f"<table class=full><tr><th>asset<th>seconds<th><th></tr>{rows}</table>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _at(values: Any, *keys: str) -> float | None:
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.3f}"


def _duration(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60} s" if seconds >= 60 else f"{seconds:.0f} s"


def _text(text: str) -> str:
    return html.escape(text, quote=True)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>{style}</style></head><body><main>
{body}
</main></body></html>
"""
