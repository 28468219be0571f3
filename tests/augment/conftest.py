"""Small page stores of random text-like pages."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ml.pages.page import Page, page_id
from ml.pages.store import PageWriter


def small_page(number: int, size: tuple[int, int] = (96, 128)) -> Page:
    """A page whose pixels depend on `number` only."""
    rng = np.random.default_rng(number)
    picture = Image.new("RGB", size, (250, 248, 240))
    draw = ImageDraw.Draw(picture)
    for top in range(8, size[1] - 12, 14):
        draw.text((6, top), str(rng.integers(10**12)), fill=(20, 20, 60))
    file = io.BytesIO()
    picture.save(file, "PNG")
    image = file.getvalue()
    return Page(page_id(image), f"doc-{number}", *size, image, (), (), "synthetic")


def write_store(directory: Path, pages: list[Page]) -> Path:
    with PageWriter(directory) as writer:
        for page in pages:
            writer.write(page)
    return directory


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "train", [small_page(n) for n in range(7)])
