"""Pictures for Dagster's metadata and the demo's report: loss curves and pages with boxes, as data URIs."""

import base64
import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from orchestration.graph import Output, Stage

if TYPE_CHECKING:
    from ml.pages.page import Box, Page

WORD_COLOUR, REGION_COLOUR = (37, 99, 235), (220, 38, 38)

#: Longest side of a page picture in Dagster's metadata; the event log keeps it.
THUMBNAIL = 560


def data_uri(image: Image.Image, kind: str = "JPEG", quality: int = 80) -> str:
    """An image as a `data:` URI that needs no other file."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, kind, quality=quality)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def columns(path: Path) -> dict[str, list[tuple[float, float]]]:
    """The numeric columns of a plots CSV as (x, y) points; x is the first column. Empty cells are gaps."""
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows:
        return {}
    x, *names = list(rows[0])
    curves = {}
    for name in names:
        points = [(number(row[x]), number(row[name])) for row in rows]
        curves[name] = [(a, b) for a, b in points if a is not None and b is not None]
    return {name: points for name, points in curves.items() if points}


def number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def curves(path: Path) -> str | None:
    """Losses and validation figures of a plots CSV, as a PNG `data:` URI; None while there is no point."""
    series = {name: points for name, points in columns(path).items() if not name.startswith("lr")}
    if not series:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (a second, only when a stage trained)
    from matplotlib.figure import Figure  # noqa: PLC0415

    halves = [
        ("training", {n: p for n, p in series.items() if not n.startswith("val")}),
        ("validation", {n: p for n, p in series.items() if n.startswith("val")}),
    ]
    halves = [(title, half) for title, half in halves if half]
    figure = Figure(figsize=(5.2 * len(halves), 3.2), dpi=90, layout="constrained")
    for place, (title, half) in enumerate(halves, start=1):
        axes = figure.add_subplot(1, len(halves), place)
        for name, points in half.items():
            axes.plot(
                *zip(*points, strict=True),
                label=name,
                linewidth=1.4,
                marker="o" if len(points) < 20 else None,
            )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step", fontsize=9)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def draw(image: Image.Image, words: "Iterable[Box]", regions: "Iterable[Box]") -> Image.Image:
    """The page with its word boxes (blue) and region boxes (red) drawn on."""
    drawn = image.convert("RGB")
    pen = ImageDraw.Draw(drawn)
    for box in words:
        pen.rectangle(tuple(box), outline=WORD_COLOUR)
    for box in regions:
        pen.rectangle(tuple(box), outline=REGION_COLOUR, width=2)
    return drawn


def thumbnail(image: Image.Image) -> Image.Image:
    """A copy whose longer side is at most THUMBNAIL pixels."""
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return small


def stage_pictures(root: Path, stage: Stage) -> dict[str, str]:
    """Markdown pictures of a stage by title: curves and, where `meta.pictures` names a page store, pages.

    With `meta.reader` (a graph folder) the pages carry what that model finds, else their truth.
    """
    pictures: dict[str, str] = {}
    for out in stage.outs:
        if out.plot is not None and (picture := _curves_of(root, out)):
            pictures["curves"] = f"![curves]({picture})"
    if store := stage.meta.get("pictures"):
        reader = stage.meta.get("reader")
        pages = page_pictures(root / store, root / reader if reader else None)
        pictures["pages found" if reader else "pages"] = "\n".join(f"![page]({uri})" for uri in pages)
    return pictures


def _curves_of(root: Path, out: Output) -> str | None:
    path = root / out.path
    return curves(path) if path.suffix == ".csv" and path.is_file() else None


def page_pictures(store: Path, reader: Path | None, count: int = 3) -> list[str]:
    """The first pages of a store with boxes on them: truth, or what the graph in `reader` finds."""
    from ml.pages.store import PageStore  # noqa: PLC0415  (pyarrow)

    pages = PageStore(store)
    return [data_uri(thumbnail(_drawn(pages[i], reader))) for i in range(min(count, len(pages)))]


def _drawn(page: "Page", reader: Path | None) -> Image.Image:
    image = Image.fromarray(page.pixels())
    if reader is None:
        return draw(image, [w.box for w in page.words or ()], [r.box for r in page.regions or ()])
    from ml.predictor import open_predictor  # noqa: PLC0415  (onnxruntime)

    found = open_predictor(reader).read(page.pixels())
    return draw(image, [w.box for w in found.words], [r.box for r in found.regions])
