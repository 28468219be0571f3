from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.pages import page as page_module
from ml.pages.page import Page, page_id
from ml.pages.readers import files
from ml.pages.readers.images import read_images
from ml.pages.readers.refusal import Refusal
from tests.pages.making import png


def image(form: str, **options) -> bytes:
    buffer = io.BytesIO()
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[:10] = 255
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def read(folder: Path) -> list[Page | Refusal]:
    return list(read_images(folder))


def test_png_and_jpeg_stay_as_they_came(tmp_path):
    for name, data in (("a.png", image("PNG")), ("b/c.JPG", image("JPEG"))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
        one = next(page for page in read(tmp_path) if isinstance(page, Page) and page.source == name)
        assert one.image == data and one.id == page_id(data)
        assert (one.width, one.height) == (50, 30)
        assert one.words is None and one.regions is None


@pytest.mark.parametrize("form", ["TIFF", "BMP", "WEBP"])
def test_other_formats_become_png(tmp_path, form):
    (tmp_path / f"x.{form.lower()}").write_bytes(image(form))
    (one,) = read(tmp_path)
    assert isinstance(one, Page)
    assert one.image.startswith(b"\x89PNG") and one.pixels()[:8].mean() > 200


def test_every_frame_of_a_tiff_is_a_page_of_one_document(tmp_path):
    frames = [Image.new("L", (20, 20), tone) for tone in (0, 99, 200)]
    frames[0].save(tmp_path / "fax.tif", save_all=True, append_images=frames[1:])
    pages = read(tmp_path)
    assert [one.pixels().mean() for one in pages if isinstance(one, Page)] == [0, 99, 200]
    assert {one.document for one in pages if isinstance(one, Page)} == {"fax.tif"}


def test_frames_over_the_limit_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_FRAMES", 2)
    frames = [Image.new("L", (20, 20), tone) for tone in (0, 99, 200)]
    frames[0].save(tmp_path / "fax.tif", save_all=True, append_images=frames[1:])
    *pages, refusal = read(tmp_path)
    assert len(pages) == 2 and isinstance(refusal, Refusal) and refusal.rule == "image_frames"


def test_a_format_that_runs_programs_is_not_opened_whatever_its_name(tmp_path):
    (tmp_path / "page.png").write_bytes(image("EPS"))
    (one,) = read(tmp_path)
    assert isinstance(one, Refusal) and one.rule == "image_unreadable"


def test_a_photo_taken_sideways_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "phone.jpg").write_bytes(image("JPEG", exif=exif))
    (one,) = read(tmp_path)
    assert isinstance(one, Page)
    assert (one.width, one.height) == (30, 50)
    assert one.pixels()[:, 21:].mean() > 200 > one.pixels()[:, :15].mean()


def test_broken_large_and_foreign_files_are_set_aside_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_PIXELS", 5000)
    monkeypatch.setattr(page_module, "MAX_PIXELS", 5000)
    (tmp_path / "batch").mkdir()
    contents = {
        "a.png": png(1)[:700],
        "b.png": b"",
        "c.png": b"GIF89a",
        "d.png": png(1, (100, 60)),
        "e.png": png(2),
        ".f.png": png(3),
    }
    for name, data in contents.items():
        (tmp_path / "batch" / name).write_bytes(data)
    (tmp_path / "secret.png").write_bytes(png(9))
    (tmp_path / "batch/z.png").symlink_to("../secret.png")
    reads = read(tmp_path / "batch")
    assert [one.source for one in reads if isinstance(one, Page)] == ["e.png"]
    refused = {one.item: one.rule for one in reads if isinstance(one, Refusal)}
    unreadable = dict.fromkeys(("a.png", "b.png", "c.png"), "image_unreadable")
    assert refused == {**unreadable, "d.png": "image_pixels", "z.png": "path_escape"}


def test_files_over_the_limit_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("ml.pages.readers.images.MAX_IMAGE_BYTES", 1000)
    (tmp_path / "big.png").write_bytes(png(1))
    (one,) = read(tmp_path)
    assert isinstance(one, Refusal) and one.rule == "file_size"
