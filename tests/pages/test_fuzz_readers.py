"""Ten thousand broken inputs: no reader crashes, hangs or leaves the folder, and every input is accounted for.

SCRIPTORIUM_FUZZ=100000 throws more.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.pages.ingest import strange_files
from ml.pages.page import Page
from ml.pages.readers.coco import read_coco
from ml.pages.readers.datasets import read_crops, read_funsd
from ml.pages.readers.doclaynet import read_doclaynet
from ml.pages.readers.files import MAX_IMAGE_BYTES
from ml.pages.readers.hocr import read_hocr
from ml.pages.readers.images import read_images
from ml.pages.readers.pdf import PdfLimits, document_pages, read_pdf
from ml.pages.readers.refusal import Read, Refusal, unit_of
from ml.pages.readers.xml_trees import read_alto, read_page_xml
from tests.pages.making import coco, pdf, png
from tests.pages.test_annotation_readers import ALTO, HOCR, PAGE

TOTAL = int(os.environ.get("SCRIPTORIUM_FUZZ", "10000"))
#: Seconds that no single input may take.
PATIENCE = 10.0
#: What breaks parsers: bounds, signs, escapes, other types, floods.
POISONS = (
    b"", b"0", b"-1", b"1e999", b"NaN", b"Infinity", b"null", b"[]", b"{}", b'""', b"9" * 400, b"\x00", b"\xff\xfe",
    b"../../outside/secret.png", b"/etc/passwd", b"<!DOCTYPE x [<!ENTITY a 'aa'>]>&a;", b"<", b">", b'"', b"'", b"\\",
    b"\n", b"[" * 2000, b"<a>" * 300, b"bbox", b"true", b"\xed\xa0\x80", b"A" * 5000, b"%s%n", b",", b";", b"\t",
)  # fmt: skip


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
    """`data` with a few bytes flipped, cut, doubled, swapped for poison, or its numbers replaced."""
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            return data
        start = int(rng.integers(len(data)))
        stop = min(len(data), start + int(rng.choice([1, 1, 4, 16, 200])))
        poison = POISONS[int(rng.integers(len(POISONS)))]
        match int(rng.integers(7)):
            case 0:
                data = data[:start] + bytes([data[start] ^ (1 << int(rng.integers(8)))]) + data[start + 1 :]
            case 1:
                data = data[:start]
            case 2:
                data = data[:start] + data[stop:]
            case 3:
                data = data[:stop] + data[start:]
            case 4:
                data = data[:start] + poison + data[stop:]
            case 5:
                data = data[:start] + rng.bytes(stop - start) + data[stop:]
            case _:
                digits = [i for i in range(len(data)) if 48 <= data[i] <= 57] if len(data) < 20_000 else []
                if digits:
                    place = digits[int(rng.integers(len(digits)))]
                    data = data[:place] + poison + data[place + 1 :]
    return data


COCO = coco(
    [
        {"id": 3, "file_name": "page.png", "width": 60, "height": 80},
        {"id": 4, "file_name": "images/page.png"},
    ],
    [
        {"image_id": 3, "category_id": 0, "bbox": [1, 2, 30, 40]},
        {"image_id": 9, "category_id": 7, "bbox": [0, 0, 1, 1]},
    ],
    [{"id": 0, "name": "table"}, {"id": 7, "name": "text"}],
).encode()
FUNSD = json.dumps(
    {"form": [{"words": [{"box": [1, 2, 9, 8], "text": "To"}, {"box": [11, 2, 19, 8], "text": "me"}]}]}
).encode()
DOCLAYNET = json.dumps(
    {
        "metadata": {"original_width": 612, "original_height": 792},
        "cells": [{"bbox": [1, 2, 3, 4], "text": "a b"}],
    }
).encode()
ALTO_PLAIN = ALTO.format(unit="pixel", width=60, height=80, x=10, w=30).encode()
CSV = b"image,text\npage.png,one\nimages/page.png,two words\n"


def image(form: str, frames: int = 1) -> bytes:
    """A small image file of noise."""
    rng, buffer = np.random.default_rng(3), io.BytesIO()
    first, *more = [Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)) for _ in range(frames)]
    first.save(buffer, form, **({"save_all": True, "append_images": more} if more else {}))
    return buffer.getvalue()


#: Reader, name of the file that is broken, its sound content, share of all inputs.
TARGETS: dict[str, tuple[Callable[[Path], Iterator[Read]], str, bytes, float]] = {
    "coco": (read_coco, "a.json", COCO, 0.18),
    "funsd": (read_funsd, "page.json", FUNSD, 0.14),
    "doclaynet": (read_doclaynet, "page.json", DOCLAYNET, 0.08),
    "alto": (read_alto, "page.xml", ALTO_PLAIN, 0.15),
    "pagexml": (read_page_xml, "page.xml", PAGE.encode(), 0.15),
    "hocr": (read_hocr, "page.hocr", HOCR.encode(), 0.12),
    "csv": (read_crops, "page.csv", CSV, 0.09),
    "png": (read_images, "broken.png", image("PNG"), 0.02),
    "jpeg": (read_images, "broken.jpg", image("JPEG"), 0.02),
    "tiff": (read_images, "broken.tif", image("TIFF", 3), 0.02),
    "webp": (read_images, "broken.webp", image("WEBP"), 0.01),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", TARGETS)
def test_broken_annotations_and_images(name, tmp_path):
    read, file, sound, share = TARGETS[name]
    folder, outside = tmp_path / "batch", tmp_path / "outside"
    (folder / "images").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.png").write_bytes(png(77))
    secret = png(77)
    (folder / "page.png").write_bytes(png(1))
    if name == "doclaynet":
        (folder / "coco.json").write_bytes(COCO)
    rng = np.random.default_rng(len(name))
    started, outcomes = time.monotonic(), {"pages": 0, "refusals": 0, "ignored": 0}
    for number in range(round(TOTAL * share)):
        broken = mutated(rng, sound) if number else sound
        (folder / file).write_bytes(broken)
        reads = list(read(folder))
        for one in reads:
            if isinstance(one, Page):
                assert one.image != secret, "a file outside the folder was read"
                for x1, y1, x2, y2 in [item.box for item in (*(one.words or ()), *(one.regions or ()))]:
                    assert np.isfinite([x1, y1, x2, y2]).all() and x1 < x2 and y1 < y2
            else:
                assert isinstance(one, Refusal) and one.rule and one.reason and len(one.reason) < 2000
        outcomes["pages"] += sum(isinstance(one, Page) for one in reads)
        outcomes["refusals"] += sum(isinstance(one, Refusal) for one in reads)
        if not reads:  # it no longer looks like the format, and the report says so
            assert file in strange_files(folder), broken[:200]
            outcomes["ignored"] += 1
        now = time.monotonic()
        assert now - started < PATIENCE, f"input {number} took {now - started:.1f} s"
        started = now
    assert outcomes["pages"] and outcomes["refusals"], outcomes


PDF_LIMITS = PdfLimits(long_edge=128, pages=3, seconds=PATIENCE)


def read_here(folder: Path) -> list[list[str]]:
    """What became of each PDF in `folder`, read in this process."""
    outcomes = []
    for path in sorted(folder.glob("*.pdf")):
        reads = document_pages(path, path.name, PDF_LIMITS)
        outcomes.append(["page" if isinstance(read, Page) else read.rule for read in reads])
    return outcomes


def test_broken_pdfs(tmp_path):
    sound = pdf("#set page(height: 99pt, width: 99pt)\n= A\nHello #table[a][b]")
    rng = np.random.default_rng(9)
    folders = [tmp_path / str(number) for number in range(max(1, round(TOTAL * 0.02 / 50)))]
    for folder in folders:
        folder.mkdir()
        for number in range(50):
            (folder / f"{number:02}.pdf").write_bytes(mutated(rng, sound) if number else sound)
    found: set[str] = set()
    # Some processes for all and not one each, for speed. Where one dies, the reader must get over the same files.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(read_here, folder) for folder in folders]
        for folder, future in zip(folders, futures, strict=True):
            try:
                outcomes = future.result(timeout=50 * PATIENCE)
                assert len(outcomes) == 50 and all(outcomes), "not accounted for"
                found |= {outcome for one in outcomes for outcome in one}
            except BrokenProcessPool:
                assert {unit_of(read) for read in read_pdf(folder, PDF_LIMITS)} == {
                    path.name for path in folder.iterdir()
                }
    assert len(found) > 1, found


def test_a_bomb_is_refused_unopened(tmp_path):
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)  # sparse
    (refusal,) = read_images(tmp_path)
    assert isinstance(refusal, Refusal) and refusal.rule == "file_size"
