"""Small real pages for the tests of this folder."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typst
from PIL import Image

from ml.config import SynthConfig
from ml.pages.page import Page, Region, Word, page_id
from ml.pages.synthesis.typesetting import make_page

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples"


def samples(folder: str) -> Path:
    """A folder of real samples, or a skip that says why."""
    import os

    root = Path(os.environ.get("SCRIPTORIUM_SAMPLES", SAMPLES))
    if not (root / folder).is_dir():
        pytest.skip(f"no real samples in {root}; set SCRIPTORIUM_SAMPLES")
    return root / folder


def png(seed: int = 0, size: tuple[int, int] = (60, 80)) -> bytes:
    """A PNG of noise, another for every seed; `size` is width, height."""
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def page(seed: int = 0, document: str = "", **changes: Any) -> Page:
    """A tiny page; `changes` replace its fields."""
    image = png(seed)
    fields: dict[str, Any] = {
        "id": page_id(image),
        "document": document or f"document-{seed}",
        "width": 60,
        "height": 80,
        "image": image,
        "words": (Word((1.0, 2.5, 9.25, 8.0), "§ 1", 0), Word((11.0, 2.0, 20.0, 8.0), "“x”", None)),
        "regions": (Region((0.0, 0.0, 30.0, 40.0), "Text"),),
        "provenance": "human",
        "source": "made",
        "meta": {"font": "none", "a": "b"},
    }
    return Page(**{**fields, **changes})


def synthetic(count: int, seed: int = 1, **changes: Any) -> list[Page]:
    config = SynthConfig(pages=count, **changes)
    return [make_page(seed, index, config) for index in range(count)]


def pdf(source: str) -> bytes:
    """A PDF that Typst sets from `source`, the same bytes at any time of day."""
    made = typst.compile(b"#set document(date: none)\n" + source.encode())
    assert isinstance(made, bytes)
    return made


def coco(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: list[dict[str, Any]]
) -> str:
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})
