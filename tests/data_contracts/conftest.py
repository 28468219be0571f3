"""Small pages, and batches of them."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from ml.pages.page import Page, Region, Word, page_id
from ml.pages.store import PageWriter

WIDTH, HEIGHT = 160, 200


def png(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """A page with three lines; their lengths depend on `number`."""
    picture = Image.new("RGB", size, (250, 248, 240))
    draw = ImageDraw.Draw(picture)
    for line in range(3):
        width = 20 + (number * 37 + line * 53) % 100
        draw.rectangle((10, 20 + 40 * line, 10 + width, 35 + 40 * line), fill=(20, 20, 60))
    draw.text((10, 150), f"page {number}", fill=(0, 0, 0))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def page(number: int = 0, **changes: Any) -> Page:
    """A page on which every rule holds; `changes` replace its fields."""
    image = changes.pop("image", None) or png(number)
    fields: dict[str, Any] = {
        "id": page_id(image),
        "document": f"document-{number}",
        "width": WIDTH,
        "height": HEIGHT,
        "image": image,
        "words": tuple(Word((10, 20 + 40 * i, 30, 36 + 40 * i), f"word{i}", i) for i in range(3)),
        "regions": (Region((5, 15, 155, 120), "Text"), Region((5, 145, 155, 170), "Page-footer")),
        "provenance": "human",
        "source": f"{number}.png",
    }
    return Page(**{**fields, **changes})


def with_word(good: Page, **changes: Any) -> Page:
    """`good` with the second word changed."""
    assert good.words is not None
    first, second, *rest = good.words
    return dataclasses.replace(good, words=(first, dataclasses.replace(second, **changes), *rest))


def with_region(good: Page, **changes: Any) -> Page:
    """`good` with the first region changed."""
    assert good.regions is not None
    first, *rest = good.regions
    return dataclasses.replace(good, regions=(dataclasses.replace(first, **changes), *rest))


def write_batch(folder: Path, pages: list[Page]) -> Path:
    with PageWriter(folder) as writer:
        for each in pages:
            writer.write(each)
    return folder


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """Four good pages."""
    return write_batch(tmp_path / "scans", [page(number) for number in range(4)])
